"""Snapshots: frozen, whole, and refused when they are not."""

import pytest
from unit.gfs.support import BLOCK, Driver, copy_of

from quorate.base.codec import encode
from quorate.base.errors import CorruptData
from quorate.base.machine import Meta, restore_all
from quorate.gfs.core import chunks, tree
from quorate.gfs.core.chunks import PENDING_MS
from quorate.gfs.core.commands import CreateFile, Delete, PrepareOutput, Rename
from quorate.gfs.core.invariants import check_state
from quorate.gfs.core.namespace import Namespace


def filled() -> Driver:
    driver = Driver()
    driver.create("/a/b/c", 3 * BLOCK, make_parents=True)
    driver.create("/a/empty", 0)
    driver.do(PrepareOutput("/t", "/o", "job", 2))
    driver.create("/t/x", fence=2)
    driver.handles(3)
    driver.do(Delete("/a/b/c"))
    return driver


def test_a_restored_namespace_is_the_same_and_goes_on_the_same() -> None:
    driver = filled()
    other = copy_of(driver.namespace)
    check_state(other)
    assert other.digest() == driver.namespace.digest()
    assert other.next_deadline_ms() == driver.namespace.next_deadline_ms()
    commands = [
        encode(CreateFile("/t/y", 1, BLOCK, [5], fence=2)),
        encode(CreateFile("/t/z", 1, BLOCK, [6], fence=1)),
        encode(CreateFile("/late", 1, BLOCK, [4])),
    ]
    replies = [
        machine.apply_batch(Meta(100, 1, 9_000_000), commands)
        for machine in (driver.namespace, other)
    ]
    assert replies[0] == replies[1]
    assert other.digest() == driver.namespace.digest()


def test_a_snapshot_shows_the_moment_it_was_taken_however_late_it_is_read() -> None:
    driver = filled()
    digest = driver.namespace.digest()
    stream = driver.namespace.snapshot()
    pieces = [next(stream)]
    driver.do(Rename("/a", "/z"))
    driver.do(PrepareOutput("/t", "/o", "job", 9))
    driver.create("/new")
    pieces += stream
    other = Namespace()
    restore_all(other, pieces)
    assert other.digest() == digest != driver.namespace.digest()


@pytest.mark.parametrize("size", [1, 7, 1 << 20])
def test_the_stream_may_be_cut_anywhere(size: int) -> None:
    driver = filled()
    stream = b"".join(driver.namespace.snapshot())
    other = Namespace()
    restore_all(other, (stream[n : n + size] for n in range(0, len(stream), size)))
    assert other.digest() == driver.namespace.digest()


def test_a_stream_that_is_cut_short_or_damaged_is_refused_and_changes_nothing() -> None:
    stream = b"".join(filled().namespace.snapshot())
    other = Driver()
    other.create("/kept")
    digest = other.namespace.digest()
    refused = 0
    for position in range(len(stream)):
        flipped = bytearray(stream)
        flipped[position] ^= 1
        for damaged in (stream[:position], bytes(flipped)):
            try:
                restore_all(other.namespace, [damaged])
            except CorruptData:
                refused += 1
                assert other.namespace.digest() == digest
    assert refused == 2 * len(stream)


def test_a_renamed_folder_is_shown_where_it_was_when_the_view_was_frozen() -> None:
    driver = filled()
    driver.mkdir("/late")
    driver.do(Rename("/a", "/late/b"))
    before = driver.paths()
    stream = driver.namespace.snapshot()
    driver.do(Rename("/late", "/a"))
    driver.create("/a/b/d")
    driver.do(Delete("/a", True))
    then = Driver()
    restore_all(then.namespace, stream)
    assert then.paths() == before


def test_a_large_folder_goes_at_once_and_its_entries_little_by_little(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tree, "MAX_SWEPT", 3)
    driver = Driver()
    handles = [driver.create(f"/a/{n % 3}/{n}", 2 * BLOCK, make_parents=True) for n in range(9)]
    kept = driver.create("/kept")
    driver.do(Delete("/a", True))
    assert driver.paths() == ["/kept"]
    driver.create("/a/0/0", make_parents=True)  # the name is free; what stood there goes on going
    garbage = []
    while driver.namespace.next_deadline_ms() == 0:
        driver.namespace = copy_of(driver.namespace)
        driver.tick(driver.time_ms)
        flat = [handle for pair in handles for handle in pair]
        garbage.append(sum(map(driver.namespace.is_garbage, flat)))
    assert garbage == sorted(garbage)
    assert len(garbage) >= 5
    assert garbage[-1] == 18
    assert not driver.namespace.is_garbage(kept[0])
    assert driver.paths() == ["/a", "/a/0", "/a/0/0", "/kept"]


def test_of_many_chunks_that_expire_at_once_a_batch_sees_to_some(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(chunks, "MAX_EXPIRED", 2)
    driver = Driver()
    driver.handles(5)
    left = []
    driver.time_ms += PENDING_MS
    while driver.namespace.next_deadline_ms() is not None:
        driver.tick(driver.time_ms)
        left.append(len(driver.namespace.chunks.pending))
    assert left == [3, 1, 0]


def test_equal_states_have_equal_digests_however_they_came_about() -> None:
    one, two = Driver(), Driver()
    for driver, names in ((one, "ab"), (two, "ba")):
        driver.handles(2)
        for name in names:
            driver.do(CreateFile("/" + name, 0, BLOCK, []))
    # Only the ids differ, which were given out in another order: they are part of the state.
    assert one.namespace.digest() != two.namespace.digest()
    one.do(Rename("/a", "/x"))
    one.do(Rename("/b", "/a"))
    one.do(Rename("/x", "/b"))
    assert one.namespace.digest() == two.namespace.digest()
