"""What a writer leaves behind, and who is written to, in a simulated cluster."""

import random

import pytest
from gfs_cluster import GfsCluster

from quorate.base.errors import AlreadyExists, DiskFull
from quorate.gfs import writer
from quorate.gfs.client import FileSystem
from quorate.gfs.core import chunks
from quorate.runtime.ports import World
from quorate.runtime.simulated.world import Simulation

MIB = 1 << 20
DATA = random.Random(5).randbytes(7 * MIB)


async def put(fs: FileSystem, path: str, data: bytes) -> None:
    file = await fs.create(path)
    await file.write(data)
    await file.close()


def test_a_file_that_failed_gives_its_space_back_at_once() -> None:
    with Simulation(1) as simulation:
        cluster = GfsCluster(simulation).start()

        async def work(fs: FileSystem) -> None:
            file = await fs.create("/a")
            await file.write(DATA)
            await put(fs, "/a", b"first")
            with pytest.raises(AlreadyExists):
                await file.close()

        cluster.run(work, chunk_bytes=3 * MIB)
        simulation.run_for(3_000)  # not the hour after which handles expire
        assert [len(cluster.chunk_files(name)) for name in cluster.names] == [1, 1, 1]


def test_a_write_that_meets_full_disks_leaves_room_for_the_next() -> None:
    with Simulation(1) as simulation:
        cluster = GfsCluster(simulation).start()
        for name in cluster.names:
            simulation.machine(name).disk.faults.capacity_bytes = 6 * MIB
        simulation.run_for(1_000)

        async def fails(fs: FileSystem) -> None:
            with pytest.raises(DiskFull):
                await put(fs, "/large", DATA)

        cluster.run(fails, chunk_bytes=MIB)
        simulation.run_for(3_000)
        cluster.run(lambda fs: put(fs, "/small", DATA[: 2 * MIB]), chunk_bytes=MIB)
        assert cluster.run(lambda fs: fs.read("/small")) == DATA[: 2 * MIB]


def test_a_writer_of_small_pieces_keeps_its_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks, "PENDING_MS", 20_000)
    monkeypatch.setattr(writer, "RENEW_MS", 4_000)
    with Simulation(1) as simulation:
        cluster = GfsCluster(simulation).start()

        async def work(fs: FileSystem) -> None:
            file = await fs.create("/slow")
            await file.write(DATA[: 5 * MIB])
            for start in range(5 * MIB, 5 * MIB + 60_000, 1_000):
                await file.write(DATA[start : start + 1_000])  # none of these is sent by itself
                await fs._access.world.clock.sleep(1_000)
            await file.close()
            assert await fs.read("/slow") == DATA[: 5 * MIB + 60_000]

        cluster.run(work, chunk_bytes=MIB)


def test_a_chunkserver_with_a_new_disk_is_used_again() -> None:
    with Simulation(1) as simulation:
        cluster = GfsCluster(simulation).start()
        cluster.run(lambda fs: put(fs, "/before", b"x"))
        cluster.kill_chunkserver("n2")

        async def replace(world: World) -> None:
            for name in world.disk.list(""):
                world.disk.remove(name)

        machine = simulation.machine("n2")
        replacing = machine.start_process("replacing", replace, directory="chunkserver")
        simulation.run_until(lambda: not replacing.alive, 1_000)
        assert replacing.error is None
        cluster.start_chunkserver("n2")
        simulation.run_for(3_000)
        cluster.run(lambda fs: put(fs, "/after", b"y"))
        simulation.run_for(1_000)
        assert cluster.run(lambda fs: fs.stat("/after")).replicas_live == 3
        assert cluster.run(lambda fs: fs.stat("/before")).replicas_live == 2
