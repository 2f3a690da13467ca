"""The chunk store on a simulated disk: what is acknowledged survives, the rest leaves nothing."""

import random
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from quorate.base.errors import (
    AlreadyExists,
    BadConfiguration,
    BadInput,
    CorruptData,
    DiskFailed,
    DiskFull,
    NotFound,
    Overloaded,
)
from quorate.base.ids import ClusterId, NodeId
from quorate.gfs import chunk_store
from quorate.gfs.chunk_file import ChunkOwner
from quorate.gfs.chunk_store import PARTIAL_IDLE_MS, ChunkStore
from quorate.gfs.core.blocks import block_checksums
from quorate.gfs.messages import WriteChunk
from quorate.runtime.ports import World
from quorate.runtime.simulated.world import Machine, Simulation

BLOCK = 64 * 1024
OWNER = ChunkOwner(ClusterId("ab" * 16), NodeId(1), "n1")

Work = Callable[[World, ChunkStore], Coroutine[Any, Any, Any]]


def with_store(machine: Machine, work: Work, owner: ChunkOwner = OWNER) -> Any:
    """Open the store of ``machine`` in a new process, do ``work``, and end the process."""

    async def main(world: World) -> Any:
        store = ChunkStore(world, owner, lambda handle, present: None)
        await store.open()
        return await work(world, store)

    process = machine.start_process("chunkserver", main)
    machine.simulation.run_until(lambda: not process.alive, 100 * PARTIAL_IDLE_MS)
    if process.error is not None:
        raise process.error
    return process.result


def piece(handle: int, data: bytes, offset: int = 0, total: int = 0) -> WriteChunk:
    return WriteChunk(handle, offset, 4 * BLOCK, block_checksums(data), total)


async def store_whole(store: ChunkStore, handle: int, data: bytes) -> None:
    await store.write(piece(handle, data, 0, len(data)), memoryview(data))


def files(machine: Machine) -> list[str]:
    """The names of all chunk files, those under construction included."""

    async def main(world: World) -> list[str]:
        disk = world.disk
        return [name for folder in disk.list("chunks") for name in disk.list(f"chunks/{folder}")]

    process = machine.start_process("reader", main, directory="chunkserver")
    machine.simulation.run_until(lambda: not process.alive, 1000)
    names: list[str] = process.result
    return names


@pytest.mark.parametrize("seed", range(20))
def test_a_chunk_that_was_acknowledged_survives_a_power_loss(seed: int) -> None:
    data = random.Random(seed).randbytes(3 * BLOCK + 17)

    async def write(world: World, store: ChunkStore) -> None:
        for offset in (BLOCK, 0, BLOCK):  # out of order, and one of them twice
            part = data[offset : offset + BLOCK]
            await store.write(piece(7, part, offset), memoryview(part))
        last = data[2 * BLOCK :]
        await store.write(piece(7, last, 2 * BLOCK, len(data)), memoryview(last))

    async def read(world: World, store: ChunkStore) -> None:
        assert list(store.handles) == [7]
        blocks, found = store.read(7, BLOCK + 1, 10)
        assert (blocks.offset, blocks.length) == (BLOCK, len(data))
        assert found == data[BLOCK : 2 * BLOCK]
        assert store.read(7, 0, len(data))[1] == data

    with Simulation(seed) as simulation:
        machine = simulation.machine("n1")
        with_store(machine, write)
        machine.power_loss()
        with_store(machine, read)


@pytest.mark.parametrize("seed", range(20))
def test_a_power_loss_while_a_chunk_is_written_leaves_all_of_it_or_nothing(seed: int) -> None:
    data = random.Random(seed).randbytes(2 * BLOCK)

    async def write(world: World) -> None:
        store = ChunkStore(world, OWNER, lambda handle, present: None)
        await store.open()
        await store_whole(store, 7, data)

    async def look(world: World, store: ChunkStore) -> None:
        for handle in store.handles:
            assert store.read(handle, 0, len(data))[1] == data

    with Simulation(seed) as simulation:
        machine = simulation.machine("n1")
        machine.start_process("chunkserver", write)
        simulation.run_for(simulation.random.uniform(0, 20))
        machine.power_loss()
        with_store(machine, look)
        assert all(not name.endswith(".part") for name in files(machine))


