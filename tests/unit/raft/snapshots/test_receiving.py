"""A transfer that breaks is resumed; bytes that do not check never become a snapshot."""

import asyncio
from collections.abc import Awaitable, Callable
from unittest import mock

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from raft_replicas import group_of
from unit.raft.snapshots.machine import (
    BLOCKS_AT,
    GROUP,
    MEMBERS,
    TIME_MS,
    Machine,
    content,
    fetch_from,
    file_bytes,
    offer_of,
    snapshot_id,
)

from quorate.base import sometimes
from quorate.base.errors import (
    BadConfiguration,
    CorruptData,
    DiskFailed,
    DiskFull,
    ProtocolError,
    Unavailable,
)
from quorate.raft.snapshots import CHUNK_BYTES, Fetch, Snapshot, SnapshotStore, format
from quorate.raft.snapshots.format import BLOCK_BYTES, FRAME_BYTES, HEADER_BYTES
from quorate.raft.snapshots.names import Kind, path_of

ID = snapshot_id(5)
PARTIAL = path_of(ID, Kind.PARTIAL)
WHOLE = path_of(ID, Kind.WHOLE)
DATA = content(BLOCK_BYTES * 3 + 1000)
RAW = file_bytes(ID, DATA)
OFFER = offer_of(ID, RAW)
PIECE = BLOCK_BYTES + FRAME_BYTES
STARTS = [0, HEADER_BYTES, *range(BLOCKS_AT, len(RAW), PIECE)]
"""Where a transfer may be resumed."""


def name(path: str) -> str:
    return path.removeprefix("snapshots/")


class Sender:
    """Gives ``raw``, until the connection breaks after so many bytes."""

    def __init__(self, raw: bytes = RAW, *, breaks_at: int = 1 << 60, at_most: int = 1 << 20):
        self.raw = raw
        self.breaks_at = breaks_at
        self.at_most = at_most
        self.asked: list[tuple[int, int]] = []
        self.sent = 0

    async def fetch(self, offset: int, length: int) -> memoryview:
        self.asked.append((offset, length))
        left = self.breaks_at - self.sent
        if left <= 0:
            raise Unavailable("the connection is gone")
        data = memoryview(self.raw)[offset : offset + min(length, self.at_most, left)]
        self.sent += len(data)
        return data


def test_what_is_received_is_the_snapshot_and_survives_a_power_loss() -> None:
    machine = Machine()
    sender = Sender()
    assert machine.receive(OFFER, sender.fetch) == OFFER
    assert sender.asked == [(0, len(RAW))]
    machine.restart(power_loss=True)
    assert machine.newest() == (OFFER, DATA)
    assert machine.files() == [name(WHOLE)]


@settings(max_examples=20)
@given(st.integers(1, 300_000), st.integers(0, 3 * BLOCK_BYTES))
@example(300_000, 0)
def test_chunks_of_any_size_will_do(at_most: int, size: int) -> None:
    if size > 1000 * at_most:
        at_most = size // 1000 + 1
    machine = Machine()
    raw = file_bytes(ID, DATA[:size])
    machine.receive(offer_of(ID, raw), fetch_from(raw, at_most))
    assert machine.newest() == (offer_of(ID, raw), DATA[:size])


def test_a_byte_at_a_time_will_do() -> None:
    machine = Machine()
    raw = file_bytes(ID, DATA[:500], block_bytes=90)
    machine.receive(offer_of(ID, raw), fetch_from(raw, 1))
    assert machine.newest() == (offer_of(ID, raw), DATA[:500])


def test_a_large_one_is_asked_for_in_chunks() -> None:
    data = content(2_500_000)
    raw = file_bytes(ID, data)
    sender = Sender(raw)
    Machine().receive(offer_of(ID, raw), sender.fetch)
    assert sender.asked[0] == (0, CHUNK_BYTES)
    assert sum(length for _, length in sender.asked) == len(raw)


