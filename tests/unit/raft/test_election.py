"""Elections: pre-vote (thesis §9.6), votes that wait for the disk, and restarts."""

import pytest
from raft_replicas import (
    FOUR,
    ME,
    THREE,
    TIMING,
    TWO,
    append,
    candidate,
    entries,
    follower,
    leader,
    log_of,
    noop,
    persist,
    pre_candidate,
    receive,
    take,
    timeout,
    to_all,
    unsynced_candidate,
)

from quorate.raft.core.entries import NOBODY, HardState
from quorate.raft.core.events import Effects, PeerLost, Persisted, Tick
from quorate.raft.core.messages import AppendReply, VoteReply, VoteRequest
from quorate.raft.core.replica import Replica, Role

TIMEOUT_MS = TIMING.election_timeout_ms


def test_a_replica_that_is_cut_off_does_not_raise_its_term() -> None:
    replica = follower([1], term=3)
    for _ in range(10):
        effects = timeout(replica)
        assert effects.write == 0  # nothing to forget, nothing to write
        assert effects.messages == to_all(replica, VoteRequest(4, 1, 1, pre_vote=True))
    assert (replica.role, replica.term) == (Role.PRE_CANDIDATE, 3)


def test_a_pre_vote_promises_nothing() -> None:
    replica = follower([1], term=3)
    effects = receive(replica, TWO, VoteRequest(4, 1, 1, pre_vote=True))
    assert effects == Effects(messages=[(TWO, VoteReply(4, True, pre_vote=True))])
    effects = receive(replica, THREE, VoteRequest(4, 1, 1, pre_vote=True))
    assert effects == Effects(messages=[(THREE, VoteReply(4, True, pre_vote=True))])
    assert replica.hard_state == HardState(3)


@pytest.mark.parametrize(
    ("request_", "why"),
    [
        (VoteRequest(3, 9, 9, pre_vote=True), "not a later term than the voter's"),
        (VoteRequest(2, 9, 9, pre_vote=True), "an older term"),
        (VoteRequest(4, 0, 0, pre_vote=True), "a log that is not up to date"),
    ],
)
def test_a_pre_vote_is_refused_where_the_vote_would_be(request_: VoteRequest, why: str) -> None:
    replica = follower([1], term=3)
    effects = receive(replica, TWO, request_)
    assert effects == Effects(messages=[(TWO, VoteReply(3, False, pre_vote=True))]), why


@pytest.mark.parametrize(
    ("later_ms", "granted"), [(0, False), (TIMEOUT_MS - 1, False), (TIMEOUT_MS, True)]
)
def test_a_pre_vote_is_refused_while_a_leader_is_heard(later_ms: float, granted: bool) -> None:
    """Thesis §9.6 with §4.2.3: for the shortest election timeout after its last request."""
    replica = follower([1], term=3)
    receive(replica, THREE, append(3, (1, 1)), now_ms=50)
    effects = receive(replica, TWO, VoteRequest(4, 5, 3, pre_vote=True), now_ms=50 + later_ms)
    assert effects.messages == [(TWO, VoteReply(4 if granted else 3, granted, pre_vote=True))]


def test_a_leader_refuses_pre_votes() -> None:
    replica = leader([1], term=3)
    effects = receive(replica, TWO, VoteRequest(4, 9, 3, pre_vote=True), now_ms=10 * TIMEOUT_MS)
    assert effects.messages == [(TWO, VoteReply(3, False, pre_vote=True))]


def test_a_restarted_voter_has_heard_no_leader() -> None:
    replica = follower([1], term=3)
    effects = receive(replica, TWO, VoteRequest(4, 1, 1, pre_vote=True), now_ms=0)
    assert effects.messages == [(TWO, VoteReply(4, True, pre_vote=True))]


def test_refused_pre_votes_start_no_election() -> None:
    replica = pre_candidate(term=3, voters=5)
    receive(replica, TWO, VoteReply(3, False, pre_vote=True))
    receive(replica, THREE, VoteReply(4, True, pre_vote=True))
    receive(replica, THREE, VoteReply(4, True, pre_vote=True))  # the same voter again
    assert (replica.role, replica.term) == (Role.PRE_CANDIDATE, 3)
    receive(replica, FOUR, VoteReply(4, True, pre_vote=True))
    assert (replica.role, replica.term) == (Role.CANDIDATE, 4)


