"""What replicas count while they work, for whoever watches them; since the process began.

Hot paths bump plain numbers, an entry or a sync at a time; all else is read off when it is asked.
"""

import msgspec

from quorate.base.histogram import Histogram
from quorate.base.ids import ReplicaId
from quorate.raft.messages import GroupStatus


class SnapshotFigures(msgspec.Struct, array_like=True):
    """Of one replica.  ``ms`` is the time from beginning to end, other work meanwhile included."""

    written: int = 0
    written_bytes: int = 0
    writing_ms: float = 0.0
    installed: int = 0
    installed_bytes: int = 0
    installing_ms: float = 0.0


class GroupFigures(msgspec.Struct, array_like=True):
    """Of one replica; indexes are log indexes."""

    status: GroupStatus
    leads: bool
    """It leads, and has applied its own first entry."""
    elections: int
    """That this replica began."""
    commands_applied: int
    proposals_waiting: int
    """Commands that are not yet answered."""
    proposal_bytes_waiting: int
    reads_waiting: int
    follower_lags: dict[ReplicaId, int]
    """Of each follower of this leader: the entries that it is not known to have on its disk."""
    commit_latency_ms: Histogram
    """From the proposal of an entry to its being applied and answered, on the leader."""
    snapshots: SnapshotFigures


class RaftFigures(msgspec.Struct, tag="raft"):
    """Of all replicas of a process and the log that they share."""

    groups: list[GroupFigures]
    sync_ms: Histogram
    """From giving a batch to the disk until the loop hears that it is synced."""
    log_bytes: int
    """Written to the log."""
    log_relocated_bytes: int
    """Of them, written again to make room."""
    log_segments: int
    twin_messages: int = 0
    """Dropped, since two processes spoke in the name of one node."""
