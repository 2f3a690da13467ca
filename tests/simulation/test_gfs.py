"""Files in the simulated world: what close promises, and what a reader gets, when things fail."""

import asyncio
import random
from collections.abc import Iterator
from typing import Any

import pytest
from gfs_cluster import GfsCluster

from quorate.base.errors import (
    AlreadyExists,
    BadInput,
    CorruptData,
    DiskFull,
    NotFound,
    Unavailable,
)
from quorate.base.ids import Address, NodeId
from quorate.gfs import master, server, writer
from quorate.gfs.client import FileSystem
from quorate.gfs.core import chunks
from quorate.gfs.messages import FileStatus, Heartbeat
from quorate.runtime.simulated.world import Simulation
from quorate.simulator.cluster import node_id

KIB = 1024
MIB = 1024 * KIB
CHUNK = 3 * MIB
DATA = random.Random(5).randbytes(7 * MIB + 12_345)


@pytest.fixture(params=[1])
def cluster(request: pytest.FixtureRequest) -> Iterator[GfsCluster]:
    with Simulation(request.param) as simulation:
        yield GfsCluster(simulation).start()


async def put(fs: FileSystem, path: str, data: bytes = DATA, step: int = 700_001) -> FileStatus:
    file = await fs.create(path)
    for start in range(0, len(data), step):
        await file.write(data[start : start + step])
    return await file.close()


def test_a_file_is_read_as_it_was_written(cluster: GfsCluster) -> None:
    async def work(fs: FileSystem) -> None:
        status = await put(fs, "/a/b")
        assert (status.size, status.chunks, status.replicas_live) == (len(DATA), 3, 3)
        assert await fs.read("/a/b") == DATA
        for offset, length in ((0, 1), (CHUNK - 1, 2), (MIB + 7, 5 * MIB), (len(DATA) - 3, 99)):
            assert await fs.read("/a/b", offset, length) == DATA[offset : offset + length]
        assert await fs.read("/a/b", len(DATA), 5) == b""
        assert await fs.read("/a/b", len(DATA) + 9) == b""
        assert await fs.read("/a/b", 5, 0) == b""

    cluster.run(work, chunk_bytes=CHUNK)


def test_stat_and_close_tell_the_same(cluster: GfsCluster) -> None:
    async def write(fs: FileSystem) -> FileStatus:
        return await put(fs, "/a")

    closed = cluster.run(write, chunk_bytes=CHUNK)
    cluster.simulation.run_for(200)
    assert cluster.run(lambda fs: fs.stat("/a")) == closed
    assert (closed.name, closed.type, closed.replicas_wanted) == ("a", "file", 3)


