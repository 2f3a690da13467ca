"""Raft figure 2, "AppendEntries RPC": one test for each sentence."""

from collections.abc import Callable

import pytest
from raft_replicas import (
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
    log_of,
    noop,
    pre_candidate,
    propose,
    receive,
    terms_of,
    timeout,
    to_all,
)

from quorate.raft.core.entries import NOBODY, HardState
from quorate.raft.core.events import Effects
from quorate.raft.core.messages import AppendReply, AppendRequest, VoteReply
from quorate.raft.core.replica import Replica, Role
from quorate.raft.core.settings import Limits


def test_a_leader_replicates_what_it_appends() -> None:
    """Raft figure 2, AppendEntries RPC: invoked by leader to replicate log entries."""
    replica = leader(term=1)
    accept(replica, TWO, 1)
    accept(replica, THREE, 1)
    effects = propose(replica, b"x")
    assert effects.messages == to_all(replica, AppendRequest(1, 1, 1, 1, [replica.log.entry(2)]))


def test_it_is_also_the_heartbeat() -> None:
    """Raft figure 2, AppendEntries RPC: also used as heartbeat."""
    replica = leader(term=1)
    accept(replica, TWO, 1)
    accept(replica, THREE, 1)
    assert timeout(replica).messages == to_all(replica, AppendRequest(1, 1, 1, 1, []))


def test_it_carries_the_leaders_term() -> None:
    """Raft figure 2, AppendEntries RPC, arguments: term."""
    for outgoing in timeout(leader(term=7)).messages:
        assert isinstance(outgoing.message, AppendRequest) and outgoing.message.term == 7


@pytest.mark.parametrize("old_leader", [NOBODY, THREE])
def test_a_follower_learns_who_leads(old_leader: int) -> None:
    """Raft figure 2, AppendEntries RPC, arguments: leaderId; it is the sender of the message."""
    replica = follower(term=1)
    if old_leader:
        receive(replica, THREE, append(1))
        assert replica.leader == THREE
    receive(replica, TWO, append(2))
    assert replica.leader == TWO


def test_it_names_index_and_term_of_the_entry_before_the_new_ones() -> None:
    """Raft figure 2, AppendEntries RPC, arguments: prevLogIndex and prevLogTerm."""
    replica = candidate([1, 1, 2], term=4)
    effects = receive(replica, TWO, VoteReply(4, True))
    assert effects.messages == to_all(replica, AppendRequest(4, 3, 2, 0, [noop(4, 4)]))


def test_a_heartbeat_has_no_entries() -> None:
    """Raft figure 2, AppendEntries RPC, arguments: entries[] empty for heartbeat; a follower that
    is sent one answers it, and its log stays."""
    replica = follower([1, 1])
    effects = receive(replica, TWO, append(1, (2, 1)))
    assert effects == Effects(messages=[(TWO, AppendReply(1, True, match_index=2))])


def test_one_request_may_carry_several_entries() -> None:
    """Raft figure 2, AppendEntries RPC, arguments: more than one for efficiency."""
    replica = leader(term=1)
    accept(replica, TWO, 1)
    [to_two] = propose(replica, b"x", b"y", b"z").messages
    assert to_two == (TWO, AppendRequest(1, 1, 1, 1, log_of(replica)[1:]))


def test_entries_that_exceed_the_bound_of_a_message_are_split() -> None:
    """Raft figure 2, AppendEntries RPC, arguments: entries[]; how many is bounded."""
    replica = leader(term=1, limits=Limits(message_bytes=100))
    accept(replica, TWO, 1)
    effects = propose(replica, b"x" * 40, b"y" * 10, b"z" * 40, b"a" * 400)
    log = log_of(replica)
    assert effects.messages == [
        (TWO, AppendRequest(1, index - 1, 1, 1, [log[index - 1]])) for index in (2, 3, 4, 5)
    ]


def test_it_carries_the_leaders_commit_index() -> None:
    """Raft figure 2, AppendEntries RPC, arguments: leaderCommit."""
    replica = leader([1, 1], term=2)
    accept(replica, TWO, 3)
    assert replica.commit_index == 3
    for outgoing in timeout(replica).messages:
        assert isinstance(outgoing.message, AppendRequest) and outgoing.message.commit_index == 3


def test_a_leader_updates_itself_by_the_term_of_an_answer() -> None:
    """Raft figure 2, AppendEntries RPC, results: term."""
    replica = leader(term=2)
    effects = receive(replica, TWO, AppendReply(5, False))
    assert effects == Effects(write=replica.writes, hard_state=HardState(5))
    assert (replica.role, replica.leader) == (Role.FOLLOWER, NOBODY)


def test_success_means_that_the_follower_had_the_entry_before_the_new_ones() -> None:
    """Raft figure 2, AppendEntries RPC, results: success."""
    request = append(3, (2, 2), [3, 3])
    has_it, has_not = follower([1, 2]), follower([1, 1])
    assert receive(has_it, TWO, request).messages == [(TWO, AppendReply(3, True, match_index=4))]
    assert receive(has_not, TWO, request).messages == [
        (TWO, AppendReply(3, False, 0, 2, conflict_term=1, conflict_index=1))
    ]


