"""The safety checker is itself checked: it sees each way to break figure 3, and nothing else."""

from collections.abc import Callable

import pytest
from raft_replicas import (
    FOUR,
    ME,
    THREE,
    TWO,
    accept,
    append,
    candidate,
    entries,
    entry,
    follower,
    leader,
    persist,
    receive,
    snapshot_at,
)

from quorate.base.check import Bug
from quorate.base.ids import Address, GroupId, ReplicaId
from quorate.raft.core.entries import Entry, EntryId
from quorate.raft.core.events import Effects, Tick
from quorate.raft.core.log import Log
from quorate.raft.core.messages import AppendReply, VoteReply
from quorate.raft.core.progress import Progress
from quorate.raft.core.replica import Replica, Role
from quorate.raft.core.settings import Timing
from quorate.raft.messages import Envelope, RaftMessages
from quorate.simulator.checkers.safety import SafetyChecker

GROUP, OTHER_GROUP = GroupId(1), GroupId(2)


def see(checker: SafetyChecker, replica: Replica, *written: Entry, group: GroupId = GROUP) -> None:
    checker.stepped(group, replica, Tick(), Effects(entries=list(written)))


def leader_called(me: ReplicaId, terms: list[int], term: int) -> Replica:
    """A leader of ``term``, with its no-op after ``terms``, that is not replica 1."""
    replica = leader(terms, term=term)
    replica.replica = replica.voted_for = replica.leader = me
    replica.progress = {peer: Progress(replica.log.last_index + 1) for peer in replica.peers}
    return replica


def commit(replica: Replica) -> Replica:
    replica.commit_index = replica.log.last_index
    return replica


# Who leads.


def test_the_leader_is_the_one_elected_last_as_long_as_it_leads() -> None:
    checker = SafetyChecker()
    assert checker.leader(GROUP) is None
    see(checker, leader([1], term=2))
    second = leader_called(TWO, [1], term=3)
    see(checker, second)
    assert checker.leader(GROUP) == TWO
    assert checker.leader(OTHER_GROUP) is None
    second.role = Role.FOLLOWER
    assert checker.leader(GROUP) is None


# Election Safety.


def test_two_leaders_of_one_term_are_seen() -> None:
    checker = SafetyChecker()
    see(checker, leader([1], term=2))
    with pytest.raises(Bug, match="Election Safety: 1 and 2 lead in term 2"):
        see(checker, leader_called(TWO, [1], term=2))


def test_leaders_of_two_terms_or_of_two_groups_are_fine() -> None:
    checker = SafetyChecker()
    see(checker, leader([1], term=2))
    see(checker, leader_called(TWO, [1], term=3))
    see(checker, leader_called(THREE, [1], term=2), group=OTHER_GROUP)
    assert (checker.elections, checker.steps) == (3, 3)


def test_a_leader_that_goes_on_leading_is_one_election() -> None:
    checker = SafetyChecker()
    replica = leader([1], term=2)
    for _ in range(3):
        see(checker, replica)
    accept(replica, TWO, 2)
    see(checker, replica)
    assert checker.elections == 1


# Leader Append-Only, and what else is true of one replica.


def test_a_leader_that_removes_from_its_log_is_seen() -> None:
    checker = SafetyChecker()
    replica = leader([1], term=2)
    replica.log.append([entry(3, 2)])
    see(checker, replica)
    replica.log = Log(replica.log.base, entries([1, 2]))
    replica.durable_index = 2
    for progress in replica.progress.values():
        progress.next_index = 3
    with pytest.raises(Bug, match="a leader removed from its log"):
        see(checker, replica)


@pytest.mark.parametrize(
    ("break_it", "sentence"),
    [
        (lambda r: setattr(r, "commit_index", 9), "commit index outside the log"),
        (lambda r: setattr(r, "term", 1), "the term went back"),
        (lambda r: setattr(r, "voted_for", THREE), "a second vote in one term"),
    ],
)
def test_the_invariants_of_each_replica_are_judged(
    break_it: Callable[[Replica], None], sentence: str
) -> None:
    checker = SafetyChecker()
    replica = follower([1], term=2, voted_for=TWO)
    see(checker, replica)
    break_it(replica)
    with pytest.raises(Bug, match=sentence):
        see(checker, replica)


def test_a_restart_may_lose_what_was_not_on_disk() -> None:
    checker = SafetyChecker()
    replica = follower([1, 1], term=2)
    see(checker, replica)
    receive(replica, TWO, append(3, (2, 1), [3, 3], commit_index=2))
    see(checker, replica, *entries([3, 3], 3))
    see(checker, follower([1, 1], term=2))  # a new object: the same replica in its next life


