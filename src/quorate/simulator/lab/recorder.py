"""What happens in one run of a learner's core, as events of a timeline.

While a method of the core runs, what it does waits: first comes that it was called, with the state
of the server after it, then what is another in that state, and then what it did.  So a server that
asks for votes of term 3 is in term 3.
"""

from collections.abc import Callable

from quorate.simulator.timeline.events import Event
from quorate.simulator.timeline.recorder import Recorder


class LabRecorder(Recorder):
    """``now_ms`` gives the time of all servers."""

    def __init__(self, now_ms: Callable[[], float]) -> None:
        super().__init__(now_ms, str)
        self._cause: Event | None = None
        self._made: list[Event] = []
        self._waiting: list[Event] = []

    def add(self, event: Event) -> None:
        if self._cause is None:
            super().add(event)
        else:
            self._waiting.append(event)

    def hold(self, cause: Event) -> None:
        """A method of the core begins, because of this."""
        self._cause = cause

    def changed(self, event: Event) -> None:
        """What the method that still holds has made of its server."""
        self._made.append(event)

    def release(self) -> None:
        """It has ended."""
        if self._cause is not None:
            told = [self._cause, *self._made, *self._waiting]
            self._cause, self._made, self._waiting = None, [], []
            for event in told:
                super().add(event)
