"""Changes of the members, rule by rule: Raft §6, thesis chapter 4.

Of one replica each; that all together stay safe is the matter of ``paper/test_figure_3.py``.
"""

from collections.abc import Callable

import msgspec
import pytest
from raft_replicas import (
    FIVE,
    FOUR,
    ME,
    THREE,
    TIMING,
    TWO,
    accept,
    append,
    configured,
    entry,
    follower,
    group_of,
    leader,
    log_of,
    noop,
    persist,
    propose,
    receive,
    snapshot_at,
    take,
    take_whole,
    timeout,
)

from quorate.base.ids import Address, ReplicaId
from quorate.raft.core.configuration import MAX_MEMBERS, Configuration
from quorate.raft.core.entries import NOBODY, EntryId
from quorate.raft.core.events import (
    Change,
    Effects,
    Read,
    ReadReady,
    Receive,
    SnapshotInstalled,
    Tick,
    Transfer,
)
from quorate.raft.core.log import Log
from quorate.raft.core.membership import CAUGHT_UP_ENTRIES
from quorate.raft.core.messages import (
    AppendReply,
    AppendRequest,
    InstallReply,
    TimeoutNow,
    VoteReply,
    VoteRequest,
)
from quorate.raft.core.progress import Mode
from quorate.raft.core.replica import Replica, Role
from quorate.raft.core.settings import Limits

TIMEOUT_MS = TIMING.election_timeout_ms
THREE_VOTERS = group_of(3)


def of(voters: tuple[ReplicaId, ...], learners: tuple[ReplicaId, ...] = ()) -> Configuration:
    addresses = {member: Address(f"m{member}:raft") for member in (*voters, *learners)}
    return Configuration(voters, addresses, learners)


LEARNING = of((ME, TWO, THREE), (FOUR, FIVE))
OTHERS = of((ME, FOUR, FIVE))
WITHOUT_ME = of((TWO, THREE))


def change(replica: Replica, target: Configuration, now_ms: float = 0.0) -> Effects:
    return take(replica, Change(target), now_ms)


def agree(replica: Replica, *members: ReplicaId) -> list[Effects]:
    """Its own disk, and ``members`` (or all others), have everything that it has now."""
    last_index = replica.log.last_index
    effects = [persist(replica)]
    for member in members or tuple(replica.progress):
        effects.append(accept(replica, member, last_index))
    return effects


def ready(voters: int = 3, limits: Limits | None = None) -> Replica:
    """It leads term 1, and its first entry is committed and on all disks."""
    replica = leader(term=1, voters=voters, limits=limits)
    agree(replica)
    assert replica.commit_index == 1
    return replica


def with_learners() -> Replica:
    """The same, with learners 4 and 5 who have everything: entry 2 said so."""
    replica = ready()
    change(replica, LEARNING)
    agree(replica)
    assert (replica.configuration, replica.commit_index) == (LEARNING, 2)
    return replica


def joint() -> Replica:
    """It has begun to exchange 2 and 3 for 4 and 5, by entry 3."""
    replica = with_learners()
    change(replica, OTHERS)
    persist(replica)
    assert (replica.configuration, replica.commit_index) == (LEARNING.towards(OTHERS), 2)
    return replica


def told(*configurations: Configuration, me: ReplicaId = ME) -> Replica:
    """A follower in term 1, of 2 if it is not that itself: with an entry for each of these, behind
    one of another kind."""
    replica = follower(me=me, term=1)
    news = [configured(index, 1, some) for index, some in enumerate(configurations, 2)]
    sender = THREE if me == TWO else TWO
    receive(replica, sender, AppendRequest(1, 0, 0, 1, [noop(1, 1), *news]))
    persist(replica)
    assert replica.configuration == configurations[-1]
    return replica


def sent_to(effects: Effects, receiver: ReplicaId) -> list[object]:
    return [message for to, message in effects.messages if to == receiver]


# It is obeyed as soon as it is appended.


