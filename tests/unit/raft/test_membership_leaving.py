"""Who leaves a group, and who only learns in it: Raft §6, thesis §4.2."""

from raft_members import (
    LEARNING,
    OTHERS,
    THREE_VOTERS,
    WITHOUT_ME,
    agree,
    change,
    installed,
    joint,
    of,
    ready,
    sent_to,
    told,
    with_learners,
)
from raft_replicas import (
    FIVE,
    FOUR,
    ME,
    THREE,
    TIMING,
    TWO,
    accept,
    append,
    follower,
    persist,
    propose,
    receive,
    take,
    take_whole,
    timeout,
)

from quorate.base.ids import ReplicaId
from quorate.raft.core.entries import NOBODY
from quorate.raft.core.events import Change, Read, ReadReady, Receive, Tick, Transfer
from quorate.raft.core.messages import (
    AppendReply,
    AppendRequest,
    InstallReply,
    TimeoutNow,
    VoteReply,
    VoteRequest,
)
from quorate.raft.core.replica import Replica, Role

TIMEOUT_MS = TIMING.election_timeout_ms


# A leader that removes itself.


def leaving() -> Replica:
    """Its own removal is appended, as entry 3, and not committed."""
    replica = ready()
    change(replica, WITHOUT_ME)
    agree(replica)
    assert replica.configuration == WITHOUT_ME
    assert (replica.commit_index, replica.log.last_index) == (2, 3)
    return replica


def test_a_leader_leads_until_its_removal_is_committed() -> None:
    replica = leaving()
    assert propose(replica, b"command").accepted
    persist(replica)
    accept(replica, TWO, 3)
    take(replica, Tick(), replica.next_deadline_ms)
    assert replica.role is Role.LEADER


def test_a_leader_that_leaves_does_not_count_itself() -> None:
    replica = leaving()
    persist(replica)
    accept(replica, TWO, 3)
    assert (replica.commit_index, replica.role) == (2, Role.LEADER)
    accept(replica, THREE, 3)
    assert (replica.commit_index, replica.role) == (3, Role.FOLLOWER)


def test_a_leader_that_leaves_needs_the_others_to_answer() -> None:
    replica = leaving()
    receive(replica, TWO, AppendReply(1, True, 2), 5_000.0)
    take(replica, Tick(), 5_000.0 + TIMEOUT_MS)
    assert replica.role is Role.FOLLOWER


def test_a_read_of_a_leader_that_leaves_needs_the_others_to_answer() -> None:
    replica = ready(2)
    change(replica, of((TWO,)))
    agree(replica)
    assert replica.configuration == of((TWO,))
    take_whole(replica, Read(7))
    for answered in ([], [ReadReady(7, 2)]):  # the round under way, and that of the read
        answer = AppendReply(1, True, match_index=2, round=replica.round)
        assert take_whole(replica, Receive(TWO, answer)).reads == answered


def test_a_leader_that_has_left_asks_who_has_most_to_take_over() -> None:
    replica = leaving()
    propose(replica, b"command")
    persist(replica)
    accept(replica, THREE, 4)
    effects = accept(replica, TWO, 3)
    assert [to for to, message in effects.messages if message == TimeoutNow(1)] == [THREE]
    assert (replica.role, replica.term, replica.leader) == (Role.FOLLOWER, 1, NOBODY)
    timeout(replica)
    assert replica.role is Role.FOLLOWER


# Learners.


def test_a_learner_does_not_stand() -> None:
    replica = told(of((TWO, THREE), (ME,)), committed=2)
    for _ in range(3):
        assert timeout(replica).messages == []
        assert replica.role is Role.FOLLOWER


def test_a_learner_does_not_stand_when_it_is_asked_to_either() -> None:
    """A leader asks voters alone; who was one when the message left is none any more."""
    replica = told(of((TWO, THREE), (ME,)))
    assert receive(replica, TWO, TimeoutNow(1)).messages == []
    assert (replica.role, replica.term) == (Role.FOLLOWER, 1)


