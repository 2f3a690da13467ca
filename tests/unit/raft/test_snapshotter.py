"""Snapshots of whole replicas: taken, restored and sent, through full disks and crashes."""

import random
from collections.abc import Callable
from types import TracebackType

import pytest

from quorate.base import sometimes
from quorate.base.errors import DiskFailed, ReplicaDamaged
from quorate.base.ids import GroupId, ReplicaId
from quorate.raft.client import GroupClient
from quorate.raft.core.entries import Snapshot, SnapshotId
from quorate.raft.core.settings import Limits, Timing
from quorate.raft.group import Group
from quorate.raft.messages import GroupStatus
from quorate.raft.snapshots import SnapshotStore
from quorate.raft.snapshots.names import DIRECTORY
from quorate.raft.wal import Wal
from quorate.runtime.ports import World
from quorate.runtime.simulated.inodes import FileInode
from quorate.runtime.simulated.process import SimulatedProcess
from quorate.runtime.simulated.world import Simulation
from quorate.simulator.cluster import CLUSTER, SEGMENT_BYTES, RaftCluster, node_id
from quorate.simulator.workloads.list_clients import ListsWorkload
from quorate.simulator.workloads.lists import Append, Read

GROUP = GroupId(1)
KEYS = 10
SMALL = Limits(snapshot_log_bytes=20_000, retained_log_bytes=4_000)


class Run:
    """A cluster that has a leader."""

    def __init__(self, seed: int, limits: Limits = SMALL, nodes: int = 3) -> None:
        self.simulation = Simulation(seed)
        self.cluster = RaftCluster(self.simulation, nodes, timing=Timing(50, 300), limits=limits)

    def __enter__(self) -> "Run":
        self.cluster.found()
        self.wait(lambda: self.cluster.leader(GROUP) is not None)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.simulation.close()

    def wait(self, what: Callable[[], bool], timeout_ms: float = 30_000) -> None:
        self.simulation.run_until(what, timeout_ms)

    @property
    def leader(self) -> str:
        name = self.cluster.leader(GROUP)
        assert name is not None
        return name

    @property
    def follower(self) -> str:
        return next(name for name in self.cluster.names if name != self.leader)

    def group(self, name: str) -> Group:
        return self.cluster.raft_nodes[name].groups[GROUP]

    def status(self, name: str) -> GroupStatus:
        return self.group(name).status()

    def log_bytes(self, name: str) -> int:
        return self.group(name)._replica.log.bytes

    def process(self, name: str) -> SimulatedProcess:
        [process] = self.cluster.processes(name)
        return process

    def append(self, count: int, size: int = 1_000) -> None:
        """So many values of so many bytes; all of them acknowledged."""

        async def work(world: World, clients: list[GroupClient]) -> None:
            for number in range(count):
                command = Append(str(number % KEYS), str(number).ljust(size, "."))
                await clients[0].execute(command, timeout_ms=20_000)

        client = self.cluster.start_client("client", work)
        self.wait(lambda: not client.alive, 120_000)
        if client.error is not None:
            raise client.error

    def length(self) -> int:
        """Of all lists, as clients read them."""
        found: list[str] = []

        async def work(world: World, clients: list[GroupClient]) -> None:
            for key in range(KEYS):
                found.extend(await clients[0].query(Read(str(key)), timeout_ms=20_000))

        client = self.cluster.start_client("client", work)
        self.wait(lambda: not client.alive, 30_000)
        return len(found)

    def all_equal(self) -> bool:
        names = self.cluster.names
        if not all(self.process(name).alive and name in self.cluster.raft_nodes for name in names):
            return False
        states = [self.status(name) for name in names]
        return len({(s.last_applied, s.digest, s.commit_index) for s in states}) == 1

    def within(self, name: str, act: Callable[[], None]) -> None:
        """Do something as the process of this node."""

        async def work() -> None:
            act()

        self.process(name).run(self.simulation.loop.create_task, work())

    def ends(self, name: str) -> BaseException | None:
        process = self.process(name)
        self.wait(lambda: not process.alive)
        return process.error

    def on_disk(self, name: str, look: Callable[[World], None]) -> None:
        """Do something with the disk of a process that does not run."""

        async def main(world: World) -> None:
            look(world)
            await world.disk.sync_directory(DIRECTORY)

        process = self.simulation.machine(name).start_process("surgeon", main, directory="raft")
        self.wait(lambda: not process.alive)
        assert process.error is None


