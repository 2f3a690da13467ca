"""Every call into a learner's code goes through here.

* What it raises becomes one sentence with file and line, never a traceback of ours.
* What never returns is ended by the wall clock: a timer of the operating system rings while the
  code runs, and raises in it.  What catches even that is met by the next ring.
* What goes on for ever without taking time (a timer of 0 ms that sets itself, a message for each
  message) is ended by a bound on the calls in one virtual second.
"""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from quorate.runtime.simulated.forbidden import NotInSimulation
from quorate.runtime.simulated.process import ProcessKilled
from quorate.simulator.lab.errors import CoreFailed, last_in, place_in
from quorate.simulator.lab.results import Broken

CALL_SECONDS = 10.0
"""What one call may take by the wall clock; right ones take microseconds."""
CALLS_A_SECOND = 30_000
"""In one virtual second, of all servers; the busiest lab test makes a few thousand."""
_USE_INSTEAD = "use host.now_ms(), host.set_timer() and host.random"


class _TooLong(BaseException):
    """The wall clock's ring, raised inside the learner's code."""


class Guard:
    """Of one run of one core, whose code is in ``file``."""

    def __init__(self, file: Path, now_ms: Callable[[], float]) -> None:
        self._file = file
        self._now_ms = now_ms
        self._second = 0
        self._calls = 0
        self._total = 0
        self._inside = 0

    def call(self, server: str, function: Callable[..., Any], *args: Any) -> Any:
        """``function(*args)`` of ``server``; raises ``CoreFailed`` for whatever it does wrong."""
        self._count(server)
        return self._run(server, function, *args)

    def aside(self, server: str, function: Callable[..., Any]) -> Any:
        """The same for what is asked only when somebody watches: it does not count."""
        return self._run(server, function)

    def _run(self, server: str, function: Callable[..., Any], *args: Any) -> Any:
        self._inside += 1
        try:
            return function(*args)
        except (Broken, ProcessKilled, KeyboardInterrupt):
            raise
        except NotInSimulation as error:
            what = str(error).partition(" was called")[0]
            raise CoreFailed(
                f"{self._place(error)}: {what} is of the real world, and a run must be a function"
                f" of its seed: {_USE_INSTEAD}",
                last_in(error, self._file),
            ) from None
        except _TooLong as error:
            raise CoreFailed(
                f"{self._place(error)}: {_name(function)} on {server} did not return within"
                f" {CALL_SECONDS:g} s: an endless loop?",
                last_in(error, self._file),
            ) from None
        except BaseException as error:
            raise CoreFailed(
                f"{self._place(error)}: {_name(function)} on {server} raised"
                f" {type(error).__name__}: {error}",
                last_in(error, self._file),
            ) from None
        finally:
            self._inside -= 1

    def _count(self, server: str) -> None:
        second = int(self._now_ms() / 1_000)
        if second != self._second:
            self._second, self._calls = second, 0
        self._calls += 1
        self._total += 1
        if self._calls > CALLS_A_SECOND:
            raise CoreFailed(
                f"{self._file.name}: more than {CALLS_A_SECOND:,} calls in one virtual second, the"
                f" last on {server}: timers or messages that go on without end"
            )

    def _place(self, error: BaseException) -> str:
        return place_in(error, self._file)

    @contextmanager
    def watching(self) -> Iterator[None]:
        """The wall clock is looked at inside the ``with`` block."""
        if threading.current_thread() is not threading.main_thread():
            yield  # signals are the main thread's; elsewhere nobody rings
            return
        rings = seen = 0

        def ring(number: int, frame: FrameType | None) -> None:
            nonlocal rings, seen
            rings = rings + 1 if self._inside and self._total == seen else 0
            seen = self._total
            if rings >= 4:  # the same call, at each ring since
                raise _TooLong

        before = signal.signal(signal.SIGALRM, ring)
        signal.setitimer(signal.ITIMER_REAL, CALL_SECONDS / 4, CALL_SECONDS / 4)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)


def _name(function: Callable[..., Any]) -> str:
    name = getattr(function, "__name__", "")
    return f"{name}()" if name != "Raft" else "Raft(host)"
