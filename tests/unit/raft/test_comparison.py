"""Whose word makes a replica discard itself, and whose digests a leader keeps."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from quorate.base.codec import Notice
from quorate.base.errors import DiskFull, ProtocolError, ReplicaDamaged
from quorate.base.ids import REPLICAS_PER_GROUP, Address, GroupId, NodeId, ReplicaId
from quorate.raft.core.configuration import founding
from quorate.raft.core.entries import NOBODY
from quorate.raft.core.replica import Role
from quorate.raft.digests import EVERY, QUARANTINE_FILE, Comparison
from quorate.raft.messages import DigestNotice, DivergedNotice
from quorate.runtime.ports import World
from quorate.runtime.simulated.world import Simulation

GROUP = GroupId(1)
ME, LEADER, THREE, STRANGER = (ReplicaId(REPLICAS_PER_GROUP + node) for node in (1, 2, 3, 9))
MEMBERS = founding({replica: Address(f"m{replica}:raft") for replica in (ME, LEADER, THREE)})


class Compared:
    """One replica's comparison, and whether it has ended."""

    def __init__(self, role: Role = Role.FOLLOWER) -> None:
        self.sent: list[Notice] = []
        self.ended = False
        self.replica = SimpleNamespace(
            replica=ME,
            leader=LEADER,
            role=role,
            configuration=MEMBERS,
            log=SimpleNamespace(last_index=2 * EVERY),
        )

        def spawn(work: Any, name: str) -> None:
            work.close()
            self.ended = True

        self.errors: list[str] = []
        trace = SimpleNamespace(event=lambda name, **facts: None, error=self.errors.append)
        world = cast(World, SimpleNamespace(spawn=spawn, trace=trace))
        self.comparison = Comparison(
            world,
            GROUP,
            cast(Any, self.replica),
            MEMBERS.addresses,
            lambda: 7,
            lambda address, notice: self.sent.append(notice),
        )


def told(index: int = EVERY, replica: ReplicaId = ME) -> DivergedNotice:
    return DivergedNotice(GROUP, replica, index)


def test_a_follower_believes_its_leader_about_what_it_has_told_it() -> None:
    one = Compared()
    one.comparison.applied(EVERY)
    assert one.sent == [DigestNotice(GROUP, ME, EVERY, 7)]
    one.comparison.told(told(), NodeId(2))
    assert one.ended


@pytest.mark.parametrize(
    ("notice", "node", "leader"),
    [
        (told(), 3, LEADER),
        (told(), 0, LEADER),
        (told(), 1, ME),
        (told(), 0, NOBODY),
        (told(2 * EVERY), 2, LEADER),
        (told(replica=THREE), 2, LEADER),
    ],
    ids=["a follower", "a client", "itself", "no leader", "never told", "of another"],
)
def test_nobody_else_makes_a_replica_discard_itself(
    notice: DivergedNotice, node: int, leader: ReplicaId
) -> None:
    one = Compared()
    one.comparison.applied(EVERY)
    one.replica.leader = leader
    one.comparison.told(notice, NodeId(node))
    assert not one.ended


def test_a_leader_keeps_digests_of_members_and_of_indexes_where_they_are_told() -> None:
    one = Compared(Role.LEADER)
    one.comparison.hear(DigestNotice(GROUP, STRANGER, EVERY, 7))
    for index in (1, EVERY + 1, 3 * EVERY, -EVERY - 1):
        with pytest.raises(ProtocolError, match="where none is told"):
            one.comparison.hear(DigestNotice(GROUP, THREE, index, 7))
    assert one.comparison._digests._said == {}
    one.comparison.hear(DigestNotice(GROUP, THREE, EVERY, 7))
    assert one.comparison._digests._said == {EVERY: {THREE: 7}}


def test_a_leader_that_finds_a_member_diverged_tells_it_and_once_its_operator() -> None:
    one = Compared(Role.LEADER)
    for index in (EVERY, 2 * EVERY):
        for replica, digest in ((ME, 7), (LEADER, 7), (THREE, 8)):
            one.comparison.hear(DigestNotice(GROUP, replica, index, digest))
    assert one.sent == [told(EVERY, THREE), told(2 * EVERY, THREE)]
    assert one.comparison.seen == {THREE: EVERY}
    [sentence] = one.errors
    assert f"on replica {THREE} differs from the majority's at index {EVERY}" in sentence


def test_a_replica_without_room_for_the_record_ends_as_diverged_all_the_same() -> None:
    with Simulation(1) as simulation:
        machine = simulation.machine("m1")
        machine.disk.faults.capacity_bytes = 0

        async def main(world: World) -> None:
            replica = cast(Any, SimpleNamespace(replica=ME, leader=LEADER, role=Role.FOLLOWER))
            comparison = Comparison(
                world, GROUP, replica, MEMBERS.addresses, lambda: 7, lambda address, notice: None
            )
            comparison.applied(EVERY)
            comparison.told(told(), NodeId(2))
            await world.clock.sleep(10_000)

        process = machine.start_process("raft", main)
        simulation.run_until(lambda: not process.alive, 20_000)
        assert not isinstance(process.error, DiskFull)
        assert isinstance(process.error, ReplicaDamaged)
        assert "differs from that of the majority" in str(process.error)
        with pytest.raises(AssertionError):
            assert machine.disk.found(("raft", QUARANTINE_FILE)) is not None
