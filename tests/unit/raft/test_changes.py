"""Two who change the members of a group at a time do not undo each other."""

from raft_replicas import ME, THREE, TWO, group_of

from quorate.base.ids import Address, ReplicaId
from quorate.raft.changes import _step, _way
from quorate.raft.core.configuration import Configuration, founding

FOUR, FIVE = ReplicaId(4), ReplicaId(5)
NOW = group_of(3)


def grown(*new: ReplicaId) -> Configuration:
    return founding({**NOW.addresses, **{replica: Address(f"m{replica}:raft") for replica in new}})


def test_all_that_a_change_passes_through_is_expected() -> None:
    target = grown(FOUR)
    learning = _step(NOW, target)
    joint = learning.towards(target)
    assert joint.is_joint
    for passed in (NOW, learning, joint, joint.after()):
        assert passed in _way(NOW, target)
    assert joint in _way(joint, target)


def test_what_somebody_else_made_of_it_is_not() -> None:
    target = grown(FOUR)
    for other in (grown(FIVE), _step(NOW, grown(FIVE)), grown(FOUR, FIVE), group_of(2)):
        assert other not in _way(NOW, target)


def test_names_go_the_way_with_their_replicas() -> None:
    names = {ME: "a", TWO: "b", THREE: "c", FOUR: "d"}
    now = founding(NOW.addresses, {replica: names[replica] for replica in NOW.voters})
    target = founding(grown(FOUR).addresses, names)
    assert _step(now, target).names == names
    joint = now.towards(founding({FOUR: Address("m4:raft")}, {FOUR: "d"}))
    assert joint.names == names and joint.after().names == {FOUR: "d"}