@pytest.mark.parametrize("make", [candidate, pre_candidate, leader])
def test_receiver_1_a_request_of_an_older_term_is_refused(
    make: Callable[..., Replica],
) -> None:
    """Raft figure 2, AppendEntries RPC, receiver 1: whatever the receiver is."""
    replica = make([1], term=5)
    before = (replica.role, replica.term, replica.leader, terms_of(replica))
    effects = receive(replica, TWO, append(4, (1, 1), [4], commit_index=2))
    assert effects == Effects(messages=[(TWO, AppendReply(5, False))])
    assert (replica.role, replica.term, replica.leader, terms_of(replica)) == before


def test_receiver_1_an_older_leader_does_not_hold_back_an_election() -> None:
    """Raft figure 2, AppendEntries RPC, receiver 1: it is not the current leader (§5.2)."""
    replica = follower([1], term=5)
    deadline_ms = replica.next_deadline_ms
    receive(replica, TWO, append(4, (1, 1)), now_ms=500)
    assert (replica.next_deadline_ms, replica.leader) == (deadline_ms, NOBODY)


@pytest.mark.parametrize(
    ("log", "refusal"),
    [
        ([], AppendReply(9, False, 0, 4, conflict_term=0, conflict_index=1)),
        ([1, 1, 4], AppendReply(9, False, 0, 4, conflict_term=0, conflict_index=4)),
        ([1, 1, 4, 4, 4], AppendReply(9, False, 0, 4, conflict_term=4, conflict_index=3)),
        ([6, 6, 6, 6], AppendReply(9, False, 0, 4, conflict_term=6, conflict_index=1)),
    ],
)
def test_receiver_2_a_request_after_an_entry_that_is_not_here_is_refused(
    log: list[int], refusal: AppendReply
) -> None:
    """Raft figure 2, AppendEntries RPC, receiver 2; what it says more is from §5.3, end."""
    replica = follower(log, term=9)
    assert receive(replica, TWO, append(9, (4, 5), [9])) == Effects(messages=[(TWO, refusal)])
    assert terms_of(replica) == log


def test_receiver_3_a_conflicting_entry_and_all_that_follow_it_are_deleted() -> None:
    """Raft figure 2, AppendEntries RPC, receiver 3."""
    replica = follower([1, 1, 2, 2, 2], term=3)
    effects = receive(replica, TWO, append(3, (2, 1), [3]))
    assert effects.entries == [entry(3, 3)]  # they replace everything from their first index on
    assert terms_of(replica) == [1, 1, 3]


def test_receiver_3_entries_that_do_not_conflict_stay() -> None:
    """Raft figure 2, AppendEntries RPC, receiver 3: an old request that comes late, and holds less
    than what is already here, deletes nothing."""
    replica = follower([1, 1, 2, 2], term=2)
    effects = receive(replica, TWO, append(2, (1, 1), [1, 2]))
    assert effects == Effects(messages=[(TWO, AppendReply(2, True, match_index=3))])
    assert terms_of(replica) == [1, 1, 2, 2]


@pytest.mark.parametrize("known", range(4))
def test_receiver_4_entries_that_are_not_in_the_log_are_appended(known: int) -> None:
    """Raft figure 2, AppendEntries RPC, receiver 4: and only those are written."""
    replica = follower([1] * (1 + known), term=1)
    effects = receive(replica, TWO, append(1, (1, 1), [1, 1, 1]))
    assert effects.entries == entries([1] * 4)[1 + known :]
    assert log_of(replica) == entries([1] * 4)
    assert effects.messages == [(TWO, AppendReply(1, True, match_index=4))]


@pytest.mark.parametrize(
    ("leader_commit", "expected"), [(0, 0), (2, 2), (3, 3), (4, 4), (5, 4), (99, 4)]
)
def test_receiver_5_the_commit_index_follows_the_leaders_up_to_the_last_new_entry(
    leader_commit: int, expected: int
) -> None:
    """Raft figure 2, AppendEntries RPC, receiver 5."""
    replica = follower([1, 1])
    receive(replica, TWO, append(1, (2, 1), [1, 1], commit_index=leader_commit))
    assert replica.commit_index == expected


def test_receiver_5_what_the_request_did_not_show_to_match_is_not_committed() -> None:
    """Raft figure 2, AppendEntries RPC, receiver 5: the last *new* entry, not the last of the log;
    the two entries of term 2 here are another leader's."""
    replica = follower([1, 2, 2], term=3)
    receive(replica, TWO, append(3, (1, 1), commit_index=3))
    assert (replica.commit_index, terms_of(replica)) == (1, [1, 2, 2])


def test_a_replica_does_not_answer_itself() -> None:
    """Raft figure 2, AppendEntries RPC: it goes to the other servers."""
    assert ME not in [outgoing.receiver for outgoing in timeout(leader(term=1)).messages]
