"""An ``asyncio`` event loop on virtual time.

Theory of operation.  Ready handles run first in, first out.  When none is ready, time jumps to
the earliest timer; timers of one moment run in the order in which they were set (a counter breaks
ties).  So the whole run is a function of the seed, and an idle cluster costs nothing but its
timers.  A handle runs only while its process lives, and waits while that is paused (process.py).

A run ends with an error on: ``Deadlock`` (nothing is left that could ever run), ``Livelock`` (a
million steps without time moving), and whatever reaches the exception handler, because a simulated
cluster has nobody who would read a log.

The garbage collector runs at fixed steps only: it closes async generators and breaks cycles, and
when it does so must not depend on what else lives in this Python process.
"""

from __future__ import annotations

import asyncio
import gc
import sys
from asyncio import events
from collections import deque
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator, Iterable, Iterator
from contextlib import contextmanager
from contextvars import Context, copy_context
from heapq import heapify, heappop, heappush
from typing import Any, NoReturn, TypeVar, TypeVarTuple

from quorate.base.check import check
from quorate.base.errors import QuorateError
from quorate.runtime.simulated.forbidden import NotInSimulation, forbidden
from quorate.runtime.simulated.process import (
    CURRENT,
    ProcessKilled,
    SimulatedProcess,
    TaskList,
)

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

_LIVELOCK_STEPS = 1_000_000
_COLLECT_STEPS = 1 << 12
_COLLECT_ALL_STEPS = 1 << 18
_PURGE_TIMERS = 1000


class Deadlock(Exception):
    """What is waited for can never happen: no handle is ready and no timer is set."""


class Livelock(Exception):
    """Time stands still: code that yields for ever without waiting for anything."""


class SimulatedHandle(asyncio.TimerHandle):
    """A callback, when, and whose.  Slim: the base class's own constructor is not used."""

    __slots__ = ("process",)

    def __init__(
        self,
        loop: SimulatedLoop,
        when: float,
        callback: Callable[..., object],
        args: tuple[Any, ...],
        context: Context | None,
    ) -> None:
        if context is None:
            context = copy_context()
        self._loop = loop
        self._when = when
        self._callback: Any = callback
        self._args: Any = args
        self._context = context
        self._cancelled = False
        self._scheduled = False
        self.process: SimulatedProcess | None = context.get(CURRENT)

    def cancel(self) -> None:
        if not self._cancelled:
            self._cancelled = True
            self._callback = self._args = None
            if self._scheduled:
                self._loop.timer_cancelled()

    def __repr__(self) -> str:
        return f"<SimulatedHandle {self._callback!r} of {self.process!r}>"