def test_a_follower_obeys_a_configuration_before_it_is_committed() -> None:
    replica = follower([1])
    effects = receive(replica, TWO, AppendRequest(1, 1, 1, 0, [configured(2, 1, LEARNING)]))
    assert replica.commit_index == 0
    assert replica.configuration == effects.configuration == LEARNING
    assert replica.peers == [TWO, THREE, FOUR, FIVE]


def test_a_leader_obeys_its_own_at_once_and_sends_the_log_to_who_is_new() -> None:
    replica = ready()
    effects = change(replica, LEARNING)
    assert effects.accepted and effects.refused is None
    assert effects.entries == [configured(2, 1, LEARNING)]
    assert replica.configuration == effects.configuration == LEARNING
    for peer in (TWO, THREE, FOUR, FIVE):
        assert sent_to(effects, peer) == [AppendRequest(1, 1, 1, 1, effects.entries)]


def test_whoever_is_new_is_brought_the_whole_log() -> None:
    replica = ready()
    change(replica, LEARNING)
    effects = receive(replica, FOUR, AppendReply(1, False, 0, 1, 0, 1))
    assert sent_to(effects, FOUR) == [AppendRequest(1, 0, 0, 1, log_of(replica))]


def test_the_latest_of_several_is_in_force() -> None:
    replica = follower()
    news = [configured(1, 1, LEARNING), configured(2, 1, OTHERS), entry(3, 1)]
    effects = receive(replica, TWO, AppendRequest(1, 0, 0, 0, news))
    assert replica.configuration == effects.configuration == OTHERS


def test_nothing_is_said_of_a_configuration_that_stays_the_same() -> None:
    replica = told(LEARNING)
    assert receive(replica, TWO, append(1, (2, 1), [1])).configuration is None
    same = AppendRequest(1, 3, 1, 0, [configured(4, 1, LEARNING)])
    assert receive(replica, TWO, same).configuration is None


def test_the_addresses_of_new_members_come_with_it() -> None:
    for effects in (
        change(ready(), LEARNING),
        receive(follower(), TWO, AppendRequest(1, 0, 0, 0, [configured(1, 1, LEARNING)])),
    ):
        assert effects.configuration is not None
        assert effects.configuration.addresses[FOUR] == "m4:raft"


def test_a_member_that_has_moved_is_found_at_its_new_address() -> None:
    replica = ready()
    moved = msgspec.structs.replace(
        THREE_VOTERS, addresses={**THREE_VOTERS.addresses, TWO: Address("elsewhere:raft")}
    )
    assert change(replica, moved).configuration == moved
    agree(replica)
    assert (replica.commit_index, replica.unsettled) == (2, 0)


# It is given up if its entry is.


def test_a_configuration_goes_with_the_entry_that_brought_it() -> None:
    replica = told(LEARNING, OTHERS)
    effects = receive(replica, THREE, append(2, (2, 1), [2]))
    assert replica.configuration == effects.configuration == LEARNING
    effects = receive(replica, THREE, append(3, (1, 1), [3]))
    assert replica.configuration == effects.configuration == THREE_VOTERS


def test_another_configuration_takes_the_place_of_one_that_is_given_up() -> None:
    replica = told(LEARNING)
    other = AppendRequest(2, 1, 1, 1, [configured(2, 2, WITHOUT_ME)])
    assert receive(replica, THREE, other).configuration == WITHOUT_ME
    assert receive(replica, THREE, append(3, (1, 1), [3])).configuration == THREE_VOTERS


def test_what_is_only_repeated_gives_nothing_up() -> None:
    replica = told(LEARNING, OTHERS)
    repeated = AppendRequest(1, 0, 0, 1, [noop(1, 1), configured(2, 1, LEARNING)])
    assert receive(replica, TWO, repeated).configuration is None
    assert replica.configuration == OTHERS


def test_who_was_removed_by_an_entry_that_is_given_up_stands_again() -> None:
    replica = told(WITHOUT_ME)
    timeout(replica)
    assert replica.role is Role.FOLLOWER
    receive(replica, THREE, append(2, (1, 1), [2]))
    persist(replica)
    timeout(replica)
    assert replica.role is Role.PRE_CANDIDATE


# While it is joint, a majority of both is needed.