# Log Matching.


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (([1, 1], entry(2, 1)), ([1, 1], Entry(2, 1, 1, b"other"))),  # other data
        (([1, 2], entry(2, 2)), ([2, 2], entry(2, 2))),  # after another entry
    ],
)
def test_two_entries_with_one_index_and_term_are_seen(
    first: tuple[list[int], Entry], second: tuple[list[int], Entry]
) -> None:
    checker = SafetyChecker()
    see(checker, follower(first[0]), first[1])
    with pytest.raises(Bug, match="Log Matching: two entries 2"):
        see(checker, follower(second[0], me=TWO), second[1])


def test_the_same_entry_in_two_logs_and_another_term_at_one_index_are_fine() -> None:
    checker = SafetyChecker()
    see(checker, follower([1, 1]), *entries([1, 1]))
    see(checker, follower([1, 1], me=TWO), *entries([1, 1]))
    see(checker, follower([1, 2], me=THREE), *entries([1, 2]))
    see(checker, follower([2, 2], me=FOUR, voters=5), *entries([2, 2]), group=OTHER_GROUP)


# Leader Completeness.


@pytest.mark.parametrize("terms", [[1], [1, 2]])
def test_a_later_leader_without_a_committed_entry_is_seen(terms: list[int]) -> None:
    checker = SafetyChecker()
    see(checker, commit(follower([1, 1])))
    with pytest.raises(Bug, match="Leader Completeness: 2 leads in term 4 without entry 2 of te"):
        see(checker, leader_called(TWO, terms, term=4))


def test_a_leader_elected_late_in_an_earlier_term_need_not_have_it() -> None:
    checker = SafetyChecker()
    see(checker, commit(follower([1, 4])))
    see(checker, leader_called(TWO, [1], term=3))


def test_a_later_leader_with_all_of_them_is_fine() -> None:
    checker = SafetyChecker()
    see(checker, commit(follower([1, 1])))
    see(checker, leader_called(TWO, [1, 1, 3], term=4))


# State Machine Safety.


def test_two_entries_committed_at_one_index_are_seen() -> None:
    checker = SafetyChecker()
    see(checker, commit(follower([1, 1])))
    with pytest.raises(Bug, match="State Machine Safety: entry 2 was committed with term 1"):
        see(checker, commit(follower([1, 2], me=TWO)))


def test_a_commitment_is_judged_whenever_the_index_moves() -> None:
    checker = SafetyChecker()
    see(checker, commit(follower([1, 1, 1])))
    replica = follower([1, 1, 2], me=TWO)
    replica.commit_index = 2
    see(checker, replica)
    with pytest.raises(Bug, match="State Machine Safety: entry 3"):
        see(checker, commit(replica))


@pytest.mark.parametrize(("term", "digest"), [(1, 78), (2, 77)])
def test_another_entry_applied_or_another_state_reached_is_seen(term: int, digest: int) -> None:
    checker = SafetyChecker()
    checker.applied(GROUP, ME, entry(5, 1), 77)
    checker.applied(GROUP, TWO, entry(5, 1), 77)
    checker.applied(OTHER_GROUP, THREE, entry(5, 1), 78)
    with pytest.raises(Bug, match="State Machine Safety: replica 3 differs"):
        checker.applied(GROUP, THREE, entry(5, term), digest)


# Snapshots.


def behind_a_snapshot(terms: list[int], index: int, me: ReplicaId = TWO) -> Replica:
    """A follower whose log was cut at ``index``: ``terms`` are of all its entries."""
    replica = follower(terms, me=me)
    term = replica.log.term(index) or 0
    replica.log = Log(EntryId(index, term), replica.log.slice(index + 1, len(terms)))
    replica.snapshot = snapshot_at(index, term)
    replica.commit_index = max(replica.commit_index, index)
    return replica


def test_what_a_snapshot_stands_for_counts_as_there() -> None:
    checker = SafetyChecker()
    see(checker, commit(follower([1, 1, 1])))
    replica = behind_a_snapshot([1, 1, 1], 2)
    see(checker, replica)
    see(checker, commit(replica))
    later = leader_called(TWO, [1, 1, 1], term=4)
    later.log = Log(EntryId(2, 1), later.log.slice(3, 4))
    later.snapshot = snapshot_at(2, 1)
    later.commit_index = 2
    see(checker, later)