@pytest.mark.parametrize("term", [3, 5])
def test_pre_votes_for_another_term_do_not_count(term: int) -> None:
    replica = pre_candidate(term=3)
    receive(replica, TWO, VoteReply(term, True, pre_vote=True))
    assert (replica.role, replica.term) == (Role.PRE_CANDIDATE, 3)


def ask_again(replica: Replica) -> Effects:
    assert replica.next_deadline_ms < replica.election_deadline_ms
    return take(replica, Tick(), replica.next_deadline_ms)


def test_requests_for_votes_are_repeated_to_those_who_have_not_answered() -> None:
    """Raft §5.5: they are retried until they are answered; a lost one costs no whole timeout."""
    replica = candidate([1], term=4, voters=4)
    receive(replica, TWO, VoteReply(4, False))
    request = VoteRequest(4, 1, 1)
    for _ in range(2):
        assert ask_again(replica).messages == [(THREE, request), (FOUR, request)]
    receive(replica, THREE, VoteReply(4, True))
    assert ask_again(replica).messages == [(FOUR, request)]


def test_requests_for_pre_votes_are_repeated_to_those_who_have_not_granted_theirs() -> None:
    """Who refused because it heard a leader may soon hear it no more."""
    replica = pre_candidate([1], term=3, voters=4)
    receive(replica, TWO, VoteReply(4, True, pre_vote=True))
    receive(replica, THREE, VoteReply(3, False, pre_vote=True))
    request = VoteRequest(4, 1, 1, pre_vote=True)
    assert ask_again(replica).messages == [(THREE, request), (FOUR, request)]


def test_pre_votes_that_come_after_the_leader_was_heard_do_not_count() -> None:
    replica = pre_candidate([1], term=3)
    receive(replica, TWO, append(3, (1, 1)))
    assert receive(replica, THREE, VoteReply(4, True, pre_vote=True)) == Effects()
    assert (replica.role, replica.leader) == (Role.FOLLOWER, TWO)


def test_a_vote_does_not_count_as_a_pre_vote_nor_a_pre_vote_as_a_vote() -> None:
    asking = pre_candidate(term=3)
    receive(asking, TWO, VoteReply(3, True))
    assert asking.role is Role.PRE_CANDIDATE
    standing = candidate(term=4)
    receive(standing, TWO, VoteReply(4, True, pre_vote=True))
    receive(standing, TWO, VoteReply(5, True, pre_vote=True))
    assert (standing.role, standing.term) == (Role.CANDIDATE, 4)


def test_a_refused_pre_vote_tells_of_a_higher_term() -> None:
    """Otherwise a replica of a lower term could ask in vain for ever."""
    replica = pre_candidate(term=3)
    receive(replica, TWO, VoteReply(8, False, pre_vote=True))
    assert (replica.role, replica.term) == (Role.FOLLOWER, 8)
    assert timeout(replica).messages == to_all(replica, VoteRequest(9, 0, 0, pre_vote=True))


def test_a_pre_candidate_still_votes_for_another() -> None:
    replica = pre_candidate([1], term=3)
    effects = receive(replica, TWO, VoteRequest(4, 1, 1))
    assert effects.messages == [(TWO, VoteReply(4, True))]
    assert (replica.role, replica.hard_state) == (Role.FOLLOWER, HardState(4, TWO))


def test_a_replica_that_knows_its_leader_still_votes_in_a_higher_term() -> None:
    """Only pre-votes are held back: a candidate had a majority of them."""
    replica = follower([1], term=3)
    receive(replica, TWO, append(3, (1, 1)))
    effects = receive(replica, THREE, VoteRequest(4, 1, 1))
    assert effects.messages == [(THREE, VoteReply(4, True))]
    assert replica.leader == NOBODY


def test_the_vote_for_itself_counts_only_when_it_is_on_disk() -> None:
    replica = unsynced_candidate(term=2)
    assert (replica.role, replica.votes) == (Role.CANDIDATE, {})
    take(replica, Persisted(replica.vote_write))
    assert replica.votes == {ME: True}
    receive(replica, TWO, VoteReply(2, True))
    assert replica.role is Role.LEADER


