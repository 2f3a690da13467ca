"""What each operation promises."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kv_stores import START_MS, Driven

from quorate.kv.core.commands import (
    MAX_KEY_BYTES,
    MAX_OPERATIONS,
    MAX_SKIPPED,
    MAX_VALUE_BYTES,
    Add,
    AddDecimal,
    AnyOperation,
    Append,
    Clear,
    Copy,
    Delete,
    DeleteEqual,
    Exists,
    Expire,
    ExpireEqual,
    ExpiresAt,
    Fetch,
    Get,
    GetExpire,
    GetMany,
    GetRange,
    Length,
    LookUp,
    Persist,
    Put,
    PutMany,
    Rename,
    Revision,
    Set,
    SetRange,
    Size,
    Skip,
    Take,
    When,
)


def with_keys(**values: bytes) -> Driven:
    store = Driven()
    store.do(*(Put(key.encode(), value) for key, value in values.items()))
    return store


def test_put_gives_the_revision_and_takes_the_end_away() -> None:
    store = Driven()
    assert store.do(Put(b"a", b"1"), Set(b"a", b"2", ttl_ms=50), Put(b"a", b"3")) == [
        1,
        [2, None],
        3,
    ]
    assert store.one(Fetch(b"a")) == [b"3", 3, 0]
    assert store.one(Revision(b"a")) == 3


def test_set_holds_its_condition_and_gives_what_was_there() -> None:
    store = Driven()
    assert store.one(Set(b"a", b"1", when=When.PRESENT)) == [0, None]
    assert store.one(Set(b"a", b"1", when=When.ABSENT, give=True)) == [1, None]
    assert store.one(Set(b"a", b"2", when=When.ABSENT, give=True)) == [0, b"1"]
    assert store.one(Set(b"a", b"2", when=When.PRESENT, give=True)) == [2, b"1"]
    assert store.one(Get(b"a")) == b"2"


def test_set_gives_keeps_or_takes_away_the_end() -> None:
    store = Driven()
    store.one(Set(b"a", b"1", ttl_ms=100))
    assert store.one(ExpiresAt(b"a")) == START_MS + 100
    store.one(Set(b"a", b"2", keep_ttl=True))
    assert store.one(ExpiresAt(b"a")) == START_MS + 100
    store.one(Set(b"a", b"2", at_ms=START_MS + 7))
    assert store.one(ExpiresAt(b"a")) == START_MS + 7
    store.one(Set(b"a", b"2"))
    assert store.one(ExpiresAt(b"a")) == -1
    assert store.one(ExpiresAt(b"b")) == -2


def test_set_with_an_end_that_has_passed_deletes_and_says_that_it_was_done() -> None:
    store = Driven()
    assert store.one(Set(b"a", b"1", at_ms=START_MS))[0] > 0
    store.one(Put(b"a", b"1"))
    assert store.one(Set(b"a", b"2", at_ms=START_MS))[0] == 2
    assert store.one(Get(b"a")) is None


@pytest.mark.parametrize(
    "operation",
    [
        Set(b"a", b"", ttl_ms=-1),
        Set(b"a", b"", at_ms=-1),
        Set(b"a", b"", at_ms=1 << 62),
        Expire(b"a", ttl_ms=1 << 62),
        Expire(b"a", ttl_ms=1, only="XY"),
        ExpireEqual(b"a", b"1", 1 << 62),
        ExpireEqual(b"e", b"1", (1 << 63) - 1, extend=True),
        Put(bytes(MAX_KEY_BYTES + 1), b""),
        Rename(b"a", bytes(MAX_KEY_BYTES + 1)),
        Copy(b"a", bytes(MAX_KEY_BYTES + 1)),
        SetRange(b"a", -1, b"x"),
        SetRange(b"a", MAX_VALUE_BYTES, b"x"),
        Add(b"t", 1),
        Add(b"a", (1 << 63) - 1),
        AddDecimal(b"t", b"1"),
        AddDecimal(b"a", b"nan"),
        Put(b"a", 77),
        PutMany([(b"%d" % number, b"") for number in range(MAX_OPERATIONS + 1)]),
        Delete([b"a"] * (MAX_OPERATIONS + 1)),
        Skip(-1),
        Skip(MAX_SKIPPED + 1),
    ],
)
def test_what_cannot_be_is_refused_and_changes_nothing(operation: AnyOperation) -> None:
    store = with_keys(a=b"1", t=b"text")
    store.one(Set(b"e", b"1", ttl_ms=1000))
    assert store.refused(operation) in ("bad_input", "not_found", "unavailable")


def test_put_many_writes_all_under_one_revision_or_none() -> None:
    store = Driven()
    assert store.one(PutMany([(b"a", b"1"), (b"b", b"2"), (b"a", b"3")])) == 1
    assert store.content() == {b"a": b"3", b"b": b"2"}
    assert [store.one(Revision(key)) for key in (b"a", b"b")] == [1, 1]
    assert store.one(PutMany([(b"c", b""), (b"b", b"")], When.ABSENT)) == 0
    assert store.one(PutMany([(b"c", b""), (b"d", b"")], When.ABSENT)) == 2
    too_long = bytes(MAX_KEY_BYTES + 1)
    assert store.refused(PutMany([(b"a", b"9"), (too_long, b"")])) == "bad_input"
    assert store.one(Get(b"a")) == b"3"


def test_delete_counts_what_was_there_under_one_revision() -> None:
    store = with_keys(a=b"", b=b"", c=b"")
    assert store.one(Delete([b"a", b"x", b"a", b"c"])) == 2
    assert store.store.state.revision == 4
    assert store.content() == {b"b": b""}


def test_append_and_set_range_give_the_length_and_keep_the_end() -> None:
    store = Driven()
    assert store.do(Append(b"a", b"12"), Append(b"a", b"345")) == [2, 5]
    store.one(Expire(b"a", ttl_ms=9))
    assert store.one(SetRange(b"a", 1, b"ab")) == 5
    assert store.one(SetRange(b"a", 7, b"z")) == 8
    assert store.one(Get(b"a")) == b"1ab45\0\0z"
    assert store.one(SetRange(b"none", 7, b"")) == 0
    assert store.one(Exists([b"none"])) == 0
    assert store.one(ExpiresAt(b"a")) == START_MS + 9


def test_numbers_are_added_within_64_bits_and_keep_the_end() -> None:
    store = Driven()
    assert store.do(Add(b"n", 5), Add(b"n", -7)) == [5, -2]
    store.one(Expire(b"n", ttl_ms=9))
    assert store.one(Add(b"n", 2 - (1 << 63))) == -(1 << 63)
    assert store.refused(Add(b"n", -1)) == "bad_input"
    assert store.one(ExpiresAt(b"n")) == START_MS + 9
    assert store.one(AddDecimal(b"d", b"0.1")) == b"0.1"
    assert store.one(AddDecimal(b"d", b"2e-1")) == b"0.3"
    assert store.one(AddDecimal(b"d", b"-.3")) == b"0"


@pytest.mark.parametrize(
    ("only", "has", "at_ms", "gives"),
    [
        ("", 0, 5, 1),
        ("NX", 0, 5, 1),
        ("NX", 9, 5, 0),
        ("XX", 0, 5, 0),
        ("XX", 9, 5, 1),
        ("GT", 0, 5, 0),
        ("GT", 9, 5, 0),
        ("GT", 9, 10, 1),
        ("LT", 0, 5, 1),
        ("LT", 9, 5, 1),
        ("LT", 9, 10, 0),
        ("XX LT", 0, 5, 0),
        ("XX LT", 9, 5, 1),
        ("XX LT", 9, 10, 0),
    ],
)
def test_expire_holds_its_condition(only: str, has: int, at_ms: int, gives: int) -> None:
    store = Driven()
    store.one(Set(b"a", b"", at_ms=START_MS + has if has else 0))
    assert store.one(Expire(b"a", at_ms=START_MS + at_ms, only=only)) == gives
    end_ms = START_MS + at_ms if gives else START_MS + has if has else -1
    assert store.one(ExpiresAt(b"a")) == end_ms


def test_an_end_that_has_passed_deletes() -> None:
    store = with_keys(a=b"", b=b"", c=b"")
    assert store.one(Expire(b"a", ttl_ms=-5)) == 1
    assert store.one(Expire(b"b", at_ms=0)) == 1
    assert store.one(GetExpire(b"c", at_ms=0)) == b""
    assert store.content() == {}
    assert store.one(Expire(b"a", ttl_ms=5)) == 0


def test_persist_and_get_expire() -> None:
    store = with_keys(a=b"1")
    assert store.one(Persist(b"a")) == 0
    assert store.one(GetExpire(b"a", ttl_ms=5)) == b"1"
    assert store.one(ExpiresAt(b"a")) == START_MS + 5
    assert store.one(Persist(b"a")) == 1
    assert store.one(GetExpire(b"a", at_ms=START_MS + 8)) == b"1"
    assert store.one(GetExpire(b"a")) == b"1"
    assert store.one(ExpiresAt(b"a")) == START_MS + 8
    assert store.one(GetExpire(b"a", persist=True)) == b"1"
    assert store.one(ExpiresAt(b"a")) == -1
    assert store.one(GetExpire(b"x", ttl_ms=5)) is None


def test_take_gives_the_value_once() -> None:
    store = with_keys(a=b"1")
    assert store.do(Take(b"a"), Take(b"a")) == [b"1", None]


def test_rename_moves_value_and_end_under_one_revision() -> None:
    store = with_keys(b=b"2")
    store.one(Set(b"a", b"1", ttl_ms=5))
    assert store.one(Rename(b"a", b"b", When.ABSENT)) == 0
    revision = store.store.state.revision
    assert store.one(Rename(b"a", b"b")) == 1
    assert store.one(Fetch(b"b")) == [b"1", revision + 1, START_MS + 5]
    assert store.content() == {b"b": b"1"}
    assert store.one(Rename(b"b", b"b")) == 1
    assert store.refused(Rename(b"a", b"c")) == "not_found"


def test_copy_takes_value_and_end() -> None:
    store = with_keys(b=b"2")
    store.one(Set(b"a", b"1", ttl_ms=5))
    assert store.do(Copy(b"x", b"c"), Copy(b"a", b"b"), Copy(b"a", b"c")) == [0, 0, 1]
    assert store.one(Copy(b"a", b"b", replace=True)) == 1
    assert store.one(Fetch(b"b"))[0::2] == [b"1", START_MS + 5]


def test_clear_deletes_everything_under_one_revision() -> None:
    store = with_keys(a=b"", b=b"")
    assert store.do(Clear(), Size(), Clear()) == [2, 0, 0]
    assert store.store.state.revision == 3


def test_a_lock_is_released_and_extended_by_its_holder_alone() -> None:
    store = with_keys(free=b"me")
    store.one(Set(b"lock", b"me", ttl_ms=10))
    assert store.one(ExpireEqual(b"lock", b"you", 99)) == 0
    assert store.one(ExpireEqual(b"lock", b"me", 99)) == 1
    assert store.one(ExpireEqual(b"lock", b"me", 1, extend=True)) == 1
    assert store.one(ExpiresAt(b"lock")) == START_MS + 100
    assert store.one(ExpireEqual(b"free", b"me", 1, extend=True)) == 0
    assert store.do(DeleteEqual(b"lock", b"you"), DeleteEqual(b"lock", b"me")) == [0, 1]
    assert store.one(ExpireEqual(b"lock", b"me", 99)) == 0
    assert store.one(ExpireEqual(b"free", b"me", -1)) == 1
    assert store.content() == {}


def test_looks_answer_the_same_in_a_command_and_in_a_query() -> None:
    store = with_keys(a=b"hello", b=b"")
    looks = [
        Get(b"a"),
        Get(b"x"),
        GetMany([b"a", b"x"]),
        Fetch(b"a"),
        Fetch(b"x"),
        Exists([b"a", b"a", b"x"]),
        Length(b"a"),
        Length(b"x"),
        GetRange(b"a", 1, -2),
        GetRange(b"a", -99, 0),
        GetRange(b"a", 3, 1),
        GetRange(b"x", 0, -1),
        ExpiresAt(b"a"),
        Revision(b"x"),
        Size(),
    ]
    expected = [
        b"hello",
        None,
        [b"hello", None],
        [b"hello", 1, 0],
        None,
        2,
        5,
        0,
        b"ell",
        b"h",
        b"",
        b"",
        -1,
        0,
        2,
    ]
    assert store.do(*looks) == store.query(LookUp(looks)) == expected


def test_a_key_is_gone_from_its_end_on_by_log_time_alone() -> None:
    store = Driven()
    store.one(Set(b"a", b"", ttl_ms=10))
    store.tick(9)
    assert store.one(Exists([b"a"])) == 1
    store.time_ms += 1
    assert store.do(Exists([b"a"]), Size(), Set(b"a", b"new", when=When.ABSENT)) == [
        0,
        0,
        [3, None],
    ]


def test_a_refused_operation_leaves_the_others_of_its_command() -> None:
    store = with_keys(t=b"text")
    replies = store.do(Put(b"a", b"1"), Add(b"t", 1), Put(b"b", b"2"))
    assert replies[0] == 2 and replies[1]["code"] == "bad_input" and replies[2] == 3


def test_more_operations_than_a_command_may_have_are_refused() -> None:
    store = Driven()
    with pytest.raises(Exception, match="16385 operations in one command; 16384 at most"):
        store.do(*[Size()] * (MAX_OPERATIONS + 1))


PLAIN = st.tuples(st.sampled_from([b"a", b"b", b"c"]), st.sampled_from([b"", b"1", bytes(5000)]))


@given(st.lists(PLAIN, min_size=1, max_size=8), st.sampled_from([0, 20_000]))
def test_puts_that_come_together_do_what_each_would_do_alone(
    puts: list[tuple[bytes, bytes]], max_bytes: int
) -> None:
    together, alone = Driven(), Driven()
    for store in (together, alone):
        store.do(Set(b"a", b"ends", ttl_ms=5), Put(b"c", bytes(6000)))
        store.limit(max_bytes)
    operations = [Put(key, value) for key, value in puts]
    assert together.do(*operations) == alone.do(*operations, Get(b"a"))[:-1]
    assert together.content() == alone.content()
    for store in (together, alone):
        store.tick(5)
    assert together.store.digest() == alone.store.digest()
    assert together.store.state.history.chunks() == alone.store.state.history.chunks()
