"""Entries that are synced may be kept elsewhere than in memory."""

from unit.raft.wal.machine import CLUSTER, NODE, SEGMENT_BYTES, Machine, entries, run

from quorate.base.ids import GroupId
from quorate.raft.core.entries import VIEW_BYTES, Entry, held_bytes
from quorate.raft.wal import Recovered, Spill, Wal

ONE, TWO = GroupId(1), GroupId(2)


def opened(machine: Machine, spill: Spill) -> tuple[Wal, dict[GroupId, Recovered]]:
    work = Wal.open(machine.view, CLUSTER, NODE, segment_bytes=SEGMENT_BYTES, spill=spill)
    return run(work)


def is_kept(entry: Entry) -> bool:
    return type(entry.data) is not bytes


def test_what_is_synced_is_kept_elsewhere_and_is_the_same() -> None:
    machine = Machine()
    machine.create()
    wal, _ = opened(machine, memoryview)
    given = entries(1, 40, size=300)
    for entry in given:
        wal.append(ONE, [entry])
        assert not is_kept(entry)  # it is nowhere else
        run(wal.sync())
        assert is_kept(entry)
    assert wal.stats.segments > 3
    assert given == entries(1, 40, size=300)
    machine.restart()
    found = opened(machine, memoryview)[1][ONE].entries
    assert found == given
    assert all(map(is_kept, found))
    assert machine.recovered()[ONE].entries == given


def test_entries_that_are_kept_elsewhere_are_relocated_whole() -> None:
    machine = Machine()
    machine.create()
    wal, _ = opened(machine, memoryview)
    wal.append(TWO, entries(1, 5, size=200))
    for index in range(1, 200):
        wal.append(ONE, entries(index, index, size=300))
        wal.cut(ONE, index, 1)
        run(wal.sync())
        assert len(machine.segments()) <= 4
    assert wal.stats.relocated_bytes > 0
    assert machine.recovered()[TWO].entries == entries(1, 5, size=200)


def test_what_an_entry_takes_in_memory_is_its_data_or_a_view_of_them() -> None:
    [entry] = entries(1, 1, size=10_000)
    before = held_bytes(entry)
    machine = Machine()
    machine.create()
    wal, _ = opened(machine, memoryview)
    wal.append(ONE, [entry])
    run(wal.sync())
    assert before - held_bytes(entry) == 10_000 - VIEW_BYTES