@pytest.mark.parametrize("size", [0, 1, 64 * KIB, 4 * MIB, CHUNK, 2 * CHUNK])
def test_files_of_border_sizes_are_whole(cluster: GfsCluster, size: int) -> None:
    async def work(fs: FileSystem) -> None:
        status = await put(fs, "/a", DATA[:size])
        assert (status.size, status.chunks) == (size, -(-size // CHUNK))
        assert await fs.read("/a") == DATA[:size]
        assert (await fs.stat("/a")).replicas_live == 3

    cluster.run(work, chunk_bytes=CHUNK)


def test_many_small_files_at_once_cost_few_placements(cluster: GfsCluster) -> None:
    async def work(fs: FileSystem) -> None:
        for batch in range(5):
            await asyncio.gather(*(put(fs, f"/d/{batch}-{n}", b"%d" % n) for n in range(16)))
        files = await fs.walk("/d")
        assert len(files) == 80
        assert await fs.read("/d/4-15") == b"15"

    cluster.run(work)
    namespace = cluster.namespaces[str(cluster.leader())]
    assert namespace.chunks.next_handle - 1 <= 80 + 32, "the pool asks for what it uses"


@pytest.mark.parametrize("seed", range(4))
def test_a_chunkserver_that_dies_during_a_write_is_left_out(seed: int) -> None:
    with Simulation(seed) as simulation:
        cluster = GfsCluster(simulation).start()

        async def work(fs: FileSystem) -> FileStatus:
            return await put(fs, "/a")

        writing = cluster.begin(work, chunk_bytes=CHUNK)
        simulation.run_for(simulation.random.uniform(20, 100))
        assert writing.alive
        cluster.kill_chunkserver("n2")
        status = cluster.finish(writing)
        assert status.replicas_live == 2
        simulation.run_for(3_000)
        found = cluster.run(lambda fs: fs.stat("/a"))
        assert (found.replicas_live, found.replicas_wanted) == (2, 3)
        assert cluster.run(lambda fs: fs.read("/a")) == DATA


def test_a_chunk_that_loses_too_many_chunkservers_is_written_elsewhere() -> None:
    with Simulation(3) as simulation:
        cluster = GfsCluster(simulation, nodes=5).start()

        async def work(fs: FileSystem) -> Any:
            file = await fs.create("/a")
            await file.write(DATA[: 5 * MIB])  # 4 MiB of one chunk are on their way
            chosen = [n for n in cluster.names if cluster.chunk_files(n)]
            assert len(chosen) == 3
            for name in chosen[:2]:
                cluster.kill_chunkserver(name)
            await file.write(DATA[5 * MIB :])
            return await file.close(), chosen

        status, chosen = cluster.run(work)
        assert status.replicas_live == 3
        assert cluster.run(lambda fs: fs.read("/a")) == DATA
        assert all(cluster.chunk_files(n) for n in cluster.names if n not in chosen)


def test_a_chunkserver_that_dies_is_passed_over_by_readers(cluster: GfsCluster) -> None:
    cluster.run(lambda fs: put(fs, "/a"), chunk_bytes=CHUNK)
    cluster.kill_chunkserver("n1")

    async def work(fs: FileSystem) -> None:
        for _ in range(3):
            assert await fs.read("/a") == DATA

    cluster.run(work)


def test_a_hung_chunkserver_holds_a_reader_up_once(cluster: GfsCluster) -> None:
    cluster.run(lambda fs: put(fs, "/a"), chunk_bytes=CHUNK)

    async def work(fs: FileSystem) -> float:
        clock = fs._access.world.clock
        await fs.read("/a")  # now there is a connection to each
        hung = next(name for name in cluster.names if name != cluster.leader())
        cluster.simulation.faults.block(hung, "c3")  # its answers never come
        began_ms = clock.monotonic_ms()
        assert await fs.read("/a") == DATA
        return clock.monotonic_ms() - began_ms

    assert 2_000 < cluster.run(work) < 5_000


@pytest.mark.parametrize("damaged", [["n1"], ["n3", "n2"]])
def test_corrupt_replicas_are_passed_over(cluster: GfsCluster, damaged: list[str]) -> None:
    cluster.run(lambda fs: put(fs, "/a"), chunk_bytes=CHUNK)
    for name in damaged:
        cluster.damage(name)
    for _ in range(3):  # each begins with another replica
        assert cluster.run(lambda fs: fs.read("/a")) == DATA
    log = cluster.simulation.trace.recent
    assert any("damaged block" in line for line in log)


def test_when_all_replicas_are_corrupt_the_error_names_them(cluster: GfsCluster) -> None:
    cluster.run(lambda fs: put(fs, "/a"))
    for name in cluster.names:
        cluster.damage(name)
    with pytest.raises(CorruptData, match="n1, n2, n3"):
        cluster.run(lambda fs: fs.read("/a", 0, 9))
    assert cluster.run(lambda fs: fs.read("/a", MIB, 9)) == DATA[MIB : MIB + 9]


def test_two_corrupt_replicas_and_a_dead_one_give_no_bytes(cluster: GfsCluster) -> None:
    cluster.run(lambda fs: put(fs, "/a"))
    cluster.damage("n1")
    cluster.damage("n2")
    cluster.kill_chunkserver("n3")
    with pytest.raises((CorruptData, Unavailable), match="n1"):
        cluster.run(lambda fs: fs.read("/a"))
    cluster.start_chunkserver("n3")
    assert cluster.run(lambda fs: fs.read("/a")) == DATA


@pytest.mark.parametrize("seed", range(6))
def test_a_power_loss_of_everything_right_after_close_loses_nothing(seed: int) -> None:
    with Simulation(seed) as simulation:
        cluster = GfsCluster(simulation).start()
        cluster.run(lambda fs: put(fs, "/a/b", DATA[: 4 * MIB]), chunk_bytes=CHUNK)
        for name in cluster.names:
            cluster.power_loss(name)
        simulation.run_for(100)
        for name in cluster.names:
            cluster.start_machine(name)
        assert cluster.run(lambda fs: fs.read("/a/b")) == DATA[: 4 * MIB]
        assert cluster.run(lambda fs: fs.stat("/a/b")).replicas_live == 3


@pytest.mark.parametrize("nodes", [1, 2])
def test_a_cluster_of_fewer_machines_than_replicas_shows_what_is_missing(nodes: int) -> None:
    with Simulation(1) as simulation:
        cluster = GfsCluster(simulation, nodes).start()
        status = cluster.run(lambda fs: put(fs, "/a"))
        assert (status.replicas_live, status.replicas_wanted) == (nodes, 3)
        assert cluster.run(lambda fs: fs.read("/a")) == DATA


def test_a_chunk_size_that_cannot_be_is_refused_at_once(cluster: GfsCluster) -> None:
    for chunk_bytes in (0, 64 * KIB - 1, MIB + 1, 512 * MIB):
        with pytest.raises(BadInput, match="chunk size"):
            cluster.run(lambda fs: put(fs, "/a"), chunk_bytes=chunk_bytes)


def test_a_full_disk_is_left_out(cluster: GfsCluster) -> None:
    cluster.simulation.machine("n2").disk.faults.capacity_bytes = 3 * MIB
    status = cluster.run(lambda fs: put(fs, "/a"))
    assert status.replicas_live == 2
    assert cluster.chunk_files("n2") == []
    assert cluster.run(lambda fs: fs.read("/a")) == DATA


@pytest.mark.parametrize("capacity", [500 * KIB, 5 * MIB])
def test_full_disks_everywhere_are_told_and_nothing_appears(
    cluster: GfsCluster, capacity: int
) -> None:
    for name in cluster.names:
        cluster.simulation.machine(name).disk.faults.capacity_bytes = capacity
    cluster.simulation.run_for(1_000)
    with pytest.raises(DiskFull, match="n1"):
        cluster.run(lambda fs: put(fs, "/a"))
    assert cluster.run(lambda fs: fs.list("/")) == []
    for name in cluster.names:
        assert cluster.chunk_files(name) == []
        cluster.simulation.machine(name).disk.faults.capacity_bytes = 1 << 40
    cluster.simulation.run_for(1_000)
    assert cluster.run(lambda fs: put(fs, "/a")).replicas_live == 3


def test_too_few_chunkservers_are_named_and_waited_for(cluster: GfsCluster) -> None:
    for name in ("n1", "n3"):
        cluster.kill_chunkserver(name)
    cluster.simulation.run_for(3_000)
    with pytest.raises(Unavailable, match="no heartbeat from n1, n3"):
        cluster.run(lambda fs: put(fs, "/a", b"x"), timeout_ms=2_000)
    waiting = cluster.begin(lambda fs: put(fs, "/a", b"x"))
    cluster.simulation.run_for(1_000)
    cluster.start_chunkserver("n1")
    assert cluster.finish(waiting).replicas_live == 2


def test_a_file_whose_machines_are_all_gone_is_unavailable_in_time(cluster: GfsCluster) -> None:
    cluster.run(lambda fs: put(fs, "/a"))
    for name in cluster.names:
        cluster.kill_chunkserver(name)

    async def work(fs: FileSystem) -> float:
        clock = fs._access.world.clock
        began_ms = clock.monotonic_ms()
        with pytest.raises(Unavailable):
            await fs.read("/a")
        return clock.monotonic_ms() - began_ms

    assert cluster.run(work, timeout_ms=8_000) < 8_500


def test_a_restarted_chunkserver_brings_its_chunks_back(cluster: GfsCluster) -> None:
    cluster.run(lambda fs: put(fs, "/a"), chunk_bytes=CHUNK)
    cluster.kill_chunkserver("n1")
    cluster.simulation.run_for(3_000)
    assert cluster.run(lambda fs: fs.stat("/a")).replicas_live == 2
    cluster.start_chunkserver("n1")
    cluster.simulation.run_for(500)
    assert cluster.run(lambda fs: fs.stat("/a")).replicas_live == 3


def test_a_long_report_comes_in_parts(cluster: GfsCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster.run(lambda fs: put(fs, "/a"), chunk_bytes=64 * KIB)
    monkeypatch.setattr(server, "MAX_CHANGES", 7)
    cluster.kill_chunkserver("n1")
    cluster.start_chunkserver("n1")
    leader = str(cluster.leader())
    cluster.kill_raft(leader)
    cluster.start_raft(leader)  # this master asks all chunkservers for everything
    cluster.simulation.run_for(3_000)
    assert cluster.run(lambda fs: fs.stat("/a")).replicas_live == 3
    cluster.kill_raft(str(cluster.leader()))
    assert cluster.run(lambda fs: fs.stat("/a")).replicas_live == 3


def test_a_chunkserver_that_is_busy_is_asked_again(
    cluster: GfsCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "MAX_WRITES", 3)
    assert cluster.run(lambda fs: put(fs, "/a")).replicas_live == 3
    assert cluster.run(lambda fs: fs.read("/a")) == DATA


def test_a_slow_writer_keeps_its_chunks(
    cluster: GfsCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chunks, "PENDING_MS", 20_000)

    async def work(fs: FileSystem) -> None:
        slow, asleep = await fs.create("/slow"), await fs.create("/asleep")
        await asleep.write(DATA[: 5 * MIB])
        for start in range(0, len(DATA), MIB):
            await slow.write(DATA[start : start + MIB])
            await fs._access.world.clock.sleep(3_000)
        await slow.close()
        with pytest.raises(NotFound, match="took too long"):
            await asleep.close()
        assert await fs.read("/slow") == DATA

    monkeypatch.setattr(writer, "RENEW_MS", 4_000)
    cluster.run(work, chunk_bytes=MIB)
    assert [s.path for s in cluster.run(lambda fs: fs.list("/"))] == ["/slow"]


def test_nobody_sends_the_heartbeat_of_another_machine(cluster: GfsCluster) -> None:
    async def work(fs: FileSystem) -> None:
        beat = Heartbeat(NodeId(1), "n1", Address("x:y"), 99, 1, True, [], [1, 2, 3], 1 << 40, 0)
        with pytest.raises(BadInput, match="sends the heartbeat of node 1"):
            await fs._access.rpc.call(Address("n1:raft"), beat, timeout_ms=1_000)

    cluster.run(work)


def test_a_new_leader_knows_where_the_chunks_are(cluster: GfsCluster) -> None:
    cluster.run(lambda fs: put(fs, "/a"), chunk_bytes=CHUNK)
    leader = str(cluster.leader())
    cluster.kill_raft(leader)
    assert cluster.run(lambda fs: fs.read("/a")) == DATA
    assert cluster.run(lambda fs: fs.stat("/a")).replicas_live == 3
    cluster.start_machine(leader)
    cluster.simulation.run_for(3_000)
    cluster.kill_raft(str(cluster.leader()))
    assert cluster.run(lambda fs: fs.read("/a")) == DATA


def test_what_a_machine_takes_with_it_is_counted_over_all_pages(
    cluster: GfsCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(master, "FILES_COUNTED", 2)

    async def write(fs: FileSystem) -> None:
        for number in range(5):
            await put(fs, f"/d/{number}", DATA)
        await fs.mkdir("/d-")

    async def count(fs: FileSystem) -> tuple[tuple[int, ...], list[str]]:
        copies = await fs.copies_without([node_id("n3")])
        return (copies.fewer, copies.single, copies.last), copies.files

    cluster.run(write, chunk_bytes=CHUNK)
    assert cluster.run(count) == ((15, 0, 0), [])
    cluster.kill_chunkserver("n1")
    cluster.simulation.run_for(5_000)
    assert cluster.run(count) == ((15, 15, 0), [])
    cluster.kill_chunkserver("n2")
    cluster.simulation.run_for(5_000)
    assert cluster.run(count) == ((0, 0, 15), ["/d/0", "/d/1", "/d/2"])
    cluster.kill_chunkserver("n3")
    cluster.simulation.run_for(5_000)
    assert cluster.run(count)[0] == (0, 0, 15)  # a silent machine may have what nobody else has


def test_a_writer_goes_on_when_the_leader_dies(cluster: GfsCluster) -> None:
    async def work(fs: FileSystem) -> None:
        file = await fs.create("/a")
        await file.write(DATA[: 5 * MIB])
        cluster.kill_raft(str(cluster.leader()))
        await file.write(DATA[5 * MIB :])
        await file.close()
        assert await fs.read("/a") == DATA

    cluster.run(work, chunk_bytes=CHUNK)


def test_chunks_of_deleted_and_abandoned_files_are_collected(
    cluster: GfsCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chunks, "PENDING_MS", 5_000)

    async def work(fs: FileSystem) -> None:
        await put(fs, "/gone")
        await put(fs, "/kept", DATA[:CHUNK])
        abandoned = await fs.create("/abandoned")
        await abandoned.write(DATA)
        abandoned.abort()
        await fs.delete("/gone")

    cluster.run(work, chunk_bytes=CHUNK)
    assert len(cluster.chunk_files("n1")) > 3
    cluster.simulation.run_for(12_000)
    for name in cluster.names:
        whole = [path for path in cluster.chunk_files(name) if not path.endswith(".part")]
        assert len(whole) == 1
    assert cluster.run(lambda fs: fs.read("/kept")) == DATA[:CHUNK]


def test_a_chunkserver_that_was_away_deletes_what_was_deleted_meanwhile(
    cluster: GfsCluster,
) -> None:
    cluster.run(lambda fs: put(fs, "/a"), chunk_bytes=CHUNK)
    cluster.power_loss("n2")
    cluster.run(lambda fs: fs.delete("/a"))
    cluster.simulation.run_for(2_000)
    assert cluster.chunk_files("n1") == []
    assert len(cluster.chunk_files("n2")) == 3
    cluster.start_machine("n2")
    cluster.simulation.run_for(5_000)
    assert cluster.chunk_files("n2") == []


@pytest.mark.parametrize("seed", range(6))
def test_loss_duplicates_and_reordering_change_no_byte(seed: int) -> None:
    with Simulation(seed) as simulation:
        cluster = GfsCluster(simulation).start()
        default = simulation.faults.default
        default.loss, default.duplicate, default.reorder = 0.005, 0.05, 0.05

        async def work(fs: FileSystem) -> None:
            for number in range(5):
                await put(fs, f"/{number}", DATA[number:])
            for number in range(5):
                assert await fs.read(f"/{number}") == DATA[number:]

        cluster.run(work, chunk_bytes=CHUNK, timeout_ms=120_000)


def test_a_file_that_exists_is_refused_early_and_late(cluster: GfsCluster) -> None:
    async def work(fs: FileSystem) -> None:
        await put(fs, "/a", b"first")
        large = await fs.create("/a")
        with pytest.raises(AlreadyExists):
            await large.write(DATA)
        with pytest.raises(BadInput, match="closed"):
            await large.write(b"x")
        small = await fs.create("/a")
        await small.write(b"second")
        with pytest.raises(AlreadyExists):
            await small.close()
        with pytest.raises(BadInput, match="closed"):
            await small.close()
        assert await fs.read("/a") == b"first"

    cluster.run(work)


def test_a_file_that_is_replaced_while_it_is_read_is_not_mixed(cluster: GfsCluster) -> None:
    async def work(fs: FileSystem) -> None:
        await put(fs, "/a", DATA)
        pieces = fs.pieces("/a")
        got = [bytes(await anext(pieces))]
        await fs.delete("/a")
        await put(fs, "/a", DATA[::-1])
        with pytest.raises(NotFound, match="replaced"):
            async for piece in pieces:
                got.append(bytes(piece))
        assert DATA.startswith(b"".join(got))
        assert await fs.read("/a") == DATA[::-1]

    cluster.run(work, chunk_bytes=512 * KIB)


def test_a_reader_prefers_the_chunkserver_of_its_own_machine(cluster: GfsCluster) -> None:
    cluster.run(lambda fs: put(fs, "/a"), chunk_bytes=CHUNK)

    async def work(fs: FileSystem) -> None:
        assert await fs.read("/a") == DATA

    cluster.damage("n2")
    cluster.run(work, local_node=NodeId(1))
    assert not any("damaged block" in line for line in cluster.simulation.trace.recent)
    cluster.run(work, local_node=NodeId(2))
    assert any("damaged block" in line for line in cluster.simulation.trace.recent)


def test_two_runs_of_one_seed_are_the_same() -> None:
    digests = []
    for _ in range(2):
        with Simulation(8) as simulation:
            cluster = GfsCluster(simulation).start()
            cluster.run(lambda fs: put(fs, "/a"), chunk_bytes=CHUNK)
            cluster.kill_chunkserver("n1")
            cluster.run(lambda fs: fs.read("/a"))
            digests.append(simulation.digest())
    assert digests[0] == digests[1]
