"""Raft figure 2, "Rules for Servers": one test for each sentence.

Where the rule says "convert to candidate", a replica first asks for pre-votes (thesis §9.6), and
where it says "decrement nextIndex", a whole term is skipped at a time (§5.3, end): see
docs/DIVERGENCE.md.
"""

from collections.abc import Callable

import pytest
from raft_replicas import (
    FIVE,
    FOUR,
    THREE,
    TIMING,
    TWO,
    accept,
    append,
    candidate,
    follower,
    leader,
    log_of,
    noop,
    persist,
    pre_candidate,
    propose,
    receive,
    take,
    timeout,
    to_all,
    unsynced_candidate,
)

from quorate.raft.core.entries import NOBODY, HardState
from quorate.raft.core.events import Effects, Tick
from quorate.raft.core.messages import (
    AppendReply,
    AppendRequest,
    Message,
    VoteReply,
    VoteRequest,
)
from quorate.raft.core.replica import Replica, Role
from quorate.raft.core.settings import Limits

# All servers.


def test_all_what_is_committed_is_in_the_log_and_can_be_applied_in_order() -> None:
    """Raft figure 2, Rules for Servers, all servers 1: commitIndex > lastApplied.

    The core's half: each entry that commit_index passes is there to be applied.  lastApplied
    itself is ``Group.last_applied`` (raft/group.py).
    """
    replica = follower([1, 1])
    applied = 0
    for request in (append(1, (2, 1), [1], 2), append(1, (3, 1), [1, 1], 5)):
        receive(replica, TWO, request)
        for index in range(applied + 1, replica.commit_index + 1):
            assert replica.log.entry(index).index == index
        applied = replica.commit_index
    assert applied == 5


HIGHER_TERM: list[Message] = [
    append(9),
    AppendReply(9, False),
    AppendReply(9, True, match_index=1),
    VoteRequest(9, 0, 0),
    VoteReply(9, False),
    VoteReply(9, False, pre_vote=True),
]


@pytest.mark.parametrize("message", HIGHER_TERM)
@pytest.mark.parametrize("make", [follower, pre_candidate, candidate, leader])
def test_all_a_higher_term_in_any_message_is_taken_over_and_makes_a_follower(
    make: Callable[..., Replica], message: Message
) -> None:
    """Raft figure 2, Rules for Servers, all servers 2."""
    replica = make([1], term=5)
    effects = receive(replica, TWO, message)
    assert (replica.term, replica.role) == (9, Role.FOLLOWER)
    assert effects.hard_state == HardState(9, NOBODY)


# Followers.


def test_followers_answer_candidates_and_leaders() -> None:
    """Raft figure 2, Rules for Servers, followers 1."""
    replica = follower([1], term=1)
    assert receive(replica, TWO, VoteRequest(2, 1, 1)).messages == [(TWO, VoteReply(2, True))]
    assert receive(replica, TWO, append(2, (1, 1))).messages == [
        (TWO, AppendReply(2, True, match_index=1))
    ]


def test_followers_that_hear_nobody_for_an_election_timeout_stand_for_election() -> None:
    """Raft figure 2, Rules for Servers, followers 2; first by pre-votes (thesis §9.6)."""
    replica = follower([1], term=1)
    deadline_ms = replica.next_deadline_ms
    assert TIMING.election_timeout_ms <= deadline_ms < 2 * TIMING.election_timeout_ms
    assert take(replica, Tick(), deadline_ms - 1) == Effects()
    effects = take(replica, Tick(), deadline_ms)
    assert effects.messages == to_all(replica, VoteRequest(2, 1, 1, pre_vote=True))
    assert receive(replica, TWO, VoteReply(2, True, pre_vote=True)).hard_state is not None
    assert replica.role is Role.CANDIDATE


