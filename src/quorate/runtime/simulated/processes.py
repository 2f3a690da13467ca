"""Task processes of the simulated world: the function runs inline and is charged virtual time.

Half of the time passes before the function runs and half after, so that a kill in the middle
leaves either nothing or all of its work on the disk, and no reply in both cases.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from dataclasses import dataclass

from quorate.base.check import check
from quorate.base.errors import QuorateError, Unavailable
from quorate.runtime.functions import load_function
from quorate.runtime.ports import TaskProcess
from quorate.runtime.simulated.disk import SimulatedDisk, SimulatedView
from quorate.runtime.simulated.process import SimulatedProcess


@dataclass(slots=True)
class TaskCost:
    """What a request costs in virtual time; a draw from each range."""

    start_ms: tuple[float, float] = (20.0, 60.0)
    request_ms: tuple[float, float] = (1.0, 5.0)
    kib_ms: tuple[float, float] = (0.01, 0.05)
    """For each KiB of request, reply, and bytes read from or written to the disk."""


class SimulatedTaskProcess:
    """A task process; ``kill`` is also what a nemesis calls."""

    def __init__(
        self, owner: SimulatedProcesses, pid: int, function: str, view: SimulatedView
    ) -> None:
        self._owner = owner
        self._pid = pid
        self._function = load_function(function)
        self._view = view
        self._busy = False
        self._ended = ""
        self._death: asyncio.Future[None] | None = None

    @property
    def pid(self) -> int:
        return self._pid

    @property
    def alive(self) -> bool:
        return not self._ended

    async def run(self, request: bytes) -> bytes:
        self._owner.process.require_alive()
        check(not self._busy, "a task process runs one request at a time")
        self._busy = True
        try:
            before = self._view.bytes_moved
            await self._work(self._owner.cost_ms(len(request)) / 2)
            reply = self._call(request)
            moved = self._view.bytes_moved - before + len(reply)
            await self._work(self._owner.cost_ms(len(request) + moved) / 2)
            return reply
        except asyncio.CancelledError:
            self._end("its request was given up")
            raise
        finally:
            self._busy = False

    def _call(self, request: bytes) -> bytes:
        try:
            return self._function(self._view, bytes(request))
        except QuorateError:
            raise
        except Exception as error:
            self._end(f"{type(error).__name__}: {error}")
            raise self._gone() from error

    async def _work(self, cost_ms: float) -> None:
        if self._ended:
            raise self._gone()
        self._death = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(cost_ms / 1000.0):
                await self._death
        except TimeoutError:
            return
        finally:
            self._death = None
        raise self._gone()

    def kill(self) -> None:
        self._end("killed by signal 9")

    def _end(self, reason: str) -> None:
        self._ended = self._ended or reason
        self._owner.running.pop(self._pid, None)
        if self._death is not None and not self._death.done():
            self._death.set_result(None)

    def _gone(self) -> Unavailable:
        return Unavailable(f"task process {self._pid} died ({self._ended}): run its task again")


class SimulatedProcesses:
    """The processes port of one process."""

    def __init__(
        self,
        disk: SimulatedDisk,
        process: SimulatedProcess,
        root: str,
        source: random.Random,
        pids: Iterator[int],
    ) -> None:
        self.process = process
        self.cost = TaskCost()
        self.running: dict[int, SimulatedTaskProcess] = {}
        """The live task processes by pid, for a nemesis."""
        self._disk = disk
        self._root = root
        self._random = source
        self._pids = pids

    async def start(self, function: str, directory: str) -> TaskProcess:
        self.process.require_alive()
        view = self._disk.view(self.process, f"{self._root}/{directory}")
        child = SimulatedTaskProcess(self, next(self._pids), function, view)
        await asyncio.sleep(self._random.uniform(*self.cost.start_ms) / 1000.0)
        self.running[child.pid] = child
        return child

    def cost_ms(self, size: int) -> float:
        draw = self._random.uniform
        return draw(*self.cost.request_ms) + draw(*self.cost.kib_ms) * size / 1024
