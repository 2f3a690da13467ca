"""Tables in memory and on a disk: the same promises."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kv_stores import Driven

from quorate.base.errors import DiskFailed, DiskFull, QuorateError
from quorate.kv import disk_table
from quorate.kv.core.commands import (
    Add,
    Clear,
    Delete,
    Entry,
    Get,
    Put,
    PutMany,
    Rename,
    Scan,
    Set,
    Untouched,
)
from quorate.kv.core.items import Table
from quorate.kv.core.store import in_memory
from quorate.kv.disk_table import DiskTables

Maker = Callable[[], Table]


@pytest.fixture(scope="module")
def disk_tables(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DiskTables]:
    tables = DiskTables(str(tmp_path_factory.mktemp("disk") / "tables"), 8 << 20)
    yield tables
    tables.close()


@pytest.fixture(params=["memory", "disk"])
def make_table(request: pytest.FixtureRequest, disk_tables: DiskTables) -> Maker:
    return in_memory if request.param == "memory" else disk_tables


def entry(key: bytes, number: int = 1) -> Entry:
    return Entry(key, b"%d" % number, number, number % 3)


def contents(table: Table, start: bytes | None = None) -> list[Entry]:
    found = list(table.items(start))
    assert all(key == item.key for key, item in found)
    return [item for _, item in found]


def test_entries_come_back_in_the_order_of_their_keys(make_table: Maker) -> None:
    table = make_table()
    assert contents(table) == [] and table.get(b"a") is None
    keys = [b"b", b"", b"a\xff", b"a", b"a\0"]
    for number, key in enumerate(keys):
        assert table.swap(key, entry(key, number)) is None
    assert [item.key for item in contents(table)] == sorted(keys)
    assert [item.key for item in contents(table, b"a\0")] == [b"a\0", b"a\xff", b"b"]
    assert table.swap(b"a", entry(b"a", 9)) == entry(b"a", 3)
    assert table.get(b"a") == entry(b"a", 9) and len(table) == 5


def test_what_is_popped_is_gone(make_table: Maker) -> None:
    table = make_table()
    table.swap(b"a", entry(b"a"))
    assert table.pop(b"a") == entry(b"a")
    with pytest.raises(KeyError):
        table.pop(b"a")
    assert (len(table), table.get(b"a"), contents(table)) == (0, None, [])


def test_views_show_their_moment_through_changes_and_a_clear(make_table: Maker) -> None:
    table = make_table()
    keys = [b"%05d" % number for number in range(3000)]
    for key in keys:
        table.swap(key, entry(key, 1))
    first = table.freeze()
    for key in keys[::2]:
        table.swap(key, entry(key, 2))
    table.pop(keys[1])
    second = table.freeze()
    pauses = table.clear()
    next(pauses)
    assert len(table) == 0 and contents(table) == []
    table.swap(b"new", entry(b"new"))
    for _ in pauses:
        pass
    assert [item for _, item in first] == [entry(key, 1) for key in keys]
    assert len(list(second)) == 2999
    assert contents(table) == [entry(b"new")]


def test_a_store_does_the_same_on_both(make_table: Maker) -> None:
    store, other = Driven(make_table, 50), Driven(in_memory, 50)
    for replica in (store, other):
        replica.one(PutMany([(b"%04d" % number, bytes(number)) for number in range(700)]))
        replica.do(Set(b"ends", b"1", ttl_ms=5), Add(b"n", 7), Add(b"n", 1), Rename(b"n", b"m"))
        replica.transact([Untouched(b"0001", 1)], [Delete([b"0001"]), Put(b"0002", b"x")])
        replica.tick(5)
    cursor = [replica.one(Scan(0, 600)) for replica in (store, other)]
    assert cursor[0] == cursor[1]
    copy = store.copy()
    assert store.store.digest() == other.store.digest() == copy.store.digest()
    assert store.content() == other.content() == copy.content()
    assert store.do(Clear(), Put(b"a", b"1"), Get(b"a")) == other.do(
        Clear(), Put(b"a", b"1"), Get(b"a")
    )
    assert list(store.store.snapshot()) == list(other.store.snapshot())


def test_an_opened_folder_is_empty_whatever_was_left_in_it(tmp_path: Path) -> None:
    folder = str(tmp_path / "table")
    for _ in range(2):
        tables = DiskTables(folder, 8 << 20)
        table = tables()
        assert contents(table) == []
        for number in range(2000):
            table.swap(b"%d" % number, entry(b"%d" % number))
        del table
        tables.close()
        del tables


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["set", "set", "all", "pop", "get", "freeze", "read", "clear"]),
        st.integers(0, 12).map(lambda number: b"%d" % number),
    ),
    max_size=60,
)


@settings(max_examples=40, deadline=None)
@given(STEPS)
def test_random_changes_leave_both_tables_equal(
    disk_tables: DiskTables, steps: list[tuple[str, bytes]]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(disk_table, "BATCH_ENTRIES", 5)
        both: list[Table] = [disk_tables(), in_memory()]
        views: list[list[Iterator[tuple[bytes, Entry]]]] = []
        for number, (what, key) in enumerate(steps, 1):
            if what == "set":
                old = [table.swap(key, entry(key, number)) for table in both]
                assert old[0] == old[1]
            elif what == "all":
                keys = [key, b"5", key, b"7"]
                entries = [entry(some, number + n) for n, some in enumerate(keys)]
                olds = [table.swap_all(keys, entries) for table in both]
                assert olds[0] == olds[1]
            elif what == "pop" and both[1].get(key) is not None:
                assert both[0].pop(key) == both[1].pop(key)
            elif what == "freeze":
                views.append([table.freeze() for table in both])
            elif what == "read" and views:
                assert list(views[0][0]) == list(views.pop(0)[1])
            elif what == "clear":
                for table in both:
                    for _ in table.clear():
                        pass
            assert both[0].get(key) == both[1].get(key)
            assert len(both[0]) == len(both[1])
            assert contents(both[0], key) == contents(both[1], key)
        for view in views:
            assert list(view[0]) == list(view[1])


def test_a_disk_that_fails_ends_the_process_and_is_no_reply(tmp_path: Path) -> None:
    """A reply would be this replica's alone."""
    ends: list[QuorateError] = []
    folder = tmp_path / "tables"
    tables = DiskTables(str(folder), 8 << 20, stop=ends.append)
    store = Driven(tables, 50)
    store.one(Put(b"a", b"1"))
    tables.close()
    with pytest.raises(Exception, match="closed"):
        store.do(*(Put(b"%d" % number, b"") for number in range(1000)))
    assert [type(error) for error in ends] == [DiskFailed] and str(folder) in ends[0].message


def test_no_space_is_a_full_disk_and_anything_else_a_failed_one() -> None:
    no_space = Exception("IO error: No space left on device: While appending to file: /x/1.sst")
    assert type(disk_table.failure("/x", no_space)) is DiskFull
    assert type(disk_table.failure("/x", Exception("Corruption: /x/1.sst"))) is DiskFailed
