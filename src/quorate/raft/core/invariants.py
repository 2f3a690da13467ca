"""What must be true of a replica at any moment, and between two moments.

``check_state`` and ``check_step`` run after every step of every test and of every simulation; they
cost a few microseconds.  What must be true of all replicas together (figure 3) needs eyes on all
of them: ``simulator/checkers/safety.py``.
"""

import msgspec

from quorate.base.check import Bug, check
from quorate.base.ids import ReplicaId
from quorate.raft.core.entries import NOBODY, EntryKind
from quorate.raft.core.replica import Replica, Role


class Summary(msgspec.Struct, frozen=True):
    """The part of a replica that ``check_step`` compares."""

    term: int
    voted_for: ReplicaId
    role: Role
    leader: ReplicaId
    last_index: int
    commit_index: int


def summary(replica: Replica) -> Summary:
    return Summary(
        replica.term,
        replica.voted_for,
        replica.role,
        replica.leader,
        replica.log.last_index,
        replica.commit_index,
    )


def check_state(replica: Replica) -> None:
    log, last_index = replica.log, replica.log.last_index
    if log.last_term > replica.term:
        raise Bug("a term in the log exceeds the current term")
    if not log.base.index <= replica.commit_index <= last_index:
        raise Bug("commit index outside the log")
    if log.base.index and (replica.snapshot is None or replica.snapshot.id.index < log.base.index):
        raise Bug("the log is cut where no snapshot stands for it")
    if replica.durable_index > last_index:
        raise Bug("durable index beyond the log")
    at, known = replica.configurations[-1]
    if len(replica.configurations) > 1:  # the first is the founders' or a snapshot's
        obeyed = at <= last_index and log.entry(at).kind == EntryKind.CONFIGURATION
        check(obeyed, "a configuration is obeyed that is not in the log (§6)")
    check(replica.configuration == known, "the configuration obeyed is not the latest (§6)")
    match replica.role:
        case Role.LEADER:
            check(replica.leader == replica.replica, "a leader follows another")
            check(replica.voted_for == replica.replica, "a leader did not vote for itself")
            inflight_messages = replica.limits.inflight_messages
            check(last_index >= replica.term_start > 0, "a leader has no entry of its term")
            for peer, progress in replica.progress.items():
                match_index, next_index = progress.match_index, progress.next_index
                if not match_index < next_index <= last_index + 1:
                    raise Bug(f"progress of {peer}: match {match_index}, next {next_index}")
                if len(progress.inflight) > inflight_messages:
                    raise Bug(f"too many requests under way to {peer}")
        case Role.CANDIDATE:
            check(replica.voted_for == replica.replica, "a candidate did not vote for itself")
            check(replica.leader == NOBODY, "a candidate has a leader")
        case Role.PRE_CANDIDATE:
            check(replica.leader == NOBODY, "a pre-candidate has a leader")
        case Role.FOLLOWER:
            check(not replica.progress and not replica.reads, "a follower leads somebody")
            check(replica.leader != replica.replica, "a follower follows itself")


def check_step(before: Summary, replica: Replica) -> None:
    check(replica.term >= before.term, "the term went back")
    check(replica.commit_index >= before.commit_index, "the commit index went back")
    if replica.term > before.term:
        return
    if before.voted_for != NOBODY:
        check(replica.voted_for == before.voted_for, "a second vote in one term (§5.2)")
    if before.leader != NOBODY and replica.leader != NOBODY:
        check(replica.leader == before.leader, "two leaders in one term (§5.2)")
    if before.role is Role.LEADER:
        # A snapshot that it was sent before it was elected may be installed only now.
        if replica.commit_index > max(before.commit_index, replica.log.base.index):
            own_term = replica.log.term(replica.commit_index) == replica.term
            check(own_term, "an old term's entry was committed by counting (§5.4.2)")
        check(
            replica.role in (Role.LEADER, Role.FOLLOWER), "a leader became a candidate in its term"
        )
        check(replica.log.last_index >= before.last_index, "a leader removed from its log (§5.3)")