class SimulatedLoop(asyncio.AbstractEventLoop):
    """The loop of one simulation; ``time()`` is virtual, in seconds, and starts at 0."""

    def __init__(self) -> None:
        self.now = 0.0
        """Virtual time, in seconds; what ``time()`` returns, without a call."""
        self._sequence = 0
        self._ready: deque[SimulatedHandle] = deque()
        self._timers: list[tuple[float, int, SimulatedHandle]] = []
        self._cancelled_timers = 0
        self._failure: BaseException | None = None
        self._running = False
        self._closed = False
        self._generators: dict[int, SimulatedProcess | None] = {}
        self.steps = 0
        """Handles executed so far."""
        self.harness_tasks = TaskList()
        self.observer: Callable[[SimulatedProcess | None], None] | None = None
        """Called after each executed handle with the process it belonged to."""

    # What asyncio and services call.

    def time(self) -> float:
        return self.now

    def call_soon(
        self, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> SimulatedHandle:
        if self._closed:
            raise _closed_error()
        handle = SimulatedHandle(self, self.now, callback, args, context)
        self._ready.append(handle)
        return handle

    def call_at(
        self,
        when: float,
        callback: Callable[[*Ts], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> SimulatedHandle:
        if self._closed:
            raise _closed_error()
        if when < self.now:
            when = self.now
        handle = SimulatedHandle(self, when, callback, args, context)
        handle._scheduled = True
        self._sequence += 1
        heappush(self._timers, (when, self._sequence, handle))
        return handle

    def call_later(
        self,
        delay: float,
        callback: Callable[[*Ts], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> SimulatedHandle:
        return self.call_at(self.now + delay, callback, *args, context=context)

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(
        self,
        coro: Generator[Any, None, T] | Coroutine[Any, Any, T],
        *,
        name: str | None = None,
        context: Context | None = None,
    ) -> asyncio.Task[T]:
        if self._closed:
            raise _closed_error()
        task: asyncio.Task[T] = asyncio.Task(coro, loop=self, name=name or "task", context=context)
        process = CURRENT.get() if context is None else context.get(CURRENT)
        (self.harness_tasks if process is None else process.tasks).add(task)
        return task

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return self._running

    def is_closed(self) -> bool:
        return self._closed

    def timer_cancelled(self) -> None:
        """Keep cancelled timers (deadlines that were met) from filling the heap."""
        self._cancelled_timers += 1
        if self._cancelled_timers > _PURGE_TIMERS and 2 * self._cancelled_timers > len(
            self._timers
        ):
            self._timers[:] = [timer for timer in self._timers if not timer[2]._cancelled]
            heapify(self._timers)
            self._cancelled_timers = 0

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Asyncio's complaints, those made when an object is collected included."""
        error = context.get("exception")
        process = CURRENT.get()
        if self._closed or (process is not None and not process.alive):
            return
        if isinstance(error, QuorateError | ProcessKilled):
            return  # a failed future nobody waits for any more, or somebody who is dead
        self.fail(error if error is not None else RuntimeError(str(context.get("message"))))

    # What the simulation calls.

    def fail(self, error: BaseException) -> None:
        """End the run with ``error`` after the current handle; the first one counts."""
        if self._failure is None:
            self._failure = error

    def take_back(self, handles: Iterable[SimulatedHandle]) -> None:
        """These are ready again: their process was paused when they first were."""
        self._ready.extend(handles)

    def run_until(self, done: Callable[[], bool] | None, deadline: float) -> bool:
        """Run until ``done()``, checked after each handle, or until time reaches ``deadline``
        (seconds, may be infinite).  Returns whether it is done.  Raises ``Deadlock`` if neither
        can happen, and any failure of the run."""
        check(not self._running, "the simulated loop is already running")
        if self._closed:
            raise _closed_error()
        with self._entered():
            return self._run(done, deadline)

    def run_until_complete(self, future: Any) -> Any:
        task = asyncio.ensure_future(future, loop=self)
        self.run_until(task.done, float("inf"))
        return task.result()

    def close(self) -> None:
        """Nothing runs any more; what is left is buried without effect."""
        check(not self._running, "the simulated loop is still running")
        self._closed = True
        self._ready.clear()
        self._timers.clear()
        self.harness_tasks.bury()

    @contextmanager
    def _entered(self) -> Iterator[None]:
        hooks = sys.get_asyncgen_hooks()
        collecting = gc.isenabled()
        gc.disable()
        sys.set_asyncgen_hooks(self._own_generator, self._close_generator)
        self._running = True
        events._set_running_loop(self)
        try:
            with forbidden():
                yield
        finally:
            events._set_running_loop(None)
            self._running = False
            sys.set_asyncgen_hooks(*hooks)
            if collecting:
                gc.enable()

    def _run(self, done: Callable[[], bool] | None, deadline: float) -> bool:
        ready, timers = self._ready, self._timers
        still_since = self.steps
        if done is not None and done():
            return True
        while True:
            if ready:
                handle = ready.popleft()
            elif timers:
                when = timers[0][0]
                if when > deadline:
                    self.now = max(self.now, deadline)
                    return False
                handle = heappop(timers)[2]
                handle._scheduled = False
                if handle._cancelled:
                    self._cancelled_timers -= 1
                    continue
                if when > self.now:
                    self.now = when
                    still_since = self.steps
            elif deadline != float("inf"):
                self.now = max(self.now, deadline)
                return False
            else:
                raise Deadlock(f"nothing is left to run at {self.now:.3f} s")
            process = handle.process
            if handle._cancelled:
                continue
            if process is not None and not process.runs:
                if process.alive:
                    process.held.append(handle)
                continue
            self.steps += 1
            try:
                handle._context.run(handle._callback, *handle._args)
            except (SystemExit, KeyboardInterrupt):
                raise
            except BaseException as error:
                if process is None or process.alive:
                    self.fail(error)
            if self.observer is not None:
                self.observer(process)
            if self._failure is not None:
                raise self._failure
            if done is not None and done():
                return True
            if self.steps % _COLLECT_STEPS == 0:
                if self.steps - still_since > _LIVELOCK_STEPS:
                    raise Livelock(f"{_LIVELOCK_STEPS} steps at {self.now:.3f} s, last {handle!r}")
                gc.collect(1 if self.steps % _COLLECT_ALL_STEPS else 2)

    def _own_generator(self, generator: AsyncGenerator[Any, Any]) -> None:
        # By address, which the next generator there overwrites: when the finalizer is called,
        # weak references to the generator are gone already.
        self._generators[id(generator)] = CURRENT.get()

    def _close_generator(self, generator: AsyncGenerator[Any, Any]) -> None:
        """An async generator nobody iterates any more: close it, if its process lives."""
        process = self._generators.pop(id(generator), None)
        if not self._closed and (process is None or process.alive):
            context = Context() if process is None else process.context.copy()
            self.create_task(_close(generator), name="close generator", context=context)


def _closed_error() -> RuntimeError:
    return RuntimeError("the simulated loop is closed")


async def _close(generator: AsyncGenerator[Any, Any]) -> None:
    await generator.aclose()


def _refuse_rest() -> None:
    """Every other method of an event loop is a door to the real world."""

    def refusal(name: str) -> Callable[..., NoReturn]:
        def refused(self: SimulatedLoop, *args: object, **kwargs: object) -> NoReturn:
            raise NotInSimulation(f"loop.{name} was called in the simulated world: use the ports")

        return refused

    for name in vars(asyncio.AbstractEventLoop):
        if not name.startswith("__") and name not in vars(SimulatedLoop):
            setattr(SimulatedLoop, name, refusal(name))


_refuse_rest()


def new_loop() -> SimulatedLoop:
    """A fresh loop, at time 0."""
    # The type checker cannot see that ``_refuse_rest`` has defined what is abstract.
    make: Any = SimulatedLoop
    loop: SimulatedLoop = make()
    return loop
