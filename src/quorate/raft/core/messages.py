"""The messages between the replicas of a group: Raft figure 2, with pre-vote (thesis §9.6)."""

from typing import TypeAlias

import msgspec

from quorate.raft.core.entries import Count, Entry


class VoteRequest(msgspec.Struct, array_like=True, frozen=True, tag=1):
    """``pre_vote``: would you vote for me in ``term``?  It changes nobody's term or vote."""

    term: Count
    last_log_index: Count
    last_log_term: Count
    pre_vote: bool = False


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


Message: TypeAlias = VoteRequest | VoteReply | AppendRequest | AppendReply
