"""A simulated process: who owns a task, a timer or a port, and what a crash of it means.

Every handle of the loop belongs to the process that stands in its context (``CURRENT``), because
contexts are inherited by tasks, timers and callbacks without anybody's help.  A kill is a crash:

- from that moment its ports raise ``ProcessKilled``, so that nothing it still runs on the way out
  (the rest of the current step, a ``finally`` block) reaches disk or network;
- the loop skips its handles and timers for ever, so its tasks never run again.  They are not
  cancelled; they stay referenced by this object until the simulation ends, because the collector
  would otherwise close their coroutines and so run their ``finally`` blocks.

A restart is a new object: an incarnation never comes back.

A pause is a SIGSTOP: the process runs nothing while clocks, disks and networks go on.  What it
would have run is held back, in order: timers that are due, frames that arrive (the kernel takes
them, and accepts connections, in its name).  Once resumed it finds all of that at once, late, and
knows nothing of the time between.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable
from contextvars import Context, ContextVar
from typing import Any

CURRENT: ContextVar[SimulatedProcess | None] = ContextVar("simulated_process", default=None)
"""The process that the running code belongs to; ``None`` is the harness itself."""


class ProcessKilled(BaseException):
    """Raised by every port of a dead process; not an ``Exception``, so no service handles it."""


class TaskList:
    """Strong references to tasks that may still be pending, pruned at amortised constant cost."""

    __slots__ = ("_prune_at", "_tasks")

    def __init__(self) -> None:
        self._tasks: list[asyncio.Task[Any]] = []
        self._prune_at = 64

    def add(self, task: asyncio.Task[Any]) -> None:
        self._tasks.append(task)
        if len(self._tasks) >= self._prune_at:
            self._tasks = [task for task in self._tasks if not task.done()]
            self._prune_at = 2 * len(self._tasks) + 64

    def pending(self) -> list[asyncio.Task[Any]]:
        return [task for task in self._tasks if not task.done()]

    def bury(self) -> None:
        """Close the coroutines of pending tasks, ports dead and loop closed, without a word."""
        for task in self.pending():
            silenced: Any = task
            silenced._log_destroy_pending = False
            coroutine: Any = task.get_coro()
            for _ in range(100):  # an ``await`` in a ``finally`` block asks for one round more
                with contextlib.suppress(BaseException):
                    coroutine.close()
                if coroutine.cr_frame is None:
                    break
        self._tasks = []


class SimulatedProcess:
    """One incarnation of one process of a simulated machine."""

    __slots__ = (
        "alive",
        "context",
        "error",
        "held",
        "incarnation",
        "machine",
        "main",
        "name",
        "on_kill",
        "paused",
        "release",
        "result",
        "role",
        "runs",
        "tasks",
    )

    def __init__(self, machine: str, role: str, incarnation: int) -> None:
        self.machine = machine
        self.role = role
        self.incarnation = incarnation
        self.name = f"{machine}/{role}"
        self.alive = True
        self.paused = False
        self.runs = True
        """Alive and not paused: what the loop asks before each handle."""
        self.held: list[asyncio.Handle] = []
        """What came due during a pause, in order."""
        self.release: Callable[[Iterable[Any]], None] = lambda held: None
        """Gives handles back to the loop; set by whoever starts the process."""
        self.error: BaseException | None = None
        """The ``QuorateError`` that ended it, if one did."""
        self.result: Any = None
        """What its main coroutine returned."""
        self.main: asyncio.Task[Any] | None = None
        self.tasks = TaskList()
        self.on_kill: list[Callable[[], None]] = []
        """Called once, in order, right after its death, by ports and harness."""
        self.context = Context()
        self.context.run(CURRENT.set, self)

    def require_alive(self) -> None:
        """The first line of every port's every method."""
        if not self.alive:
            raise ProcessKilled(self.name)

    def kill(self) -> None:
        """A crash of the process alone: its machine, with the page cache, lives on."""
        if self.alive:
            self.alive = self.runs = False
            self.held.clear()
            for callback in self.on_kill:
                callback()

    def pause(self) -> None:
        """SIGSTOP: run nothing from now on, and notice nothing of it."""
        self.paused = True
        self.runs = False

    def resume(self) -> None:
        """SIGCONT: everything that came due in between happens now, in its order."""
        if self.paused:
            self.paused = False
            self.runs = self.alive
            held, self.held = self.held, []
            self.release(held)

    def run(self, function: Callable[..., Any], *args: Any) -> Any:
        """Call ``function`` as this process would: what it spawns belongs to the process."""
        self.require_alive()
        return self.context.copy().run(function, *args)

    def __repr__(self) -> str:
        state = " dead" if not self.alive else " paused" if self.paused else ""
        return f"<{self.name}#{self.incarnation}{state}>"
