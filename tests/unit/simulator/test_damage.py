"""Where bits flip; and what flips under a running leader is found by whom it is sent to."""

import random
from collections.abc import Iterator
from contextlib import contextmanager

from quorate.base import sometimes
from quorate.base.ids import GroupId
from quorate.raft.client import GroupClient
from quorate.raft.core.settings import Limits, Timing
from quorate.runtime.ports import World
from quorate.runtime.simulated.inodes import FileInode
from quorate.runtime.simulated.world import Simulation
from quorate.simulator.cluster import RaftCluster
from quorate.simulator.nemeses.damage import Rot, _segments, _snapshots, flip_bit
from quorate.simulator.workloads.lists import Append

GROUP = GroupId(1)


async def _append(world: World, clients: list[GroupClient]) -> None:
    for number in range(60):
        await clients[0].execute(Append(str(number % 3), "x" * 2_000), timeout_ms=20_000)


@contextmanager
def loaded(seed: int, *, behind: bool = False) -> Iterator[tuple[RaftCluster, str, str]]:
    """Three nodes with snapshots and more than one segment, the leader, and a follower, which is
    down since long if it is to be ``behind``."""
    with Simulation(seed) as simulation:
        limits = Limits(snapshot_log_bytes=20_000, retained_log_bytes=2_000)
        cluster = RaftCluster(simulation, 3, timing=Timing(50, 300), limits=limits)
        cluster.found()
        simulation.run_until(lambda: cluster.leader(GROUP) is not None, 30_000)
        follower = next(name for name in cluster.names if name != cluster.leader(GROUP))
        if behind:
            cluster.kill(follower)
        client = cluster.start_client("client", _append)
        simulation.run_until(lambda: not client.alive, 60_000)
        assert client.error is None
        simulation.run_for(2_000)
        leader = cluster.leader(GROUP)
        assert leader is not None
        yield cluster, leader, follower


def test_bits_flip_in_the_last_batch_in_older_ones_and_in_snapshots() -> None:
    with loaded(1) as (cluster, leader, _):
        disk = cluster.simulation.machine(leader).disk
        newest = _segments(disk)[-1]
        older, snapshots = _segments(disk)[:-1], list(_snapshots(disk).values())
        assert older and snapshots
        hit = {"newest": 0, "older": 0, "snapshot": 0}
        for seed in range(60):
            files = [newest, *older, *snapshots]
            before = [bytes(file.current) for file in files]
            flip_bit(disk, random.Random(seed))
            [changed] = [f for f, was in zip(files, before, strict=True) if f.current != was]
            kind = "snapshot" if changed in snapshots else "older"
            hit["newest" if changed is newest else kind] += 1
            _restore(files, before)
        assert min(hit.values()) >= 5, hit


def _restore(files: list[FileInode], before: list[bytes]) -> None:
    for file, was in zip(files, before, strict=True):
        for offset, (now, then) in enumerate(zip(bytes(file.current), was, strict=True)):
            if now != then:
                file.flip_bit(offset, (now ^ then).bit_length() - 1)


def test_what_rots_under_a_leader_is_replaced_when_it_is_sent() -> None:
    with loaded(2, behind=True) as (cluster, leader, follower):
        simulation = cluster.simulation
        rot = Rot(simulation, cluster)
        assert rot.strike(follower, random.Random(1))
        before = sometimes.seen().get("damaged snapshot replaced", 0)
        cluster.start(follower)
        index = cluster.raft_nodes[leader].groups[GROUP].last_applied
        simulation.run_until(
            lambda: cluster.raft_nodes[follower].groups[GROUP].last_applied >= index, 30_000
        )
        assert sometimes.seen()["damaged snapshot replaced"] == before + 1


def test_what_rots_is_as_it_was_when_the_process_has_ended() -> None:
    with loaded(3, behind=True) as (cluster, leader, follower):
        rot = Rot(cluster.simulation, cluster)
        assert rot.strike(follower, random.Random(1))
        rot.over(leader)  # it runs
        cluster.kill(leader)
        rot.over(leader)
        cluster.start(leader)
        cluster.simulation.run_for(3_000)
        assert cluster.is_up(leader)
