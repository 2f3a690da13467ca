"""Replicas of the pure Raft core in a wanted state, reached by the core's own steps.

Logs are written as the terms of their entries: ``follower([1, 1, 2])`` has three.  ``take`` is
``step`` with the invariants checked after it; tests use nothing else.
"""

from collections.abc import Sequence

import msgspec

from quorate.base.codec import encode
from quorate.base.ids import Address, GroupId, ReplicaId
from quorate.raft.core.configuration import Configuration, founding
from quorate.raft.core.entries import (
    NOBODY,
    Entry,
    EntryId,
    EntryKind,
    HardState,
    Snapshot,
    SnapshotId,
)
from quorate.raft.core.events import Effects, Event, Outgoing, Persisted, Propose, Receive, Tick
from quorate.raft.core.invariants import check_state, check_step, summary
from quorate.raft.core.log import Log
from quorate.raft.core.messages import (
    AppendReply,
    AppendRequest,
    InstallReply,
    InstallSnapshot,
    Message,
    VoteReply,
)
from quorate.raft.core.replica import Replica, Role
from quorate.raft.core.settings import Limits, Timing
from quorate.raft.core.step import step

TIMING = Timing(heartbeat_interval_ms=100, election_timeout_ms=600)
ME = ReplicaId(1)
TWO, THREE, FOUR, FIVE = (ReplicaId(number) for number in range(2, 6))


def group_of(voters: int) -> Configuration:
    """All of 1 to ``voters`` vote."""
    return founding({ReplicaId(n): Address(f"m{n}:raft") for n in range(1, voters + 1)})


def entry(index: int, term: int) -> Entry:
    return Entry(index, term, int(EntryKind.COMMAND), f"{index} of term {term}".encode())


def entries(terms: Sequence[int], first_index: int = 1) -> list[Entry]:
    return [entry(index, term) for index, term in enumerate(terms, first_index)]


def noop(index: int, term: int) -> Entry:
    return Entry(index, term, int(EntryKind.NOOP), b"")


def configured(index: int, term: int, configuration: Configuration) -> Entry:
    return Entry(index, term, int(EntryKind.CONFIGURATION), encode(configuration))


def snapshot_at(
    index: int, term: int, source: ReplicaId = ME, configuration: Configuration | None = None
) -> Snapshot:
    id_ = SnapshotId(GroupId(1), index, term, source)
    return Snapshot(id_, time_ms=0, bytes=100, configuration=configuration or group_of(3))


def log_of(replica: Replica) -> list[Entry]:
    return replica.log.slice(replica.log.base.index + 1, replica.log.last_index)


def terms_of(replica: Replica) -> list[int]:
    return [entry.term for entry in log_of(replica)]


def take(replica: Replica, event: Event, now_ms: float = 0.0) -> Effects:
    """One step, and what must be true after it.

    The messages come without their rounds: these are the matter of ``test_reads.py`` alone, which
    uses ``take_whole``.
    """
    effects = take_whole(replica, event, now_ms)
    effects.messages = [
        Outgoing(receiver, without_round(message)) for receiver, message in effects.messages
    ]
    return effects


def take_whole(replica: Replica, event: Event, now_ms: float = 0.0) -> Effects:
    before = summary(replica)
    effects = step(replica, event, now_ms)
    check_state(replica)
    check_step(before, replica)
    return effects


def without_round(message: Message) -> Message:
    if isinstance(message, AppendRequest | AppendReply | InstallSnapshot | InstallReply):
        return msgspec.structs.replace(message, round=0)
    return message


def receive(replica: Replica, sender: ReplicaId, message: Message, now_ms: float = 0.0) -> Effects:
    return take(replica, Receive(sender, message), now_ms)


def persist(replica: Replica, now_ms: float = 0.0) -> Effects:
    """Everything written so far reaches the disk."""
    return take(replica, Persisted(replica.writes), now_ms)


def propose(replica: Replica, *commands: bytes) -> Effects:
    return take(replica, Propose(list(commands)))


def timeout(replica: Replica) -> Effects:
    """An election timeout elapses, or a leader's heartbeat is due."""
    leads = replica.role is Role.LEADER
    return take(
        replica, Tick(), replica.next_deadline_ms if leads else replica.election_deadline_ms
    )


def to_all(replica: Replica, message: Message) -> list[Outgoing]:
    return [Outgoing(peer, message) for peer in replica.peers]


def follower(
    terms: Sequence[int] = (),
    *,
    term: int | None = None,
    voted_for: ReplicaId = NOBODY,
    voters: int = 3,
    me: ReplicaId = ME,
    limits: Limits | None = None,
    base: EntryId | None = None,
) -> Replica:
    """A replica just started from a disk with this log; its term is the log's, if not given."""
    base = base or EntryId(0, 0)
    snapshot = snapshot_at(base.index, base.term, ME, group_of(voters)) if base.index else None
    log = Log(base, entries(terms, base.index + 1))
    return Replica(
        me,
        group_of(voters),
        log,
        HardState(log.last_term if term is None else term, voted_for),
        now_ms=0.0,
        draw=lambda: 0.5,
        timing=TIMING,
        limits=limits or Limits(),
        snapshot=snapshot,
    )


def pre_candidate(terms: Sequence[int] = (), *, term: int, voters: int = 3) -> Replica:
    """In ``term``, asking whether it could win the next."""
    replica = follower(terms, term=term, voters=voters)
    timeout(replica)
    return replica


def unsynced_candidate(
    terms: Sequence[int] = (), *, term: int, voters: int = 3, limits: Limits | None = None
) -> Replica:
    """Candidate in ``term``; its vote for itself is not on disk yet."""
    replica = follower(terms, term=term - 1, voters=voters, limits=limits)
    timeout(replica)
    for peer in replica.peers[: voters // 2]:
        receive(replica, peer, VoteReply(term, True, pre_vote=True))
    return replica


def candidate(
    terms: Sequence[int] = (), *, term: int, voters: int = 3, limits: Limits | None = None
) -> Replica:
    """Candidate in ``term``; its vote for itself is on disk."""
    replica = unsynced_candidate(terms, term=term, voters=voters, limits=limits)
    persist(replica)
    return replica


def leader(
    terms: Sequence[int] = (), *, term: int, voters: int = 3, limits: Limits | None = None
) -> Replica:
    """Leader of ``term``: ``terms`` and its no-op are in its log and on its disk; nobody has
    answered its first requests."""
    replica = candidate(terms, term=term, voters=voters, limits=limits)
    for peer in replica.peers[: voters // 2]:
        receive(replica, peer, VoteReply(term, True))
    persist(replica)
    return replica


def accept(replica: Replica, sender: ReplicaId, match_index: int) -> Effects:
    """``sender`` tells leader ``replica`` that it matches up to ``match_index``."""
    return receive(replica, sender, AppendReply(replica.term, True, match_index=match_index))


def append(
    term: int,
    prev: tuple[int, int] = (0, 0),
    new: Sequence[int] = (),
    commit_index: int = 0,
) -> AppendRequest:
    """A request of the leader of ``term``: entries of terms ``new`` after ``prev``."""
    return AppendRequest(term, prev[0], prev[1], commit_index, entries(new, prev[0] + 1))
