"""Raft groups under faults: seeds of the swarm, and single faults that must end in one way."""

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from quorate.base.errors import BadConfiguration, DiskFailed, DiskFull
from quorate.base.ids import GroupId, ReplicaId
from quorate.raft.core.settings import Timing
from quorate.raft.wal import Damaged
from quorate.runtime.simulated.disk import SimulatedDisk
from quorate.runtime.simulated.process import SimulatedProcess
from quorate.runtime.simulated.world import Simulation
from quorate.simulator.cluster import SEGMENT_BYTES, RaftCluster, name_of
from quorate.simulator.nemeses.faults import NOISES
from quorate.simulator.plan import draw_plan
from quorate.simulator.planted.bugs import BUGS
from quorate.simulator.run import run_seed
from quorate.simulator.swarm import verdict
from quorate.simulator.workloads.list_clients import ListsWorkload

ROOT = Path(__file__).parents[2]
GROUP = GroupId(1)


# The swarm.


SEEDS = (2, 3, 7, 8, 11, 12, 13, 22)


@pytest.mark.parametrize("seed", SEEDS)
def test_no_promise_is_broken_and_no_seed_is_idle(seed: int) -> None:
    report = run_seed(seed)
    assert verdict(report) is None, f"{report.where}\nreplay: {report.plan.command}"
    assert report.simulated_ms >= 30_000


@pytest.mark.parametrize("seed", (2, 4, 5))
def test_registers_and_locks_are_linearizable(seed: int) -> None:
    """Judged by search; without and with leases, three nodes and five."""
    report = run_seed(seed, "registers")
    assert verdict(report) is None, f"{report.where}\nreplay: {report.plan.command}"
    assert "histories not judged" not in report.notes


def test_these_seeds_are_of_all_kinds() -> None:
    """Storms, damaged disks, lost frames; one group and several; three nodes and five."""
    drawn = [draw_plan(seed, "lists") for seed in SEEDS]
    assert {plan.options.nodes for plan in drawn} == {3, 5}
    assert len({plan.options.groups for plan in drawn}) > 1
    assert {plan.options.timing.lease for plan in drawn} == {True, False}
    assert {fault.kind for plan in drawn for fault in plan.schedule} >= {
        *NOISES,
        "kill",
        "power loss",
        "pause",
        "storm",
        "drift",
        "jump",
        "failed sync",
        "full disk",
        "slow disk",
    }
    assert any(fault.for_ms is None for plan in drawn for fault in plan.schedule)


def test_a_seed_happens_the_same_in_every_python_process() -> None:
    program = "from quorate.simulator.run import run_seed; print(run_seed(2).digest)"
    digests = [
        subprocess.run(
            [sys.executable, "-c", program],
            check=True,
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(ROOT / "src")},
        ).stdout.strip()
        for hash_seed in ("1", "2")
    ]
    assert digests == [run_seed(2).digest] * 2


@pytest.mark.parametrize(
    ("name", "first", "sentence"),
    [
        ("commit of an old term's entry by counting", 2, "was committed by counting (§5.4.2)"),
        ("session table not replicated", 6, "Exactly once: list"),
    ],
)
def test_a_planted_bug_is_caught_within_ten_seeds(name: str, first: int, sentence: str) -> None:
    [bug] = [bug for bug in BUGS if bug.name == name]
    seeds = range(first, first + 10)
    with bug.planted():
        found = next((broken for seed in seeds if (broken := run_seed(seed).broken)), "")
    assert sentence in found


# One fault at a time, on three nodes, while clients append and read.