ENOUGH = ([TWO, FOUR], [FOUR, THREE], [FIVE, FOUR, TWO])
"""With 1, who is of both: the last of these makes it one of each."""


@pytest.mark.parametrize("yes", ENOUGH)
def test_an_election_needs_both(yes: list[ReplicaId]) -> None:
    replica = told(THREE_VOTERS.towards(OTHERS))
    assert {to for to, _ in timeout(replica).messages} == {TWO, THREE, FOUR, FIVE}
    for pre_vote, role, next_role in (
        (True, Role.PRE_CANDIDATE, Role.CANDIDATE),
        (False, Role.CANDIDATE, Role.LEADER),
    ):
        for voter in yes:
            assert replica.role is role
            receive(replica, voter, VoteReply(2, True, pre_vote))
        if not pre_vote:
            assert replica.role is Role.CANDIDATE  # its own vote is not on disk yet
            persist(replica)
        assert replica.role is next_role


@pytest.mark.parametrize("side", [(TWO, THREE), (FOUR, FIVE)])
def test_one_majority_elects_nobody(side: tuple[ReplicaId, ReplicaId]) -> None:
    replica = told(THREE_VOTERS.towards(OTHERS))
    timeout(replica)
    for voter in side:
        receive(replica, voter, VoteReply(2, True, pre_vote=True))
    assert replica.role is Role.PRE_CANDIDATE


@pytest.mark.parametrize("have", ENOUGH)
def test_commitment_needs_both(have: list[ReplicaId]) -> None:
    replica = joint()
    for member in have:
        assert replica.commit_index == 2
        accept(replica, member, 3)
    assert replica.commit_index == 3


def test_a_round_of_heartbeats_needs_both() -> None:
    replica = joint()
    take_whole(replica, Read(7))
    timeout(replica)  # the round that was under way is answered by nobody
    answer = AppendReply(1, True, match_index=2, round=replica.round)
    assert take_whole(replica, Receive(FOUR, answer)).reads == []
    assert take_whole(replica, Receive(FIVE, answer)).reads == []
    assert take_whole(replica, Receive(THREE, answer)).reads == [ReadReady(7, 2)]


@pytest.mark.parametrize(
    ("alive", "leads"),
    [((TWO, FOUR), True), ((TWO, THREE), False), ((FOUR, FIVE), False)],
)
def test_a_leader_needs_to_be_answered_by_both(
    alive: tuple[ReplicaId, ReplicaId], leads: bool
) -> None:
    replica = joint()
    for member in alive:
        receive(replica, member, AppendReply(1, True, 2), 5_000.0)
    take(replica, Tick(), 5_000.0 + TIMEOUT_MS)
    assert (replica.role is Role.LEADER) == leads


# The leader ends what it, or another before it, began.


def test_learners_come_and_go_by_one_entry() -> None:
    replica = with_learners()
    assert replica.unsettled == 0
    assert change(replica, of((ME, TWO, THREE), (FIVE,))).entries[0].index == 3
    agree(replica, TWO)
    assert (replica.commit_index, replica.log.last_index, replica.unsettled) == (3, 3, 0)
    assert set(replica.progress) == {TWO, THREE, FIVE}


def test_the_new_configuration_is_appended_when_the_joint_one_is_committed() -> None:
    replica = joint()
    accept(replica, FOUR, 3)
    assert replica.log.last_index == 3
    effects = accept(replica, TWO, 3)
    assert effects.entries == [configured(4, 1, OTHERS)]
    assert replica.configuration == effects.configuration == OTHERS
    # Those that leave hear of it as well.
    assert {to for to, m in effects.messages if isinstance(m, AppendRequest) and m.entries} >= {
        TWO,
        FOUR,
    }
    agree(replica, FOUR)
    assert (replica.commit_index, replica.log.last_index, replica.unsettled) == (4, 4, 0)


def test_the_new_configuration_is_committed_by_the_new_voters_alone() -> None:
    replica = joint()
    agree(replica, TWO, FOUR)
    persist(replica)
    accept(replica, TWO, 4)
    accept(replica, THREE, 4)
    assert replica.commit_index == 3
    accept(replica, FIVE, 4)
    assert replica.commit_index == 4