def snapshot_files(run: Run, name: str, end: str = ".snap") -> list[str]:
    directory = run.simulation.machine(name).disk.directory(("raft", DIRECTORY))
    return sorted(file for file in directory.entries if file.endswith(end))


def test_each_replica_takes_its_own_and_the_log_stays_short_in_memory_and_on_the_disk() -> None:
    with Run(1) as run:
        run.append(200)
        run.wait(run.all_equal)
        for name in run.cluster.names:
            status = run.status(name)
            assert status.snapshot_index > 100
            assert 1 < status.first_index <= status.snapshot_index
            assert run.log_bytes(name) <= SMALL.retained_log_bytes + 8 * SMALL.snapshot_log_bytes
            [file] = snapshot_files(run, name)
            assert int(file.split("-")[3].split(".")[0], 16) == status.replica  # its own
        name = run.follower
        first_index = run.status(name).first_index
        run.cluster.kill(name)
        recovered = []

        async def main(world: World) -> None:
            cluster, node = CLUSTER, node_id(name)
            _, found = await Wal.open(world.disk, cluster, node, segment_bytes=SEGMENT_BYTES)
            recovered.append(found[GROUP])

        reader = run.simulation.machine(name).start_process("reader", main, directory="raft")
        run.wait(lambda: not reader.alive)
        assert recovered[0].cut_index == first_index - 1
        assert recovered[0].entries[0].index == first_index


def test_what_followers_may_need_of_the_log_is_kept_behind_the_snapshot() -> None:
    with Run(1, Limits(snapshot_log_bytes=20_000, retained_log_bytes=10_000)) as run:
        run.append(100)
        run.wait(run.all_equal)
        status = run.status(run.leader)
        kept = status.snapshot_index - status.first_index + 1
        assert 8 <= kept <= 10  # entries of a good thousand bytes


def test_a_restarted_cluster_goes_on_from_its_snapshots() -> None:
    with Run(2) as run:
        run.append(100)
        run.wait(run.all_equal)
        before = run.status(run.leader)
        for name in run.cluster.names:
            run.cluster.power_loss(name)
        for name in run.cluster.names:
            run.cluster.start(name)
        run.wait(lambda: all(run.process(n).alive for n in run.cluster.names) and run.all_equal())
        for name in run.cluster.names:
            assert run.status(name).snapshot_index == before.snapshot_index
        assert run.length() == 100
        run.append(50)
        assert run.length() == 150


# Full disks.


def test_a_disk_without_room_for_a_snapshot_delays_it_and_nothing_else() -> None:
    with Run(3, nodes=1) as run:
        [name] = run.cluster.names
        run.append(25)
        taken = run.status(name).snapshot_index
        assert taken > 0
        disk = run.simulation.machine(name).disk
        disk.faults.capacity_bytes = disk.used_bytes + 1_000
        run.append(30)
        assert run.status(name).snapshot_index == taken
        assert run.process(name).alive
        disk.faults.capacity_bytes += 1 << 30
        run.append(8)  # a fourth of what usually brings one about
        run.wait(lambda: run.status(name).snapshot_index > taken)
        assert snapshot_files(run, name, ".writing") == []


# Sent.

LARGE = Limits(snapshot_log_bytes=300_000, retained_log_bytes=0)
VALUE = 200_000


def with_one_behind(run: Run) -> str:
    """The name of one whose process is dead and whose log lacks what others have cut; the state
    is of more than three chunks."""
    name = run.follower
    run.cluster.kill(name)
    run.append(20, VALUE)
    run.wait(lambda: run.status(run.leader).first_index > 10)
    return name


def slow_down(run: Run) -> None:
    """A chunk takes a second."""
    run.simulation.faults.default.bytes_per_ms = 1_100.0


def partial_bytes(run: Run, name: str) -> int:
    disk = run.simulation.machine(name).disk
    found = disk.directory(("raft", DIRECTORY))
    partial = [inode for name, inode in found.entries.items() if name.endswith(".partial")]
    return max((len(i.current) for i in partial if isinstance(i, FileInode)), default=0)


def resumed() -> int:
    return sometimes.seen().get("snapshot transfer resumed", 0)


