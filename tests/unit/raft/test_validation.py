"""What no correct peer sends is refused, and what a network makes of correct messages never is."""

from collections.abc import Callable

import msgspec
import pytest
from raft_cluster import Counts, RandomCluster
from raft_replicas import (
    FOUR,
    ME,
    THREE,
    TWO,
    append,
    candidate,
    configured,
    entries,
    follower,
    group_of,
    leader,
    persist,
    receive,
    snapshot_at,
    take,
)

from quorate.base.codec import encode
from quorate.base.ids import ReplicaId
from quorate.raft.core.configuration import Configuration
from quorate.raft.core.entries import Entry, EntryId, EntryKind
from quorate.raft.core.events import Compact, SnapshotTaken
from quorate.raft.core.messages import (
    AppendReply,
    AppendRequest,
    InstallReply,
    InstallSnapshot,
    Message,
    ReadReply,
    ReadRequest,
    TimeoutNow,
    VoteReply,
    VoteRequest,
)
from quorate.raft.core.replica import Replica
from quorate.raft.core.validation import refusal


def behind_two() -> Replica:
    """A follower of TWO in term 3: entries of terms 1, 1, 2, 3, the first three committed."""
    replica = follower([1, 1, 2])
    receive(replica, TWO, append(3, (3, 2), [3], commit_index=3))
    return persisted(replica)


def cut_behind_two() -> Replica:
    """The same, but its log is cut at 2."""
    replica = behind_two()
    take(replica, SnapshotTaken(snapshot_at(2, 1)))
    replica.cut_goal = 2
    take(replica, Compact(10))
    assert replica.log.base == EntryId(2, 1)
    return replica


def persisted(replica: Replica) -> Replica:
    persist(replica)
    return replica


def leading() -> Replica:
    """Of term 3: its log ends at 3, and one round has left."""
    replica = leader([1, 1], term=3)
    assert (replica.log.last_index, replica.round) == (3, 1)
    return replica


def a_candidate() -> Replica:
    return candidate([1, 1], term=3)


def of_entry_five(data: bytes, term: int = 3) -> AppendRequest:
    return AppendRequest(term, 4, term, 3, [Entry(5, term, int(EntryKind.CONFIGURATION), data)])


NOBODYS = Configuration((), {})
Make = Callable[[], Replica]

LIES: list[tuple[str, Make, Message, ReplicaId]] = [
    ("1 is the name of this replica itself", behind_two, AppendReply(1, True), ME),
    # Configurations that cannot be.
    ("entry 5 holds no configuration: ", behind_two, of_entry_five(b"?"), TWO),
    ("a group without voters", behind_two, of_entry_five(encode(NOBODYS)), TWO),
    ("a group without voters", behind_two, of_entry_five(encode(NOBODYS), term=2), THREE),
    (
        "a snapshot with a configuration that cannot be: a group without voters",
        behind_two,
        InstallSnapshot(3, msgspec.structs.replace(snapshot_at(9, 3), configuration=NOBODYS)),
        TWO,
    ),
    # Entries that do not follow each other.
    ("out of order", behind_two, AppendRequest(3, 4, 3, 3, entries([3], 6)), TWO),
    ("out of order", behind_two, AppendRequest(3, 4, 3, 3, entries([3], 4)), TWO),
    ("out of order", behind_two, AppendRequest(3, 4, 3, 3, entries([2], 5)), TWO),
    ("out of order", behind_two, AppendRequest(3, 4, 3, 3, entries([4], 5)), TWO),
    ("out of order", behind_two, append(3, (4, 3), [3, 3, 2]), TWO),
    ("out of order", behind_two, AppendRequest(1, 4, 2, 3, entries([1], 5)), TWO),
    # A second leader.
    ("3 leads in term 3, as 2 does", behind_two, append(3, (4, 3)), THREE),
    ("3 leads in term 3, as 1 does", leading, append(3, (3, 3)), THREE),
    ("3 leads in term 3, as 2", behind_two, InstallSnapshot(3, snapshot_at(9, 3)), THREE),
    ("2 leads in term 3, as 1", leading, InstallSnapshot(3, snapshot_at(9, 3)), TWO),
    # A log without what is committed.
    ("entry 3 of term 1: the one of term 2", behind_two, append(3, (3, 1)), TWO),
    ("entry 2 of term 0: the one of term 1", cut_behind_two, append(3, (2, 0)), TWO),
    ("entry 3 of term 3: that of term 2", behind_two, append(3, (2, 1), [3]), TWO),
    ("entry 3 of term 4: that of term 2", behind_two, append(4, (1, 1), [1, 4]), THREE),
    ("entry 3 of term 3: that of term 2", cut_behind_two, append(3, (1, 1), [1, 3]), TWO),
    (
        "ends with entry 3 of term 3: entry 3 of term 2",
        behind_two,
        InstallSnapshot(3, snapshot_at(3, 3)),
        TWO,
    ),
    (
        "ends with entry 2 of term 2: entry 2 of term 1",
        cut_behind_two,
        InstallSnapshot(5, snapshot_at(2, 2)),
        THREE,
    ),
    ("ends with entry 9 of term 1", behind_two, InstallSnapshot(3, snapshot_at(9, 1)), TWO),
    ("a snapshot of term 4, in term 3", behind_two, InstallSnapshot(3, snapshot_at(9, 4)), TWO),
    # Answers to what was never said.
    ("an answer to round 2 of 1", leading, AppendReply(3, True, 3, round=2), TWO),
    ("an answer to round 9 of 1", leading, InstallReply(3, round=9), TWO),
    ("match_index=4, ", leading, AppendReply(3, True, 4), TWO),
    ("and the log ends at 3", leading, AppendReply(3, False, 0, 4, 0, 4), TWO),
    # A log that ends in a term that has not begun.
    ("a log that ends in term 6, in term 5", behind_two, VoteRequest(5, 9, 6), TWO),
    ("a log that ends in term 6", behind_two, VoteRequest(5, 9, 6, pre_vote=True), TWO),
]


