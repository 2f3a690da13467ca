"""A crash at any step: the newest snapshot is the old one or the new one, and whole."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any
from unittest import mock

import pytest
from unit.raft.snapshots.machine import (
    GROUP,
    MEMBERS,
    TIME_MS,
    Machine,
    ProcessKilled,
    content,
    cut,
    fetch_from,
    file_bytes,
    offer_of,
    snapshot_id,
)

from quorate.base.errors import CorruptData
from quorate.raft.snapshots import Snapshot, SnapshotStore
from quorate.raft.snapshots.format import BLOCK_BYTES
from quorate.raft.snapshots.names import DIRECTORY
from quorate.raft.snapshots.output import Output

OLD, NEW = snapshot_id(4), snapshot_id(5)
OLD_DATA, NEW_DATA = content(70_000, 1), content(BLOCK_BYTES + 70_000, 2)
NEW_RAW = file_bytes(NEW, NEW_DATA)

Work = Callable[[SnapshotStore], Coroutine[Any, Any, None]]


async def take(store: SnapshotStore) -> None:
    await store.write(NEW, TIME_MS, MEMBERS, cut(NEW_DATA, 90_000))
    store.discard_before(GROUP, NEW.index)


async def fetch_it(store: SnapshotStore) -> None:
    await store.receive(offer_of(NEW, NEW_RAW), fetch_from(NEW_RAW, 90_000))
    store.discard_before(GROUP, NEW.index)


async def both(store: SnapshotStore) -> None:
    """A replica takes one while it receives a newer one."""
    middle = snapshot_id(4, term=4)
    await asyncio.gather(
        fetch_it(store), store.write(middle, TIME_MS, MEMBERS, cut(content(400_000, 1), 9_000))
    )


def crash(machine: Machine, work: Work, calls: int) -> bool:
    """Do ``work`` until the process dies at the disk call after so many; whether it ended."""
    machine.crash_after(calls)
    try:
        machine.with_store(work)
    except ProcessKilled:
        return False
    return True


def newest(machine: Machine) -> Snapshot:
    """What is there, all of it read."""
    found = machine.newest()
    assert found is not None
    snapshot, data = found
    if snapshot.id == NEW:
        assert data == NEW_DATA
    else:
        assert data == (OLD_DATA if snapshot.id == OLD else content(400_000, 1))
    return snapshot


@pytest.mark.parametrize("work", [take, fetch_it, both])
@pytest.mark.parametrize("power_loss", [False, True])
def test_a_crash_at_any_call_leaves_the_old_or_the_new(work: Work, power_loss: bool) -> None:
    calls, ended = 0, False
    kept_old = kept_new = 0
    while not ended:
        machine = Machine(calls)
        machine.write(OLD, OLD_DATA)
        machine.restart(power_loss=True)
        ended = crash(machine, work, calls)
        machine.restart(power_loss=power_loss)
        left = newest(machine).id
        kept_old += left != NEW
        kept_new += left == NEW
        # What opening said stays true: the log may be cut by it.
        machine.restart(power_loss=True)
        assert newest(machine).id == left
        # What is left behind does no harm, and goes.
        assert crash(machine, work, 1 << 60)
        machine.restart(power_loss=True)
        assert newest(machine).id == NEW
        assert len(machine.files()) == 1
        calls += 1
    assert left == NEW
    assert kept_old > 10
    assert kept_new > 3


def test_crash_upon_crash_a_transfer_ends() -> None:
    """Each process lives a little longer than the last."""
    for power_loss in (False, True):
        machine = Machine(5)
        calls, ended = 20, False
        while not ended:
            ended = crash(machine, fetch_it, calls)
            machine.restart(power_loss=power_loss)
            calls += 3
        assert newest(machine).id == NEW


async def _rename_unsynced(output: Output, path: str) -> None:
    output._disk.rename(output._path, path)
    await output._disk.sync_directory(DIRECTORY)


async def _unsynced_name(output: Output, path: str) -> None:
    await output.file.sync()
    output._disk.rename(output._path, path)


@pytest.mark.parametrize("publish", [_rename_unsynced, _unsynced_name])
def test_without_either_sync_this_property_fails(publish: Callable[..., object]) -> None:
    """Planted: a name before the bytes, and a name that nobody made durable."""
    lost = 0
    for seed in range(10):
        machine = Machine(seed)
        machine.write(OLD, OLD_DATA)
        with mock.patch.object(Output, "publish", publish):
            machine.write(NEW, NEW_DATA)
        machine.restart(power_loss=True)
        try:
            lost += newest(machine).id != NEW
        except CorruptData:
            lost += 1
    assert lost
