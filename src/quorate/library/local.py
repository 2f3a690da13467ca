"""``quorate.local``: a cluster of real nodes for tests and notebooks.

    with quorate.local(nodes=3) as q:
        q.kv.put("name", "value")
        redis.Redis(port=q.port)

Rules:
* The nodes are those of ``quorate up`` (node/local_cluster.py): real processes, disks and sockets,
  on ports that were free.
* Everything ends with it.  The nodes also end when this process is killed (node/child.py); what
  then stays is the temporary directory.
* Without ``directory`` the data are in a temporary one and go with it; with one they are kept, and
  the next start goes on from them.
"""

import asyncio
import os
import signal
import socket
import tempfile
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager
from itertools import count, islice
from pathlib import Path

from quorate.base.errors import BadInput, Unavailable
from quorate.kv.client import TIMEOUT_S
from quorate.library.background import Background, Opening
from quorate.library.connection import BlockingQuorate, Quorate, opened_world
from quorate.node.local_cluster import CLUSTER_FILE, MAX_NODES, PORTS_A_NODE, LocalCluster
from quorate.rpc.client import RpcClient
from quorate.runtime.ports import World

FIRST_PORT, LAST_PORT = 12_000, 32_000
"""Below where the system takes the near ends of outgoing connections from."""
NODE_PORTS = 5
_tries = count(os.getpid() * 7919)


class LocalQuorate(Quorate):
    """A cluster of this machine."""

    def __init__(self, world: World, rpc: RpcClient, cluster: LocalCluster) -> None:
        super().__init__(world, rpc, cluster.addresses)
        self._cluster = cluster
        self.directory = cluster.directory

    @property
    def names(self) -> list[str]:
        """Of the nodes: n1, n2, …"""
        return list(self._cluster.nodes)

    @property
    def resp(self) -> str:
        """Where the first node speaks with clients of Redis: HOST:PORT."""
        return self._cluster.nodes[self.names[0]].addresses["resp"]

    @property
    def port(self) -> int:
        """That of ``resp``, on loopback."""
        return int(self.resp.rpartition(":")[2])

    def pids(self, name: str) -> list[int]:
        """The supervisor of a node, and its processes; none if it does not run."""
        return self._cluster.pids(name)

    async def kill(self, name: str) -> None:
        """``kill -9`` of a node, with all its processes; returns when they are gone."""
        child = self._cluster.nodes[name].child
        if child is not None:
            for pid in reversed(self.pids(name)):
                os.kill(pid, signal.SIGKILL)
            await child.ended()

    async def start(self, name: str) -> None:
        """Start a node that was killed; returns when it listens."""
        await self._cluster.start_node(name)


class BlockingLocalQuorate(BlockingQuorate):
    """``LocalQuorate``, without ``await``."""

    def __init__(self, original: LocalQuorate, background: Background) -> None:
        super().__init__(original, background)
        self._local = original
        self.directory = original.directory
        self.names = original.names
        self.resp = original.resp
        self.port = original.port

    def pids(self, name: str) -> list[int]:
        """As ``LocalQuorate.pids``."""
        return self._local.pids(name)

    def kill(self, name: str) -> None:
        """As ``LocalQuorate.kill``."""
        self._background.run(self._local.kill(name))

    def start(self, name: str) -> None:
        """As ``LocalQuorate.start``."""
        self._background.run(self._local.start(name))


def local(
    nodes: int | None = None,
    directory: str | Path | None = None,
    *,
    port: int | None = None,
    timeout_s: float = TIMEOUT_S,
) -> Opening[LocalQuorate, BlockingLocalQuorate]:
    """``nodes`` (default: what ``directory`` holds, or 3) on this machine, for ``with`` or
    ``async with``; it ends with them.

    ``port`` is the first of ten for each node, by default one that is free; ``timeout_s`` bounds
    each call of ``kv``.  Entering raises ``BadConfiguration`` if the directory does not fit.
    """
    if nodes is not None and not 1 <= nodes <= MAX_NODES:
        raise BadInput(f"{nodes} nodes; on one machine there may be 1 to {MAX_NODES}")

    def make() -> AbstractAsyncContextManager[LocalQuorate]:
        return _started(nodes, directory, port, timeout_s)

    return Opening(make, BlockingLocalQuorate)


@asynccontextmanager
async def _started(
    nodes: int | None, directory: str | Path | None, port: int | None, timeout_s: float
) -> AsyncIterator[LocalQuorate]:
    with ExitStack() as stack:
        if directory is None:
            temporary = tempfile.TemporaryDirectory(prefix="quorate-", ignore_cleanup_errors=True)
            directory = stack.enter_context(temporary)
        folder = Path(directory)
        known = await asyncio.to_thread((folder / CLUSTER_FILE).exists)
        if port is None and not known:
            port = free_port(nodes or 3)
        async with opened_world() as (world, rpc):
            cluster = LocalCluster(world, folder, nodes, port, tasks=1)
            await cluster.start()
            try:
                local = LocalQuorate(world, rpc, cluster)
                local.kv = local.kv.within(timeout_s)
                yield local
            finally:
                await cluster.stop()


def free_port(nodes: int = 3) -> int:
    """The first port of a range for ``nodes`` nodes in which none is taken now.

    Each process begins somewhere else, and comes back to a range late.
    """
    step = nodes * PORTS_A_NODE
    bases = range(FIRST_PORT, LAST_PORT - step, step)
    for number in islice(_tries, len(bases)):
        first = bases[number % len(bases)]
        with ExitStack() as held:
            try:
                for offset in range(step):
                    if offset % PORTS_A_NODE < NODE_PORTS:
                        listener = held.enter_context(socket.socket())
                        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                        listener.bind(("127.0.0.1", first + offset))
            except OSError:
                continue
            return first
    raise Unavailable(f"no {step} ports in a row are free between {FIRST_PORT} and {LAST_PORT}")
