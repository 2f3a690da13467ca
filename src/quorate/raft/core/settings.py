"""The times and bounds of a group."""

import msgspec


class Timing(msgspec.Struct, frozen=True):
    """Milliseconds.  Elections are drawn from [election_timeout_ms, 2 × election_timeout_ms)."""

    heartbeat_interval_ms: int = 100
    election_timeout_ms: int = 600


class Limits(msgspec.Struct, frozen=True):
    """The bounds on what one leader keeps under way to one follower."""

    message_bytes: int = 256 * 1024
    """Entries in one AppendRequest; one entry is sent even if it is larger."""
    inflight_messages: int = 32
    """AppendRequests that carry entries and are not yet answered."""
