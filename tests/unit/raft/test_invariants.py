"""Each invariant of a replica fails where it must, with a sentence that names it."""

from collections.abc import Callable

import pytest
from raft_replicas import (
    ME,
    THREE,
    TWO,
    append,
    candidate,
    entry,
    follower,
    leader,
    pre_candidate,
    receive,
)

from quorate.base.check import Bug
from quorate.raft.core.entries import NOBODY
from quorate.raft.core.invariants import check_state, check_step, summary
from quorate.raft.core.replica import Replica, Role


def assign(name: str, value: object) -> Callable[[Replica], None]:
    return lambda replica: setattr(replica, name, value)


def assign_progress(name: str, value: object) -> Callable[[Replica], None]:
    return lambda replica: setattr(replica.progress[TWO], name, value)


def follow_two(replica: Replica) -> None:
    receive(replica, TWO, append(replica.term, (2, 1), commit_index=2))


@pytest.mark.parametrize(
    ("make", "break_it", "sentence"),
    [
        (follower, assign("term", 0), "a term in the log exceeds the current term"),
        (follower, assign("commit_index", 3), "commit index outside the log"),
        (follower, assign("commit_index", -1), "commit index outside the log"),
        (follower, assign("durable_index", 3), "durable index beyond the log"),
        (follower, assign("leader", ME), "a follower follows itself"),
        (pre_candidate, assign("leader", TWO), "a pre-candidate has a leader"),
        (candidate, assign("leader", TWO), "a candidate has a leader"),
        (candidate, assign("voted_for", TWO), "a candidate did not vote for itself"),
        (leader, assign("leader", TWO), "a leader follows another"),
        (leader, assign("voted_for", NOBODY), "a leader did not vote for itself"),
        (leader, assign_progress("match_index", 3), "progress of 2: match 3, next 3"),
        (leader, assign_progress("next_index", 5), "progress of 2: match 0, next 5"),
        (leader, assign_progress("inflight", range(33)), "too many requests under way to 2"),
    ],
)
def test_a_state_that_must_not_be(
    make: Callable[..., Replica], break_it: Callable[[Replica], None], sentence: str
) -> None:
    replica = make([1, 1], term=2)
    check_state(replica)
    break_it(replica)
    with pytest.raises(Bug, match=sentence):
        check_state(replica)


@pytest.mark.parametrize(
    ("make", "break_it", "sentence"),
    [
        (follower, assign("term", 1), "the term went back"),
        (follower, assign("commit_index", 1), "the commit index went back"),
        (follower, assign("voted_for", THREE), "a second vote in one term"),
        (follower, assign("voted_for", NOBODY), "a second vote in one term"),
        (follower, assign("leader", THREE), "two leaders in one term"),
        (leader, assign("commit_index", 2), "an old term's entry was committed by counting"),
        (leader, assign("role", Role.CANDIDATE), "a leader became a candidate in its term"),
        (leader, assign("role", Role.PRE_CANDIDATE), "a leader became a candidate in its term"),
        (leader, lambda r: r.log.append([entry(2, 2)]), "a leader removed from its log"),
    ],
)
def test_a_step_that_must_not_be(
    make: Callable[..., Replica], break_it: Callable[[Replica], None], sentence: str
) -> None:
    replica = make([1, 1], term=2)
    if make is follower:
        replica.voted_for = TWO
        follow_two(replica)
    before = summary(replica)
    check_step(before, replica)
    break_it(replica)
    with pytest.raises(Bug, match=sentence):
        check_step(before, replica)


def test_a_new_term_begins_without_vote_and_leader() -> None:
    replica = follower([1, 1], term=2, voted_for=TWO)
    follow_two(replica)
    before = summary(replica)
    replica.term, replica.voted_for, replica.leader = 3, THREE, THREE
    check_step(before, replica)
