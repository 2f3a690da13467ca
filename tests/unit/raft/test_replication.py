"""Replication: backing up a term at a time, what is under way, and what is on disk."""

import pytest
from raft_replicas import (
    FIVE,
    FOUR,
    ME,
    THREE,
    TWO,
    accept,
    append,
    follower,
    group_of,
    leader,
    log_of,
    noop,
    persist,
    propose,
    receive,
    take,
    terms_of,
    timeout,
)

from quorate.base.check import Bug
from quorate.base.ids import ReplicaId
from quorate.raft.core.entries import EntryId
from quorate.raft.core.events import Effects, Outgoing, Persisted, Receive, Tick
from quorate.raft.core.messages import AppendReply, AppendRequest, VoteReply, VoteRequest
from quorate.raft.core.progress import Mode
from quorate.raft.core.replica import Replica, Role
from quorate.raft.core.settings import Limits
from quorate.simulator.scenarios.hosts import Host


def requests(effects: Effects, receiver: ReplicaId) -> list[AppendRequest]:
    return [m for to, m in effects.messages if to == receiver and isinstance(m, AppendRequest)]


def prev_indexes(effects: Effects, receiver: ReplicaId) -> list[int]:
    return [request.prev_log_index for request in requests(effects, receiver)]


def refusal(replica: Replica, prev: int, conflict_term: int, conflict_index: int) -> AppendReply:
    return AppendReply(replica.term, False, 0, prev, conflict_term, conflict_index)


def repair(lead: Replica, behind: Replica) -> int:
    """Let the two talk until the follower has it all; how many of its answers were refusals."""
    refused = 0
    outgoing = [out for out in timeout(lead).messages if out.receiver == behind.replica]
    for _ in range(100):
        replies: list[Outgoing] = []
        for _, message in outgoing:
            replies += take(behind, Receive(lead.replica, message), 0.0).messages
        if not replies:
            return refused
        outgoing = []
        for _, reply in replies:
            refused += isinstance(reply, AppendReply) and not reply.success
            outgoing += take(lead, Receive(behind.replica, reply), 0.0).messages
        outgoing = [out for out in outgoing if out.receiver == behind.replica]
    raise AssertionError("the two never agree")


@pytest.mark.parametrize(
    ("mine", "theirs", "refusals"),
    [
        # The three cases of fast back-up, for a leader whose own no-op is of term 6:
        ([4, 4, 4], [4, 4, 4], 0),
        ([4, 4, 6, 6], [4, 5, 5, 5], 1),  # the leader does not have the follower's term
        ([4, 4, 4, 5, 5], [4, 4, 4, 4, 4], 1),  # it has: go to its own last entry of the term
        ([4, 4, 4, 5], [4], 1),  # the follower's log is too short
        ([4, 4, 4, 5], [], 1),
        ([1] * 50 + [2] * 50, [1] * 10, 1),
        # A term of the follower's at a time:
        ([1, 6, 6, 6, 6, 6, 6], [1, 2, 2, 3, 3, 5, 5], 3),
        ([1, 1, 1, 4, 4, 5, 5, 6, 6, 6], [1, 1, 1, 2, 2, 2, 3, 3, 3, 3, 3], 2),
    ],
)
def test_the_leader_backs_up_a_term_at_a_time(
    mine: list[int], theirs: list[int], refusals: int
) -> None:
    """Raft §5.3, end: one refused request for each conflicting term, not for each entry."""
    lead = leader(mine, term=7)
    behind = follower(theirs, term=6, me=TWO)
    assert repair(lead, behind) == refusals
    assert log_of(behind) == log_of(lead)
    assert lead.progress[TWO].match_index == lead.log.last_index


def test_back_up_to_the_conflict_index_if_the_leader_does_not_have_the_term() -> None:
    replica = leader([4, 4, 6, 6], term=7)
    effects = receive(replica, TWO, refusal(replica, 4, conflict_term=5, conflict_index=2))
    assert prev_indexes(effects, TWO) == [1]


