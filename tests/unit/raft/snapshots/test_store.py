"""The store's promises, one process at a time."""

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from unittest import mock

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from unit.raft.snapshots.machine import (
    BLOCKS_AT,
    GROUP,
    MEMBERS,
    TIME_MS,
    Machine,
    content,
    cut,
    file_bytes,
    snapshot_id,
)

from quorate.base.errors import (
    BadConfiguration,
    CorruptData,
    DiskFailed,
    DiskFull,
    NotFound,
    ProtocolError,
    ReplicaDamaged,
)
from quorate.base.ids import GroupId
from quorate.raft.snapshots import Snapshot, SnapshotStore, format, output
from quorate.raft.snapshots.format import BLOCK_BYTES, FRAME_BYTES, HEADER_BYTES
from quorate.raft.snapshots.names import Kind, path_of
from quorate.runtime.ports import World

ID = snapshot_id(5)
PATH = path_of(ID, Kind.WHOLE)
DATA = content(BLOCK_BYTES * 2 + 1000)


@settings(max_examples=40)
@given(st.lists(st.one_of(st.integers(0, 50), st.integers(0, 3 * BLOCK_BYTES)), max_size=6))
def test_any_stream_comes_back_however_it_was_cut(sizes: list[int]) -> None:
    machine = Machine()
    stream = [content(size, size) for size in sizes]
    written = machine.with_store(lambda store: store.write(ID, TIME_MS, MEMBERS, iter(stream)))
    assert written == Snapshot(ID, TIME_MS, len(machine.bytes_of(PATH)), MEMBERS)
    machine.restart(power_loss=True)
    assert machine.newest() == (written, b"".join(stream))
    assert machine.bytes_of(PATH) == file_bytes(ID, b"".join(stream))


def test_nothing_is_here_before_the_first() -> None:
    assert Machine().newest() is None


def test_groups_do_not_know_of_each_other() -> None:
    machine = Machine()
    machine.write(snapshot_id(5, group=1), b"one")
    machine.write(snapshot_id(9, group=GROUP), b"seven")
    machine.restart()

    async def work(store: SnapshotStore) -> None:
        one = store.newest(GroupId(1))
        assert one is not None
        assert b"".join(store.read(one)) == b"one"
        assert store.newest(GroupId(2)) is None
        store.discard_before(GroupId(2), 100)

    machine.with_store(work)
    assert len(machine.files()) == 2


def test_what_is_here_and_whole_is_not_written_again() -> None:
    machine = Machine()
    first = machine.write(ID, b"the state")
    assert machine.write(ID, b"the same state in another order") == first
    machine.disk.flip_bit(f"node/{PATH}", BLOCKS_AT + 9, 0)
    assert machine.write(ID, b"once more").bytes == len(machine.bytes_of(PATH))
    assert machine.newest() == (machine.write(ID, b""), b"once more")


@pytest.mark.parametrize(
    "cut_at", [0, HEADER_BYTES, BLOCKS_AT - 1, BLOCKS_AT, BLOCKS_AT + 1, 70_000, -1, -20]
)
def test_a_file_cut_short_is_noticed_by_who_reads_it(cut_at: int) -> None:
    machine = Machine()
    snapshot = machine.write(ID, DATA)
    machine.put_file(PATH, machine.bytes_of(PATH)[:cut_at])

    async def work(store: SnapshotStore) -> None:
        newest = store.newest(GROUP)
        assert (newest is None) == (0 <= cut_at < BLOCKS_AT)
        for known in (snapshot, newest):
            if known is not None:
                with pytest.raises(ReplicaDamaged, match="rebuilt from the others") as caught:
                    b"".join(store.read(known))
                assert caught.value.details["path"] == PATH

    machine.with_store(work)


def test_bytes_behind_the_end_are_noticed() -> None:
    machine = Machine()
    snapshot = machine.write(ID, DATA)
    machine.put_file(PATH, machine.bytes_of(PATH) + b"\0")

    async def work(store: SnapshotStore) -> None:
        newest = store.newest(GROUP)
        assert newest is not None
        for known in (snapshot, newest):
            with pytest.raises(CorruptData):
                b"".join(store.read(known))

    machine.with_store(work)


