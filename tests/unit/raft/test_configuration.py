"""Configurations by themselves: what a majority is, what follows what, and what cannot be."""

from itertools import chain, combinations, pairwise

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from raft_replicas import FIVE, FOUR, ME, THREE, TWO, group_of

from quorate.base.codec import decode, encode
from quorate.base.ids import Address, ReplicaId
from quorate.raft.core.configuration import (
    MAX_MEMBERS,
    Configuration,
    fault_of,
    founding,
)
from quorate.raft.snapshots.format import MEMBERS_BYTES

SEVEN = [ReplicaId(number) for number in range(1, 8)]


def of(
    voters: tuple[int, ...], learners: tuple[int, ...] = (), old_voters: tuple[int, ...] = ()
) -> Configuration:
    """With an address for everybody."""
    addresses = {ReplicaId(n): Address(f"m{n}:raft") for n in (*voters, *learners, *old_voters)}
    [v, w, x] = [tuple(map(ReplicaId, group)) for group in (voters, learners, old_voters)]
    return Configuration(v, addresses, w, x)


@st.composite
def settled(draw: st.DrawFn) -> Configuration:
    """Any that is not joint, of one to seven members."""
    voters = draw(st.lists(st.sampled_from(SEVEN), min_size=1, max_size=5, unique=True))
    others = [replica for replica in SEVEN if replica not in voters]
    learners = draw(st.lists(st.sampled_from(others), max_size=2, unique=True))
    return of(tuple(voters), tuple(learners))


# Majorities.


def quorums(configuration: Configuration) -> list[set[ReplicaId]]:
    """All sets of members that are one."""
    members = configuration.members
    sets = chain.from_iterable(combinations(members, n) for n in range(len(members) + 1))
    return [set(some) for some in sets if configuration.is_quorum(lambda r, s=some: r in s)]  # type: ignore[misc]


@pytest.mark.parametrize(("voters", "enough"), [(1, 1), (2, 2), (3, 2), (4, 3), (5, 3), (6, 4)])
def test_a_majority_is_more_than_half_of_the_voters(voters: int, enough: int) -> None:
    assert min(map(len, quorums(group_of(voters)))) == enough
    assert all(len(some) >= enough for some in quorums(group_of(voters)))


def test_while_joint_a_majority_of_the_old_and_one_of_the_new_are_needed() -> None:
    joint = of((3, 4, 5), (), (1, 2, 3))
    found = quorums(joint)
    for some in ({1, 2, 4, 5}, {1, 3, 4}, {2, 3, 5}):
        assert some in found
    for too_few in ({1, 2, 3}, {3, 4, 5}, {1, 2}, {4, 5}, {1, 4}, {3}):
        assert too_few not in found


def test_learners_count_for_nothing() -> None:
    some = of((1, 2, 3), (4, 5))
    assert not some.is_quorum(lambda replica: replica in (ME, FOUR, FIVE))
    assert some.is_quorum(lambda replica: replica in (ME, TWO))
    assert some.reached({ME: 9, TWO: 3, THREE: 1, FOUR: 9, FIVE: 9}.__getitem__) == 3


def test_what_is_reached_is_the_highest_value_of_a_majority() -> None:
    values = {ME: 7, TWO: 5, THREE: 2, FOUR: 4}
    assert group_of(1).reached(values.__getitem__) == 7
    assert group_of(2).reached(values.__getitem__) == 5
    assert group_of(3).reached(values.__getitem__) == 5
    assert group_of(4).reached(values.__getitem__) == 4
    assert of((1, 2), (), (2, 3, 4)).reached(values.__getitem__) == 4
    assert of((2, 3, 4), (), (1, 2)).reached(values.__getitem__) == 4


@given(settled(), st.none() | settled(), st.lists(st.integers(0, 9), min_size=8, max_size=8))
def test_reached_and_is_quorum_say_the_same(
    old: Configuration, new: Configuration | None, values: list[int]
) -> None:
    configuration = old.towards(new) if new else old
    reached = configuration.reached(values.__getitem__)
    for value in range(10):
        assert configuration.is_quorum(lambda r, v=value: values[r] >= v) == (value <= reached)  # type: ignore[misc]


@given(settled(), settled())
def test_any_two_majorities_on_the_way_from_one_to_another_meet(
    old: Configuration, target: Configuration
) -> None:
    """Raft §6: no moment has two that decide apart, whatever changes at once."""
    step = old.towards(target)
    way = [old, step, step.after()] if step.is_joint else [old, step]
    for first, second in [*zip(way, way, strict=True), *pairwise(way)]:
        for some in quorums(first):
            for others in quorums(second):
                voters = {*first.electors} & {*second.electors}
                assert some & others & voters, f"{some} of {first} and {others} of {second}"


