"""Nothing takes long, nothing grows without a bound, and at the bound nothing breaks."""

import time

import pytest
from kv_stores import START_MS, Driven

from quorate.base.errors import BadInput, Overloaded, StoreFull, Unavailable
from quorate.base.machine import Meta
from quorate.kv.core import state as state_module
from quorate.kv.core.commands import (
    MAX_INLINE_BYTES,
    MAX_STAGED_BYTES,
    MAX_VALUE_BYTES,
    MAX_WORK_BYTES,
    AnyOperation,
    Append,
    AskStatistics,
    Clear,
    Copy,
    Delete,
    Expire,
    Get,
    GetMany,
    LookUp,
    Put,
    PutMany,
    Rename,
    Scan,
    Set,
    Size,
)
from quorate.kv.core.invariants import check_state
from quorate.kv.core.state import MAX_ENDED
from quorate.kv.core.uploads import PIECE_BYTES, UPLOAD_MS


def with_large(store: Driven, key: bytes, length: int = MAX_VALUE_BYTES) -> None:
    for offset in range(0, length, 1 << 20):
        store.stage(1, offset, bytes(min(1 << 20, length - offset)))
    store.one(Put(key, 1))


# Uploads.


def test_a_large_value_comes_in_pieces_and_is_used_up() -> None:
    store = Driven()
    assert store.stage(7, 0, b"abc") == 3
    assert store.stage(7, 3, b"de") == 5
    assert store.do(Put(b"a", 7), Get(b"a"))[1] == b"abcde"
    assert store.refused(Put(b"a", 7)) == "unavailable"
    assert store.store.state.uploads.bytes == 0


def test_a_piece_that_comes_again_changes_nothing_and_a_lost_one_is_noticed() -> None:
    store = Driven()
    assert [store.stage(7, 0, b"abc"), store.stage(7, 0, b"abc"), store.stage(7, 1, b"b")] == [
        3
    ] * 3
    assert store.stage(7, -5, b"ab") == 3
    for offset in (2, 4):
        with pytest.raises(Unavailable, match="send it again"):
            store.stage(7, offset, b"xyz")
    with pytest.raises(Unavailable):
        store.stage(8, 3, b"d")
    assert store.do(Put(b"a", 7), Get(b"a"))[1] == b"abc"


def test_what_nobody_uses_is_dropped_and_due() -> None:
    store = Driven()
    store.stage(7, 0, b"abc")
    store.tick(UPLOAD_MS - 1)
    store.stage(7, 3, b"d")
    assert store.store.next_deadline_ms() == START_MS + UPLOAD_MS
    store.tick(1)
    assert store.refused(Put(b"a", 7)) == "unavailable"
    assert store.store.next_deadline_ms() is None


def test_uploads_are_bounded_in_bytes_however_small_their_pieces() -> None:
    store = Driven()
    with pytest.raises(BadInput, match="a value of more than"):
        with_large(store, b"a", MAX_VALUE_BYTES + 1)
    uploads = store.store.state.uploads
    while uploads.bytes + PIECE_BYTES + 1 <= MAX_STAGED_BYTES:
        uploads.add(100 + len(uploads), b"x", START_MS)
    assert len(uploads) < MAX_STAGED_BYTES // PIECE_BYTES
    with pytest.raises(Overloaded, match="too many large values"):
        store.stage(5, 0, b"x")
    check_state(store.store.state)


# Work.


@pytest.mark.parametrize(
    "operation",
    [Append(b"large", b"x"), Get(b"large"), Copy(b"large", b"b", True), GetMany([b"large"] * 2)],
)
def test_one_command_cannot_ask_for_more_work_than_is_decent(operation: AnyOperation) -> None:
    store = Driven()
    with_large(store, b"large", MAX_VALUE_BYTES - 64)
    replies = store.do(*[operation] * 50, Size())
    done = sum(not isinstance(reply, dict) for reply in replies)
    assert done <= MAX_WORK_BYTES // MAX_VALUE_BYTES + 2
    assert replies[-1]["code"] == "overloaded"
    assert store.do(operation) != [replies[-1]]


