"""Conditions, and what is done together."""

from itertools import pairwise

import pytest
from kv_stores import START_MS, Driven

from quorate.base.errors import BadInput
from quorate.kv.core.commands import (
    Add,
    AnyOperation,
    Changes,
    Clear,
    Delete,
    Expire,
    Get,
    HasRevision,
    HasValue,
    Put,
    PutMany,
    Rename,
    Set,
    Untouched,
)


def untouched(store: Driven, key: bytes, since: int) -> bool:
    return store.transact([Untouched(key, since)], []).held


def test_then_or_otherwise_is_done() -> None:
    store = Driven()
    store.one(Put(b"a", b"1"))
    done = store.transact([HasValue(b"a", b"1"), HasValue(b"b", None)], [Put(b"a", b"2")])
    assert (done.held, done.revision, done.replies) == (True, 2, [2])
    done = store.transact([HasRevision(b"a", 1)], [Put(b"a", b"3")], [Get(b"a")])
    assert (done.held, done.revision, done.replies) == (False, 2, [b"2"])
    assert store.transact([HasRevision(b"a", 2), HasRevision(b"b", 0)], []).held


def test_all_changes_have_one_revision() -> None:
    store = Driven()
    then: list[AnyOperation] = [Put(b"a", b""), PutMany([(b"b", b"")]), Rename(b"a", b"c")]
    assert store.transact([], then).revision == 1
    events = store.query(Changes(0, b"", None)).events
    assert [(event.revision, event.key) for event in events] == [
        (1, b"a"),
        (1, b"b"),
        (1, b"a"),
        (1, b"c"),
    ]


def test_a_whole_transaction_that_is_refused_changes_nothing() -> None:
    store = Driven()
    store.do(Put(b"a", b"text"), Set(b"b", b"1", ttl_ms=99), Put(b"c", b""))
    before, digest = store.content(), store.store.digest()
    then: list[AnyOperation] = [
        Delete([b"c", b"a"]),
        Put(b"a", b"2"),
        Put(b"b", b"2"),
        Put(b"new", b""),
        Delete([b"new"]),
        Put(b"new", b""),
        Put(b"a", b"x"),
        Add(b"a", 1),
    ]
    with pytest.raises(BadInput, match="not an integer"):
        store.transact([], then)
    assert (store.content(), store.store.digest()) == (before, digest)
    assert store.store.changes(Changes(3, b"", None)).events == []
    assert store.one(Put(b"d", b"")) == 4


def test_one_that_is_not_whole_refuses_each_by_itself() -> None:
    store = Driven()
    then: list[AnyOperation] = [
        Put(b"a", b"x"),
        Add(b"a", 1),
        Clear(),
        Put(b"b", b"1"),
        Add(b"b", 1),
    ]
    done = store.transact([], then, whole=False)
    assert done.replies[0] == 1 and done.replies[1]["code"] == "bad_input"
    assert done.replies[2:] == [1, 1, 2]
    assert store.content() == {b"b": b"2"}


def test_clear_cannot_be_part_of_a_whole_one() -> None:
    store = Driven()
    store.one(Put(b"a", b""))
    with pytest.raises(BadInput, match="whole transaction"):
        store.transact([], [Put(b"b", b""), Clear()])
    assert store.content() == {b"a": b""}


def test_a_key_that_was_made_and_deleted_again_was_touched() -> None:
    store = Driven()
    store.one(Put(b"other", b""))
    assert untouched(store, b"a", 1)
    store.do(Put(b"a", b""), Delete([b"a"]))
    assert not untouched(store, b"a", 1)
    assert not untouched(store, b"a", 2)
    assert untouched(store, b"a", 3)
    assert untouched(store, b"other", 1)


def test_a_key_that_was_deleted_and_made_again_with_its_value_was_touched() -> None:
    store = Driven()
    store.one(Put(b"a", b"1"))
    store.do(Delete([b"a"]), Put(b"a", b"1"))
    assert not untouched(store, b"a", 1)
    assert untouched(store, b"a", 3)


@pytest.mark.parametrize("change", [Put(b"a", b"1"), Expire(b"a", ttl_ms=9), Clear()])
def test_a_change_of_value_or_end_and_a_clear_are_touches(change: AnyOperation) -> None:
    store = Driven()
    store.one(Put(b"a", b"1"))
    store.one(change)
    assert not untouched(store, b"a", 1)
    assert untouched(store, b"a", 2)


def test_an_end_that_came_is_a_touch() -> None:
    store = Driven()
    store.one(Set(b"a", b"", ttl_ms=5))
    store.tick(5)
    assert not untouched(store, b"a", 1)
    assert untouched(store, b"a", 2)


def test_an_end_that_came_is_a_touch_before_the_key_is_taken_away() -> None:
    """More keys end at once than one entry takes away."""
    store = Driven()
    store.one(PutMany([(b"%04d" % number, b"") for number in range(2000)]))
    for number in range(2000):
        store.store.state.write(b"%04d" % number, b"", START_MS + 5)
    store.store.state.end()
    since = store.store.state.revision
    store.tick(5)
    assert not untouched(store, b"1999", since)


def test_what_is_forgotten_counts_as_touched() -> None:
    store = Driven(max_events=4)
    store.one(Put(b"a", b""))
    assert untouched(store, b"gone", 1)
    for number in range(6):
        store.one(Put(b"%d" % number, b""))
    assert store.store.state.history.forgotten == 3
    assert not untouched(store, b"gone", 1)
    assert untouched(store, b"gone", 3)
    assert untouched(store, b"a", 1)  # it is there, with its revision


def test_untouched_is_the_same_after_a_snapshot() -> None:
    store = Driven(max_events=8)
    store.do(Put(b"a", b""), Put(b"b", b""), Put(b"c", b""), Clear(), Put(b"b", b""))
    store.do(Put(b"d", b""), Delete([b"d"]), *[Put(b"e", b"") for _ in range(4)])
    copy = store.copy()
    for key in (b"a", b"b", b"c", b"d", b"e"):
        answers = [untouched(store, key, since) for since in range(13)]
        assert answers == [untouched(copy, key, since) for since in range(13)]
        assert all(earlier <= later for earlier, later in pairwise(answers))
