"""What a machine shows to those who watch it, over HTTP: all of its processes behind one door.

::

    GET /metrics   figures, for Prometheus
    GET /health    200 while the supervisor runs
    GET /ready     200 if each replica here can answer a read, else 503 and a sentence for each
                   that cannot; a cloned node is named with either

The door belongs to the supervisor: it outlives the processes, so it is there to say that one of
them is down, and what somebody asks of it costs the replicas no more than one call.  Off loopback
it speaks mutual TLS or is refused, like every door (``runtime/real/network.py``).
"""

import asyncio
import os
from collections.abc import Callable, Mapping

import quorate
from quorate.base.errors import QuorateError
from quorate.base.histogram import Histogram
from quorate.base.ids import Address
from quorate.base.together import together
from quorate.node.config import NodeConfig
from quorate.node.http import Answer, HttpServer
from quorate.node.identity import NodeIdentity
from quorate.node.loop_lag import watch_loop
from quorate.node.messages import AskFigures, ProcessFigures
from quorate.node.metrics import SeenNode, SeenProcess, exposition
from quorate.node.operating_system import process_use
from quorate.raft.messages import AskReady
from quorate.rpc.client import RpcClient
from quorate.rpc.handshake import Identity
from quorate.runtime.ports import World
from quorate.runtime.real.tls import tls_contexts

FIGURES_TIMEOUT_MS = 1_000.0
READY_TIMEOUT_MS = 2_000.0


class Door:
    """The HTTP door of one machine."""

    def __init__(
        self,
        world: World,
        config: NodeConfig,
        machine: NodeIdentity,
        pids: Callable[[], Mapping[str, int]],
        starts_again: Mapping[str, int],
        is_damaged: Callable[[], bool],
    ) -> None:
        """``pids`` gives the processes that run now, by role; ``starts_again`` counts, by role;
        ``is_damaged`` says whether the replicas here are to be rebuilt."""
        self._world = world
        self._config = config
        self._pids = pids
        self._starts_again = starts_again
        self._is_damaged = is_damaged
        self._rpc = RpcClient(world, Identity(machine.cluster, machine.node, "supervisor"))
        self._loop_lag_ms = Histogram.of_durations()
        self._watch: asyncio.Task[None] | None = None
        pages = {"/metrics": self._metrics, "/health": self._health, "/ready": self._ready}
        self._server = HttpServer(pages, world.trace)

    async def open(self) -> None:
        """Listen; raises ``BadConfiguration`` if that cannot be."""
        paths = self._config.tls_paths
        tls = tls_contexts(paths) if paths is not None else None
        await self._server.start(Address(self._config.addresses.metrics), tls)
        watch = watch_loop(self._world.clock, self._loop_lag_ms)
        self._watch = self._world.spawn(watch, "loop lag")

    async def close(self) -> None:
        self._server.close()
        if self._watch is not None:
            self._watch.cancel()
        await self._rpc.close()

    async def _health(self, headers: Mapping[str, str]) -> Answer:
        return Answer(b"ok\n")

    async def _ready(self, headers: Mapping[str, str]) -> Answer:
        address = self._config.role_addresses()["raft"]
        found = await self._rpc.call(address, AskReady(), timeout_ms=READY_TIMEOUT_MS)
        if found.problems:
            lines = [*found.problems, *found.warnings]
            return Answer("".join(f"{line}\n" for line in lines).encode(), 503)
        return Answer("".join(f"{line}\n" for line in ["ready", *found.warnings]).encode())

    async def _metrics(self, headers: Mapping[str, str]) -> Answer:
        body, content_type = exposition(await self._look(), headers.get("accept", ""))
        return Answer(body, content_type=content_type)

    async def _look(self) -> SeenNode:
        addresses = self._config.role_addresses()
        figures = await together(self._ask(address) for address in addresses.values())
        pids = self._pids()
        return SeenNode(
            self._config.name,
            quorate.__version__,
            self._world.disk.free_bytes(),
            self._is_damaged(),
            process_use(os.getpid()),
            self._loop_lag_ms,
            [
                SeenProcess(
                    role,
                    process_use(pids[role]) if role in pids else None,
                    self._starts_again.get(role, 0),
                    found,
                )
                for role, found in zip(addresses, figures, strict=True)
            ],
        )

    async def _ask(self, address: Address) -> ProcessFigures | None:
        try:
            return await self._rpc.call(address, AskFigures(), timeout_ms=FIGURES_TIMEOUT_MS)
        except QuorateError:
            return None
