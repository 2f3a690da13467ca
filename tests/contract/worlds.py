"""One scenario, every world: the same coroutine runs over real and simulated ports."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

import pytest

from quorate.base.ids import Address
from quorate.runtime.ports import Connection, Network, World
from quorate.runtime.real.world import close_world, real_world, run
from quorate.runtime.simulated.world import Simulation

Scenario = Callable[[World], Coroutine[Any, Any, None]]

every_world = pytest.mark.parametrize("kind", ["uvloop", "asyncio", "simulated"])


def run_in(kind: str, root: Path, scenario: Scenario) -> None:
    """Run ``scenario(world)`` to its end in the world called ``kind``; what it raises is raised."""
    if kind == "simulated":
        with Simulation(seed=1) as simulation:
            process = simulation.machine("n1").start_process("test", scenario)
            simulation.run_until(lambda: not process.alive, timeout_ms=600_000)
            if process.error is not None:
                raise process.error
        return
    failures: list[BaseException] = []

    async def main() -> None:
        world = real_world(root, stop=failures.append)
        try:
            await scenario(world)
        finally:
            await close_world(world)

    if kind == "uvloop":
        run(main)
    else:
        asyncio.run(main())
    for failure in failures:
        raise failure


def free_address(kind: str) -> Address:
    return Address("n1:0" if kind == "simulated" else "127.0.0.1:0")


class Inbox:
    """A receiver that keeps what it is told, for a scenario to wait for."""

    def __init__(self, on_frames: Callable[["Inbox"], None] | None = None) -> None:
        self.connection: Connection | None = None
        self.frames: list[bytes] = []
        self.batches: list[int] = []
        self.ended: list[Exception | None] = []
        self._on_frames = on_frames
        self._changed = asyncio.Event()

    def connected(self, connection: Connection) -> None:
        assert self.connection is None
        self.connection = connection
        self._changed.set()

    def frames_received(self, frames: Sequence[memoryview]) -> None:
        assert self.connection is not None
        assert not self.ended
        self.batches.append(len(frames))
        self.frames += [bytes(frame) for frame in frames]
        if self._on_frames is not None:
            self._on_frames(self)
        self._changed.set()

    def disconnected(self, error: Exception | None) -> None:
        assert self.connection is not None
        self.ended.append(error)
        self._changed.set()

    async def until(self, condition: Callable[["Inbox"], bool]) -> None:
        async with asyncio.timeout(20):
            while not condition(self):
                self._changed.clear()
                await self._changed.wait()


async def connect_pair(
    network: Network,
    kind: str,
    *,
    server_limit: int = 1 << 20,
    client_limit: int = 1 << 20,
) -> tuple[Inbox, Inbox, Connection]:
    """A listener's inbox for its one connection, the client's inbox, and the client's end."""
    server, client = Inbox(), Inbox()
    listener = await network.listen(free_address(kind), lambda: server, server_limit)
    connection = await network.connect(listener.address, client, client_limit, 10_000)
    await server.until(lambda inbox: inbox.connection is not None)
    listener.close()
    return server, client, connection
