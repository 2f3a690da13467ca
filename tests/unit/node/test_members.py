"""Plans of changes: what a group's members are to be, given what they are."""

import pytest

from quorate.base.errors import BadInput, NotFound
from quorate.base.ids import NAMESPACE_GROUP, Address, NodeId
from quorate.node.identity import founding_replica
from quorate.node.members import (
    in_place_of,
    is_so,
    machines_in,
    moved,
    named,
    with_learner,
    with_voter,
    without,
)
from quorate.node.messages import NodeEntry
from quorate.raft.core.configuration import Configuration, fault_of, founding
from quorate.raft.messages import Members

ONE, TWO, NEW = (founding_replica(NAMESPACE_GROUP, NodeId(node)) for node in (1, 2, 70_000))
GROUP = founding({ONE: Address("a:1"), TWO: Address("b:1")}, {ONE: "a", TWO: "b"})
NEW_NODE = NodeId(70_000)
MACHINE = NodeEntry(NEW_NODE, "c", Address("c:1"))
REBUILT = NodeEntry(NEW_NODE, "b", Address("b:1"))


def after(members: Members) -> Configuration:
    """The configuration that these members are."""
    made = Configuration(members.voters, members.addresses, members.learners, names=members.names)
    assert fault_of(made) is None
    return made


def test_a_machine_is_a_learner_and_then_a_voter_and_each_step_is_done_once() -> None:
    learning = after(with_learner(MACHINE)(NAMESPACE_GROUP, GROUP))
    assert (learning.voters, learning.learners) == ((ONE, TWO), (NEW,))
    assert is_so(learning, with_learner(MACHINE)(NAMESPACE_GROUP, learning))
    voting = after(with_voter(MACHINE)(NAMESPACE_GROUP, learning))
    assert (voting.voters, voting.learners, voting.names[NEW]) == ((ONE, TWO, NEW), (), "c")
    assert is_so(voting, with_voter(MACHINE)(NAMESPACE_GROUP, voting))
    assert is_so(voting, with_learner(MACHINE)(NAMESPACE_GROUP, voting))


def test_a_machine_takes_the_place_of_another_in_one_change() -> None:
    learning = after(with_learner(MACHINE)(NAMESPACE_GROUP, GROUP))
    plan = in_place_of([NodeId(1)], MACHINE)
    replaced = after(plan(NAMESPACE_GROUP, learning))
    assert replaced.voters == (TWO, NEW) and set(replaced.names.values()) == {"b", "c"}
    assert replaced.learners == () and is_so(replaced, plan(NAMESPACE_GROUP, replaced))


def test_a_rebuilt_machine_takes_its_own_place_whatever_that_was() -> None:
    plan = in_place_of([NodeId(2)], REBUILT)
    voting = after(plan(NAMESPACE_GROUP, GROUP))
    assert (voting.voters, voting.learners) == ((ONE, NEW), ())
    assert (voting.names, voting.addresses[NEW]) == ({ONE: "a", NEW: "b"}, "b:1")
    assert is_so(voting, plan(NAMESPACE_GROUP, voting))
    halfway = after(with_learner(REBUILT)(NAMESPACE_GROUP, GROUP))
    assert after(plan(NAMESPACE_GROUP, halfway)) == voting
    learner = after(Members((ONE,), GROUP.addresses, (TWO,), GROUP.names))
    learning = after(plan(NAMESPACE_GROUP, learner))
    assert (learning.voters, learning.learners) == ((ONE,), (NEW,))
    assert is_so(learning, plan(NAMESPACE_GROUP, learning))
    removed = after(without(NodeId(2))(NAMESPACE_GROUP, GROUP))
    assert is_so(removed, plan(NAMESPACE_GROUP, removed)), "who was removed stays so"


def test_a_machine_that_is_damaged_again_while_it_is_rebuilt_leaves_nothing_behind() -> None:
    halfway = after(with_learner(REBUILT)(NAMESPACE_GROUP, GROUP))
    third = NodeEntry(NodeId(80_000), "b", Address("b:1"))
    whole = after(in_place_of([NodeId(2), NEW_NODE], third)(NAMESPACE_GROUP, halfway))
    last = founding_replica(NAMESPACE_GROUP, NodeId(80_000))
    assert whole.members == (ONE, last) and whole.voters == (ONE, last)


def test_who_leaves_leaves_nothing_behind_and_the_last_voter_stays() -> None:
    left = after(without(NodeId(1))(NAMESPACE_GROUP, GROUP))
    assert left == founding({TWO: Address("b:1")}, {TWO: "b"})
    assert is_so(left, without(NodeId(1))(NAMESPACE_GROUP, left))
    with pytest.raises(BadInput, match="b is the last voter of the group namespace"):
        without(NodeId(2))(NAMESPACE_GROUP, left)


def test_a_machine_that_moved_keeps_its_vote() -> None:
    there = after(moved(NodeEntry(NodeId(2), "b", Address("b:2")))(NAMESPACE_GROUP, GROUP))
    assert there.voters == GROUP.voters and there.addresses[TWO] == "b:2"
    assert is_so(GROUP, moved(MACHINE)(NAMESPACE_GROUP, GROUP))  # it does not belong here


def test_a_name_that_nobody_has_is_a_sentence_with_those_that_there_are() -> None:
    with pytest.raises(NotFound, match="called 'z': it has a, b"):
        named(machines_in([GROUP]), "z")