def test_a_large_value_that_is_renamed_is_work() -> None:
    store = Driven()
    with_large(store, b"a")
    replies = store.do(*[Rename(b"a", b"b"), Rename(b"b", b"a")] * 25)
    assert replies.count(1) <= MAX_WORK_BYTES // MAX_VALUE_BYTES + 1


def test_keys_that_are_scanned_are_work() -> None:
    store = Driven()
    store.one(PutMany([(b"%05d" % number, b"") for number in range(10_000)]))
    replies = store.do(*[Scan(0, 10_000)] * 100)
    assert 10 < sum(isinstance(reply, list) for reply in replies) < 70


def test_answers_of_a_query_are_bounded() -> None:
    store = Driven()
    with_large(store, b"large")
    assert len(store.query(LookUp([GetMany([b"large"] * 3)]))[0]) == 3
    for looks in ([GetMany([b"large"] * 20)], [Get(b"large")] * 20):
        with pytest.raises(BadInput, match="an answer of more than"):
            store.query(LookUp(list(looks)))


# Time.


def test_a_bounded_number_of_keys_ends_with_one_entry_and_the_others_are_not_there_either() -> None:
    store = Driven()
    for start in range(0, 3 * MAX_ENDED, 500):
        store.do(*(Set(b"%05d" % (start + n), b"", ttl_ms=50) for n in range(500)))
    store.tick(50)
    state = store.store.state
    assert len(state.items) == 2 * MAX_ENDED
    assert store.store.next_deadline_ms() == START_MS + 50
    assert store.content() == {}
    store.tick()
    store.tick()
    assert (len(state.items), store.store.next_deadline_ms()) == (0, None)


def test_keys_that_end_with_one_entry_are_bounded_in_bytes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(state_module, "MAX_WORK_BYTES", 10_000)
    store = Driven()
    store.do(*(Set(b"%d" % number, bytes(3_000), ttl_ms=50) for number in range(9)))
    left = list[int]()
    while len(store.store.state.items):
        store.tick(50)
        left.append(len(store.store.state.items))
    assert left == [6, 3, 0] and store.content() == {}


def test_a_clear_of_many_keys_is_no_pause_and_its_memory_goes_a_little_at_a_time() -> None:
    store = Driven()
    state = store.store.state
    for number in range(200_000):
        state.write(b"%08d" % number, b"%064d" % number)
        state.end()
    worst_ms, steps = 0.0, 0

    def step(commands: list[bytes]) -> None:
        nonlocal worst_ms, steps
        began = time.thread_time()
        store.store.apply_batch(Meta(1, 1, START_MS), commands)
        worst_ms = max(worst_ms, (time.thread_time() - began) * 1000)
        steps += 1

    began_at = len(state.items)
    store.index += 1
    assert store.store.state.clear() == began_at
    while store.store.next_deadline_ms() is not None:
        step([])
    assert steps > 5 and len(state.items) == 0
    assert worst_ms < 40, f"{worst_ms:.1f} ms"
    assert not state._garbage


def test_thousands_of_clears_in_one_command_are_let_go_of() -> None:
    store = Driven()
    operations: list[AnyOperation] = []
    for _ in range(1500):
        operations += [Put(b"a", b""), Clear()]
    store.transact([], operations, whole=False)
    for _ in range(2000):
        store.store.apply_batch(Meta(1, 1, START_MS), [])
    assert store.store.next_deadline_ms() is None


# Memory.


def full() -> Driven:
    """A store with a key of 1000 bytes, and no room for another one."""
    store = Driven()
    store.one(Put(b"a", bytes(1000)))
    store.limit(1)  # the history goes
    store.limit(store.store.state.total_bytes + 1000)
    return store