def test_the_same_piece_may_come_again_and_other_bytes_may_not() -> None:
    data, other = bytes(BLOCK), b"x" * BLOCK

    async def work(world: World, store: ChunkStore) -> None:
        await store_whole(store, 1, data)
        await store_whole(store, 1, data)
        await store.write(piece(1, data), memoryview(data))
        with pytest.raises(AlreadyExists):
            await store_whole(store, 1, other)
        with pytest.raises(AlreadyExists):
            await store_whole(store, 1, data + b"x")

    with Simulation(1) as simulation:
        with_store(simulation.machine("n1"), work)


def test_callers_that_finish_one_chunk_twice_at_once_both_hear_of_it() -> None:
    data = bytes(BLOCK)

    async def work(world: World, store: ChunkStore) -> list[object]:
        tasks = [world.spawn(store_whole(store, 1, data), "writer") for _ in range(2)]
        return [await task for task in tasks]

    with Simulation(1) as simulation:
        assert with_store(simulation.machine("n1"), work) == [None, None]


def test_a_caller_that_goes_away_does_not_stop_a_chunk_halfway() -> None:
    data = bytes(BLOCK)

    async def work(world: World, store: ChunkStore) -> None:
        task = world.spawn(store_whole(store, 1, data), "writer")
        await world.clock.sleep(0.05)
        task.cancel()
        await world.clock.sleep(100)
        assert list(store.handles) == [1]

    with Simulation(1) as simulation:
        with_store(simulation.machine("n1"), work)


@pytest.mark.parametrize(
    ("request_", "length"),
    [
        (WriteChunk(1, 0, 4 * BLOCK, []), 0),
        (WriteChunk(1, 1, 4 * BLOCK, [0]), 10),
        (WriteChunk(1, 0, 4 * BLOCK, [0]), 10),
        (WriteChunk(1, 0, 4 * BLOCK, [0], 11), 10),
        (WriteChunk(1, -BLOCK, 4 * BLOCK, [0]), BLOCK),
        (WriteChunk(1, 4 * BLOCK, 4 * BLOCK, [0], 5 * BLOCK), BLOCK),
        (WriteChunk(1, 0, 1 << 40, [0]), BLOCK),
        (WriteChunk(1, 0, BLOCK + 1, [0]), BLOCK),
        (WriteChunk(1, 0, 4 * BLOCK, [0, 0], 10), 10),
        (WriteChunk(1, 0, 4 * BLOCK, [0], -1), BLOCK),
    ],
)
def test_a_piece_that_does_not_fit_is_refused(request_: WriteChunk, length: int) -> None:
    async def work(world: World, store: ChunkStore) -> None:
        with pytest.raises(BadInput, match="does not fit"):
            await store.write(request_, memoryview(bytes(length)))

    with Simulation(1) as simulation:
        machine = simulation.machine("n1")
        with_store(machine, work)
        assert files(machine) == []


def test_a_piece_that_was_damaged_on_the_way_is_refused() -> None:
    async def work(world: World, store: ChunkStore) -> None:
        with pytest.raises(CorruptData, match="on its way to n1"):
            await store.write(piece(1, b"abc", 0, 3), memoryview(b"abd"))

    with Simulation(1) as simulation:
        with_store(simulation.machine("n1"), work)


def test_a_chunk_with_a_hole_is_not_finished() -> None:
    data = bytes(BLOCK)

    async def work(world: World, store: ChunkStore) -> None:
        with pytest.raises(BadInput, match="not whole"):
            await store.write(piece(1, data, BLOCK, 2 * BLOCK), memoryview(data))
        await store.write(piece(1, data), memoryview(data))
        await store.write(piece(1, data, BLOCK, 2 * BLOCK), memoryview(data))
        assert store.read(1, 0, 2 * BLOCK)[1] == data + data

    with Simulation(1) as simulation:
        with_store(simulation.machine("n1"), work)