@settings(max_examples=60)
@given(st.integers(0, 1 << 40), st.integers(0, 7))
@example(0, 0)
@example(8, 1)
def test_a_flipped_bit_is_noticed_by_who_reads_it(where: int, bit: int) -> None:
    machine = Machine()
    snapshot = machine.write(ID, DATA)
    offset = where % snapshot.bytes
    machine.disk.flip_bit(f"node/{PATH}", offset, bit)

    async def work(store: SnapshotStore) -> None:
        assert (store.newest(GROUP) is None) == (offset < BLOCKS_AT)
        got = 0
        with pytest.raises(CorruptData) as caught:
            for data in store.read(snapshot):
                assert DATA[got : got + len(data)] == data
                got += len(data)
        assert int(caught.value.details["offset"]) <= offset

    machine.with_store(work)


FILES = st.one_of(
    st.binary(max_size=300),
    st.tuples(st.sampled_from((HEADER_BYTES, BLOCKS_AT)), st.binary(max_size=300)).map(
        lambda drawn: file_bytes(ID, b"")[: drawn[0]] + drawn[1]
    ),
    st.tuples(st.binary(max_size=50), st.integers(0, BLOCKS_AT + FRAME_BYTES)).map(
        lambda drawn: file_bytes(ID, drawn[0])[: drawn[1]]
    ),
)


@given(st.dictionaries(st.sampled_from(list(Kind)), FILES), st.integers(1, 8))
def test_arbitrary_files_raise_nothing_else(files: dict[Kind, bytes], index: int) -> None:
    machine = Machine()
    for kind, data in files.items():
        machine.put_file(path_of(snapshot_id(index if kind == Kind.PARTIAL else 5), kind), data)
    with suppress(CorruptData, BadConfiguration):
        assert (newest := machine.newest()) is None or newest[0].id == ID
    raw = file_bytes(snapshot_id(index), b"what is offered")
    offer = Snapshot(snapshot_id(index), TIME_MS, len(raw), MEMBERS)

    async def fetch(offset: int, length: int) -> memoryview:
        return memoryview(raw)[offset : offset + length]

    assert machine.receive(offer, fetch).id == offer.id


def test_a_newer_format_is_not_opened() -> None:
    machine = Machine()
    with mock.patch.object(format, "FORMAT_VERSION", 3):
        machine.put_file(PATH, file_bytes(ID, DATA))
    with pytest.raises(BadConfiguration, match="run that version"):
        machine.newest()
    assert machine.files() == [PATH.removeprefix("snapshots/")]


def test_at_the_start_one_of_each_group_is_kept_and_leftovers_go() -> None:
    machine = Machine()
    for index in (3, 4, 5):
        machine.put_file(
            path_of(snapshot_id(index), Kind.WHOLE), file_bytes(snapshot_id(index), b"")
        )
    other = snapshot_id(2, group=8)
    machine.put_file(path_of(other, Kind.WHOLE), file_bytes(other, b""))
    machine.put_file(path_of(snapshot_id(6), Kind.WRITING), b"half")
    for index in (4, 7, 8):
        machine.put_file(path_of(snapshot_id(index), Kind.PARTIAL), b"half")
    newest = machine.newest()
    assert newest is not None
    assert newest[0].id == ID
    kept = [path_of(ID, Kind.WHOLE), path_of(snapshot_id(8), Kind.PARTIAL)]
    kept.append(path_of(other, Kind.WHOLE))
    assert [f"snapshots/{name}" for name in machine.files()] == kept


def test_a_damaged_header_is_reported_and_the_one_before_it_kept() -> None:
    machine = Machine()
    for index in (3, 4, 5):
        machine.put_file(
            path_of(snapshot_id(index), Kind.WHOLE), file_bytes(snapshot_id(index), b"")
        )
    machine.disk.flip_bit(f"node/{PATH}", 20, 0)
    newest = machine.newest()
    assert newest is not None
    assert newest[0].id == snapshot_id(4)
    assert any("ERROR" in line and PATH in line for line in machine.trace.recent)
    assert len(machine.files()) == 2

    async def work(store: SnapshotStore) -> None:
        await store.write(snapshot_id(6), TIME_MS, MEMBERS, iter([b"new"]))
        store.discard_before(GROUP, 6)

    machine.with_store(work)
    assert len(machine.files()) == 1


def test_a_snapshot_under_the_name_of_another_is_not_used() -> None:
    machine = Machine()
    machine.put_file(PATH, file_bytes(snapshot_id(6), DATA))
    assert machine.newest() is None


def test_foreign_files_are_left_alone() -> None:
    machine = Machine()
    names = ["README", "0.snap", "x.writing", "x.partial", f"{'0' * 16}.snap"]
    for name in names:
        machine.put_file(f"snapshots/{name}", b"mine")
    machine.view.make_directory(PATH)
    assert machine.newest() is None
    assert machine.files() == sorted([*names, PATH.removeprefix("snapshots/")])