def test_without_the_joint_step_they_would_not_meet() -> None:
    """That the test above can fail: Raft figure 10."""
    assert {ME, TWO} in quorums(group_of(3))
    assert {THREE, FOUR, FIVE} in quorums(group_of(5))


# What follows what.


def test_other_voters_come_by_way_of_a_joint_configuration() -> None:
    joint = group_of(3).towards(of((3, 4)))
    assert joint == of((3, 4), (), (1, 2, 3))
    assert joint.is_joint
    assert joint.electors == (THREE, FOUR, ME, TWO)
    assert joint.after() == of((3, 4))


@pytest.mark.parametrize("target", [of((1, 2, 3), (4,)), of((3, 1, 2)), of((1, 2, 3))])
def test_other_learners_come_at_once(target: Configuration) -> None:
    assert group_of(3).towards(target) == target
    assert not group_of(3).towards(target).is_joint


def test_a_voter_that_becomes_a_learner_votes_until_the_change_is_over() -> None:
    joint = group_of(3).towards(of((1, 2), (3,)))
    assert THREE in joint.electors
    assert joint.members == (ME, TWO, THREE)
    assert joint.after() == of((1, 2), (3,))


def test_who_leaves_has_an_address_as_long_as_it_is_a_member() -> None:
    joint = of((1, 2, 3), (4, 5)).towards(of((1, 2, 4)))
    assert set(joint.addresses) == {ME, TWO, THREE, FOUR}
    assert set(joint.after().addresses) == {ME, TWO, FOUR}


def test_a_member_that_has_moved_is_known_by_its_new_address() -> None:
    moved = founding({**group_of(2).addresses, TWO: Address("elsewhere:raft")})
    assert group_of(2).towards(moved) == moved
    assert group_of(3).towards(moved).addresses[TWO] == "elsewhere:raft"
    assert group_of(3).towards(moved).addresses[THREE] == "m3:raft"


@given(settled(), settled())
def test_each_step_can_be_and_ends_where_it_should(
    old: Configuration, target: Configuration
) -> None:
    assume(old != target)
    step = old.towards(target)
    assert fault_of(old) is fault_of(step) is fault_of(target) is None
    assert (step.after() if step.is_joint else step) == target
    assert {*step.members} >= {*target.members}
    assert decode(encode(step), Configuration) == step


# What cannot be.

FAULTS: dict[str, tuple[str, Configuration]] = {
    "nobody votes": ("without voters", of((), (1,))),
    "nobody is there": ("without voters", of(())),
    "a voter twice": ("stands there twice", of((1, 2, 1))),
    "a learner twice": ("stands there twice", of((1,), (2, 2))),
    "an old voter twice": ("stands there twice", of((1,), (), (2, 2))),
    "nobody's id": ("has no id", of((0, 1))),
    "an id below any": ("has no id", of((1,), (-1,))),
    "a learner that votes": ("a learner and a voter", of((1, 2), (2,))),
    "an address too few": (
        "not every member has an address",
        Configuration((ME, TWO), {ME: Address("m")}),
    ),
    "an address too many": (
        "not every member has an address",
        Configuration((ME,), {ME: Address("m"), TWO: Address("m")}),
    ),
    "a name of nobody": (
        "a name of who is no member",
        founding({ME: Address("m")}, {ME: "a", TWO: "b"}),
    ),
    "a name that is none": ("is no name", founding({ME: Address("m")}, {ME: "../a"})),
    "too many": (f"{MAX_MEMBERS + 1} members", group_of(MAX_MEMBERS + 1)),
    "too many while joint": (
        f"{MAX_MEMBERS + 1} members",
        of(tuple(range(1, MAX_MEMBERS + 1)), (), (MAX_MEMBERS + 1,)),
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_configuration_cannot_be_with(name: str) -> None:
    sentence, configuration = FAULTS[name]
    assert sentence in str(fault_of(configuration))


@pytest.mark.parametrize(
    "configuration",
    [of((1,)), of((5, 3)), of((1, 2), (3,)), of((1,), (), (1,)), of((1,), (2,), (2, 3))],
)
def test_a_configuration_can_be(configuration: Configuration) -> None:
    assert fault_of(configuration) is None
    assert fault_of(group_of(MAX_MEMBERS)) is None


def test_whatever_can_be_fits_into_the_head_of_a_snapshot() -> None:
    """Or a snapshot would not be found again."""
    for length in (10, 200, 256, 400, 100_000):
        members = [ReplicaId((1 << 64) - 1 - n) for n in range(MAX_MEMBERS)]
        addresses = {member: Address("n" * length) for member in members}
        names = dict.fromkeys(members, "n" * min(length, 63))
        largest = Configuration(tuple(members), addresses, (), tuple(members), names)
        if fault_of(largest) is None:
            assert len(encode(largest)) <= MEMBERS_BYTES
    assert fault_of(founding({ME: Address("n" * 200)})) is None
