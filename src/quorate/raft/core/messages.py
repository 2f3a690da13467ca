"""The messages between the replicas of a group: Raft figures 2 and 13, pre-vote (thesis §9.6), the
read index (§6.4) and leadership transfer (§3.10).

``round`` numbers the leader's rounds of heartbeats.  A follower echoes it, and so proves that it
knew no other leader when it had heard that round: what a linearizable read and a lease rest on.
"""

from typing import TypeAlias

import msgspec

from quorate.raft.core.entries import Count, Entry, Snapshot


class VoteRequest(msgspec.Struct, array_like=True, frozen=True, tag=1):
    """``pre_vote``: would you vote for me in ``term``?  It changes nobody's term or vote.
    ``transfer``: the leader itself asked for this election."""

    term: Count
    last_log_index: Count
    last_log_term: Count
    pre_vote: bool = False
    transfer: bool = False


class VoteReply(msgspec.Struct, array_like=True, frozen=True, tag=2):
    """``term`` is the voter's; in a granted pre-vote, the term that was asked about."""

    term: Count
    granted: bool
    pre_vote: bool = False


class AppendRequest(msgspec.Struct, array_like=True, frozen=True, tag=3):
    """Without entries it is a heartbeat, and still checks that the logs match."""

    term: Count
    prev_log_index: Count
    prev_log_term: Count
    commit_index: Count
    entries: list[Entry]
    round: Count = 0


class AppendReply(msgspec.Struct, array_like=True, frozen=True, tag=4):
    """Accepted: the follower's log equals the leader's up to ``match_index``, on its disk.

    Refused: ``prev_log_index`` says which request; ``conflict_term`` is the term of the follower's
    entry there (0: its log is shorter) and ``conflict_index`` the first index it has of that term
    (or its last index + 1), so that the leader backs up a term at a time (Raft §5.3, end).
    """

    term: Count
    success: bool
    match_index: Count = 0
    prev_log_index: Count = 0
    conflict_term: Count = 0
    conflict_index: Count = 0
    round: Count = 0


class InstallSnapshot(msgspec.Struct, array_like=True, frozen=True, tag=5):
    """The log that the follower needs is gone; this snapshot stands for it (figure 13).

    It takes the place of heartbeats until the follower has fetched the file, in chunks and at its
    own pace, and says so with an ``AppendReply``.
    """

    term: Count
    snapshot: Snapshot
    round: Count = 0


class InstallReply(msgspec.Struct, array_like=True, frozen=True, tag=6):
    """The follower is at it."""

    term: Count
    round: Count = 0


class ReadRequest(msgspec.Struct, array_like=True, frozen=True, tag=7):
    """A follower asks from which index on it may answer a read that has reached it."""

    read: Count


class ReadReply(msgspec.Struct, array_like=True, frozen=True, tag=8):
    """What was committed when read ``read`` came is committed at ``index``."""

    read: Count
    index: Count


class TimeoutNow(msgspec.Struct, array_like=True, frozen=True, tag=9):
    """The leader of ``term`` asks its follower to take over (thesis §3.10)."""

    term: Count


Message: TypeAlias = (
    VoteRequest
    | VoteReply
    | AppendRequest
    | AppendReply
    | InstallSnapshot
    | InstallReply
    | ReadRequest
    | ReadReply
    | TimeoutNow
)
