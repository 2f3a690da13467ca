"""How a command finds its cluster, and what it then has in its hands.

``--cluster HOST:PORT`` (several, or with commas), else ``QUORATE_CLUSTER``, else the default port
on loopback and, should that node be down, those of the next two nodes of ``quorate up``.  The first
of these nodes that answers names all machines of the cluster, and from there any of them will do.

``with_cluster`` makes a command of an ``async`` function: it adds the options, runs the function
in a real world with the connected ``Cluster`` as its first argument, and closes all afterwards.
"""

import asyncio
import functools
import inspect
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Concatenate, ParamSpec

import typer

from quorate.base.errors import BadInput, QuorateError, Unavailable
from quorate.base.ids import Address, ClusterId, NodeId
from quorate.gfs.client import FileSystem
from quorate.gfs.messages import ListServers, ServerStatus
from quorate.mapreduce.client import JobClient
from quorate.mapreduce.core.commands import WorkerStatus
from quorate.node.local_cluster import DEFAULT_PORT, PORTS_A_NODE
from quorate.node.messages import DescribeNode, NodeDescription, NodeEntry
from quorate.rpc.client import RpcClient
from quorate.rpc.handshake import Identity
from quorate.runtime.ports import World
from quorate.runtime.real.tls import TlsPaths
from quorate.runtime.real.world import close_world, real_world, run

P = ParamSpec("P")

DESCRIBE_MS = 3_000.0
DEFAULT_SEEDS = [Address(f"127.0.0.1:{DEFAULT_PORT + PORTS_A_NODE * n}") for n in range(3)]

ClusterOption = Annotated[
    list[str] | None,
    typer.Option(
        "--cluster",
        metavar="HOST:PORT",
        envvar="QUORATE_CLUSTER",
        help="A node of the cluster; default: those of a plain 'quorate up'.",
    ),
]
TlsCa = Annotated[
    str | None, typer.Option("--tls-ca", envvar="QUORATE_TLS_CA", help="PEM file of the authority.")
]
TlsCert = Annotated[
    str | None, typer.Option("--tls-cert", envvar="QUORATE_TLS_CERT", help="PEM file of this user.")
]
TlsKey = Annotated[
    str | None, typer.Option("--tls-key", envvar="QUORATE_TLS_KEY", help="PEM file of the key.")
]


class Cluster:
    """A cluster that answered: its machines and the clients of its services."""

    def __init__(
        self, world: World, rpc: RpcClient, seen: NodeDescription, tls: TlsPaths | None
    ) -> None:
        self.world = world
        self.rpc = rpc
        self.tls = tls
        """By which it was recognised, if it speaks TLS."""
        self.id: ClusterId = seen.cluster
        self.nodes: list[NodeEntry] = seen.nodes
        self.founders: list[NodeEntry] = seen.founders

    @property
    def addresses(self) -> list[Address]:
        return [entry.rpc for entry in self.nodes]

    @functools.cached_property
    def files(self) -> FileSystem:
        return FileSystem(self.world, self.rpc, self.addresses)

    async def describe(self) -> dict[NodeId, NodeDescription]:
        """What each node that answers says of itself."""
        found = await asyncio.gather(*(_ask(self.rpc, entry.rpc) for entry in self.nodes))
        return {
            entry.node: description
            for entry, description in zip(self.nodes, found, strict=True)
            if isinstance(description, NodeDescription)
        }

    async def chunkservers(self) -> list[ServerStatus]:
        """As the first node that answers knows them."""
        for address in self.addresses:
            try:
                reply = await self.rpc.call(address, ListServers(), timeout_ms=DESCRIBE_MS)
            except QuorateError:
                continue
            return reply.servers
        return []

    async def workers(self) -> list[WorkerStatus]:
        """Those that the leader of the job group knows; none if there is no leader."""
        jobs = JobClient(self.world, self.rpc, self.addresses, timeout_ms=DESCRIBE_MS)
        try:
            return await jobs.workers()
        except Unavailable:
            return []