def test_a_disk_that_is_behind_the_vote_does_not_count_it() -> None:
    replica = follower(term=1)
    receive(replica, TWO, append(2, (0, 0), [2]))
    take(replica, PeerLost(TWO))  # or the write would be under way for so long that it stalls
    timeout(replica)
    receive(replica, TWO, VoteReply(3, True, pre_vote=True))
    assert replica.vote_write == 2
    take(replica, Persisted(1))
    assert replica.votes == {}
    take(replica, Persisted(2))
    assert replica.votes == {ME: True}


def test_one_vote_of_three_is_no_majority_while_its_own_is_not_on_disk() -> None:
    replica = unsynced_candidate(term=2)
    receive(replica, TWO, VoteReply(2, True))
    assert replica.role is Role.CANDIDATE
    effects = persist(replica)
    assert replica.role is Role.LEADER
    assert effects.entries == [noop(1, 2)]


def test_a_lone_voter_leads_when_its_vote_and_commits_when_its_entry_is_on_disk() -> None:
    replica = follower(entries_terms := [1, 1], voters=1)
    assert timeout(replica) == Effects(write=1, hard_state=HardState(2, ME))
    effects = persist(replica)
    assert effects == Effects(write=2, entries=[noop(3, 2)])
    assert (replica.role, replica.commit_index) == (Role.LEADER, 0)
    persist(replica)
    assert replica.commit_index == len(entries_terms) + 1


def test_a_vote_is_granted_again_to_the_same_candidate_and_nobody_else() -> None:
    """Its answer may have been lost; nothing new has to be written."""
    replica = follower([1], term=1)
    receive(replica, TWO, VoteRequest(2, 1, 1))
    again = receive(replica, TWO, VoteRequest(2, 1, 1))
    assert again == Effects(messages=[(TWO, VoteReply(2, True))])
    other = receive(replica, THREE, VoteRequest(2, 1, 1))
    assert other == Effects(messages=[(THREE, VoteReply(2, False))])


def test_a_voter_keeps_its_vote_over_a_restart() -> None:
    replica = follower([1], term=2, voted_for=TWO)
    assert receive(replica, THREE, VoteRequest(2, 1, 1)).messages == [(THREE, VoteReply(2, False))]
    assert receive(replica, TWO, VoteRequest(2, 1, 1)).messages == [(TWO, VoteReply(2, True))]


def test_a_restarted_candidate_stands_in_a_new_term() -> None:
    """It cannot know what it said in the old one, beyond its vote for itself."""
    replica = follower([1], term=5, voted_for=ME)
    receive(replica, TWO, VoteReply(5, True))  # late: the candidate it answers is gone
    assert replica.role is Role.FOLLOWER
    timeout(replica)
    effects = receive(replica, TWO, VoteReply(6, True, pre_vote=True))
    assert effects.hard_state == HardState(6, ME)
    assert effects.messages == to_all(replica, VoteRequest(6, 1, 1))


def test_a_restarted_leader_does_not_lead() -> None:
    replica = follower([1, 5], term=5, voted_for=ME)
    assert (replica.role, replica.leader, replica.progress) == (Role.FOLLOWER, NOBODY, {})


def test_votes_after_the_election_is_won_change_nothing() -> None:
    replica = leader(term=2)
    assert receive(replica, THREE, VoteReply(2, True)) == Effects()
    assert receive(replica, THREE, VoteReply(2, False)) == Effects()
    assert log_of(replica) == [noop(1, 2)]


def test_an_election_ends_with_the_no_op_after_what_was_there() -> None:
    replica = leader([1, 1, 2], term=7)
    assert log_of(replica) == [*entries([1, 1, 2]), noop(4, 7)]


def test_timeouts_differ_from_election_to_election() -> None:
    """Raft §5.2: split votes are rare because each timeout is drawn anew."""
    draws = iter([0.0, 0.25, 0.5, 0.75, 0.999])
    replica = follower()
    replica.draw = lambda: next(draws)
    seen = []
    for _ in range(5):
        replica.reset_election_timer(1000)
        seen.append(replica.election_deadline_ms - 1000)
    assert seen == pytest.approx([600, 750, 900, 1050, 1199.4])


def test_a_replica_that_does_not_know_itself_among_the_members_waits_to_be_told() -> None:
    """It joins a group that was founded without it."""
    replica = follower(me=FOUR)
    for _ in range(3):
        assert timeout(replica).messages == []
    assert (replica.role, replica.term) == (Role.FOLLOWER, 0)
    assert receive(replica, TWO, append(1, new=[1])).messages == [
        (TWO, AppendReply(1, True, match_index=1))
    ]