def test_back_up_to_the_leaders_last_entry_of_the_conflicting_term_if_it_has_it() -> None:
    replica = leader([4, 4, 4, 5, 5], term=7)
    effects = receive(replica, TWO, refusal(replica, 5, conflict_term=4, conflict_index=1))
    assert prev_indexes(effects, TWO) == [3]


def test_back_up_to_the_end_of_a_log_that_is_too_short() -> None:
    replica = leader([4, 4, 4, 5], term=7)
    effects = receive(replica, TWO, refusal(replica, 4, conflict_term=0, conflict_index=2))
    assert prev_indexes(effects, TWO) == [1]


def test_back_up_always_goes_back() -> None:
    """Whatever a follower says: at least one entry before the refused one."""
    replica = leader([4, 4, 4, 5], term=7)
    effects = receive(replica, TWO, refusal(replica, 4, conflict_term=7, conflict_index=99))
    assert prev_indexes(effects, TWO) == [3]


def test_a_refusal_names_the_first_index_of_the_conflicting_term() -> None:
    replica = follower([1, 1, 3, 3, 3], term=4)
    [(_, reply)] = receive(replica, TWO, append(4, (4, 4))).messages
    assert reply == AppendReply(4, False, 0, 4, conflict_term=3, conflict_index=3)


def test_a_leader_probes_with_one_request_until_it_is_answered() -> None:
    replica = leader([1], term=2)
    assert propose(replica, b"x").messages == []  # the no-op's request is under way
    assert propose(replica, b"y").messages == []
    effects = accept(replica, TWO, 2)
    assert requests(effects, TWO) == [AppendRequest(2, 2, 2, 2, log_of(replica)[2:])]


def test_a_heartbeat_repeats_a_probe_that_may_be_lost() -> None:
    replica = leader([1], term=2)
    assert requests(timeout(replica), TWO) == [AppendRequest(2, 1, 1, 0, [noop(2, 2)])]
    assert requests(timeout(replica), TWO) == [AppendRequest(2, 1, 1, 0, [noop(2, 2)])]


def test_a_leader_that_replicates_does_not_wait_for_answers() -> None:
    replica = leader(term=1)
    accept(replica, TWO, 1)
    assert prev_indexes(propose(replica, b"x"), TWO) == [1]
    assert prev_indexes(propose(replica, b"y"), TWO) == [2]
    assert prev_indexes(propose(replica, b"z"), TWO) == [3]


@pytest.mark.parametrize(
    ("now_ms", "next_ms"), [(300.0, 400), (300.5, 400), (399.9, 400), (400.0, 500)]
)
def test_the_next_heartbeat_is_due_within_the_interval_at_a_multiple_of_it(
    now_ms: float, next_ms: float
) -> None:
    replica = leader(term=1)
    take(replica, Tick(), now_ms)
    assert (replica.role, replica.next_deadline_ms) == (Role.LEADER, next_ms)


def test_what_is_under_way_to_one_follower_is_bounded() -> None:
    replica = leader(term=1, limits=Limits(inflight_messages=2))
    accept(replica, TWO, 1)
    sent = [prev_indexes(propose(replica, b"x"), TWO) for _ in range(4)]
    assert sent == [[1], [2], [], []]
    # A heartbeat carries no entries then, and still tests that the logs match.
    assert requests(timeout(replica), TWO) == [AppendRequest(1, 3, 1, 1, [])]
    assert requests(accept(replica, TWO, 2), TWO) == [
        AppendRequest(1, 3, 1, 1, log_of(replica)[3:])
    ]


def test_a_lost_request_is_noticed_by_the_next_and_sent_again() -> None:
    replica = leader(term=1)
    accept(replica, TWO, 1)
    propose(replica, b"lost")
    [(_, late)] = [out for out in propose(replica, b"y").messages if out.receiver == TWO]
    behind = follower(me=TWO)
    receive(behind, ME, AppendRequest(1, 0, 0, 0, log_of(replica)[:1]))
    [(_, refused)] = receive(behind, ME, late).messages
    effects = receive(replica, TWO, refused)
    assert requests(effects, TWO) == [AppendRequest(1, 1, 1, 1, log_of(replica)[1:])]
    assert replica.progress[TWO].mode is Mode.PROBE