def test_a_learner_is_not_asked_for_its_vote_and_has_none() -> None:
    replica = told(LEARNING)
    assert {to for to, _ in timeout(replica).messages} == {TWO, THREE}
    for learner in (FOUR, FIVE):
        receive(replica, learner, VoteReply(2, True, pre_vote=True))
    assert replica.role is Role.PRE_CANDIDATE
    receive(replica, TWO, VoteReply(2, True, pre_vote=True))
    assert replica.role is Role.CANDIDATE


def test_who_does_not_know_that_it_votes_gives_its_vote() -> None:
    """Who asks may be of a later configuration, in which it counts (thesis §4.2.2)."""
    replica = told(of((TWO, THREE), (ME,)))
    replies = receive(replica, FOUR, VoteRequest(2, 9, 1)).messages
    assert replies == [(FOUR, VoteReply(2, True))]


def test_what_learners_have_is_not_committed_by_it() -> None:
    replica = with_learners()
    propose(replica, b"command")
    agree(replica, FOUR, FIVE)
    assert replica.commit_index == 2
    accept(replica, THREE, 3)
    assert replica.commit_index == 3


def test_learners_do_not_prove_that_a_leader_leads() -> None:
    replica = with_learners()
    take_whole(replica, Read(7))
    answer = AppendReply(1, True, match_index=2, round=replica.round)
    for learner in (FOUR, FIVE):
        assert take_whole(replica, Receive(learner, answer), 5_000.0).reads == []
    take(replica, Tick(), 5_000.0 + TIMEOUT_MS)
    assert replica.role is Role.FOLLOWER


def test_a_single_voter_does_not_wait_for_its_learners() -> None:
    replica = ready(1)
    change(replica, of((ME,), (TWO,)))
    persist(replica)
    assert replica.commit_index == 2
    assert take(replica, Read(7)).reads == [ReadReady(7, 2)]
    timeout(replica)
    take(replica, Tick(), 50 * TIMEOUT_MS)
    assert replica.role is Role.LEADER
    assert sent_to(propose(replica, b"command"), TWO) == []  # it has not answered the probe


def test_a_learner_is_not_handed_the_leadership() -> None:
    replica = with_learners()
    assert take(replica, Transfer(FOUR)).messages == []
    assert replica.transfer_to == NOBODY


def test_the_leadership_is_handed_to_who_stays() -> None:
    replica = joint()
    for target, expected in ((TWO, NOBODY), (FOUR, FOUR)):
        take(replica, Transfer(target))
        assert replica.transfer_to == expected


# Those that were removed.


def test_who_is_removed_is_told_so_and_then_left_alone() -> None:
    replica = joint()
    agree(replica, TWO, FOUR)
    persist(replica)
    accept(replica, TWO, 4)
    effects = accept(replica, FOUR, 4)
    assert sent_to(effects, TWO) == [AppendRequest(1, 4, 1, 4, [])]
    assert sent_to(effects, THREE) != []
    assert {to for to, _ in timeout(replica).messages} == {FOUR, FIVE}


def test_who_was_told_that_it_is_removed_does_not_stand() -> None:
    replica = told(LEARNING.towards(OTHERS), OTHERS, me=THREE)
    receive(replica, TWO, append(1, (3, 1), commit_index=3))
    for _ in range(3):
        assert timeout(replica).messages == []
    assert (replica.role, replica.term, replica.commit_index) == (Role.FOLLOWER, 1, 3)