def test_a_full_disk_is_named_and_nothing_is_left_on_it() -> None:
    async def work(world: World, store: ChunkStore) -> None:
        await store_whole(store, 1, bytes(BLOCK))
        with pytest.raises(DiskFull, match="on n1 is full"):
            await store_whole(store, 2, bytes(4 * BLOCK))
        await store_whole(store, 3, bytes(BLOCK))
        assert list(store.handles) == [1, 3]

    with Simulation(1) as simulation:
        machine = simulation.machine("n1")
        machine.disk.faults.capacity_bytes = 4 * BLOCK
        with_store(machine, work)
        assert files(machine) == ["0000000000000001", "0000000000000003"]


@pytest.mark.parametrize("sync", [1, 2])
def test_a_failed_sync_is_told_and_not_tried_again(sync: int) -> None:
    async def work(world: World, store: ChunkStore) -> None:
        task = world.spawn(store_whole(store, 1, bytes(BLOCK)), "writer")
        if sync == 2:  # of the folder: the first has been the file's
            while not any(name == f"{1:016x}" for name in world.disk.list("chunks/00")):
                await world.clock.sleep(0.01)
        machine.disk.faults.fail_next_syncs = 1
        with pytest.raises(DiskFailed, match="on n1 fails"):
            await task
        assert not store.handles
        with pytest.raises(NotFound):
            store.read(1, 0, 1)
        await store_whole(store, 1, bytes(BLOCK))

    with Simulation(1) as simulation:
        machine = simulation.machine("n1")

        async def tolerant(world: World) -> None:
            world.stop = lambda error: None  # the writer is a task of the test, which looks at it
            store = ChunkStore(world, OWNER, lambda handle, present: None)
            await store.open()
            await work(world, store)

        process = machine.start_process("chunkserver", tolerant)
        simulation.run_until(lambda: not process.alive, 10_000)
        assert process.error is None


def test_a_chunk_whose_writer_is_gone_is_given_up() -> None:
    async def work(world: World, store: ChunkStore) -> None:
        await store.write(piece(1, bytes(BLOCK)), memoryview(bytes(BLOCK)))
        await world.clock.sleep(PARTIAL_IDLE_MS - 1)
        store.drop_idle()
        assert world.disk.list("chunks/00") == [f"{1:016x}.part"]
        await world.clock.sleep(2)
        store.drop_idle()
        assert world.disk.list("chunks/00") == []

    with Simulation(1) as simulation:
        with_store(simulation.machine("n1"), work)


def test_a_bounded_number_of_chunks_is_under_construction(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunk_store, "MAX_PARTIALS", 2)

    async def work(world: World, store: ChunkStore) -> None:
        data = memoryview(bytes(BLOCK))
        for handle in (1, 2):
            await store.write(piece(handle, bytes(BLOCK)), data)
        with pytest.raises(Overloaded):
            await store.write(piece(3, bytes(BLOCK)), data)
        await store.write(piece(2, bytes(BLOCK), 0, BLOCK), data)
        await store.write(piece(3, bytes(BLOCK)), data)

    with Simulation(1) as simulation:
        with_store(simulation.machine("n1"), work)


def test_reads_outside_of_a_chunk_are_refused() -> None:
    async def work(world: World, store: ChunkStore) -> None:
        await store_whole(store, 1, b"abc")
        for offset, length in ((-1, 1), (0, 0), (0, 4), (3, 1), (0, -1)):
            with pytest.raises(BadInput):
                store.read(1, offset, length)
        with pytest.raises(NotFound, match="n1 does not have chunk"):
            store.read(2, 0, 1)

    with Simulation(1) as simulation:
        with_store(simulation.machine("n1"), work)