@pytest.mark.parametrize(
    "operation",
    [
        Put(b"b", bytes(1000)),
        Set(b"b", bytes(1000)),
        PutMany([(b"b", bytes(500)), (b"c", bytes(500))]),
        Append(b"a", bytes(1100)),
        Copy(b"a", b"b"),
        Rename(b"a", bytes(2000)),
    ],
)
def test_what_grows_is_refused_at_the_bound_before_anything_is_changed(
    operation: AnyOperation,
) -> None:
    store = full()
    before = store.content()
    assert store.refused(operation) == "store_full"
    assert store.content() == before
    store.limit(0)
    assert not isinstance(store.one(operation), dict)


def test_reads_deletes_ends_and_what_does_not_grow_go_on_at_the_bound() -> None:
    store = full()
    store.limit(1)
    assert store.one(Get(b"a")) == bytes(1000)
    assert not isinstance(store.one(Put(b"a", bytes(999))), dict)
    assert store.one(Rename(b"a", b"b")) == 1
    assert store.one(Expire(b"b", ttl_ms=50)) == 1
    assert store.refused(Put(b"c", b"")) == "store_full"
    with pytest.raises(StoreFull):
        store.stage(1, 0, b"x")
    store.tick(50)
    assert store.content() == {}


def test_a_whole_transaction_that_does_not_fit_is_taken_back() -> None:
    store = full()
    with pytest.raises(StoreFull, match=r"takes .* of .* bytes"):
        store.transact([], [Put(b"a", b""), Put(b"b", bytes(1500)), Put(b"c", bytes(2000))])
    assert store.content() == {b"a": bytes(1000)}
    assert store.transact([], [Delete([b"a"]), Put(b"b", bytes(1000))]).held


def test_the_store_leaves_that_state_by_itself_as_bytes_fall() -> None:
    store = Driven()
    store.limit(1 << 20)
    replies: list[object] = []
    for start in range(0, 1000, 100):
        replies += store.do(*(Put(b"%06d" % (start + n), bytes(1000)) for n in range(100)))
    written = sum(isinstance(reply, int) for reply in replies)
    assert 500 < written < 1000
    store.one(Delete([b"%06d" % number for number in range(0, written, 2)]))
    assert store.one(Put(b"more", bytes(1000))) > 0
    assert store.store.state.total_bytes < 1 << 20


def test_changes_that_do_not_grow_fill_no_store_with_their_history() -> None:
    store = Driven()
    store.limit(1 << 20)
    for _ in range(20):
        store.do(*(Put(b"a", b"%01000d" % number) for number in range(100)))
    assert store.store.state.history.bytes <= 1 << 17
    assert store.one(Put(b"b", bytes(1000))) > 0


def test_a_restricted_store_says_why_and_lets_nothing_grow() -> None:
    store = full()
    store.limit(0, "the disk of n2 is nearly full")
    with pytest.raises(StoreFull, match=r"^the disk of n2 is nearly full: reads, deletes"):
        store.transact([], [Put(b"b", b"")])
    assert not isinstance(store.one(Put(b"a", bytes(1000))), dict)
    assert store.one(Delete([b"a"])) == 1
    statistics = store.query(AskStatistics())
    assert statistics.restricted == "the disk of n2 is nearly full"
    store.limit(0)
    assert store.one(Put(b"b", b"")) > 0


def test_an_upload_counts_as_memory() -> None:
    store = Driven()
    store.limit(4 << 20)
    for number in range(3):
        store.stage(number, 0, bytes(1 << 20))
    with pytest.raises(StoreFull):
        store.stage(3, 0, bytes(1 << 20))
    assert store.one(Put(b"small", bytes(MAX_INLINE_BYTES))) == 1
    assert store.refused(Put(b"b", bytes(1 << 20))) == "store_full"
    assert store.one(Put(b"b", 0)) == 2


def test_a_bound_below_nothing_is_refused() -> None:
    with pytest.raises(BadInput):
        Driven().limit(-1)