async def _ask(rpc: RpcClient, address: Address) -> NodeDescription | QuorateError:
    try:
        return await rpc.call(address, DescribeNode(), timeout_ms=DESCRIBE_MS)
    except QuorateError as error:
        return error


class Quiet:
    """The trace of a command: its user reads sentences, not events."""

    def event(self, name: str, **facts: object) -> None:
        """Not shown."""

    def error(self, sentence: str) -> None:
        """Not shown: what matters of it reaches the user as the command's own error."""


def run_in_world(main: Callable[[World], Awaitable[None]], tls: TlsPaths | None = None) -> None:
    """Run ``main`` in a real world of its own, and close that."""

    async def within() -> None:
        # A command has no disk of its own; the current directory is there and is left alone.
        world = real_world(Path(), trace=Quiet(), tls=tls)
        try:
            await main(world)
        finally:
            await close_world(world)

    run(within)


def seeds_of(texts: Sequence[str] | None) -> list[Address]:
    """The addresses in ``--cluster``; raises ``BadInput`` for what is none."""
    seeds = [part.strip() for text in texts or () for part in text.split(",") if part.strip()]
    for seed in seeds:
        host, _, port = seed.rpartition(":")
        if not host or not port.isdecimal():
            raise BadInput(f"{seed!r} is no node of a cluster: write --cluster HOST:PORT.")
    return [Address(seed) for seed in seeds] or DEFAULT_SEEDS


def tls_of(ca: str | None, cert: str | None, key: str | None) -> TlsPaths | None:
    """The TLS options, all three or none."""
    if ca and cert and key:
        return TlsPaths(Path(ca), Path(cert), Path(key))
    if ca or cert or key:
        raise BadInput("--tls-ca, --tls-cert and --tls-key belong together: give all three.")
    return None


async def connect(
    world: World, rpc: RpcClient, seeds: Sequence[Address], tls: TlsPaths | None
) -> Cluster:
    """Ask the seeds, in order, for their cluster; ``Unavailable`` if none answers."""
    problems = []
    for seed in seeds:
        answer = await _ask(rpc, seed)
        if isinstance(answer, NodeDescription):
            return Cluster(world, rpc, answer, tls)
        problems.append(answer.message)
    certificates = "" if tls else "; a cluster with TLS needs --tls-ca, --tls-cert, --tls-key"
    raise Unavailable(
        f"No node of a cluster answers at {', '.join(seeds)} ({problems[0]}): start one with"
        f" 'quorate up', or name another with --cluster or QUORATE_CLUSTER{certificates}."
    )


def with_cluster(
    function: Callable[Concatenate[Cluster, P], Awaitable[None]],
) -> Callable[..., None]:
    """A command that runs ``function`` on the cluster of its ``--cluster`` option."""

    @functools.wraps(function)
    def command(
        *arguments: Any,
        cluster: list[str] | None,
        tls_ca: str | None,
        tls_cert: str | None,
        tls_key: str | None,
        **options: Any,
    ) -> None:
        seeds = seeds_of(cluster)
        tls = tls_of(tls_ca, tls_cert, tls_key)

        async def main(world: World) -> None:
            rpc = RpcClient(world, Identity(ClusterId(""), NodeId(0), "client"))
            try:
                found = await connect(world, rpc, seeds, tls)
                await function(found, *arguments, **options)
            finally:
                await rpc.close()

        run_in_world(main, tls)

    own = list(inspect.signature(function).parameters.values())[1:]
    added = {"cluster": ClusterOption, "tls_ca": TlsCa, "tls_cert": TlsCert, "tls_key": TlsKey}
    keyword = inspect.Parameter.KEYWORD_ONLY
    extra = [
        inspect.Parameter(name, keyword, default=None, annotation=annotation)
        for name, annotation in added.items()
    ]
    command.__signature__ = inspect.Signature([*own, *extra])  # type: ignore[attr-defined]
    command.__annotations__ = {p.name: p.annotation for p in [*own, *extra]}
    return command