@pytest.mark.parametrize("seed", range(20))
def test_a_chunk_found_after_a_crash_is_durable_before_it_is_acknowledged(seed: int) -> None:
    data = random.Random(seed).randbytes(BLOCK)

    async def first(world: World) -> None:
        store = ChunkStore(world, OWNER, lambda handle, present: None)
        await store.open()
        await store_whole(store, 7, data)

    async def again(world: World, store: ChunkStore) -> None:
        await store_whole(store, 7, data)

    async def read(world: World, store: ChunkStore) -> None:
        assert store.read(7, 0, BLOCK)[1] == data

    with Simulation(seed) as simulation:
        machine = simulation.machine("n1")
        process = machine.start_process("chunkserver", first)
        folder = ("chunkserver", "chunks", "00")
        simulation.run_until(
            lambda: (
                machine.disk.found(folder) is not None
                and f"{7:016x}" in machine.disk.directory(folder).entries
            ),
            10_000,
        )
        process.kill()  # before the folder is synced: the name is in the page cache only
        with_store(machine, again)
        machine.power_loss()
        with_store(machine, read)


def test_a_disk_that_cannot_remove_is_still_read() -> None:
    async def work(world: World, store: ChunkStore) -> None:
        await store_whole(store, 1, b"abc")

        def refuse(path: str) -> None:
            raise DiskFailed(f"the disk failed to remove {path}: Read-only file system")

        world.disk.remove = refuse  # type: ignore[method-assign]
        store.delete(1)
        assert list(store.handles) == [1]
        assert store.read(1, 0, 3)[1] == b"abc"

    with Simulation(1) as simulation:
        with_store(simulation.machine("n1"), work)


def test_each_start_has_a_higher_number_also_on_a_new_disk() -> None:
    numbers: list[int] = []

    async def start(world: World) -> None:
        if len(numbers) == 2:  # a new disk
            for name in world.disk.list(""):
                world.disk.remove(name)
        store = ChunkStore(world, OWNER, lambda handle, present: None)
        numbers.append(await store.open())
        await world.clock.sleep(10)

    with Simulation(1) as simulation:
        machine = simulation.machine("n1")
        for _ in range(3):
            machine.start_process("chunkserver", start)
            simulation.run_for(1_000)
        assert numbers[0] < numbers[1] < numbers[2]


@pytest.mark.parametrize(
    "stranger",
    [
        ChunkOwner(ClusterId("cd" * 16), NodeId(1), "n1"),
        ChunkOwner(ClusterId("ab" * 16), NodeId(2), "n2"),
    ],
)
def test_a_disk_of_another_cluster_or_machine_is_refused(stranger: ChunkOwner) -> None:
    async def work(world: World, store: ChunkStore) -> None:
        await store_whole(store, 1, b"abc")

    with Simulation(1) as simulation:
        machine = simulation.machine("n1")
        with_store(machine, work)
        with pytest.raises(BadConfiguration, match="belongs to node 1 of cluster abab"):
            with_store(machine, work, stranger)
        assert files(machine) == ["0000000000000001"]


def test_a_machine_that_was_rebuilt_keeps_the_chunks_of_its_earlier_ids() -> None:
    async def work(world: World, store: ChunkStore) -> None:
        await store_whole(store, 1, b"abc")

    async def look(world: World, store: ChunkStore) -> None:
        assert list(store.handles) == [1] and bytes(store.read(1, 0, 3)[1]) == b"abc"
        await store_whole(store, 2, b"def")

    async def again(world: World, store: ChunkStore) -> None:
        assert bytes(store.read(1, 0, 3)[1]) + bytes(store.read(2, 0, 3)[1]) == b"abcdef"

    with Simulation(1) as simulation:
        machine = simulation.machine("n1")
        with_store(machine, work)
        with_store(machine, look, ChunkOwner(OWNER.cluster, NodeId(7), "n1", (OWNER.node,)))
        ids = (OWNER.node, NodeId(7))
        with_store(machine, again, ChunkOwner(OWNER.cluster, NodeId(8), "n1", ids))
        with pytest.raises(BadConfiguration, match="belongs to node 8"):
            with_store(machine, again)


def test_chunks_without_the_record_of_whose_they_are_are_not_used() -> None:
    async def work(world: World, store: ChunkStore) -> None:
        await store_whole(store, 1, b"abc")
        world.disk.remove("chunkserver")

    with Simulation(1) as simulation:
        machine = simulation.machine("n1")
        with_store(machine, work)
        with pytest.raises(BadConfiguration, match="no record of whose they are"):
            with_store(machine, work)
