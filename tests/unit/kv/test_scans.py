"""Cursors and ranges."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kv_stores import START_MS, Driven

from quorate.kv.core.commands import MAX_PAGE_ENTRIES, Delete, Entry, Put, PutMany, Range, Scan
from quorate.kv.core.state import MAX_CURSORS

KEYS = st.integers(0, 60).map(lambda number: b"%02d" % number)


@given(
    st.frozensets(KEYS),
    st.lists(st.tuples(st.integers(1, 9), st.lists(st.tuples(st.booleans(), KEYS)), st.booleans())),
)
def test_a_key_that_is_there_all_the_while_is_given_once(
    stays: frozenset[bytes], steps: list[tuple[int, list[tuple[bool, bytes]], bool]]
) -> None:
    store = Driven()
    store.one(PutMany([(key, b"") for key in sorted(stays)]))
    cursor, given_keys = 0, list[bytes]()
    for count, changes, restored in [*steps, (100, [], False)]:
        cursor, keys = store.one(Scan(cursor, count))
        assert len(keys) <= count
        given_keys += keys
        if not cursor:
            break
        for is_new, key in changes:
            if key not in stays:
                store.one(Put(key, b"") if is_new else Delete([key]))
        if restored:
            store = store.copy()
    assert len(given_keys) == len(set(given_keys))
    assert stays <= set(given_keys)


def test_a_cursor_goes_on_as_often_as_it_is_asked() -> None:
    store = Driven()
    store.one(PutMany([(b"a", b""), (b"b", b""), (b"c", b"")]))
    cursor, _ = store.one(Scan(0, 2))
    assert store.do(Scan(cursor, 2), Scan(cursor, 2)) == [[0, [b"c"]], [0, [b"c"]]]


def test_the_oldest_cursors_are_forgotten_and_then_refused() -> None:
    store = Driven()
    store.one(PutMany([(b"a", b""), (b"b", b"")]))
    first, _ = store.one(Scan(0, 1))
    store.do(*[Scan(0, 1)] * MAX_CURSORS)
    assert len(store.store.state.cursors) == MAX_CURSORS
    assert store.refused(Scan(first, 1)) == "not_found"
    assert store.one(Scan(first + 1, 1)) == [0, [b"b"]]


@pytest.mark.parametrize("operation", [Scan(77, 1), Scan(0, 0)])
def test_a_cursor_that_was_never_given_and_no_count_are_refused(operation: Scan) -> None:
    assert Driven().refused(operation) in ("not_found", "bad_input")


def test_a_range_gives_pages_of_its_keys_with_or_without_values() -> None:
    store = Driven()
    store.do(*(Put(b"%d" % number, b"v") for number in range(6)))
    page = store.query(Range(b"1", b"5", 3))
    assert page.entries == [Entry(b"%d" % number, b"v", number + 1) for number in (1, 2, 3)]
    assert (page.more, page.revision) == (b"4", 6)
    page = store.query(Range(b"4", b"5", 3, values=False))
    assert (page.entries, page.more) == ([Entry(b"4", b"", 5)], None)
    assert store.query(Range(b"", None, -1)).more == b"1"


def test_a_page_passes_a_bounded_number_of_keys_that_have_ended() -> None:
    store = Driven()
    state = store.store.state
    for number in range(MAX_PAGE_ENTRIES * 2):
        state.write(b"%06d" % number, b"", START_MS + 1)
    state.write(b"last", b"")
    state.end()
    state.time_ms = START_MS + 1
    page = store.store.page(Range(b"", None))
    assert page.entries == [] and page.more is not None
    assert store.content() == {b"last": b""}