@settings(max_examples=40)
@given(st.lists(st.integers(0, len(RAW) // 2), max_size=4), st.sampled_from(["", "kill", "power"]))
def test_a_transfer_that_broke_anywhere_goes_on_where_its_pieces_end(
    breaks: list[int], crash: str
) -> None:
    machine = Machine(len(breaks))
    have = 0
    for at in [*breaks, 1 << 60]:
        sender = Sender(breaks_at=at)
        try:
            machine.receive(OFFER, sender.fetch)
        except Unavailable:
            assert sender.sent == at
        resumed_at = sender.asked[0][0] if sender.asked else len(RAW)
        assert resumed_at == have or (crash == "power" and resumed_at in STARTS)
        have = max(start for start in [*STARTS, len(RAW)] if start <= resumed_at + sender.sent)
        if crash:
            machine.restart(power_loss=crash == "power")
    assert machine.newest() == (OFFER, DATA)


def test_a_resumed_transfer_leaves_its_mark() -> None:
    machine = Machine()
    sometimes.forget()
    with pytest.raises(Unavailable):
        machine.receive(OFFER, Sender(breaks_at=PIECE * 2).fetch)
    assert not sometimes.seen()
    machine.receive(OFFER, Sender().fetch)
    assert sometimes.seen() == {"snapshot transfer resumed": 1}


@pytest.mark.parametrize("tail", [b"", b"\0" * 5000, RAW[PIECE + BLOCKS_AT :][:9000][::-1]])
def test_a_tail_that_does_not_check_is_written_over(tail: bytes) -> None:
    machine = Machine()
    machine.put_file(PARTIAL, RAW[: BLOCKS_AT + PIECE] + tail)
    sender = Sender()
    machine.receive(OFFER, sender.fetch)
    assert sender.asked[0][0] == BLOCKS_AT + PIECE
    assert machine.bytes_of(WHOLE) == RAW


@settings(max_examples=60)
@given(st.integers(0, len(RAW) - 1), st.integers(0, 7))
def test_a_partial_file_with_a_flipped_bit_is_used_up_to_there(offset: int, bit: int) -> None:
    machine = Machine()
    damaged = bytearray(RAW)
    damaged[offset] ^= 1 << bit
    machine.put_file(PARTIAL, bytes(damaged))
    sender = Sender()
    machine.receive(OFFER, sender.fetch)
    assert sender.asked[0][0] == max(start for start in STARTS if start <= offset)
    assert machine.newest() == (OFFER, DATA)


def test_a_partial_file_that_is_complete_asks_for_nothing() -> None:
    machine = Machine()
    machine.put_file(PARTIAL, RAW)
    sender = Sender()
    machine.receive(OFFER, sender.fetch)
    assert not sender.asked
    assert machine.newest() == (OFFER, DATA)


def test_a_partial_file_longer_than_the_offer_is_begun_again() -> None:
    machine = Machine()
    machine.put_file(PARTIAL, RAW + b"x")
    sender = Sender()
    machine.receive(OFFER, sender.fetch)
    assert sender.asked[0][0] == 0
    assert machine.bytes_of(WHOLE) == RAW


def test_what_is_here_and_whole_is_not_fetched_again() -> None:
    machine = Machine()
    machine.receive(OFFER, Sender().fetch)
    sender = Sender()
    assert machine.receive(OFFER, sender.fetch) == OFFER
    assert not sender.asked
    machine.disk.flip_bit(f"node/{WHOLE}", 100_000, 0)
    assert machine.receive(OFFER, sender.fetch) == OFFER
    assert sender.asked
    assert machine.newest() == (OFFER, DATA)


def test_an_offer_of_another_id_gives_the_old_transfer_up() -> None:
    machine = Machine()
    elsewhere = snapshot_id(5, group=8)
    for id in (ID, elsewhere):
        raw = file_bytes(id, DATA)
        with pytest.raises(Unavailable):
            machine.receive(offer_of(id, raw), Sender(raw, breaks_at=PIECE + 100).fetch)
    assert len(machine.files()) == 2
    other = snapshot_id(5, source=10)
    raw = file_bytes(other, DATA)
    with pytest.raises(Unavailable):
        machine.receive(offer_of(other, raw), Sender(raw, breaks_at=PIECE + 100).fetch)
    kept = [path_of(other, Kind.PARTIAL), path_of(elsewhere, Kind.PARTIAL)]
    assert machine.files() == [name(path) for path in kept]


# Senders that lie or are broken.


def refused(machine: Machine, offer: Snapshot, fetch: Fetch, error: type[Exception]) -> None:
    """``offer`` is not received, nothing of it is left, and what was there is."""
    old = machine.write(snapshot_id(4), b"old")
    with pytest.raises(error):
        machine.receive(offer, fetch)
    assert machine.files() == [name(path_of(old.id, Kind.WHOLE))]
    assert machine.newest() == (old, b"old")


@settings(max_examples=60)
@given(st.integers(0, len(RAW) - 1), st.integers(0, 7), st.sampled_from([0, PIECE + BLOCKS_AT]))
def test_a_flipped_bit_is_refused_and_its_file_removed(offset: int, bit: int, have: int) -> None:
    machine = Machine()
    if have:
        machine.put_file(PARTIAL, RAW[:have])
    damaged = bytearray(RAW)
    damaged[max(offset, have)] ^= 1 << bit
    refused(machine, OFFER, Sender(bytes(damaged)).fetch, CorruptData)


@pytest.mark.parametrize(
    "offer",
    [
        Snapshot(ID, TIME_MS, len(RAW) - 1, MEMBERS),
        Snapshot(ID, TIME_MS, HEADER_BYTES, MEMBERS),
        Snapshot(ID, TIME_MS, BLOCKS_AT, MEMBERS),
        Snapshot(ID, TIME_MS, 1, MEMBERS),
        Snapshot(ID, TIME_MS, 0, MEMBERS),
        Snapshot(ID, TIME_MS, -5, MEMBERS),
        Snapshot(ID, TIME_MS - 1, len(RAW), MEMBERS),
        Snapshot(ID, -1, len(RAW), MEMBERS),
        Snapshot(snapshot_id(6), TIME_MS, len(RAW), MEMBERS),
        Snapshot(snapshot_id(5, source=10), TIME_MS, len(RAW), MEMBERS),
        Snapshot(ID, TIME_MS, len(RAW), group_of(4)),
    ],
)
def test_a_file_that_is_not_what_was_offered_is_refused(offer: Snapshot) -> None:
    refused(Machine(), offer, Sender().fetch, CorruptData)


def test_a_file_longer_than_was_said_is_refused() -> None:
    async def fetch(offset: int, length: int) -> memoryview:
        return memoryview((RAW + bytes(1000))[offset : offset + length])

    refused(Machine(), Snapshot(ID, TIME_MS, len(RAW) + 500, MEMBERS), fetch, CorruptData)


def test_a_newer_format_says_to_run_that_version() -> None:
    with mock.patch.object(format, "FORMAT_VERSION", 3):
        raw = file_bytes(ID, DATA)
    refused(Machine(), offer_of(ID, raw), Sender(raw).fetch, BadConfiguration)


@given(st.binary(max_size=300), st.integers(0, 300), st.booleans())
def test_arbitrary_bytes_are_refused(data: bytes, size: int, ours: bool) -> None:
    raw = (RAW[:BLOCKS_AT] if ours else b"") + data

    async def fetch(offset: int, length: int) -> memoryview:
        return memoryview(raw.ljust(offset + length, b"\0"))[offset : offset + length]

    refused(Machine(), Snapshot(ID, TIME_MS, size, MEMBERS), fetch, CorruptData)


@pytest.mark.parametrize(
    "answer", [lambda length: memoryview(b""), lambda length: memoryview(bytes(length + 1))]
)
def test_an_answer_of_the_wrong_length_is_a_protocol_error(
    answer: Callable[[int], memoryview],
) -> None:
    sender = Sender(at_most=PIECE + 1000)

    async def fetch(offset: int, length: int) -> memoryview:
        return await sender.fetch(offset, length) if offset == 0 else answer(length)

    machine = Machine()
    with pytest.raises(ProtocolError, match="answered"):
        machine.receive(OFFER, fetch)
    assert len(machine.bytes_of(PARTIAL)) == PIECE + BLOCKS_AT


def test_an_offer_that_no_file_can_be_named_after_is_refused() -> None:
    machine = Machine()
    for id in (snapshot_id(-1), snapshot_id(1 << 64)):
        with pytest.raises(ProtocolError, match="64 bits"):
            machine.receive(Snapshot(id, TIME_MS, 100, MEMBERS), Sender().fetch)
    assert machine.files() == []


# The world fails.


def test_an_offer_larger_than_the_disk_is_refused_before_it_is_fetched() -> None:
    machine = Machine()
    machine.disk.faults.capacity_bytes = 1 << 20
    sender = Sender()
    refused(machine, Snapshot(ID, TIME_MS, 1 << 50, MEMBERS), sender.fetch, DiskFull)
    assert not sender.asked


def test_a_disk_that_fills_meanwhile_keeps_what_was_there() -> None:
    machine = Machine()

    async def fetch(offset: int, length: int) -> memoryview:
        machine.disk.faults.capacity_bytes = machine.disk.used_bytes + 1000
        return memoryview(RAW)[offset : offset + length]

    refused(machine, OFFER, fetch, DiskFull)


def test_a_failed_sync_names_no_snapshot_and_what_was_received_goes() -> None:
    machine = Machine()

    async def work(store: SnapshotStore) -> None:
        machine.fail_next_sync()
        with pytest.raises(DiskFailed):
            await store.receive(OFFER, Sender().fetch)
        assert store.newest(GROUP) is None

    machine.with_store(work)
    assert machine.files() == []


def test_pages_that_a_failed_sync_lost_are_written_again() -> None:
    """A process dies in a sync that fails: what the next one reads is not on the disk."""
    for seed in range(20):
        machine = Machine(seed)
        with pytest.raises(Unavailable):
            machine.receive(OFFER, Sender(breaks_at=3 * PIECE).fetch)
        machine.fail_next_sync()
        with pytest.raises(DiskFailed):
            machine.do(lambda world: world.disk.open(PARTIAL).sync())
        machine.restart()
        machine.receive(OFFER, Sender().fetch)
        machine.restart(power_loss=True)
        assert machine.newest() == (OFFER, DATA)


def test_a_cancelled_transfer_is_resumed_in_the_same_process() -> None:
    async def work(store: SnapshotStore) -> None:
        async def fetch(offset: int, length: int) -> memoryview:
            if offset:
                await asyncio.Event().wait()
            return memoryview(RAW)[: PIECE * 2]

        task = asyncio.ensure_future(store.receive(OFFER, fetch))
        await asyncio.sleep(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        sender = Sender()
        assert await store.receive(OFFER, sender.fetch) == OFFER
        assert sender.asked[0][0] == BLOCKS_AT + PIECE
        assert store.newest(GROUP) == OFFER
        assert store.chunk(ID, 5, 100) == RAW[5:105]

    Machine().with_store(work)


@pytest.mark.parametrize("resumed", [False, True])
def test_receiving_gives_the_loop_its_turn(resumed: bool) -> None:
    """Also with a sender that never keeps it waiting, and while a partial file is verified."""
    raw = file_bytes(ID, content(6 << 20))
    machine = Machine()
    if resumed:
        machine.put_file(PARTIAL, raw)
    # Nobody waits for time to pass in this test, so that each turn of the loop is counted.
    machine.disk.faults.sync_ms = (0.0, 0.0)
    machine.disk.faults.bytes_per_ms = float("inf")
    turns = 0

    async def watch() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    async def work(store: SnapshotStore) -> None:
        watching = asyncio.ensure_future(watch())
        fetch: Callable[[int, int], Awaitable[memoryview]] = fetch_from(raw)
        await store.receive(offer_of(ID, raw), fetch)
        watching.cancel()

    machine.with_store(work)
    assert turns >= 6
