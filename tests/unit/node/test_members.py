"""Plans of changes: what a group's members are to be, given what they are."""

import pytest

from quorate.base.errors import BadInput, NotFound
from quorate.base.ids import NAMESPACE_GROUP, Address, NodeId
from quorate.node.identity import founding_replica
from quorate.node.members import is_so, machines_in, moved, named, with_learner, with_voter, without
from quorate.node.messages import NodeEntry
from quorate.raft.core.configuration import Configuration, fault_of, founding
from quorate.raft.messages import Members

ONE, TWO, NEW = (founding_replica(NAMESPACE_GROUP, NodeId(node)) for node in (1, 2, 70_000))
GROUP = founding({ONE: Address("a:1"), TWO: Address("b:1")}, {ONE: "a", TWO: "b"})
MACHINE = NodeEntry(NodeId(70_000), "c", Address("c:1"))


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
    replaced = after(with_voter(MACHINE, NodeId(1))(NAMESPACE_GROUP, GROUP))
    assert replaced.voters == (TWO, NEW) and set(replaced.names.values()) == {"b", "c"}
    assert is_so(replaced, with_voter(MACHINE, NodeId(1))(NAMESPACE_GROUP, replaced))


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
