"""``quorate.connect``: a cluster in the hands of a program.

with quorate.connect("n1:7400", "n2:7400") as q:
    q.kv.put("name", "value")

async with quorate.connect("n1:7400", "n2:7400") as q:
    await q.kv.put("name", "value")
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import TypeAlias

from quorate.base.errors import BadInput, QuorateError, Unavailable
from quorate.base.ids import Address, ClusterId, NodeId
from quorate.kv.backup import Backup, back_up, restore
from quorate.kv.client import TIMEOUT_S, KvClient
from quorate.library.background import Background, Opening, Twin, blocking
from quorate.library.blocking import BlockingKv
from quorate.library.files import reader, writer
from quorate.node.local_cluster import DEFAULT_PORT, PORTS_A_NODE
from quorate.node.messages import DescribeNode, NodeDescription
from quorate.rpc.client import RpcClient
from quorate.rpc.handshake import Identity
from quorate.runtime.ports import World
from quorate.runtime.real.tls import TlsPaths
from quorate.runtime.real.trace import QuietTrace
from quorate.runtime.real.world import close_world, real_world

DESCRIBE_MS = 3_000.0
DEFAULT_SEEDS = [Address(f"127.0.0.1:{DEFAULT_PORT + PORTS_A_NODE * n}") for n in range(3)]


class Quorate:
    """A cluster that answered."""

    def __init__(self, world: World, rpc: RpcClient, addresses: Sequence[Address]) -> None:
        self.addresses = list(addresses)
        """Of its machines."""
        self.world = world
        self.rpc = rpc
        self.kv = KvClient(world, rpc, addresses)

    async def backup(self, address: str) -> Backup:
        """Write all keys, as they are at one index of the log, to a file or fsspec address."""
        async with writer(address) as write:
            return await back_up(self.kv, write)

    async def restore(self, address: str, *, replace: bool = False) -> Backup:
        """Make the store what such a file holds: an empty one, or ``replace`` what is there."""
        return await restore(self.kv, reader(address), replace=replace)


class BlockingQuorate(Twin[Quorate]):
    """``Quorate``, without ``await``."""

    backup = blocking(Quorate.backup)
    restore = blocking(Quorate.restore)

    def __init__(self, original: Quorate, background: Background) -> None:
        super().__init__(original, background)
        self.addresses = original.addresses
        self.kv = BlockingKv(original.kv, background)


Connection: TypeAlias = Opening[Quorate, BlockingQuorate]


def connect(
    *addresses: str,
    timeout_s: float = TIMEOUT_S,
    tls_ca: str | Path | None = None,
    tls_cert: str | Path | None = None,
    tls_key: str | Path | None = None,
) -> Connection:
    """The cluster one of whose machines listens at one of ``addresses`` ("HOST:PORT", several may
    stand in one with commas; default: a plain ``quorate up``), for ``with`` or ``async with``.

    A cluster off loopback needs the three PEM files.  ``timeout_s`` bounds each call.  Entering
    raises ``Unavailable`` if none of them answers, ``BadInput`` for what is no address.
    """
    seeds = seeds_of(addresses)
    tls = tls_of(tls_ca, tls_cert, tls_key)

    def make() -> AbstractAsyncContextManager[Quorate]:
        return _connected(seeds, tls, timeout_s)

    return Opening(make, BlockingQuorate)


@asynccontextmanager
async def _connected(
    seeds: Sequence[Address], tls: TlsPaths | None, timeout_s: float
) -> AsyncIterator[Quorate]:
    async with opened_world(tls) as (world, rpc):
        seen = await find_cluster(rpc, seeds, with_tls=tls is not None)
        quorate = Quorate(world, rpc, [entry.rpc for entry in seen.nodes])
        quorate.kv = quorate.kv.within(timeout_s)
        yield quorate


@asynccontextmanager
async def opened_world(tls: TlsPaths | None = None) -> AsyncIterator[tuple[World, RpcClient]]:
    """A real world inside somebody else's program: it never ends that, or takes over its loop."""
    loop = asyncio.get_running_loop()
    handler = loop.get_exception_handler()

    def broken(error: BaseException) -> None:
        """A bug of ours: calls that wait end, and later ones are refused."""
        loop.call_exception_handler({"message": "quorate has a bug", "exception": error})
        closing.append(loop.create_task(rpc.close()))

    closing: list[asyncio.Task[None]] = []
    world = real_world(Path(), trace=QuietTrace(), tls=tls, stop=broken)
    loop.set_exception_handler(handler)
    rpc = RpcClient(world, Identity(ClusterId(""), NodeId(0), "client"))
    try:
        yield world, rpc
    finally:
        await rpc.close()
        await close_world(world)


def seeds_of(texts: Sequence[str] | None) -> list[Address]:
    """The addresses in what a user wrote; raises ``BadInput`` for what is none."""
    seeds = [part.strip() for text in texts or () for part in text.split(",") if part.strip()]
    for seed in seeds:
        host, _, port = seed.rpartition(":")
        if not host or not port.isdecimal():
            raise BadInput(f"{seed!r} is no node of a cluster: write HOST:PORT.")
    return [Address(seed) for seed in seeds] or DEFAULT_SEEDS


def tls_of(
    ca: str | Path | None, cert: str | Path | None, key: str | Path | None
) -> TlsPaths | None:
    """The TLS options, all three or none."""
    if ca and cert and key:
        return TlsPaths(Path(ca), Path(cert), Path(key))
    if ca or cert or key:
        raise BadInput(
            "The authority, certificate and key for TLS (--tls-ca, --tls-cert, --tls-key) belong"
            " together: give all three."
        )
    return None


async def ask_node(rpc: RpcClient, address: Address) -> NodeDescription | QuorateError:
    """What a node says of itself, or why it does not."""
    try:
        return await rpc.call(address, DescribeNode(), timeout_ms=DESCRIBE_MS)
    except QuorateError as error:
        return error


async def find_cluster(
    rpc: RpcClient, seeds: Sequence[Address], *, with_tls: bool
) -> NodeDescription:
    """Ask the seeds, in order, for their cluster; ``Unavailable`` if none answers."""
    problems = []
    for seed in seeds:
        answer = await ask_node(rpc, seed)
        if isinstance(answer, NodeDescription):
            return answer
        problems.append(answer.message)
    certificates = "" if with_tls else "; a cluster with TLS needs --tls-ca, --tls-cert, --tls-key"
    raise Unavailable(
        f"No node of a cluster answers at {', '.join(seeds)} ({problems[0]}): start one with"
        f" 'quorate up', or name another with --cluster or QUORATE_CLUSTER{certificates}."
    )
