"""Changes of the members, rule by rule: Raft §6.  What is in force, and how a change goes on.

Of one replica each; that all together stay safe is the matter of ``paper/test_figure_3.py``.
"""

import msgspec
import pytest
from raft_members import (
    LEARNING,
    OTHERS,
    THREE_VOTERS,
    WITHOUT_ME,
    agree,
    change,
    elected,
    installed,
    joint,
    of,
    ready,
    sent_to,
    started,
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
    configured,
    entry,
    follower,
    group_of,
    log_of,
    noop,
    persist,
    receive,
    snapshot_at,
    take,
    take_whole,
    timeout,
)

from quorate.base.ids import Address, ReplicaId
from quorate.raft.core.configuration import Configuration
from quorate.raft.core.entries import EntryId
from quorate.raft.core.events import Compact, Read, ReadReady, Receive, SnapshotTaken, Tick
from quorate.raft.core.messages import AppendReply, AppendRequest, VoteReply
from quorate.raft.core.replica import Replica, Role
from quorate.raft.core.settings import Limits

TIMEOUT_MS = TIMING.election_timeout_ms


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


def test_who_was_made_a_voter_by_an_entry_that_is_given_up_stands_no_more() -> None:
    replica = told(THREE_VOTERS.towards(OTHERS), me=FOUR)
    timeout(replica)
    assert replica.role is Role.PRE_CANDIDATE
    receive(replica, THREE, append(2, (1, 1), [2]))
    persist(replica)
    timeout(replica)
    assert replica.role is Role.FOLLOWER


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


# It outlives the log that brought it.


def test_a_start_finds_it_in_the_log() -> None:
    replica = started(told(LEARNING, OTHERS), THREE_VOTERS)
    assert replica.configuration == OTHERS
    receive(replica, THREE, append(2, (2, 1), [2]))
    assert replica.configuration == LEARNING


def test_a_start_knows_no_more_than_the_founding_one_without_any() -> None:
    assert started(follower([1, 1]), group_of(5)).configuration == group_of(5)


def snapshotted(index: int, retained_bytes: int = 0) -> Replica:
    """It knows of one at 2 and one at 3, and of entries up to 4, all committed; and has taken a
    snapshot."""
    replica = told(LEARNING, OTHERS)
    receive(replica, TWO, append(1, (3, 1), [1], commit_index=4))
    configuration = replica.configuration_at(index)
    replica.limits = Limits(retained_log_bytes=retained_bytes)
    take(replica, SnapshotTaken(snapshot_at(index, 1, ME, configuration)))
    take(replica, Compact(10))
    return replica


IN_FORCE = [(1, THREE_VOTERS), (2, LEARNING), (3, OTHERS), (4, OTHERS)]


@pytest.mark.parametrize(("index", "configuration"), IN_FORCE)
def test_a_snapshot_is_taken_with_the_one_in_force_at_its_index(
    index: int, configuration: Configuration
) -> None:
    replica = snapshotted(index)
    assert replica.snapshot == snapshot_at(index, 1, ME, configuration)
    assert replica.log.base.index == index
    for later, then in IN_FORCE[index - 1 :]:
        assert replica.configuration_at(later) == then


@pytest.mark.parametrize("index", [1, 2, 3, 4])
@pytest.mark.parametrize("retained_bytes", [0, 1_000])
def test_a_start_finds_it_in_the_snapshot_or_behind_it(index: int, retained_bytes: int) -> None:
    replica = started(snapshotted(index, retained_bytes), group_of(5))
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