def test_who_is_removed_stands_until_it_knows_that_to_be_committed() -> None:
    """It may have what nobody else has, and the old voters need its vote (thesis §4.2.2)."""
    replica = told(THREE_VOTERS.towards(WITHOUT_ME), WITHOUT_ME, committed=2)
    assert {to for to, _ in timeout(replica).messages} == {TWO, THREE}
    receive(replica, TWO, VoteReply(2, True, pre_vote=True))
    assert replica.role is Role.PRE_CANDIDATE  # its own vote does not count
    receive(replica, THREE, VoteReply(2, True, pre_vote=True))
    persist(replica)
    receive(replica, TWO, VoteReply(2, True))
    assert replica.role is Role.CANDIDATE
    receive(replica, THREE, VoteReply(2, True))
    assert (replica.role, replica.unsettled) == (Role.LEADER, 3)
    persist(replica)
    accept(replica, TWO, 4)
    effects = accept(replica, THREE, 4)
    assert sent_to(effects, TWO)[-1:] == [TimeoutNow(2)]
    assert (replica.role, replica.commit_index) == (Role.FOLLOWER, 4)
    assert timeout(replica).messages == []


def test_who_learns_while_it_stands_that_it_is_removed_does_not_stay_leader() -> None:
    """By a snapshot that it had been sent before."""
    replica = told(THREE_VOTERS.towards(WITHOUT_ME), WITHOUT_ME)
    timeout(replica)
    for voter in (TWO, THREE):
        receive(replica, voter, VoteReply(2, True, pre_vote=True))
    persist(replica)
    installed(replica, 3, 1, WITHOUT_ME)
    for voter in (TWO, THREE):
        receive(replica, voter, VoteReply(2, True))
    assert (replica.role, replica.leader) == (Role.FOLLOWER, NOBODY)


def test_who_was_not_told_disturbs_nobody() -> None:
    """It asks with a term above all others; those who hear their leader stay with it (§6)."""
    removed = follower([1], me=THREE)
    question = sent_to(timeout(removed), TWO)
    assert question == [VoteRequest(2, 1, 1, pre_vote=True)]
    replica = told(WITHOUT_ME, me=TWO)
    reply = receive(replica, THREE, VoteRequest(9, 99, 9, pre_vote=True))
    assert reply.messages == [(THREE, VoteReply(1, False, pre_vote=True))]
    assert replica.term == 1
    leading = joint()
    reply = receive(leading, ReplicaId(9), VoteRequest(9, 99, 9, pre_vote=True))
    assert reply.messages == [(ReplicaId(9), VoteReply(1, False, pre_vote=True))]
    assert (leading.role, leading.term) == (Role.LEADER, 1)


def test_what_a_removed_replica_answers_is_not_counted() -> None:
    replica = joint()
    agree(replica, TWO, FOUR)
    agree(replica, FOUR)
    assert set(replica.progress) == {FOUR, FIVE}
    propose(replica, b"command")
    for answer in (AppendReply(1, True, 5), AppendReply(1, False, 0, 5, 0, 1), InstallReply(1)):
        assert receive(replica, THREE, answer).messages == []
    persist(replica)
    accept(replica, TWO, 5)
    assert replica.commit_index == 4


def test_a_group_that_shrinks_to_one_answers_reads_though_nobody_else_speaks() -> None:
    replica = ready()
    change(replica, of((ME,)))
    timeout(replica)  # a round leaves that nobody answers
    persist(replica)
    accept(replica, TWO, 2)
    take_whole(replica, Read(7))
    answered = persist(replica).reads
    assert (replica.configuration, replica.commit_index) == (of((ME,)), 3)
    answered += take_whole(replica, Read(8)).reads
    assert answered == [ReadReady(7, 2), ReadReady(8, 3)]


def test_the_last_voter_hands_over_to_who_leaves_when_its_disk_stalls() -> None:
    replica = ready()
    take(replica, Change(of((ME,))), 0.0)
    now_ms = replica.next_deadline_ms + TIMEOUT_MS
    for member in (TWO, THREE):
        receive(replica, member, AppendReply(1, True, 2), now_ms)
    effects = take(replica, Tick(), now_ms)
    assert [message for _, message in effects.messages] == [TimeoutNow(1)]
    assert replica.role is Role.FOLLOWER