def test_a_commit_index_that_jumps_over_a_snapshot_is_fine() -> None:
    checker = SafetyChecker()
    see(checker, commit(follower([1, 1, 1, 1])))
    replica = follower([1], me=TWO)
    see(checker, replica)
    installed = behind_a_snapshot([1, 1, 1, 1], 4)
    replica.log, replica.snapshot = installed.log, installed.snapshot
    replica.commit_index = replica.durable_index = 4
    see(checker, replica)


def test_a_snapshot_that_ends_in_what_was_not_committed_is_seen() -> None:
    checker = SafetyChecker()
    see(checker, commit(follower([1, 1, 2])))
    with pytest.raises(Bug, match="State Machine Safety: entry 2 was committed with term 1"):
        see(checker, behind_a_snapshot([1, 2, 2], 2))


def test_a_state_restored_from_a_snapshot_must_be_the_one_others_had_there() -> None:
    checker = SafetyChecker()
    checker.applied(GROUP, ME, entry(5, 1), 77)
    checker.restored(GROUP, TWO, 5, 1, 77)
    for term, digest in ((1, 78), (2, 77)):
        with pytest.raises(Bug, match="replica 3, restored from a snapshot, differs from another"):
            checker.restored(GROUP, THREE, 5, term, digest)


def test_a_snapshot_of_what_nobody_has_applied_is_seen() -> None:
    checker = SafetyChecker()
    checker.applied(GROUP, ME, entry(5, 1), 77)
    checker.applied(OTHER_GROUP, ME, entry(6, 1), 77)
    with pytest.raises(Bug, match="restored to entry 6, and nobody has applied more than 5"):
        checker.restored(GROUP, TWO, 6, 1, 77)


def test_what_was_restored_is_compared_with_what_others_apply_later() -> None:
    checker = SafetyChecker()
    checker.applied(GROUP, ME, entry(9, 1), 70)
    checker.restored(GROUP, TWO, 5, 1, 77)
    with pytest.raises(Bug, match="replica 3 differs"):
        checker.applied(GROUP, THREE, entry(5, 1), 78)


# A checker that does not judge.


def test_histories_alone_are_judged_when_the_checker_is_told_not_to() -> None:
    checker = SafetyChecker()
    checker.judges = False
    see(checker, leader([1], term=2))
    see(checker, leader_called(TWO, [1], term=2))
    checker.applied(GROUP, ME, entry(5, 1), 77)
    checker.applied(GROUP, TWO, entry(5, 1), 78)
    checker.restored(GROUP, TWO, 6, 1, 77)
    Wire(checker).vote(ME, TWO, VoteReply(3, True))
    Wire(checker).vote(ME, THREE, VoteReply(3, True))
    assert checker.steps == 2
    assert checker.leader(GROUP) is not None


# One vote a term.


class Wire:
    """What leaves replicas, under the checker's eyes."""

    def __init__(self, checker: SafetyChecker) -> None:
        self._checker = checker

    def vote(
        self,
        voter: ReplicaId,
        for_: ReplicaId,
        reply: VoteReply | AppendReply,
        group: GroupId = GROUP,
    ) -> None:
        self._checker.sent(Address("n:1"), RaftMessages([Envelope(group, voter, for_, reply)]))

    def acknowledge(self, replica: Replica, match_index: int) -> None:
        reply = AppendReply(replica.term, True, match_index=match_index)
        self.vote(replica.replica, TWO, reply)


def test_a_second_vote_in_one_term_is_seen_also_over_a_crash() -> None:
    checker = SafetyChecker()
    wire = Wire(checker)
    voters: list[ReplicaId] = []
    checker.on_vote = voters.append
    wire.vote(ME, TWO, VoteReply(3, True))
    see(checker, follower([1], term=3, voted_for=THREE))  # what it has forgotten, others have not
    with pytest.raises(Bug, match=r"One vote a term .*: 1 votes for 2 and for 3 in term 3"):
        wire.vote(ME, THREE, VoteReply(3, True))
    assert voters == [ME, ME]


def test_what_is_no_second_vote_passes() -> None:
    checker = SafetyChecker()
    wire, voters = Wire(checker), []
    checker.on_vote = voters.append
    wire.vote(ME, TWO, VoteReply(3, True))
    wire.vote(ME, TWO, VoteReply(3, True))  # the same again
    wire.vote(ME, THREE, VoteReply(3, False))
    wire.vote(ME, THREE, VoteReply(3, True, pre_vote=True))
    wire.vote(ME, THREE, VoteReply(4, True))
    wire.vote(FOUR, THREE, VoteReply(3, True))
    wire.vote(ME, THREE, VoteReply(3, True), group=OTHER_GROUP)
    assert voters == [ME, ME, ME, FOUR, ME]


