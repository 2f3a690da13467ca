"""Snapshots: Raft §7, with the file's bytes left to others.

* Each replica takes its own.  What a snapshot stands for is cut from the log, a bounded number of
  entries at a time, except for what followers that are a little slow may still need.
* A leader whose follower needs what was cut offers its newest snapshot in place of heartbeats
  (``replication.py``).  The follower fetches the file, and says so with the reply that an append of
  everything up to there would have got.
* While a follower is at it, the log from the snapshot on stays, unless it becomes much too long:
  otherwise it would need the next snapshot as soon as it has this one.
"""

from quorate.base.ids import ReplicaId
from quorate.base.sometimes import sometimes
from quorate.raft.core.entries import NOBODY, EntryId, Snapshot
from quorate.raft.core.events import Effects
from quorate.raft.core.messages import AppendReply, InstallReply, InstallSnapshot
from quorate.raft.core.progress import Mode
from quorate.raft.core.replica import Replica
from quorate.raft.core.replication import follow

MAX_RETAINED_ENTRIES = 50_000
PATIENCE = 4
"""How many times ``snapshot_log_bytes`` the log may hold for a follower that is being sent one."""


def snapshot_taken(replica: Replica, snapshot: Snapshot, now_ms: float) -> None:
    """``Compact`` may cut behind it from now on."""
    if replica.snapshot is not None and snapshot.id.index < replica.snapshot.id.index:
        return  # one was installed meanwhile; one of the same index takes a damaged one's place
    replica.snapshot = snapshot
    replica.forget_configurations(snapshot.id.index)
    log, limits = replica.log, replica.limits
    goal = log.index_before(snapshot.id.index, limits.retained_log_bytes, MAX_RETAINED_ENTRIES)
    if log.bytes < PATIENCE * limits.snapshot_log_bytes:
        for peer, progress in replica.progress.items():
            if progress.mode is Mode.SNAPSHOT and replica.answers(peer, now_ms):
                goal = min(goal, progress.snapshot_index)
    replica.cut_goal = max(replica.cut_goal, goal)


def compact(replica: Replica, max_entries: int, out: Effects) -> None:
    """Cut a piece; freeing a long log at once would hold up the loop."""
    index = min(replica.cut_goal, replica.log.base.index + max_entries)
    if index > replica.log.base.index:
        replica.log.cut(index)
        out.cut = replica.log.base


# The follower's half.


def install_snapshot(
    replica: Replica, sender: ReplicaId, message: InstallSnapshot, now_ms: float, out: Effects
) -> None:
    """Figure 13, receiver: the file is fetched meanwhile."""
    if message.term < replica.term:
        replica.send(sender, InstallReply(replica.term), out)
        return
    follow(replica, sender, message.term, now_ms, out)
    if message.snapshot.id.index <= replica.commit_index:
        sometimes("snapshot offered that is not needed")
        _reply(replica, sender, message.round, out)
        return
    out.install = message.snapshot
    replica.send(sender, InstallReply(replica.term, message.round), out)


def snapshot_installed(replica: Replica, snapshot: Snapshot, out: Effects) -> None:
    """It is whole, checked and synced."""
    if snapshot.id.index > replica.commit_index:
        sometimes("snapshot installed")
        replica.start_from(snapshot, out)
        out.cut = EntryId(snapshot.id.index, snapshot.id.term)
    if replica.leader not in (NOBODY, replica.replica):
        _reply(replica, replica.leader, 0, out)


def _reply(replica: Replica, leader: ReplicaId, round_: int, out: Effects) -> None:
    """What is committed is in every leader's log, and so matches."""
    match_index = min(replica.commit_index, replica.durable_index)
    reply = AppendReply(replica.term, True, match_index=match_index, round=round_)
    replica.send(leader, reply, out)