@pytest.mark.parametrize(("why", "make", "message", "sender"), LIES)
def test_what_no_correct_peer_sends_is_refused(
    why: str, make: Make, message: Message, sender: ReplicaId
) -> None:
    sentence = refusal(make(), sender, message)
    assert sentence is not None
    assert why in sentence


TRUTHS: list[tuple[Make, Message, ReplicaId]] = [
    # From leaders of earlier terms, who may have believed anything.
    (behind_two, append(2, (1, 1), [2, 2]), THREE),
    (behind_two, append(1, (3, 1)), THREE),
    (behind_two, InstallSnapshot(2, snapshot_at(3, 1)), THREE),
    # Of a later term, with all that is committed here, and another entry 4.
    (behind_two, append(4, (3, 2), [4, 4]), THREE),
    (behind_two, InstallSnapshot(4, snapshot_at(9, 4)), THREE),
    (behind_two, InstallSnapshot(4, snapshot_at(3, 2)), THREE),
    # What was cut is not known any more.
    (cut_behind_two, append(3, (0, 0), [1, 1, 2, 3]), TWO),
    (cut_behind_two, InstallSnapshot(3, snapshot_at(1, 1)), TWO),
    # From who may be of a configuration that is not known here.
    (behind_two, append(4, (4, 3), [4]), FOUR),
    (behind_two, VoteRequest(5, 9, 5), FOUR),
    (behind_two, InstallSnapshot(4, snapshot_at(9, 4)), FOUR),
    (leading, AppendReply(3, True, 3, round=1), FOUR),
    (leading, InstallReply(3, round=1), FOUR),
    (a_candidate, VoteReply(3, True), FOUR),
    (leading, ReadRequest(5), FOUR),
    (behind_two, AppendRequest(3, 4, 3, 3, [configured(5, 3, group_of(5))]), TWO),
    # A leader of the same term, where none is known yet.
    (a_candidate, append(3, (2, 1), [3]), TWO),
    (lambda: follower([1], term=3), append(3, (1, 1)), THREE),
    # Answers to what an earlier term said.
    (leading, AppendReply(2, True, 40, round=17), TWO),
    (leading, InstallReply(2, round=17), TWO),
    (behind_two, AppendReply(3, True, 40, round=17), THREE),
    (leading, AppendReply(7, False), TWO),
    (leading, AppendReply(3, True, 3, round=1), TWO),
    # A vote is asked for with a log of the past, or by nobody one knows to lead.
    (behind_two, VoteRequest(5, 9, 5), TWO),
    (behind_two, VoteRequest(1, 0, 0), THREE),
    (behind_two, VoteReply(1, True), THREE),
    (behind_two, ReadRequest(5), THREE),
    (behind_two, ReadReply(5, 99), THREE),
    (behind_two, TimeoutNow(1), THREE),
]


@pytest.mark.parametrize(("make", "message", "sender"), TRUTHS)
def test_what_may_have_been_delayed_or_sent_in_another_belief_is_taken(
    make: Make, message: Message, sender: ReplicaId
) -> None:
    replica = make()
    assert refusal(replica, sender, message) is None
    receive(replica, sender, message)  # and does no harm


def test_no_message_of_a_correct_peer_is_refused_whatever_the_network_does() -> None:
    total = Counts()
    for seed in range(40):
        cluster = RandomCluster(10_000 + seed)
        cluster.run(2_500)
        assert cluster.refusals == []
        total += cluster.counts
    assert total.duplicated > 100, total
    assert total.elections > 100, total
    assert total.offers > 20, total
    assert total.replaced > 10, total