# Persistent state.


def acknowledged(checker: SafetyChecker, terms: list[int], term: int, index: int) -> Replica:
    """A follower that has acknowledged what it has up to ``index``."""
    replica = follower(terms, term=term)
    see(checker, replica, *entries(terms))
    Wire(checker).acknowledge(replica, index)
    return replica


@pytest.mark.parametrize("terms", [[1], [1, 1]])
def test_an_acknowledged_entry_that_is_gone_after_a_restart_is_seen(terms: list[int]) -> None:
    checker = SafetyChecker()
    acknowledged(checker, [1, 2], term=2, index=2)
    with pytest.raises(
        Bug, match="Persistent state: 1 has acknowledged entry 2 of term 2, and came back without"
    ):
        see(checker, follower(terms, term=2))


def test_a_term_that_is_gone_after_a_restart_is_seen() -> None:
    checker = SafetyChecker()
    acknowledged(checker, [1], term=3, index=1)
    with pytest.raises(
        Bug, match="Persistent state: 1 has answered in term 3, and came back in term 2"
    ):
        see(checker, follower([1], term=2))


def test_what_was_not_acknowledged_may_be_lost() -> None:
    checker = SafetyChecker()
    acknowledged(checker, [1, 2, 2], term=2, index=2)
    see(checker, follower([1, 2], term=2))


def test_what_was_acknowledged_may_be_replaced_or_stand_in_a_snapshot() -> None:
    checker = SafetyChecker()
    replica = acknowledged(checker, [1, 2, 2], term=2, index=3)
    receive(replica, THREE, append(4, (1, 1), [4]))
    see(checker, replica, entry(2, 4))
    see(checker, follower([1], term=4), entry(2, 4))  # and its restart has replaced it again
    again = SafetyChecker()
    acknowledged(again, [1, 2, 2], term=2, index=3)
    cut = follower([1, 2, 2], term=2)
    cut.snapshot = snapshot_at(3, 2)
    cut.commit_index = 3
    cut.log.cut(3)
    see(again, cut)


def test_what_its_leader_was_told_is_there_is_not_removed_in_the_same_term() -> None:
    checker = SafetyChecker()
    replica = acknowledged(checker, [1, 2, 2], term=2, index=3)
    replica.log.append([entry(2, 2)])
    replica.durable_index = 2
    with pytest.raises(Bug, match="Log Matching: 1 removes entry 2, which it has acknowledged"):
        see(checker, replica, entry(2, 2))


# Leader Lease.


def clock(replica: ReplicaId) -> float:
    return 1_000.0


def lessor(until_ms: float, term: int = 2) -> Replica:
    replica = leader([1], term=term)
    replica.timing = Timing(lease=True)
    replica.lease_until_ms = until_ms
    return replica


def test_a_lease_that_outlives_the_next_election_is_seen() -> None:
    checker = SafetyChecker(clock)
    see(checker, lessor(1_000.5))
    successor = leader_called(TWO, [1], term=3)
    with pytest.raises(Bug, match="Leader Lease: 2 leads in term 3, and 1 has a lease in term 2"):
        see(checker, successor)


def test_a_lease_that_is_renewed_after_the_next_election_is_seen() -> None:
    checker = SafetyChecker(clock)
    replica = lessor(900)
    see(checker, replica)
    see(checker, leader_called(TWO, [1], term=3))
    replica.lease_until_ms = 1_100
    with pytest.raises(Bug, match="Leader Lease: 2 leads in term 3, and 1 has a lease in term 2"):
        see(checker, replica)


def test_a_lease_that_is_over_revoked_or_unused_is_in_nobodys_way() -> None:
    checker = SafetyChecker(clock)
    see(checker, lessor(1_000))
    see(checker, leader_called(TWO, [1], term=3))
    again = SafetyChecker(clock)
    replica = lessor(2_000)
    replica.lease_revoked = True
    see(again, replica)
    see(again, leader_called(TWO, [1], term=3))
    see(again, replica)
    unused = SafetyChecker(clock)
    replica = leader([1], term=2)
    replica.lease_until_ms = 2_000
    see(unused, replica)
    see(unused, leader_called(TWO, [1], term=3))


def test_helpers_make_what_they_say() -> None:
    """A leader called 2 is a leader in every respect, or these tests would test nothing."""
    replica = leader_called(TWO, [1], term=2)
    assert (replica.replica, list(replica.progress)) == (TWO, [ME, THREE])
    accept(replica, ME, 2)
    persist(replica)
    assert replica.commit_index == 2
    assert candidate([1], term=2).replica == ME