# Chunks.


def test_chunks_put_together_are_the_file() -> None:
    machine = Machine()

    async def work(store: SnapshotStore) -> None:
        snapshot = await store.write(ID, TIME_MS, MEMBERS, cut(DATA, 999))
        raw = b""
        while len(raw) < snapshot.bytes:
            raw += store.chunk(ID, len(raw), 100_000)
        assert raw == file_bytes(ID, DATA)

    machine.with_store(work)


@pytest.mark.parametrize(
    ("offset", "length"),
    [(-1, 10), (0, 0), (0, -1), (0, (1 << 20) + 1), (1 << 30, 1), (len(file_bytes(ID, b"x")), 1)],
)
def test_chunks_that_cannot_be_are_refused(offset: int, length: int) -> None:
    async def work(store: SnapshotStore) -> None:
        await store.write(ID, TIME_MS, MEMBERS, iter([b"x"]))
        with pytest.raises(ProtocolError, match="were asked"):
            store.chunk(ID, offset, length)

    Machine().with_store(work)


def test_a_chunk_of_what_is_not_here_is_not_found() -> None:
    async def work(store: SnapshotStore) -> None:
        await store.write(ID, TIME_MS, MEMBERS, iter([b"x"]))
        for id in (snapshot_id(4), snapshot_id(5, source=1), snapshot_id(-1)):
            with pytest.raises(NotFound, match="newer one"):
                store.chunk(id, 0, 1)

    Machine().with_store(work)


# Discarding.


def test_older_ones_go_and_the_newest_never() -> None:
    machine = Machine()

    async def work(store: SnapshotStore) -> None:
        for index in (3, 4, 5):
            await store.write(snapshot_id(index), TIME_MS, MEMBERS, iter([b"x"]))
        store.discard_before(GROUP, 4)
        assert len(machine.files()) == 2
        store.discard_before(GROUP, 99)
        with pytest.raises(NotFound):
            store.chunk(snapshot_id(4), 0, 1)
        assert store.chunk(ID, 0, 1)

    machine.with_store(work)
    assert machine.files() == [PATH.removeprefix("snapshots/")]


def test_who_reads_a_snapshot_keeps_it() -> None:
    machine = Machine()

    async def work(world: World) -> None:
        store = await SnapshotStore.open(world)
        for index in (4, 5):
            await store.write(snapshot_id(index), TIME_MS, MEMBERS, iter([b"x"]))
        for _ in range(3):
            store.chunk(snapshot_id(4), 0, 1)
            await world.clock.sleep(29_000)
            store.discard_before(GROUP, 5)
        assert store.chunk(snapshot_id(4), 1, 1)
        await world.clock.sleep(30_001)
        assert len(machine.files()) == 2
        store.discard_before(GROUP, 5)
        assert len(machine.files()) == 1

    machine.do(work)


# What fails, and what must not be held up.


def endless() -> Iterator[bytes]:
    while True:
        yield bytes(100_000)


@pytest.mark.parametrize("room", [0, 100, 1_000_000, 20 << 20])
def test_a_full_disk_leaves_what_was_there(room: int) -> None:
    machine = Machine()
    old = machine.write(snapshot_id(4), DATA)
    machine.disk.faults.capacity_bytes = machine.disk.used_bytes + room
    used = machine.disk.used_bytes
    with pytest.raises(DiskFull):
        machine.with_store(lambda store: store.write(ID, TIME_MS, MEMBERS, endless()))
    assert machine.disk.used_bytes == used
    assert machine.newest() == (old, DATA)
    assert len(machine.files()) == 1


def test_a_large_snapshot_leaves_room_for_the_log() -> None:
    machine = Machine()
    least_free = machine.disk.faults.capacity_bytes = 100 << 20

    def stream() -> Iterator[bytes]:
        nonlocal least_free
        for piece in endless():
            least_free = min(least_free, machine.disk.free_bytes())
            yield piece

    with pytest.raises(DiskFull, match="no room"):
        machine.with_store(lambda store: store.write(ID, TIME_MS, MEMBERS, stream()))
    assert least_free > output.RESERVED_BYTES - 2 * output.SYNC_BYTES
    machine.disk.faults.capacity_bytes = 2 << 20
    assert machine.write(ID, DATA).id == ID


def test_a_failed_sync_names_no_snapshot() -> None:
    machine = Machine()
    old = machine.write(snapshot_id(4), b"old")

    async def work(store: SnapshotStore) -> None:
        machine.fail_next_sync()
        with pytest.raises(DiskFailed):
            await store.write(ID, TIME_MS, MEMBERS, iter([DATA]))
        assert store.newest(GROUP) == old

    machine.with_store(work)
    assert machine.newest() == (old, b"old")