@pytest.mark.parametrize("fault", ["none", "cut off", "kill follower", "power loss", "kill leader"])
def test_one_that_is_far_behind_is_sent_a_snapshot_whatever_interrupts_it(fault: str) -> None:
    with Run(4, LARGE) as run:
        name = with_one_behind(run)
        before = resumed()
        slow_down(run)
        run.cluster.start(name)
        if fault != "none":
            run.wait(lambda: partial_bytes(run, name) > 2 << 20)
            leader = run.leader
            match fault:
                case "cut off":
                    others = [other for other in run.cluster.names if other != name]
                    run.simulation.faults.partition([name], others)
                    run.simulation.run_for(7_000)
                    run.simulation.faults.heal()
                case "kill follower":
                    run.cluster.kill(name)
                    run.cluster.start(name)
                case "power loss":
                    run.cluster.power_loss(name)
                    run.cluster.start(name)
                case "kill leader":
                    run.cluster.kill(leader)
                    run.simulation.run_for(3_000)
                    run.cluster.start(leader)
        run.wait(run.all_equal, 60_000)
        assert run.status(name).snapshot_index > 10
        assert run.status(name).first_index > 10
        if fault == "none":
            counted = run.group(name).figures().snapshots
            assert counted.installed == 1 and counted.installed_bytes > 2 << 20
            assert counted.installing_ms > 0
        if fault in ("cut off", "kill follower"):
            assert resumed() > before
        run.append(3)
        assert run.length() == 23