@pytest.mark.parametrize(
    ("message", "restarts"),
    [
        (append(3, (1, 1)), True),  # of the current leader, accepted or
        (append(3, (5, 3)), True),  # refused
        (append(2, (1, 1)), False),  # of an older one
        (VoteRequest(3, 1, 1), True),  # granted
        (VoteRequest(3, 0, 0), False),  # refused
        (VoteRequest(4, 0, 0), False),  # refused, of a higher term
        (VoteRequest(4, 1, 1, pre_vote=True), False),  # nothing is promised
    ],
)
def test_followers_wait_on_when_they_hear_the_leader_or_grant_a_vote(
    message: Message, restarts: bool
) -> None:
    """Raft figure 2, Rules for Servers, followers 2: and by nothing else."""
    replica = follower([1], term=3)
    deadline_ms = replica.next_deadline_ms
    receive(replica, TWO, message, now_ms=500)
    assert replica.next_deadline_ms == deadline_ms + (500 if restarts else 0)


# Candidates.


def test_candidates_raise_the_term_vote_for_themselves_and_ask_the_others() -> None:
    """Raft figure 2, Rules for Servers, candidates 1: on conversion to candidate."""
    replica = pre_candidate([1], term=4)
    now_ms = replica.election_deadline_ms - 10
    effects = receive(replica, TWO, VoteReply(5, True, pre_vote=True), now_ms)
    assert effects == Effects(
        write=1,
        hard_state=HardState(5, replica.replica),
        messages=to_all(replica, VoteRequest(5, 1, 1)),
    )
    assert replica.role is Role.CANDIDATE
    assert replica.election_deadline_ms == now_ms + 1.5 * TIMING.election_timeout_ms
    persist(replica)
    assert replica.votes == {replica.replica: True}


@pytest.mark.parametrize(("voters", "needed"), [(2, 1), (3, 1), (4, 2), (5, 2), (6, 3), (7, 3)])
def test_candidates_with_votes_of_a_majority_become_leader(voters: int, needed: int) -> None:
    """Raft figure 2, Rules for Servers, candidates 2: ``needed`` besides its own."""
    replica = candidate(term=2, voters=voters)
    for peer in replica.peers[: needed - 1]:
        receive(replica, peer, VoteReply(2, True))
        receive(replica, peer, VoteReply(2, True))  # twice the same vote is one
    assert replica.role is Role.CANDIDATE
    receive(replica, replica.peers[needed - 1], VoteReply(2, True))
    assert (replica.role, replica.leader) == (Role.LEADER, replica.replica)


def test_candidates_do_not_count_votes_of_another_term() -> None:
    """Raft figure 2, Rules for Servers, candidates 2: of the same term (§5.2)."""
    replica = candidate(term=5)
    receive(replica, TWO, VoteReply(4, True))
    receive(replica, THREE, VoteReply(5, True, pre_vote=True))
    assert replica.role is Role.CANDIDATE


@pytest.mark.parametrize("make", [pre_candidate, candidate])
def test_candidates_follow_the_leader_of_their_term(make: Callable[..., Replica]) -> None:
    """Raft figure 2, Rules for Servers, candidates 3: AppendEntries from the new leader."""
    replica = make([1], term=3)
    effects = receive(replica, THREE, append(3, (1, 1)))
    assert (replica.role, replica.leader) == (Role.FOLLOWER, THREE)
    assert effects.messages == [(THREE, AppendReply(3, True, match_index=1))]


def test_candidates_without_a_result_start_a_new_election() -> None:
    """Raft figure 2, Rules for Servers, candidates 4: election timeout elapses."""
    replica = unsynced_candidate([1], term=3)
    assert timeout(replica).messages == to_all(replica, VoteRequest(4, 1, 1, pre_vote=True))
    receive(replica, TWO, VoteReply(4, True, pre_vote=True))
    assert (replica.role, replica.term) == (Role.CANDIDATE, 4)


# Leaders.


def test_leaders_send_to_each_server_at_once_after_the_election() -> None:
    """Raft figure 2, Rules for Servers, leaders 1: upon election.

    What is sent is not empty, it carries the no-op of §8.
    """
    replica = candidate([1], term=2)
    effects = receive(replica, TWO, VoteReply(2, True))
    assert effects.messages == to_all(replica, AppendRequest(2, 1, 1, 0, [noop(2, 2)]))