def test_what_the_stream_raises_comes_through_and_nothing_is_left() -> None:
    def stream() -> Iterator[bytes]:
        yield DATA
        raise NotFound("not there any more")

    machine = Machine()
    with pytest.raises(NotFound):
        machine.with_store(lambda store: store.write(ID, TIME_MS, MEMBERS, stream()))
    assert machine.files() == []


@pytest.mark.parametrize("turns", [0, 1, 3, 20])
def test_a_cancelled_write_leaves_nothing_and_can_be_begun_again(turns: int) -> None:
    machine = Machine()

    async def work(store: SnapshotStore) -> None:
        task = asyncio.ensure_future(store.write(ID, TIME_MS, MEMBERS, endless()))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert machine.files() == []
        assert (await store.write(ID, TIME_MS, MEMBERS, iter([b"x"]))).id == ID

    machine.with_store(work)


class Turns:
    """How much was written, and how much time passed, between two turns of the loop.

    It never waits for time to pass, and so no sync may (``prompt``).
    """

    def __init__(self, world: World) -> None:
        self.largest_bytes = 0
        self.longest_ms = 0.0
        self.count = 0
        self._world = world
        self._view = world.disk

    async def watch(self, path: str) -> None:
        size, at_ms = 0, self._world.clock.monotonic_ms()
        while True:
            await asyncio.sleep(0)
            self.count += 1
            if self._view.exists(path):
                file = self._view.open(path)
                self.largest_bytes = max(self.largest_bytes, file.size() - size)
                size = file.size()
            now_ms = self._world.clock.monotonic_ms()
            self.longest_ms = max(self.longest_ms, now_ms - at_ms)
            at_ms = now_ms


def test_a_write_gives_the_loop_its_turn_after_some_bytes() -> None:
    async def work(world: World) -> Turns:
        store = await SnapshotStore.open(world)
        turns = Turns(world)
        watch = world.spawn(turns.watch(path_of(ID, Kind.WRITING)), "watch")
        await asyncio.sleep(0)
        await store.write(ID, TIME_MS, MEMBERS, iter([bytes(5 << 20), b"", *[bytes(70_000)] * 40]))
        watch.cancel()
        return turns

    turns = prompt().do(work)
    assert 0 < turns.largest_bytes <= output.TURN_BYTES + BLOCK_BYTES
    assert turns.count >= 7


def prompt() -> Machine:
    """A machine whose syncs take no time."""
    machine = Machine()
    machine.disk.faults.sync_ms = (0.0, 0.0)
    machine.disk.faults.bytes_per_ms = float("inf")
    return machine


class SteppedClock:
    """Time passes only where the test says so."""

    def __init__(self, world: World) -> None:
        self._sleep = world.clock.sleep
        self.now_ms = 0.0

    def monotonic_ms(self) -> float:
        return self.now_ms

    async def sleep(self, delay_ms: float) -> None:
        await self._sleep(delay_ms)


def test_a_slow_stream_gives_the_loop_its_turn_after_two_milliseconds() -> None:
    async def work(world: World) -> Turns:
        store = await SnapshotStore.open(world)
        clock = SteppedClock(world)
        with mock.patch.object(world, "clock", clock):
            turns = Turns(world)
            watch = world.spawn(turns.watch(path_of(ID, Kind.WRITING)), "watch")

            def stream() -> Iterator[bytes]:
                for _ in range(300):
                    clock.now_ms += 0.5
                    yield b"a little"

            await store.write(ID, TIME_MS, MEMBERS, stream())
            watch.cancel()
        return turns

    turns = prompt().do(work)
    assert 0 < turns.longest_ms <= output.TURN_MS
    assert turns.count >= 70


def test_what_is_not_synced_stays_small() -> None:
    async def work(world: World) -> None:
        store = await SnapshotStore.open(world)
        most = 0

        def stream() -> Iterator[bytes]:
            nonlocal most
            for _ in range(300):
                inode = machine.disk.found(["node", *path_of(ID, Kind.WRITING).split("/")])
                most = max(most, getattr(inode, "unsynced_bytes", 0))
                yield bytes(10_000)

        with mock.patch.object(output, "SYNC_BYTES", 500_000):
            await store.write(ID, TIME_MS, MEMBERS, stream())
        assert 0 < most <= 500_000 + BLOCK_BYTES

    machine = Machine()
    machine.do(work)