def test_a_lost_last_request_is_noticed_by_the_heartbeat() -> None:
    replica = leader(term=1)
    accept(replica, TWO, 1)
    propose(replica, b"lost")
    [heartbeat] = requests(timeout(replica), TWO)
    assert heartbeat == AppendRequest(1, 2, 1, 1, [])
    effects = receive(replica, TWO, refusal(replica, 2, conflict_term=0, conflict_index=2))
    assert requests(effects, TWO) == [AppendRequest(1, 1, 1, 1, log_of(replica)[1:])]


def test_a_refusal_of_what_the_follower_has_accepted_since_is_ignored() -> None:
    replica = leader([1, 1, 1], term=2)
    accept(replica, TWO, 4)
    assert receive(replica, TWO, refusal(replica, 3, 0, 1)) == Effects()
    assert replica.progress[TWO].mode is Mode.REPLICATE


def test_only_the_refusal_of_the_probe_under_way_moves_it() -> None:
    replica = leader([1, 1, 1, 1], term=2)
    first = receive(replica, TWO, refusal(replica, 4, 0, 3))
    assert prev_indexes(first, TWO) == [2]
    assert receive(replica, TWO, refusal(replica, 4, 0, 3)) == Effects()  # the same again
    assert replica.progress[TWO].next_index == 3


def test_answers_to_a_former_leader_are_ignored() -> None:
    replica = leader([1], term=4)
    assert receive(replica, TWO, AppendReply(3, True, match_index=2)) == Effects()
    assert receive(replica, TWO, AppendReply(3, False, 0, 1, 0, 1)) == Effects()
    assert replica.progress[TWO].match_index == 0
    receive(replica, TWO, append(5, (1, 1)))
    assert receive(replica, TWO, AppendReply(5, True, match_index=2)) == Effects()


def test_two_leaders_of_one_term_are_a_bug() -> None:
    replica = leader([1], term=2)
    with pytest.raises(Bug, match="two leaders in term 2: 1 and 3"):
        receive(replica, THREE, append(2, (1, 1)))


def test_a_committed_entry_is_never_replaced() -> None:
    replica = follower([1, 1])
    receive(replica, TWO, append(1, (2, 1), commit_index=2))
    with pytest.raises(Bug, match="entry 2 is committed, not replaceable"):
        receive(replica, TWO, append(2, (1, 1), [2]))


def test_entries_that_a_snapshot_stands_for_are_taken_as_known() -> None:
    replica = follower([2, 2], base=EntryId(5, 1))
    effects = receive(replica, TWO, append(2, (3, 1), [1, 1, 2, 2, 2]))
    assert effects.messages == [(TWO, AppendReply(2, True, match_index=8))]
    assert [entry.index for entry in effects.entries] == [8]


# What is on disk.


def test_a_leader_counts_itself_only_as_far_as_its_own_disk() -> None:
    replica = leader(term=1)
    propose(replica, b"x")
    propose(replica, b"y")
    first, second = replica.writes - 1, replica.writes
    accept(replica, TWO, 3)
    assert replica.commit_index == 1
    take(replica, Persisted(first))
    assert (replica.durable_index, replica.commit_index) == (2, 2)
    take(replica, Persisted(second))
    assert (replica.durable_index, replica.commit_index) == (3, 3)


def test_followers_alone_can_be_the_majority() -> None:
    """Thesis §10.2.1: the leader's disk may be the slowest."""
    replica = leader(term=1)
    propose(replica, b"x")
    accept(replica, TWO, 2)
    accept(replica, THREE, 2)
    assert (replica.durable_index, replica.commit_index) == (1, 2)


