"""The state as a stream: whole, or not at all."""

from collections.abc import Iterator

import pytest
from kv_stores import Driven

from quorate.base.errors import CorruptData
from quorate.base.machine import restore_all
from quorate.base.stream import PIECE_BYTES
from quorate.kv.core.commands import (
    Changes,
    Clear,
    Delete,
    Event,
    Fetch,
    Get,
    Kind,
    Put,
    PutMany,
    Scan,
    Set,
)
from quorate.kv.core.snapshot import VERSION


def used() -> Driven:
    """A store with a bit of everything."""
    store = Driven(max_events=50)
    store.limit(1 << 30, "")
    store.do(*(Put(b"%02d" % number, bytes(number)) for number in range(60)))
    store.do(Set(b"ends", b"", ttl_ms=77), Delete([b"07"]), Scan(0, 5))
    store.stage(5, 0, b"large ")
    return store


def test_a_replica_made_from_a_snapshot_goes_on_as_the_other_one() -> None:
    store = used()
    copy = store.copy()
    for replica in (store, copy):
        replica.stage(5, 6, b"value")
    commands = [Put(b"large", 5), Fetch(b"large"), Scan(1, 3), Fetch(b"ends"), Get(b"07")]
    assert store.do(*commands) == copy.do(*commands)
    for replica in (store, copy):
        replica.tick(77)
    assert store.store.digest() == copy.store.digest()
    assert store.content() == copy.content()
    history = [replica.query(Changes(20, b"", None)) for replica in (store, copy)]
    assert history[0] == history[1] and len(history[0].events) > 10
    assert store.store.statistics() == copy.store.statistics()
    assert b"".join(store.store.snapshot()) == b"".join(copy.store.snapshot())


def test_a_snapshot_shows_the_state_at_its_call_whatever_comes_later() -> None:
    store = used()
    digest = store.store.digest()
    stream = store.store.snapshot()
    store.do(PutMany([(b"%02d" % number, b"new") for number in range(60)]), Delete([b"ends"]))
    store.one(Scan(1, 2))
    store.stage(5, 6, b"more")
    store.one(Clear())
    store.tick()
    other = Driven(max_events=50)
    restore_all(other.store, stream)
    assert other.store.digest() == digest


def test_a_stream_that_is_cut_or_damaged_changes_nothing() -> None:
    store = used()
    records = list(store.store.snapshot())
    stream = b"".join(records)
    other = used()
    digest = other.store.digest()
    damaged = bytearray(stream)
    damaged[len(records[0]) + len(records[1]) // 2] ^= 1  # among the keys
    for pieces in (
        [stream[:-1]],
        records[:-1],
        [bytes(damaged)],
        [stream, records[-1]],
        records[1:],
    ):
        with pytest.raises(CorruptData):
            restore_all(other.store, pieces)
        assert other.store.digest() == digest


def test_a_snapshot_of_another_version_is_refused() -> None:
    records = list(Driven().store.snapshot())
    assert records[0][5] == VERSION
    with pytest.raises(CorruptData, match="version 9"):
        restore_all(Driven().store, [records[0][:5] + b"\x09" + records[0][6:]])


def test_large_values_make_bounded_pieces_and_pauses() -> None:
    store = Driven()
    for number in range(6):
        for offset in range(0, 1 << 20, 1 << 18):
            store.stage(number, offset, bytes(1 << 18))
        store.one(Put(b"%d" % number, number))
    pieces = list(store.store.snapshot())
    assert max(map(len, pieces)) <= PIECE_BYTES
    pauses: Iterator[None] = Driven().store.restore(pieces)
    assert sum(1 for _ in pauses) >= 6


def test_a_restore_lets_go_of_what_was_there_with_pauses() -> None:
    store = Driven()
    for number in range(20_000):
        store.store.state.write(b"%d" % number, b"")
        store.store.state.end()
    pauses = sum(1 for _ in store.store.restore(Driven().store.snapshot()))
    assert pauses > 5 and len(store.store.state.items) == 0


def test_a_put_read_back_from_a_snapshot_is_no_delete() -> None:
    store = Driven()
    store.one(Put(b"a", b"1"))
    copy = store.copy()
    assert copy.query(Changes(0, b"", None)).events == [Event(1, Kind.PUT, b"a", b"1")]
    assert not copy.store.state.history.deleted_after(b"a", 0)