class Trial:
    """A cluster at work.  ``finish`` demands progress and judges what the clients saw."""

    def __init__(self, seed: int) -> None:
        self.simulation = Simulation(seed)
        self.cluster = RaftCluster(self.simulation, 3, timing=Timing(50, 300))
        self.load = ListsWorkload(self.cluster, 2, random.Random(seed))
        self.voters: list[str] = []

    def __enter__(self) -> "Trial":
        self.cluster.found()
        self.load.begin()
        self.go_on()
        self.cluster.checker.on_vote = self._voted
        return self

    def __exit__(self, *error: object) -> None:
        self.simulation.close()

    def _voted(self, voter: ReplicaId) -> None:
        self.voters.append(name_of(voter))

    def go_on(self, operations: int = 100) -> None:
        """Until so many more have been acknowledged."""
        wanted = self.load.acknowledged + operations
        self.simulation.run_until(lambda: self.load.acknowledged >= wanted, timeout_ms=20_000)

    def process(self, name: str) -> SimulatedProcess:
        [process] = self.cluster.processes(name)
        return process

    def disk(self, name: str) -> SimulatedDisk:
        return self.simulation.machine(name).disk

    def leader(self) -> str:
        name = self.cluster.leader(GROUP)
        assert name is not None
        return name

    def one(self, role: str) -> str:
        """The leader, or a follower."""
        leader = self.leader()
        return leader if role == "leader" else next(n for n in self.cluster.names if n != leader)

    def another(self, name: str) -> str:
        return next(other for other in self.cluster.names if other != name)

    def ends(self, name: str) -> BaseException | None:
        """Wait until the process of ``name`` has ended; why it did."""
        process = self.process(name)
        self.simulation.run_until(lambda: not process.alive, timeout_ms=20_000)
        return process.error

    def lean_on(self, name: str) -> None:
        """Go on without one of the others, so that ``name`` is needed for a majority."""
        self.simulation.run_for(2_000)
        self.cluster.kill(self.another(name))
        self.go_on()

    def finish(self) -> None:
        for name in self.cluster.names:
            self.cluster.start(name)
        self.load.finish()


either = pytest.mark.parametrize("role", ["leader", "follower"])


@either
def test_a_failed_sync_stops_the_node_and_loses_nothing(role: str) -> None:
    with Trial(1) as trial:
        name = trial.one(role)
        trial.disk(name).faults.fail_next_syncs = 1
        assert isinstance(trial.ends(name), DiskFailed)
        trial.go_on()
        assert trial.leader() != name
        trial.cluster.start(name)
        trial.lean_on(name)
        trial.finish()


@either
def test_a_full_disk_under_the_log_stops_the_node_until_there_is_room(role: str) -> None:
    with Trial(2) as trial:
        name = trial.one(role)
        disk = trial.disk(name)
        disk.faults.capacity_bytes = disk.used_bytes  # the segment in use has room, the next not
        assert isinstance(trial.ends(name), DiskFull)
        trial.go_on()
        trial.cluster.start(name)
        assert isinstance(trial.ends(name), DiskFull)  # still full: it says so at once
        trial.go_on()
        disk.faults.capacity_bytes += 100 * SEGMENT_BYTES
        trial.cluster.start(name)
        trial.lean_on(name)
        trial.finish()


def test_a_wiped_machine_does_not_come_back_and_never_votes() -> None:
    with Trial(3) as trial:
        name = trial.one("follower")
        trial.cluster.kill(name)
        trial.simulation.machine(name).disk = SimulatedDisk(trial.simulation.stream("new disk"))
        trial.cluster.start(name)
        assert isinstance(error := trial.ends(name), BadConfiguration)
        assert "its disk was wiped" in str(error)
        trial.go_on()

        # Nor when its vote is what the others lack.
        leader = trial.leader()
        trial.cluster.kill(leader)
        trial.cluster.start(name)
        trial.simulation.run_for(5_000)
        assert not trial.process(name).alive
        assert name not in trial.voters
        assert trial.cluster.leader(GROUP) is None
        trial.cluster.start(leader)
        trial.go_on()
        trial.load.finish()


def test_a_damaged_log_keeps_its_node_out_and_the_group_goes_on() -> None:
    with Trial(4) as trial:
        name = trial.one("follower")
        trial.cluster.kill(name)
        disk = trial.disk(name)
        newest = max(disk.directory(("raft", "log")).entries)
        disk.flip_bit(f"raft/log/{newest}", 512 + 60, 3)  # in its first batch, which was synced
        trial.cluster.start(name)
        assert isinstance(error := trial.ends(name), Damaged)
        assert "rebuilt from the others" in str(error)
        trial.go_on(300)
        assert name not in trial.voters
        trial.load.finish()


@either
def test_a_process_that_is_killed_and_started_again_has_lost_nothing(role: str) -> None:
    with Trial(5) as trial:
        name = trial.one(role)
        trial.cluster.kill(name)
        assert trial.ends(name) is None
        trial.go_on()
        trial.cluster.start(name)
        trial.lean_on(name)
        trial.finish()


@pytest.mark.parametrize("way", ["kill", "power_loss"])
def test_all_nodes_may_die_at_once(way: str) -> None:
    with Trial(6) as trial:
        for name in trial.cluster.names:
            getattr(trial.cluster, way)(name)
        trial.simulation.run_for(1_000)
        for name in trial.cluster.names:
            trial.cluster.start(name)
        trial.go_on()
        trial.finish()