def elected(replica: Replica, *voters: ReplicaId) -> Effects:
    """It wins an election; ``voters`` are for it.  What its last step says."""
    timeout(replica)
    for voter in voters:
        receive(replica, voter, VoteReply(replica.term + 1, True, pre_vote=True))
    persist(replica)
    for voter in voters:
        effects = receive(replica, voter, VoteReply(replica.term, True))
    assert replica.role is Role.LEADER
    return effects


def test_a_later_leader_ends_the_change() -> None:
    replica = told(THREE_VOTERS.towards(OTHERS))
    assert elected(replica, TWO, FOUR).entries == [noop(3, 2)]
    assert replica.unsettled == 2
    agree(replica, FOUR, TWO)
    assert log_of(replica)[-1] == configured(4, 2, OTHERS)
    agree(replica, FOUR)
    assert (replica.commit_index, replica.unsettled) == (4, 0)


def test_a_later_leader_that_knows_the_joint_one_committed_goes_on_at_once() -> None:
    replica = told(THREE_VOTERS.towards(OTHERS))
    receive(replica, TWO, append(1, (2, 1), commit_index=2))
    assert elected(replica, TWO, FOUR).entries == [noop(3, 2), configured(4, 2, OTHERS)]
    agree(replica, FOUR)
    assert (replica.commit_index, replica.unsettled) == (4, 0)


def test_a_later_leader_waits_for_the_new_one_to_be_committed() -> None:
    replica = told(THREE_VOTERS.towards(OTHERS), OTHERS)
    elected(replica, FOUR)
    assert "another change" in str(change(replica, of((ME, FOUR))).refused)
    agree(replica, FIVE)
    assert change(replica, of((ME, FOUR))).refused is None


def test_each_change_can_be_followed_by_another() -> None:
    replica = with_learners()
    for target in (OTHERS, of((ME, FOUR)), of((ME,)), of((ME,), (TWO,)), of((ME, TWO))):
        assert change(replica, target).refused is None
        while replica.unsettled:
            agree(replica)
        assert replica.configuration == target
        assert set(replica.progress) == {*target.members} - {ME}


def test_a_voter_may_become_a_learner() -> None:
    replica = ready()
    target = of((ME, TWO), (THREE,))
    assert change(replica, target).refused is None
    agree(replica)
    assert replica.configuration == target
    agree(replica, TWO)
    assert replica.commit_index == 3
    assert set(replica.progress) == {TWO, THREE}


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
    replica = told(of((TWO, THREE), (ME,)))
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


# What is refused.


def learner_that_lacks(lacks: int) -> Replica:
    replica = with_learners()
    propose(replica, *[b"x"] * lacks)
    return replica


def test_a_learner_votes_when_it_has_caught_up() -> None:
    target = of((ME, TWO, THREE, FOUR), (FIVE,))
    assert change(learner_that_lacks(CAUGHT_UP_ENTRIES), target).refused is None
    far_behind = learner_that_lacks(CAUGHT_UP_ENTRIES + 1)
    refused_by(far_behind, target, f"replica 4 lacks {CAUGHT_UP_ENTRIES + 1} entries")
    accept(far_behind, FOUR, 3)
    assert change(far_behind, target).refused is None


@pytest.mark.parametrize("mode", [Mode.PROBE, Mode.SNAPSHOT])
def test_a_learner_does_not_vote_while_it_is_not_known_to_follow(mode: Mode) -> None:
    replica = with_learners()
    replica.progress[FOUR].mode = mode
    refused_by(replica, of((ME, TWO, THREE, FOUR), (FIVE,)), "wait until it has caught up")


def refused_by(replica: Replica, target: Configuration, sentence: str, now_ms: float = 0.0) -> None:
    """Refused, and nothing has happened."""
    last_index, configuration = replica.log.last_index, replica.configuration
    effects = change(replica, target, now_ms)
    assert sentence in str(effects.refused)
    assert not effects.accepted
    assert effects.entries == effects.messages == []
    assert (replica.log.last_index, replica.configuration) == (last_index, configuration)


