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
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Any, Concatenate, ParamSpec

import typer

from quorate.base.errors import QuorateError, Unavailable
from quorate.base.ids import Address, ClusterId, NodeId
from quorate.gfs.client import FileSystem
from quorate.gfs.messages import ListServers, ServerStatus
from quorate.kv.client import KvClient
from quorate.library.connection import DESCRIBE_MS, ask_node, find_cluster, seeds_of, tls_of
from quorate.mapreduce.client import JobClient
from quorate.mapreduce.core.commands import WorkerStatus
from quorate.node.messages import NodeDescription, NodeEntry
from quorate.rpc.client import RpcClient
from quorate.rpc.handshake import Identity
from quorate.runtime.ports import World
from quorate.runtime.real.tls import TlsPaths
from quorate.runtime.real.trace import QuietTrace
from quorate.runtime.real.world import close_world, real_world, run

P = ParamSpec("P")

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

    @functools.cached_property
    def kv(self) -> KvClient:
        return KvClient(self.world, self.rpc, self.addresses)

    async def describe(self) -> dict[NodeId, NodeDescription]:
        """What each node that answers says of itself."""
        found = await asyncio.gather(*(ask_node(self.rpc, entry.rpc) for entry in self.nodes))
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


def run_in_world(main: Callable[[World], Awaitable[None]], tls: TlsPaths | None = None) -> None:
    """Run ``main`` in a real world of its own, and close that."""

    async def within() -> None:
        # A command has no disk of its own; the current directory is there and is left alone.
        world = real_world(Path(), trace=QuietTrace(), tls=tls)
        try:
            await main(world)
        finally:
            await close_world(world)

    run(within)


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
                seen = await find_cluster(rpc, seeds, with_tls=tls is not None)
                await function(Cluster(world, rpc, seen, tls), *arguments, **options)
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