def test_leaders_repeat_it_while_idle_before_anybodys_election_timeout() -> None:
    """Raft figure 2, Rules for Servers, leaders 1: repeat during idle periods."""
    replica = leader(term=1)
    accept(replica, TWO, 1)
    accept(replica, THREE, 1)
    now_ms = 0.0
    for _ in range(3):
        assert 0 < replica.next_deadline_ms - now_ms < TIMING.election_timeout_ms
        now_ms = replica.next_deadline_ms
        effects = take(replica, Tick(), now_ms)
        assert effects.messages == to_all(replica, AppendRequest(1, 1, 1, 1, []))


def test_leaders_append_a_clients_command_and_commit_it_before_it_can_be_applied() -> None:
    """Raft figure 2, Rules for Servers, leaders 2: respond after the entry is applied, and only
    what is committed is."""
    replica = leader(term=1)
    accept(replica, TWO, 1)
    effects = propose(replica, b"x")
    assert effects.accepted and effects.entries == [log_of(replica)[-1]]
    assert replica.commit_index == 1
    accept(replica, TWO, 2)  # on one disk of three
    assert replica.commit_index == 1
    persist(replica)  # on two
    assert replica.commit_index == 2


@pytest.mark.parametrize("make", [follower, pre_candidate, candidate])
def test_only_leaders_take_a_clients_command(make: Callable[..., Replica]) -> None:
    """Raft figure 2, Rules for Servers, leaders 2."""
    replica = make([1], term=2)
    assert propose(replica, b"x") == Effects()


def test_leaders_send_what_a_follower_lacks_beginning_at_its_next_index() -> None:
    """Raft figure 2, Rules for Servers, leaders 3: last log index ≥ nextIndex."""
    replica = leader([1, 1, 1], term=2)
    assert replica.progress[TWO].next_index == 4
    effects = accept(replica, TWO, 2)
    assert effects.messages == [(TWO, AppendRequest(2, 3, 1, 0, [noop(4, 2)]))]


def test_leaders_advance_next_and_match_index_of_a_follower_that_accepted() -> None:
    """Raft figure 2, Rules for Servers, leaders 3: if successful."""
    replica = leader([1, 1, 1], term=2)
    assert accept(replica, TWO, 4).messages == []
    progress = replica.progress[TWO]
    assert (progress.next_index, progress.match_index) == (5, 4)


def test_leaders_go_back_and_try_again_with_a_follower_whose_log_differs() -> None:
    """Raft figure 2, Rules for Servers, leaders 3: if it fails because of log inconsistency."""
    replica = leader([1, 1, 1], term=2)
    refusal = AppendReply(2, False, 0, prev_log_index=3, conflict_term=0, conflict_index=2)
    effects = receive(replica, TWO, refusal)
    assert replica.progress[TWO].next_index == 2
    assert effects.messages == [(TWO, AppendRequest(2, 1, 1, 0, log_of(replica)[1:]))]


def test_leaders_try_again_until_a_follower_answers() -> None:
    """Raft §5.3: the leader retries AppendEntries indefinitely."""
    replica = leader([1], term=2)
    request = AppendRequest(2, 1, 1, 0, [noop(2, 2)])
    for _ in range(5):
        assert timeout(replica).messages == to_all(replica, request)


@pytest.mark.parametrize(
    ("matches", "commit_index"),
    [
        ({TWO: 4}, 0),  # on two of five
        ({TWO: 4, THREE: 5}, 4),
        ({TWO: 5, THREE: 5, FOUR: 4}, 5),
        ({TWO: 3, THREE: 3, FOUR: 3, FIVE: 3}, 0),  # a majority, but not of this term (§5.4.2)
        ({TWO: 3, THREE: 3, FOUR: 3, FIVE: 4}, 0),
        ({TWO: 5, THREE: 5, FOUR: 5, FIVE: 5}, 5),
    ],
)
def test_leaders_commit_what_a_majority_has_if_it_is_of_their_own_term(
    matches: dict[int, int], commit_index: int
) -> None:
    """Raft figure 2, Rules for Servers, leaders 4: the log is 1 1 1, and 4 4 of its own."""
    replica = leader([1, 1, 1], term=4, voters=5, limits=Limits())
    propose(replica, b"x")
    persist(replica)
    for peer in replica.peers:
        if peer in matches:
            accept(replica, peer, matches[peer])
    assert replica.commit_index == commit_index