def in_handover() -> Replica:
    replica = with_learners()
    take(replica, Transfer(TWO))
    return replica


def new_leader() -> Replica:
    """Its first entry is on no other disk."""
    return leader(term=1)


def begun() -> Replica:
    replica = ready()
    change(replica, LEARNING)
    return replica


def half_way() -> Replica:
    """The joint configuration is committed; the new one is not."""
    replica = joint()
    agree(replica, TWO, FOUR)
    assert replica.configuration == OTHERS
    return replica


TOO_MANY = of((ME, TWO, FOUR), tuple(ReplicaId(1000 + n) for n in range(MAX_MEMBERS - 3)))
REFUSED: list[tuple[str, Callable[[], Replica], Configuration]] = [
    ("this replica does not lead", follower, LEARNING),
    ("this replica does not lead", lambda: told(LEARNING), OTHERS),
    ("another change is under way", new_leader, LEARNING),
    ("another change is under way", begun, THREE_VOTERS),
    ("another change is under way", joint, THREE_VOTERS),
    ("another change is under way", half_way, THREE_VOTERS),
    ("leadership is being handed over", in_handover, OTHERS),
    ("it is joint", with_learners, LEARNING.towards(OTHERS)),
    ("a group without voters", with_learners, of(())),
    ("a learner and a voter", with_learners, of((ME, TWO), (TWO,))),
    ("not every member has an address", with_learners, Configuration((ME,), {})),
    (f"{MAX_MEMBERS + 1} members", with_learners, TOO_MANY),
    ("replica 4 is no learner yet", ready, of((ME, TWO, THREE, FOUR))),
]


@pytest.mark.parametrize(("sentence", "make", "target"), REFUSED)
def test_a_change_is_refused_and_why(
    sentence: str, make: Callable[[], Replica], target: Configuration
) -> None:
    refused_by(make(), target, sentence)


def silent_but(*members: ReplicaId) -> Replica:
    """Only these have answered lately, by 5 s."""
    replica = with_learners()
    for member in members:
        receive(replica, member, AppendReply(1, True, 2), 5_000.0)
    return replica


def test_a_group_is_not_given_into_the_hands_of_who_does_not_answer() -> None:
    now_ms = 5_000.0 + TIMEOUT_MS
    sentence = "a majority of the new voters would be lost: [4, 5] do not answer"
    refused_by(silent_but(TWO, THREE), OTHERS, sentence, now_ms)
    refused_by(silent_but(TWO, FOUR), OTHERS, "", now_ms + 1)
    assert change(silent_but(TWO, FOUR), OTHERS, now_ms).refused is None


def test_who_does_not_answer_can_be_removed_and_can_stay_a_minority() -> None:
    now_ms = 5_000.0 + TIMEOUT_MS
    assert change(silent_but(TWO), of((ME, TWO)), now_ms).refused is None
    assert change(silent_but(TWO), of((ME, TWO, FOUR)), now_ms).refused is None
    refused_by(silent_but(TWO), of((TWO, THREE)), "[3] do not answer", now_ms)


def test_learners_need_not_answer() -> None:
    replica = silent_but(TWO)
    assert change(replica, of((ME, TWO, THREE), (FOUR,)), 9_000.0).refused is None


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


# It outlives the log that brought it.


def started(replica: Replica, configuration: Configuration) -> Replica:
    """It goes down with all that it has on its disk, and starts again."""
    persist(replica)
    log = Log(replica.log.base, log_of(replica))
    return Replica(
        replica.replica,
        configuration,
        log,
        replica.hard_state,
        now_ms=0.0,
        draw=lambda: 0.5,
        timing=TIMING,
        limits=Limits(),
        snapshot=replica.snapshot,
    )


def test_a_start_finds_it_in_the_log() -> None:
    replica = started(told(LEARNING, OTHERS), THREE_VOTERS)
    assert replica.configuration == OTHERS
    receive(replica, THREE, append(2, (2, 1), [2]))
    assert replica.configuration == LEARNING


