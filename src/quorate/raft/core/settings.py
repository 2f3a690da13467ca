"""The times and bounds of a group."""

import msgspec


class Timing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Milliseconds.  Elections are drawn from [election_timeout_ms, 2 × election_timeout_ms)."""

    heartbeat_interval_ms: int = 100
    election_timeout_ms: int = 600
    lease: bool = False
    """Whether a leader answers reads without asking its followers while they owe it their votes
    (thesis §6.4.1).  Right only while ``max_clock_drift`` holds."""
    max_clock_drift: float = 0.1
    """While leases are on: no machine's monotonic clock runs faster or slower than true time by
    more than this share.  Ordinary ones stay within 0.0005."""

    @property
    def lease_ms(self) -> float:
        """How long, by the leader's clock, its lease lasts from the moment a round left.

        A voter waits ``election_timeout_ms`` by a clock that may be fast by the drift; the leader's
        may be slow by as much.
        """
        drift = self.max_clock_drift
        return self.election_timeout_ms * (1 - drift) / (1 + drift)


class Limits(msgspec.Struct, frozen=True):
    """What one leader keeps under way to one follower, and what a replica keeps of its log."""

    message_bytes: int = 256 * 1024
    """Entries in one AppendRequest; one entry is sent even if it is larger."""
    inflight_messages: int = 32
    """AppendRequests that carry entries and are not yet answered."""
    inflight_bytes: int = 2 << 20
    """Of entries in them; one more request is begun below it.  Less than what a connection lets
    wait, or entries would crowd out the heartbeats of all groups behind them."""
    inflight_reads: int = 1024
    """Reads that wait for a round; a follower's that come beyond are not answered."""
    snapshot_log_bytes: int = 64 << 20
    """A replica takes a snapshot when it has applied so many bytes of entries since the last one
    (or as many as that one is long, up to four times this bound)."""
    retained_log_bytes: int = 8 << 20
    """Of the log behind a snapshot this much stays, for followers that are a little slow."""