def test_a_write_that_was_replaced_before_it_was_synced_does_not_count() -> None:
    replica = follower([1, 1])
    receive(replica, TWO, append(2, (2, 1), [2, 2, 2]))  # write 1: 3 to 5
    receive(replica, THREE, append(3, (3, 2), [3]))  # write 2 replaces 4 and 5
    take(replica, Persisted(1))
    assert replica.durable_index == 3  # entry 4 on disk is not the one in the log
    take(replica, Persisted(2))
    assert (replica.durable_index, replica.log.last_index) == (4, 4)


@pytest.mark.parametrize("replaced_from", [3, 4, 5])
def test_one_sync_of_a_write_and_of_what_replaced_it_ends_where_the_log_ends(
    replaced_from: int,
) -> None:
    """The longer write of the two must not leave its end behind."""
    replica = follower([1, 1])
    receive(replica, TWO, append(2, (2, 1), [2, 2, 2, 2]))
    prev = (replaced_from - 1, 1 if replaced_from == 3 else 2)
    receive(replica, THREE, append(3, prev, [3]))
    persist(replica)
    assert replica.durable_index == replica.log.last_index == replaced_from


def test_what_is_replaced_after_its_sync_no_longer_counts() -> None:
    replica = follower([1, 1, 1])
    assert replica.durable_index == 3
    receive(replica, TWO, append(2, (1, 1), [2]))
    assert replica.durable_index == 1
    persist(replica)
    assert replica.durable_index == 2


def test_durable_is_what_is_on_disk_whatever_the_disk_is_behind() -> None:
    """Against a disk that is really written: every prefix of four writes, synced in any steps."""
    requests_ = [
        append(1, (0, 0), [1, 1, 1, 1]),
        append(2, (2, 1), [2, 2, 2]),
        append(3, (1, 1), [3]),
        append(4, (2, 3), [4, 4]),
    ]
    for cuts in range(1 << 4):
        host = Host(TWO, group_of(3), lambda: 0.5)
        for number, request in enumerate(requests_):
            host.take(Receive(ME if number % 2 else THREE, request), 0.0)
            if cuts >> number & 1:
                _, synced = host.sync(len(host.unsynced), 0.0)
                host.take(Persisted(synced), 0.0)
            durable = host.replica.durable_index
            assert host.disk_log[:durable] == host.log[:durable]
            if not host.unsynced:
                assert durable == len(host.disk_log) == len(host.log)


# §5.4.2.


def test_figure_8_an_old_terms_entry_is_not_committed_by_counting() -> None:
    """Raft figure 8 (c): entry 2 is on a majority of five, and may still be overwritten."""
    replica = leader([1, 2], term=4, voters=5)
    accept(replica, TWO, 2)
    accept(replica, THREE, 2)
    assert (replica.commit_index, terms_of(replica)) == (0, [1, 2, 4])


def test_figure_8_it_is_overwritten() -> None:
    """Raft figure 8 (d): S5 has the votes of those whose last term is older than its 3."""
    holder = follower([1, 2], term=4, voted_for=ME, voters=5, me=TWO)
    vote = receive(holder, FIVE, VoteRequest(5, 2, 3))
    assert vote.messages == [(FIVE, VoteReply(5, True))]
    receive(holder, FIVE, append(5, (1, 1), [3, 5]))
    assert terms_of(holder) == [1, 3, 5]


def test_figure_8_with_an_entry_of_its_own_term_it_is_committed_and_safe() -> None:
    """Raft figure 8 (e): all before it are committed with it, and S5 can no longer win."""
    replica = leader([1, 2], term=4, voters=5)
    accept(replica, TWO, 3)
    accept(replica, FOUR, 3)
    assert replica.commit_index == 3
    holder = follower([1, 2, 4], term=4, voters=5, me=TWO)
    vote = receive(holder, FIVE, VoteRequest(5, 2, 3))
    assert vote.messages == [(FIVE, VoteReply(5, False))]


def test_a_lone_voter_commits_by_its_own_disk() -> None:
    replica = leader(term=1, voters=1)
    assert (replica.role, replica.commit_index) == (Role.LEADER, 1)
    effects = propose(replica, b"x", b"y")
    assert (effects.messages, replica.commit_index) == ([], 1)
    persist(replica)
    assert replica.commit_index == 3