def test_a_start_knows_no_more_than_the_founding_one_without_any() -> None:
    assert started(follower([1, 1]), group_of(5)).configuration == group_of(5)


def snapshotted(snapshot_index: int, cut_index: int) -> Replica:
    """It knows of one at 2 and one at 3, and of entries up to 4, all committed."""
    replica = told(LEARNING, OTHERS)
    receive(replica, TWO, append(1, (3, 1), [1], commit_index=4))
    configuration = replica.configuration_at(snapshot_index)
    snapshot = snapshot_at(snapshot_index, 1, ME, configuration)
    replica.snapshot = snapshot
    replica.forget_configurations(snapshot_index)
    replica.log.cut(cut_index)
    return replica


IN_FORCE = [(1, THREE_VOTERS), (2, LEARNING), (3, OTHERS), (4, OTHERS)]


@pytest.mark.parametrize(("index", "configuration"), IN_FORCE)
def test_a_snapshot_is_taken_with_the_one_in_force_at_its_index(
    index: int, configuration: Configuration
) -> None:
    assert snapshotted(index, index).snapshot == snapshot_at(index, 1, ME, configuration)
    for later, then in IN_FORCE[index - 1 :]:
        assert snapshotted(index, index).configuration_at(later) == then


@pytest.mark.parametrize("index", [1, 2, 3, 4])
@pytest.mark.parametrize("retained", [0, 1])
def test_a_start_finds_it_in_the_snapshot_or_behind_it(index: int, retained: int) -> None:
    replica = started(snapshotted(index, index - retained), group_of(5))
    assert replica.configuration == OTHERS
    for later, configuration in IN_FORCE[index - 1 :]:
        assert replica.configuration_at(later) == configuration


def test_a_joint_one_in_a_snapshot_is_brought_to_its_end() -> None:
    joint_one = THREE_VOTERS.towards(OTHERS)
    replica = follower(base=EntryId(7, 1))
    replica.snapshot = snapshot_at(7, 1, ME, joint_one)
    replica = started(replica, THREE_VOTERS)
    assert replica.configuration == joint_one
    elected(replica, TWO, FOUR)
    agree(replica, TWO, FOUR)
    agree(replica, FOUR)
    assert (replica.configuration, replica.unsettled) == (OTHERS, 0)


def installed(replica: Replica, index: int, term: int, configuration: Configuration) -> Effects:
    snapshot = snapshot_at(index, term, TWO, configuration)
    effects = take(replica, SnapshotInstalled(snapshot))
    assert replica.snapshot == snapshot
    return effects


def set_term(replica: Replica, term: int) -> None:
    receive(replica, TWO, AppendRequest(term, 0, 0, 0, []))


def test_a_snapshot_that_is_installed_brings_it() -> None:
    replica = follower([1, 1])
    set_term(replica, 3)
    effects = installed(replica, 9, 3, LEARNING)
    assert replica.configuration == effects.configuration == LEARNING
    assert started(replica, THREE_VOTERS).configuration == LEARNING


def test_what_follows_an_installed_snapshot_stays_in_force_if_it_is_of_its_history() -> None:
    replica = told(LEARNING, OTHERS)
    assert installed(replica, 2, 1, LEARNING).configuration is None
    assert replica.configuration == OTHERS
    receive(replica, THREE, append(2, (2, 1), [2]))
    assert replica.configuration == LEARNING


def test_what_follows_goes_with_its_entries_if_it_is_not() -> None:
    replica = told(LEARNING, OTHERS)
    set_term(replica, 2)
    assert installed(replica, 2, 2, THREE_VOTERS).configuration == THREE_VOTERS
    assert replica.configuration == THREE_VOTERS


def test_a_leader_believes_its_own_log_about_what_is_in_force() -> None:
    """It was offered the snapshot before it was elected, by somebody who lied about the members."""
    replica = told(LEARNING)
    elected(replica, TWO)
    installed(replica, 2, 1, OTHERS)
    assert replica.configuration == LEARNING
    take(replica, Tick(), replica.next_deadline_ms)
    agree(replica, TWO)
    assert replica.commit_index == 3
