"""Watches: nothing is missed, nothing is told twice, no revision is split."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kv_stores import Driven

from quorate.base.errors import BadInput, NotFound
from quorate.kv.core.commands import (
    MAX_PAGE_BYTES,
    Changes,
    Clear,
    Delete,
    Entry,
    Event,
    Kind,
    Put,
    Set,
    Skip,
)
from quorate.kv.core.history import EVENT_BYTES, MAX_BYTES, History

CHANGES = st.lists(
    st.lists(st.sampled_from([b"a", b"b", b"c"]), min_size=1, max_size=5), max_size=12
)


def test_all_kinds_of_events_are_told_in_order() -> None:
    store = Driven()
    store.do(Put(b"a", b"1"), Set(b"b", b"2", ttl_ms=5), Delete([b"a"]))
    store.tick(5)
    store.do(Put(b"c", b""), Clear())
    assert store.query(Changes(0, b"", None)).events == [
        Event(1, Kind.PUT, b"a", b"1"),
        Event(2, Kind.PUT, b"b", b"2"),
        Event(3, Kind.DELETE, b"a", b""),
        Event(4, Kind.EXPIRE, b"b", b""),
        Event(5, Kind.PUT, b"c", b""),
        Event(6, Kind.CLEAR, b"", b""),
    ]


def test_a_range_tells_of_its_keys_and_of_a_clear() -> None:
    store = Driven()
    store.do(Put(b"a", b""), Put(b"b", b""), Put(b"c", b""), Clear())
    changed = store.query(Changes(0, b"b", b"c"))
    assert [(event.revision, event.kind) for event in changed.events] == [(2, 0), (4, 3)]
    assert changed.revision == 4


@given(CHANGES, st.integers(-1, 4), st.booleans())
def test_pages_put_together_are_all_events_and_no_page_splits_a_revision(
    changes: list[list[bytes]], limit: int, from_a_snapshot: bool
) -> None:
    store = Driven()
    for keys in changes:
        store.transact([], [Put(key, b"v") for key in keys])
    if from_a_snapshot:
        store = store.copy()
    told: list[Event] = []
    since = 0
    while since < store.store.state.revision:
        page = store.query(Changes(since, b"a", b"c", limit))
        assert page.revision > since
        assert all(since < event.revision <= page.revision for event in page.events)
        told += page.events
        since = page.revision
    expected = [(number, key) for number, keys in enumerate(changes, 1) for key in keys]
    assert [(event.revision, event.key) for event in told] == [
        (number, key) for number, key in expected if key < b"c"
    ]


def test_a_page_ends_at_its_bytes_and_gives_one_event_that_is_larger() -> None:
    store = Driven()
    large = bytes(MAX_PAGE_BYTES // 3 * 2)
    for upload, key in enumerate((b"a", b"b", b"c")):
        store.stage(upload, 0, large)
        store.one(Put(key, upload))
    assert len(store.query(Changes(0, b"", None)).events) == 2


def test_what_is_forgotten_is_refused_and_never_skipped() -> None:
    store = Driven(max_events=3)
    for number in range(5):
        store.one(Put(b"a", b"%d" % number))
    with pytest.raises(NotFound, match=r"after revision 1 is forgotten \(up to 2\)"):
        store.query(Changes(1, b"", None))
    assert [event.value for event in store.query(Changes(2, b"", None)).events] == [
        b"2",
        b"3",
        b"4",
    ]


def test_revisions_that_were_skipped_are_forgotten_with_all_before_them() -> None:
    store = Driven()
    assert store.do(Put(b"a", b""), Skip(100), Put(b"a", b""), Skip(50)) == [1, 100, 101, 101]
    for since in (0, 1, 99):
        with pytest.raises(NotFound):
            store.query(Changes(since, b"", None))
    assert [event.revision for event in store.query(Changes(100, b"", None)).events] == [101]
    with pytest.raises(BadInput, match="transaction"):
        store.transact([], [Put(b"b", b""), Skip(200)])
    assert store.one(Skip(0)) == 101 and store.copy().one(Put(b"b", b"")) == 102


def test_a_watch_ahead_of_this_replica_is_told_nothing_and_not_sent_back() -> None:
    store = Driven()
    store.one(Put(b"a", b""))
    changed = store.query(Changes(9, b"", None))
    assert (changed.events, changed.revision) == ([], 9)


def test_a_revision_that_is_forgotten_in_part_is_forgotten() -> None:
    store = Driven(max_events=3)
    store.transact([], [Put(b"%d" % number, b"") for number in range(4)])
    with pytest.raises(NotFound):
        store.query(Changes(0, b"", None))
    assert store.query(Changes(1, b"", None)).events == []


def test_history_is_bounded_in_events_and_in_bytes() -> None:
    history = History(max_events=10)
    history.add([Entry(b"k", b"", number) for number in range(1, 26)], 25, [])
    assert (len(history), history.forgotten, history.bytes) == (10, 15, 10 * (EVENT_BYTES + 1))
    large = bytes(MAX_BYTES // 4)
    history.add([Entry(b"k", large, 26 + number) for number in range(6)], 6 * (len(large) + 1), [])
    assert len(history) == 3 and history.bytes <= MAX_BYTES and history.forgotten == 28
    history.bound(MAX_BYTES // 2)
    assert len(history) == 1
    history.bound(None)
    assert len(history) == 1


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(0, 200)), max_size=25), st.integers(0, 25))
def test_a_replica_that_began_with_a_snapshot_forgets_what_the_others_forget(
    entries: list[tuple[int, int]], before: int
) -> None:
    stores = [Driven(max_events=20)]
    for number, (puts, length) in enumerate(entries):
        if number == before:
            stores.append(stores[0].copy())
        for store in stores:
            store.limit(20_000)
            store.do(*(Put(b"%d" % key, bytes(length)) for key in range(puts)))
    assert len({store.store.digest() for store in stores}) == 1
    assert len({len(store.store.state.history) for store in stores}) == 1


def test_what_was_deleted_is_remembered_as_long_as_its_event() -> None:
    store = Driven(max_events=100)
    for number in range(1000):
        store.do(Put(b"%d" % number, b""), Delete([b"%d" % number]))
    assert len(store.store.state.history._deleted) <= 100
