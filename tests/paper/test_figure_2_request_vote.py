"""Raft figure 2, "RequestVote RPC": one test for each sentence."""

from collections.abc import Callable

import pytest
from raft_replicas import (
    ME,
    THREE,
    TWO,
    candidate,
    follower,
    leader,
    pre_candidate,
    receive,
    to_all,
)

from quorate.base.ids import ReplicaId
from quorate.raft.core.entries import NOBODY, HardState
from quorate.raft.core.events import Effects
from quorate.raft.core.messages import VoteReply, VoteRequest
from quorate.raft.core.replica import Replica, Role


def test_candidates_ask_all_others_for_their_votes() -> None:
    """Raft figure 2, RequestVote RPC: invoked by candidates to gather votes.

    Arguments: term is the candidate's term, candidateId the sender of the message, lastLogIndex
    and lastLogTerm those of its last log entry.
    """
    replica = pre_candidate([1, 1, 3], term=5)
    effects = receive(replica, TWO, VoteReply(6, True, pre_vote=True))
    assert effects.messages == to_all(replica, VoteRequest(6, last_log_index=3, last_log_term=3))


def test_the_candidate_of_an_empty_log_says_so() -> None:
    """Raft figure 2, RequestVote RPC, arguments: lastLogIndex, lastLogTerm."""
    replica = pre_candidate(term=0)
    effects = receive(replica, TWO, VoteReply(1, True, pre_vote=True))
    assert effects.messages == to_all(replica, VoteRequest(1, last_log_index=0, last_log_term=0))


def test_a_candidate_updates_itself_by_the_term_of_an_answer() -> None:
    """Raft figure 2, RequestVote RPC, results: term."""
    replica = candidate(term=2)
    effects = receive(replica, TWO, VoteReply(7, False))
    assert effects == Effects(write=replica.writes, hard_state=HardState(7))
    assert replica.role is Role.FOLLOWER


@pytest.mark.parametrize(("granted", "role"), [(True, Role.LEADER), (False, Role.CANDIDATE)])
def test_a_granted_vote_is_received_and_a_refused_one_is_not(granted: bool, role: Role) -> None:
    """Raft figure 2, RequestVote RPC, results: voteGranted."""
    replica = candidate(term=2)
    receive(replica, TWO, VoteReply(2, granted))
    assert replica.role is role


@pytest.mark.parametrize("make", [follower, pre_candidate, candidate, leader])
def test_receiver_1_a_request_of_an_older_term_is_refused(
    make: Callable[..., Replica],
) -> None:
    """Raft figure 2, RequestVote RPC, receiver 1: whatever the receiver is, and however good the
    candidate's log."""
    replica = make([1], term=5)
    before = (replica.role, replica.hard_state)
    effects = receive(replica, TWO, VoteRequest(4, 99, 4))
    assert effects == Effects(messages=[(TWO, VoteReply(5, False))])
    assert (replica.role, replica.hard_state) == before


@pytest.mark.parametrize(
    ("voted_for", "granted"), [(NOBODY, True), (TWO, True), (THREE, False), (ME, False)]
)
def test_receiver_2_the_vote_of_a_term_is_given_once(voted_for: ReplicaId, granted: bool) -> None:
    """Raft figure 2, RequestVote RPC, receiver 2: votedFor is null or candidateId."""
    replica = follower([1], term=4, voted_for=voted_for)
    effects = receive(replica, TWO, VoteRequest(4, 1, 1))
    assert effects.messages == [(TWO, VoteReply(4, granted))]
    assert replica.voted_for == (voted_for or TWO)
    assert effects.hard_state == (HardState(4, TWO) if voted_for == NOBODY else None)


@pytest.mark.parametrize(
    ("last_index", "last_term", "granted"),
    [
        (3, 2, True),  # the same
        (4, 2, True),  # longer
        (2, 2, False),  # shorter
        (1, 3, True),  # a later last term decides, whatever the length
        (9, 1, False),
        (0, 0, False),
    ],
)
def test_receiver_2_the_candidates_log_must_be_as_up_to_date_as_the_receivers(
    last_index: int, last_term: int, granted: bool
) -> None:
    """Raft figure 2, RequestVote RPC, receiver 2; "up-to-date" is defined at the end of §5.4.1."""
    replica = follower([1, 2, 2], term=3)
    effects = receive(replica, TWO, VoteRequest(4, last_index, last_term))
    assert effects.messages == [(TWO, VoteReply(4, granted))]
    assert replica.hard_state == HardState(4, TWO if granted else NOBODY)
