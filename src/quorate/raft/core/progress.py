"""What a leader knows of one follower, and how much it may send it.

*Probe*: the leader does not know where the logs part.  One request at a time, the next only after
its answer or at a heartbeat.  *Replicate*: they match; requests follow each other without waiting
(``next_index`` moves when they are sent, not when they are answered) up to a bound.  A refusal
leads back to probing.
"""

from collections import deque


class Progress:
    """One follower, as its leader sees it."""

    __slots__ = ("answered_ms", "inflight", "match_index", "next_index", "paused", "replicating")

    def __init__(self, next_index: int, now_ms: float = 0.0) -> None:
        self.answered_ms = now_ms
        """When it last answered anything in this term; at first, the election."""
        self.match_index = 0
        self.next_index = next_index
        self.replicating = False
        self.paused = False
        """Probing: a request is under way."""
        self.inflight: deque[int] = deque()
        """Replicating: the last index of each request that is not yet answered."""

    def may_send(self, inflight_messages: int) -> bool:
        if self.replicating:
            return len(self.inflight) < inflight_messages
        return not self.paused

    def sent(self, last_index: int) -> None:
        """A request whose entries end at ``last_index`` has left."""
        if self.replicating:
            self.inflight.append(last_index)
            self.next_index = last_index + 1
        else:
            self.paused = True

    def accepted(self, match_index: int) -> bool:
        """The follower has everything up to ``match_index``; returns whether that is news."""
        news = match_index > self.match_index
        self.match_index = max(self.match_index, match_index)
        while self.inflight and self.inflight[0] <= match_index:
            self.inflight.popleft()
        if not self.replicating:
            self.replicating, self.paused = True, False
        self.next_index = max(self.next_index, self.match_index + 1)
        return news

    def probe_from(self, next_index: int) -> None:
        self.replicating = self.paused = False
        self.inflight.clear()
        self.next_index = max(self.match_index + 1, next_index)
