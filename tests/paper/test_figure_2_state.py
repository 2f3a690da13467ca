"""Raft figure 2, "State": one test for each sentence.

What is "on stable storage before responding" has two halves: a step says in ``Effects`` what must
be written (tested here) and the driver lets no promise leave before that (``raft/driver.py``).
"""

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
    log_of,
    noop,
    persist,
    propose,
    receive,
    timeout,
)

from quorate.raft.core.entries import NOBODY, Entry, EntryKind, HardState
from quorate.raft.core.messages import AppendReply, AppendRequest, VoteReply, VoteRequest
from quorate.raft.core.replica import Role


def test_what_a_reply_promises_is_written_in_the_same_step() -> None:
    """Raft figure 2, State, persistent state: updated on stable storage before responding."""
    voter = follower([1])
    voted = receive(voter, TWO, VoteRequest(2, 1, 1))
    assert voted.messages == [(TWO, VoteReply(2, True))]
    assert (voted.write, voted.hard_state) == (1, HardState(2, TWO))

    keeper = follower([1])
    kept = receive(keeper, TWO, append(2, (1, 1), [2]))
    assert kept.messages == [(TWO, AppendReply(2, True, match_index=2))]
    assert (kept.write, kept.hard_state, kept.entries) == (1, HardState(2), [entry(2, 2)])


def test_own_promises_count_only_when_they_are_on_stable_storage() -> None:
    """Raft figure 2, State, persistent state: a server is also a voter of its own."""
    alone = follower(voters=1)
    timeout(alone)
    assert alone.role is Role.CANDIDATE  # its vote is the majority, once it is on disk
    persist(alone)
    assert (alone.role, alone.commit_index) == (Role.LEADER, 0)
    persist(alone)
    assert alone.commit_index == 1


def test_the_current_term_is_zero_on_first_boot() -> None:
    """Raft figure 2, State, currentTerm."""
    assert follower().term == 0


def test_the_current_term_is_the_latest_seen_and_never_goes_back() -> None:
    """Raft figure 2, State, currentTerm."""
    replica = follower(term=3)
    for seen, expected in ((5, 5), (4, 5), (7, 7), (1, 7)):
        receive(replica, TWO, append(seen))
        assert replica.term == expected


def test_voted_for_is_the_candidate_that_got_the_vote_of_the_current_term() -> None:
    """Raft figure 2, State, votedFor."""
    replica = follower(term=1)
    receive(replica, THREE, VoteRequest(2, 0, 0))
    assert replica.hard_state == HardState(2, THREE)


def test_voted_for_is_nobody_in_a_term_without_a_vote() -> None:
    """Raft figure 2, State, votedFor: or null if none."""
    assert follower().voted_for == NOBODY
    replica = follower(term=2, voted_for=THREE)
    effects = receive(replica, TWO, append(3))
    assert effects.hard_state == replica.hard_state == HardState(3, NOBODY)


def test_a_log_entry_holds_a_command_and_the_term_in_which_the_leader_received_it() -> None:
    """Raft figure 2, State, log[]: the command and the term."""
    replica = leader([1], term=4)
    effects = propose(replica, b"x := 3")
    assert effects.entries == [Entry(3, 4, int(EntryKind.COMMAND), b"x := 3")]
    assert log_of(replica) == [entry(1, 1), noop(2, 4), *effects.entries]


def test_the_first_index_of_the_log_is_one() -> None:
    """Raft figure 2, State, log[]: first index is 1."""
    assert [entry.index for entry in log_of(leader(term=1))] == [1]


def test_a_restarted_server_finds_its_persistent_state() -> None:
    """Raft figure 2, State, persistent state: on all servers."""
    replica = follower([1, 1, 2], term=5, voted_for=THREE)
    assert (replica.term, replica.voted_for) == (5, THREE)
    assert log_of(replica) == entries([1, 1, 2])


def test_the_commit_index_is_zero_at_first() -> None:
    """Raft figure 2, State, commitIndex: also after a restart, it is volatile."""
    assert follower([1, 1, 2]).commit_index == 0


def test_the_commit_index_never_goes_back() -> None:
    """Raft figure 2, State, commitIndex: increases monotonically."""
    replica = follower([1, 1, 1])
    for leader_commit, expected in ((2, 2), (1, 2), (0, 2), (3, 3)):
        receive(replica, TWO, append(1, (3, 1), commit_index=leader_commit))
        assert replica.commit_index == expected


def test_a_leader_begins_each_term_with_a_fresh_view_of_its_followers() -> None:
    """Raft figure 2, State, volatile state on leaders: reinitialized after election."""
    replica = leader(term=1)
    accept(replica, TWO, 1)
    receive(replica, THREE, append(2))
    assert replica.progress == {}
    timeout(replica)
    receive(replica, TWO, VoteReply(3, True, pre_vote=True))
    persist(replica)
    receive(replica, TWO, VoteReply(3, True))
    assert {peer: p.match_index for peer, p in replica.progress.items()} == {TWO: 0, THREE: 0}


def test_next_index_begins_after_the_leaders_last_entry() -> None:
    """Raft figure 2, State, nextIndex[]: the no-op that a new leader appends (§8) comes there."""
    replica = candidate([1, 1, 2], term=3, voters=5)
    receive(replica, TWO, VoteReply(3, True))
    receive(replica, FOUR, VoteReply(3, True))
    assert replica.log.entry(4) == noop(4, 3)
    assert [progress.next_index for progress in replica.progress.values()] == [4, 4, 4, 4]


def test_next_index_is_where_the_next_entries_to_a_follower_begin() -> None:
    """Raft figure 2, State, nextIndex[]."""
    replica = leader([1, 1], term=2)
    accept(replica, TWO, 3)
    effects = propose(replica, b"x")
    # To the one that has answered; the other is sent nothing new before it does.
    assert effects.messages == [(TWO, AppendRequest(2, 3, 2, 3, [replica.log.entry(4)]))]
    assert replica.progress[TWO].next_index == 5
    assert replica.progress[THREE].next_index == 3


def test_match_index_begins_at_zero() -> None:
    """Raft figure 2, State, matchIndex[]."""
    assert [progress.match_index for progress in leader([1], term=2).progress.values()] == [0, 0]


def test_match_index_is_the_highest_entry_known_to_be_replicated_and_never_goes_back() -> None:
    """Raft figure 2, State, matchIndex[]: increases monotonically."""
    replica = leader([1, 1, 1], term=2)
    for reported, expected in ((2, 2), (4, 4), (3, 4), (0, 4)):
        accept(replica, TWO, reported)
        assert replica.progress[TWO].match_index == expected


def test_a_server_hears_others_and_not_itself() -> None:
    """Raft figure 2, State.  Who is not of the configuration that is known here is heard: without
    its log, or our vote, nobody might ever lead (thesis §4.2.2)."""
    replica = follower(term=1)
    assert receive(replica, ME, append(9)).messages == []
    assert replica.term == 1
    assert receive(replica, FOUR, append(9)).messages == [(FOUR, AppendReply(9, True))]
    assert (replica.term, replica.leader) == (9, FOUR)
