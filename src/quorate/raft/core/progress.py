"""What a leader knows of one follower, and how much it may send it.

*Probe*: the leader does not know where the logs part.  One request at a time, the next only after
its answer or at a heartbeat.  *Replicate*: they match; requests follow each other without waiting
(``next_index`` moves when they are sent, not when they are answered) up to a bound, so that a slow
follower costs its leader no more than that.  *Snapshot*: what the follower needs next is no longer
in the log; nothing but the offer of a snapshot is sent until it has one.  A refusal leads back to
probing.
"""

from collections import deque
from enum import IntEnum

from quorate.raft.core.settings import Limits


class Mode(IntEnum):
    PROBE = 0
    REPLICATE = 1
    SNAPSHOT = 2


class Progress:
    """One follower, as its leader sees it."""

    __slots__ = (
        "answered_ms",
        "inflight",
        "inflight_bytes",
        "match_index",
        "mode",
        "next_index",
        "paused",
        "round",
        "snapshot_index",
    )

    def __init__(self, next_index: int, now_ms: float = 0.0) -> None:
        self.answered_ms = now_ms
        """When it last answered anything in this term; at first, the election."""
        self.round = 0
        """The latest round of heartbeats that it has answered."""
        self.match_index = 0
        self.next_index = next_index
        self.mode = Mode.PROBE
        self.paused = False
        """Probing: a request is under way."""
        self.inflight: deque[tuple[int, int]] = deque()
        """Replicating: the last index of each request that is not yet answered, and its bytes."""
        self.inflight_bytes = 0
        self.snapshot_index = 0
        """Of the first snapshot it was offered since it fell behind: the log from there on will be
        needed next."""

    def may_send(self, limits: Limits) -> bool:
        if self.mode is Mode.REPLICATE:
            room = self.inflight_bytes < limits.inflight_bytes
            return room and len(self.inflight) < limits.inflight_messages
        return self.mode is Mode.PROBE and not self.paused

    def sent(self, last_index: int, size: int) -> None:
        """A request of ``size`` bytes whose entries end at ``last_index`` has left."""
        if self.mode is Mode.REPLICATE:
            self.inflight.append((last_index, size))
            self.inflight_bytes += size
            self.next_index = last_index + 1
        else:
            self.paused = True

    def accepted(self, match_index: int) -> bool:
        """The follower has everything up to ``match_index``; returns whether that is news."""
        news = match_index > self.match_index
        self.match_index = max(self.match_index, match_index)
        while self.inflight and self.inflight[0][0] <= match_index:
            self.inflight_bytes -= self.inflight.popleft()[1]
        if self.mode is Mode.PROBE or (
            self.mode is Mode.SNAPSHOT and self.match_index >= self.snapshot_index
        ):
            self.mode, self.paused = Mode.REPLICATE, False
        self.next_index = max(self.next_index, self.match_index + 1)
        return news

    def probe_from(self, next_index: int) -> None:
        self.mode, self.paused = Mode.PROBE, False
        self._forget_inflight()
        self.next_index = max(self.match_index + 1, next_index)

    def offered(self, snapshot_index: int) -> None:
        """A snapshot is offered in place of entries."""
        if self.mode is not Mode.SNAPSHOT:
            self.mode, self.snapshot_index = Mode.SNAPSHOT, snapshot_index
            self._forget_inflight()

    def _forget_inflight(self) -> None:
        self.inflight.clear()
        self.inflight_bytes = 0
