"""Log time: the latest time that the proposer of an applied entry has stamped into it.

Rules:
* It never runs back.  Nor does it stand still: where a wall clock is behind it, log time goes on at
  half pace, so that what is to expire does, and the clock catches up.
* Deadlines of the state are judged when an entry is applied.  If none comes, the leader proposes a
  *tick*, one without commands, when the next deadline is due.
"""

from collections.abc import Callable

from quorate.runtime.ports import Clock, Timer

RETRY_MS = 200


class LogTime:
    """Of one replica."""

    def __init__(
        self,
        clock: Clock,
        next_deadline_ms: Callable[[], int | None],
        tick: Callable[[int], None],
    ) -> None:
        """``next_deadline_ms``: when the state has to be told of the time, if this replica has to
        see to that; ``tick`` proposes an entry with that stamp, if none is on its way."""
        self._clock = clock
        self._next_deadline_ms = next_deadline_ms
        self._tick = tick
        self.ms = 0
        self._since_ms = 0.0
        """When (monotonic) it became that here."""
        self._timer: Timer | None = None
        self._armed_ms: int | None = None

    def reach(self, time_ms: int) -> None:
        """Something of that time was applied."""
        if time_ms > self.ms:
            self.ms, self._since_ms = time_ms, self._clock.monotonic_ms()

    def now_ms(self) -> int:
        """What a proposal of this replica is stamped with."""
        passed_ms = self._clock.monotonic_ms() - self._since_ms
        return max(self._clock.wall_ms(), self.ms + int(passed_ms / 2))

    def arm(self) -> None:
        """The state has changed, and with it maybe its next deadline."""
        deadline_ms = self._next_deadline_ms()
        if deadline_ms == self._armed_ms:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._armed_ms = None, deadline_ms
        if deadline_ms is not None:
            delay_ms = max(0, deadline_ms - self.now_ms())
            self._timer = self._clock.call_later(delay_ms, self._due)

    def _due(self) -> None:
        """A deadline of the state has come: let time pass in the log, too."""
        self._timer = self._armed_ms = None
        deadline_ms = self._next_deadline_ms()
        if deadline_ms is None:
            return
        if deadline_ms > self.now_ms():
            self.arm()
            return
        self._tick(self.now_ms())
        # Until that entry is applied the deadline stands: look again soon, not at once.
        self._armed_ms = deadline_ms
        self._timer = self._clock.call_later(RETRY_MS, self._due)
