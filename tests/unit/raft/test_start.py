"""What a replica starts from: the log, the snapshot, and the term that both imply."""

from collections.abc import Callable

import pytest
from raft_replicas import entries, snapshot_at

from quorate.base.errors import ReplicaDamaged
from quorate.base.ids import ClusterId, GroupId, NodeId, ReplicaId
from quorate.raft.core.entries import NOBODY, EntryId, HardState, Snapshot
from quorate.raft.snapshotter import start_of_log, start_of_term
from quorate.raft.wal import Recovered, Wal
from quorate.runtime.ports import World
from quorate.runtime.simulated.world import Simulation

GROUP = GroupId(1)
CLUSTER, NODE = ClusterId("c" * 32), NodeId(1)


def with_wal(work: Callable[[Wal], None]) -> Recovered:
    """What the log of an empty node says of the group after ``work``."""
    found: list[Recovered] = []

    async def main(world: World) -> None:
        await Wal.create(world.disk, CLUSTER, NODE, segment_bytes=1 << 16)
        wal, _ = await Wal.open(world.disk, CLUSTER, NODE, segment_bytes=1 << 16)
        work(wal)
        await wal.sync()
        wal.close()
        _, recovered = await Wal.open(world.disk, CLUSTER, NODE, segment_bytes=1 << 16)
        found.append(recovered.get(GROUP, Recovered(HardState(), 0, 0, [])))

    with Simulation(1) as simulation:
        process = simulation.machine("n1").start_process("raft", main)
        simulation.run_until(lambda: not process.alive, 10_000)
        assert process.error is None
    return found[0]


def test_a_snapshot_of_a_later_term_brings_its_term_and_no_vote() -> None:
    """It reached the disk before the term did: no vote of that term has left this node."""
    voted = HardState(3, ReplicaId(2))

    def work(wal: Wal) -> None:
        state = start_of_term(wal, GROUP, voted, snapshot_at(9, 5))
        assert state == HardState(5, NOBODY)

    assert with_wal(work).state == HardState(5, NOBODY)  # and it is on the disk from now on


@pytest.mark.parametrize("snapshot", [None, snapshot_at(9, 2), snapshot_at(9, 3)])
def test_otherwise_term_and_vote_are_what_the_log_says(snapshot: Snapshot | None) -> None:
    voted = HardState(3, ReplicaId(2))

    def work(wal: Wal) -> None:
        assert start_of_term(wal, GROUP, voted, snapshot) == voted

    assert with_wal(work).state == HardState()  # nothing was written


def test_a_log_of_another_history_than_the_snapshot_is_cut_and_one_of_the_same_is_kept() -> None:
    def work(wal: Wal) -> None:
        wal.append(GROUP, entries([1, 1, 1]))
        found = Recovered(HardState(3), 0, 0, entries([1, 1, 1]))
        same = start_of_log(wal, GROUP, found, snapshot_at(2, 1))
        assert (same.base, same.last_index) == (EntryId(0, 0), 3)
        other = start_of_log(wal, GROUP, found, snapshot_at(2, 2))
        assert (other.base, other.last_index) == (EntryId(2, 2), 2)

    after = with_wal(work)
    assert (after.cut_index, after.cut_term, after.entries) == (2, 2, [])


def test_a_log_that_was_cut_beyond_the_snapshot_has_lost_its_state() -> None:
    def work(wal: Wal) -> None:
        found = Recovered(HardState(3), 5, 2, [])
        with pytest.raises(ReplicaDamaged, match="rebuilt from the others"):
            start_of_log(wal, GROUP, found, snapshot_at(4, 2))

    with_wal(work)
