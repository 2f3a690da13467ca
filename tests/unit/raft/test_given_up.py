"""Members that a recovery gave up: whatever they say is not heard, now and after later changes."""

from raft_replicas import ME, THREE, TWO, configured, group_of
from unit.raft.test_driver import GROUPS, Desk, play

from quorate.base.ids import Address, ReplicaId
from quorate.raft.core.configuration import MAX_LOST, Configuration, fault_of
from quorate.raft.core.messages import AppendRequest, Message, VoteRequest

ALONE = Configuration((ME,), {ME: Address("m1:raft")}, lost=(TWO, THREE))
NEW = ReplicaId(7)


def test_the_old_majority_is_neither_obeyed_nor_answered() -> None:
    async def scenario(desk: Desk) -> None:
        replica = desk.replicas[0]
        desk.hear(AppendRequest(1, 0, 0, 1, [configured(1, 1, ALONE)]), sender=TWO)
        assert replica.configuration == ALONE
        await desk.pass_ms(200)
        desk.take()
        later = 50_000_000
        said: list[Message] = [
            VoteRequest(later, 99, later - 1, pre_vote=True),
            VoteRequest(later, 99, later - 1),
            AppendRequest(later, 0, 0, 0, [configured(1, later, group_of(3))]),
        ]
        for sender in (TWO, THREE):
            desk.hear(*said, sender=sender)
        await desk.pass_ms(200)
        assert desk.take() == [] and replica.term == 1 and replica.configuration == ALONE
        assert set(desk.driver.heard_ms(GROUPS[0])) == set()

    play(scenario)


def test_who_was_given_up_stays_out_through_every_change() -> None:
    grown = Configuration((ME, NEW), {ME: Address("m1"), NEW: Address("m7")}, lost=ALONE.lost)
    joint = ALONE.towards(grown)
    assert joint.is_joint and joint.lost == ALONE.lost
    assert joint.after() == grown and fault_of(joint) is None


def test_who_was_given_up_is_never_a_member_again() -> None:
    again = Configuration((ME, TWO), {ME: Address("m1"), TWO: Address("m2")}, lost=(TWO,))
    assert "given up" in (fault_of(again) or "")
    many = tuple(ReplicaId(number) for number in range(10, 11 + MAX_LOST))
    assert fault_of(Configuration((ME,), {ME: Address("m1")}, lost=many)) is not None