def test_a_failed_sync_of_what_is_received_stops_the_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nothing that a failed sync left is ever tried again."""

    async def receive(*_: object) -> None:
        raise DiskFailed("the disk failed to sync a snapshot: replace it")

    with Run(5, LARGE) as run:
        name = with_one_behind(run)
        monkeypatch.setattr(SnapshotStore, "receive", receive)
        run.cluster.start(name)
        assert isinstance(run.ends(name), DiskFailed)


def test_a_sender_whose_disk_fails_is_no_reason_to_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    def chunk(*_: object) -> bytes:
        raise DiskFailed("the disk failed to read a snapshot: replace it")

    with Run(5, LARGE) as run:
        name = with_one_behind(run)
        with monkeypatch.context() as patch:
            patch.setattr(SnapshotStore, "chunk", chunk)
            run.cluster.start(name)
            run.simulation.run_for(3_000)
            assert run.process(name).alive
        run.wait(run.all_equal)


# Power losses at any moment: between snapshot and cut, while one is written, sent, installed.


@pytest.mark.parametrize("seed", [11, 12])
def test_power_losses_at_many_moments_lose_nothing(seed: int) -> None:
    rng = random.Random(seed)
    limits = Limits(snapshot_log_bytes=1_500, retained_log_bytes=rng.choice((0, 500)))
    before = sometimes.seen()
    with Run(seed, limits) as run:
        load = ListsWorkload(run.cluster, 3, rng, pace_ms=20.0)
        load.begin()
        for _ in range(20):
            name = rng.choice(run.cluster.names)
            run.simulation.run_for(rng.uniform(5, 300))
            run.cluster.power_loss(name)
            run.simulation.run_for(rng.uniform(5, 400))
            run.cluster.start(name)
            run.simulation.run_for(rng.uniform(100, 300))
        load.finish()
    assert load.acknowledged > 200
    after = sometimes.seen()
    assert after.get("snapshot installed", 0) > before.get("snapshot installed", 0)


# Damage.


def prepared(run: Run) -> str:
    run.append(60)
    run.wait(run.all_equal)
    name = run.follower
    run.cluster.kill(name)
    return name


def test_a_damaged_snapshot_keeps_its_node_out_and_says_what_to_do() -> None:
    with Run(6) as run:
        name = prepared(run)
        [file] = snapshot_files(run, name)
        run.simulation.machine(name).disk.flip_bit(f"raft/{DIRECTORY}/{file}", 5_000, 3)
        run.cluster.start(name)
        error = run.ends(name)
        assert isinstance(error, ReplicaDamaged)
        assert "is damaged" in error.message
        assert "rebuilt from the others" in error.message
        run.append(5)  # the others go on


@pytest.mark.parametrize("header", [False, True])
def test_a_log_that_was_cut_beyond_the_snapshots_that_are_left_keeps_its_node_out(
    header: bool,
) -> None:
    with Run(7) as run:
        name = prepared(run)
        [file] = snapshot_files(run, name)
        if header:
            run.simulation.machine(name).disk.flip_bit(f"raft/{DIRECTORY}/{file}", 20, 3)
        else:
            run.on_disk(name, lambda world: world.disk.remove(f"{DIRECTORY}/{file}"))
        run.cluster.start(name)
        error = run.ends(name)
        assert isinstance(error, ReplicaDamaged)
        assert "log of group 1 was cut at" in error.message
        assert "rebuilt from the others" in error.message
        assert run.status(run.leader).replica != ReplicaId(0)


def test_what_cannot_be_installed_is_not_tried_again_with_every_heartbeat() -> None:
    """Each time all of it would be fetched, and an operator told."""
    with Run(8, LARGE) as run:
        name = with_one_behind(run)
        disk = run.simulation.machine(name).disk
        disk.faults.capacity_bytes = disk.used_bytes + SEGMENT_BYTES * 3
        run.cluster.start(name)
        run.simulation.run_for(8_000)
        told = [line for line in run.simulation.trace.recent if "There is no room" in line]
        assert 1 <= len(told) <= 3
        disk.faults.capacity_bytes += 1 << 30
        run.wait(run.all_equal)


@pytest.mark.parametrize("hurt", ["a bit", "in the header", "cut short", "gone"])
def test_a_leader_whose_snapshot_is_damaged_while_it_runs_takes_another(hurt: str) -> None:
    """Else nobody could be rebuilt or join until it starts again, and then it would be lost."""
    with Run(9, LARGE) as run:
        name, leader = with_one_behind(run), run.leader
        run.simulation.run_for(2_000)  # it has taken the last one
        [file] = snapshot_files(run, leader)
        disk = run.simulation.machine(leader).disk
        found = disk.found(("raft", DIRECTORY, file))
        assert isinstance(found, FileInode)
        match hurt:
            case "a bit":
                disk.flip_bit(f"raft/{DIRECTORY}/{file}", 5_000, 3)
            case "in the header":
                disk.flip_bit(f"raft/{DIRECTORY}/{file}", 20, 3)
            case "cut short":
                del found.current[5_000:]
            case "gone":
                del disk.directory(("raft", DIRECTORY)).entries[file]
        process = run.process(leader)
        run.cluster.start(name)
        run.wait(run.all_equal, 20_000)
        assert run.process(leader) is process and process.alive
        assert run.status(name).snapshot_index > 10
        run.cluster.kill(leader)
        run.cluster.start(leader)
        run.wait(run.all_equal, 20_000)
        assert run.process(leader).alive
        run.append(3)
        assert run.length() == 23


def test_a_damaged_snapshot_that_came_from_another_is_replaced_at_the_same_index() -> None:
    """Its id is another, and the damaged file must not be found at a start."""
    with Run(10, LARGE) as run:
        name, leader = with_one_behind(run), run.group(run.leader)
        run.within(run.leader, lambda: leader.snapshotter.take(leader.last_applied, leader.time_ms))
        run.wait(lambda: run.status(run.leader).snapshot_index == leader.last_applied)
        run.cluster.start(name)
        run.wait(run.all_equal, 60_000)
        replica = run.group(name)._replica
        received = replica.snapshot
        assert received is not None and received.id.source != replica.replica
        assert received.id.index == run.group(name).last_applied
        [file] = snapshot_files(run, name)
        run.simulation.machine(name).disk.flip_bit(f"raft/{DIRECTORY}/{file}", 5_000, 3)
        run.within(name, lambda: run.group(name).snapshotter.doubted(received.id))
        run.wait(lambda: len(snapshot_files(run, name)) == 2, 20_000)
        run.wait(lambda: file not in snapshot_files(run, name), 20_000)
        taken = replica.snapshot
        assert taken is not None and taken.id.source == replica.replica
        assert taken.id.index == received.id.index
        run.cluster.kill(name)
        run.cluster.start(name)
        run.wait(run.all_equal, 20_000)


def test_doubts_about_a_good_snapshot_cost_one_look_in_a_while(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with Run(11, LARGE) as run:
        with_one_behind(run)
        run.simulation.run_for(2_000)
        leader = run.leader
        newest = run.group(leader)._replica.snapshot
        assert newest is not None
        looks: list[object] = []
        whole = SnapshotStore.whole

        async def counted(self: SnapshotStore, id: SnapshotId) -> Snapshot | None:
            looks.append(id)
            return await whole(self, id)

        monkeypatch.setattr(SnapshotStore, "whole", counted)
        for _ in range(100):
            run.within(leader, lambda: run.group(leader).snapshotter.doubted(newest.id))
            run.simulation.run_for(10)
        assert looks == [newest.id]
        assert run.group(leader)._replica.snapshot == newest
