"""The log at work, over a simulated disk."""

import asyncio

import pytest
from unit.raft.wal.machine import CLUSTER, NODE, SEGMENT_BYTES, Machine, ProcessKilled, entries, run

from quorate.base.check import Bug
from quorate.base.errors import AlreadyExists, BadConfiguration, DiskFailed, DiskFull
from quorate.base.ids import ClusterId, GroupId, NodeId, ReplicaId
from quorate.raft.core.entries import HardState
from quorate.raft.wal import Damaged, Recovered, Wal, scan
from quorate.raft.wal.format import (
    FORMAT_VERSION,
    SECTOR,
    decode_segment_header,
    encode_segment_header,
)

ONE, TWO = GroupId(1), GroupId(2)


def test_a_new_log_knows_no_group() -> None:
    machine = Machine()
    machine.create()
    assert machine.recovered() == {}


def test_what_was_synced_comes_back_after_a_power_loss() -> None:
    machine = Machine()
    wal = machine.opened()
    wal.append(ONE, entries(1, 3))
    wal.set_state(ONE, HardState(4, ReplicaId(1001)))
    wal.append(TWO, entries(1, 1))
    assert wal.pending
    run(wal.sync())
    assert not wal.pending
    wal.append(ONE, entries(3, 4, term=2))
    run(wal.sync())
    wal.append(ONE, entries(5, 9))  # never synced
    assert machine.recovered() == {
        ONE: Recovered(HardState(4, ReplicaId(1001)), 0, 0, entries(1, 2) + entries(3, 4, term=2)),
        TWO: Recovered(HardState(), 0, 0, entries(1, 1)),
    }


def test_one_turn_of_all_groups_is_one_sync() -> None:
    wal = Machine().opened()
    for group in range(1, 100):
        wal.append(GroupId(group), entries(1, 1))
    run(wal.sync())
    assert wal.stats.syncs == 1


def test_nothing_buffered_costs_no_sync() -> None:
    wal = Machine().opened()
    wal.append(ONE, [])
    run(wal.sync())
    assert (wal.stats.syncs, wal.stats.bytes) == (0, 0)


def test_records_that_come_during_a_sync_are_the_next_batch() -> None:
    machine = Machine()
    wal = machine.opened()

    async def work() -> None:
        wal.append(ONE, entries(1, 1))
        running = asyncio.get_running_loop().create_task(wal.sync())
        await asyncio.sleep(0)
        wal.append(ONE, entries(2, 2))
        with pytest.raises(Bug, match="one batch at a time"):
            await wal.sync()
        await running
        assert wal.pending
        await wal.sync()

    run(work())
    assert machine.recovered()[ONE].entries == entries(1, 2)


def test_an_append_that_leaves_a_gap_is_a_bug() -> None:
    wal = Machine().opened()
    with pytest.raises(Bug):
        wal.append(ONE, entries(2, 3))
    with pytest.raises(Bug):
        wal.append(ONE, entries(1, 1) + entries(3, 3))


def test_a_cut_keeps_what_follows_it() -> None:
    machine = Machine()
    wal = machine.opened()
    wal.append(ONE, entries(1, 5))
    wal.cut(ONE, 3, 1)
    run(wal.sync())
    assert machine.recovered()[ONE] == Recovered(HardState(), 3, 1, entries(4, 5))


def test_a_cut_in_another_history_drops_the_whole_log() -> None:
    machine = Machine()
    wal = machine.opened()
    wal.append(ONE, entries(1, 5, term=1))
    run(wal.sync())
    wal.cut(ONE, 3, 2)  # a snapshot whose entry 3 is of term 2
    wal.append(ONE, entries(4, 4, term=2))
    wal.append(TWO, entries(1, 2))
    wal.cut(TWO, 7, 3)  # a snapshot beyond the end
    run(wal.sync())
    assert machine.recovered() == {
        ONE: Recovered(HardState(), 3, 2, entries(4, 4, term=2)),
        TWO: Recovered(HardState(), 7, 3, []),
    }


def test_a_cut_never_moves_back() -> None:
    wal = Machine().opened()
    wal.cut(ONE, 5, 1)
    wal.cut(ONE, 5, 1)
    with pytest.raises(Bug):
        wal.cut(ONE, 4, 1)


def test_a_full_segment_is_followed_by_another() -> None:
    machine = Machine()
    wal = machine.opened()
    for index in range(1, 30):
        wal.append(ONE, entries(index, index, size=300))
        run(wal.sync())
    assert wal.stats.segments == len(machine.segments()) == 5
    assert machine.recovered()[ONE].entries == entries(1, 29, size=300)


def test_a_batch_larger_than_a_segment_gets_a_segment_of_its_own_size() -> None:
    machine = Machine()
    wal = machine.opened()
    wal.append(ONE, entries(1, 2, size=3 * SEGMENT_BYTES))
    run(wal.sync())
    wal.append(ONE, entries(3, 3))
    run(wal.sync())
    assert machine.recovered()[ONE].entries == entries(1, 2, size=3 * SEGMENT_BYTES) + entries(3, 3)


def test_starting_again_and_again_takes_no_more_space() -> None:
    machine = Machine()
    wal = machine.opened()
    wal.append(ONE, entries(1, 3))
    run(wal.sync())
    machine.recovered()
    used = machine.disk.used_bytes
    for _ in range(5):
        assert machine.recovered()[ONE].entries == entries(1, 3)
    assert machine.disk.used_bytes == used


def test_restarts_with_work_between_take_bounded_space() -> None:
    machine = Machine()
    machine.create()
    for index in range(1, 60):
        machine.restart(power_loss=index % 2 == 0)
        wal, recovered = machine.open()
        assert index == 1 or recovered[ONE].entries == entries(1, index - 1)
        wal.append(ONE, entries(index, index))
        run(wal.sync())
        assert len(machine.segments()) <= 5


# Making room.


def test_segments_in_which_nothing_is_live_are_removed() -> None:
    machine = Machine()
    wal = machine.opened()
    for index in range(1, 60):
        wal.append(ONE, entries(index, index, size=300))
        run(wal.sync())
    assert len(machine.segments()) > 8
    wal.cut(ONE, 59, 1)
    run(wal.sync())
    assert len(machine.segments()) == wal.stats.segments == 1
    assert machine.recovered()[ONE] == Recovered(HardState(), 59, 1, [])


def test_segments_are_removed_only_after_the_batch_that_says_so_was_synced() -> None:
    machine = Machine()
    wal = machine.opened()
    for index in range(1, 30):
        wal.append(ONE, entries(index, index, size=300))
        run(wal.sync())
    before = machine.segments()
    wal.cut(ONE, 29, 1)
    machine.fail_next_sync()
    with pytest.raises(DiskFailed):
        run(wal.sync())
    assert machine.segments() == before


def test_a_sleeping_group_pins_no_segments() -> None:
    machine = Machine()
    wal = machine.opened()
    wal.append(TWO, entries(1, 5, size=200))
    wal.set_state(TWO, HardState(7, ReplicaId(2001)))
    wal.cut(TWO, 2, 1)
    for index in range(1, 400):
        wal.append(ONE, entries(index, index, size=300))
        wal.cut(ONE, index, 1)
        run(wal.sync())
        assert len(machine.segments()) <= 4
    assert wal.stats.relocated_bytes > 0
    recovered = machine.recovered()
    assert recovered[TWO] == Recovered(HardState(7, ReplicaId(2001)), 2, 1, entries(3, 5, size=200))
    assert recovered[ONE] == Recovered(HardState(), 399, 1, [])


def test_rewriting_is_bounded_by_what_is_new_and_by_a_constant(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("quorate.raft.wal.log.RELOCATION_BYTES", 500)
    machine = Machine()
    wal = machine.opened()
    wal.append(TWO, entries(1, 60, size=200))  # three segments' worth that stay
    run(wal.sync())
    written = wal.stats.bytes
    for index in range(1, 601):
        before = wal.stats.relocated_bytes
        wal.append(ONE, entries(index, index, size=300))
        wal.cut(ONE, index, 1)
        run(wal.sync())
        assert wal.stats.relocated_bytes - before <= 500 + 332 + 232
        assert len(machine.segments()) <= 4 * 60 * 232 // SEGMENT_BYTES + 3
    assert 0 < wal.stats.relocated_bytes < (wal.stats.bytes - written) / 2
    assert machine.recovered()[TWO].entries == entries(1, 60, size=200)


def test_a_log_that_is_all_live_is_never_rewritten() -> None:
    wal = Machine().opened()
    for index in range(1, 300):
        wal.append(ONE, entries(index, index, size=440))
        run(wal.sync())
    assert wal.stats.relocated_bytes == 0


# Failures.


def test_after_a_failed_sync_the_log_refuses_everything_even_if_the_disk_is_well_again() -> None:
    machine = Machine()
    wal = machine.opened()
    wal.append(ONE, entries(1, 1))
    machine.fail_next_sync()
    with pytest.raises(DiskFailed, match="failed to sync"):
        run(wal.sync())
    assert wal.failed
    for refused in (
        lambda: wal.append(ONE, entries(2, 2)),
        lambda: wal.set_state(ONE, HardState(2)),
        lambda: wal.cut(ONE, 1, 1),
        lambda: run(wal.sync()),
    ):
        with pytest.raises(DiskFailed, match="did not succeed"):
            refused()


def test_what_a_failed_sync_left_in_the_page_cache_is_made_durable_at_the_next_start() -> None:
    """ "fsyncgate": the batch reads well, and the kernel believes that it was written."""
    for seed in range(20):
        machine = Machine(seed)
        wal = machine.opened()
        wal.append(ONE, entries(1, 2))
        run(wal.sync())
        wal.append(ONE, entries(3, 4, size=500))
        machine.fail_next_sync()
        with pytest.raises(DiskFailed):
            run(wal.sync())
        assert machine.recovered(power_loss=False)[ONE].entries[2:] == entries(3, 4, size=500)
        assert machine.recovered(power_loss=True)[ONE].entries[2:] == entries(3, 4, size=500)


def test_a_cancelled_sync_counts_as_failed() -> None:
    wal = Machine().opened()
    wal.append(ONE, entries(1, 1))

    async def work() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.0001):
                await wal.sync()

    run(work())
    assert wal.failed


def test_a_closed_log_refuses_everything() -> None:
    wal = Machine().opened()
    wal.close()
    wal.close()
    with pytest.raises(DiskFailed, match="it was closed"):
        wal.append(ONE, entries(1, 1))


def test_a_full_disk_stops_the_log_and_loses_nothing() -> None:
    machine = Machine()
    wal = machine.opened()
    machine.disk.faults.capacity_bytes = machine.disk.used_bytes + SEGMENT_BYTES
    index = 0
    with pytest.raises(DiskFull, match="no space"):
        while True:
            wal.append(ONE, entries(index + 1, index + 1, size=300))
            run(wal.sync())
            index += 1
    assert index > 10 and wal.failed
    with pytest.raises(DiskFull):
        machine.recovered()
    machine.disk.faults.capacity_bytes *= 2
    assert machine.recovered()[ONE].entries == entries(1, index, size=300)


# Opening what is not ours, or not whole.


def test_a_missing_log_is_never_made_anew() -> None:
    machine = Machine()
    with pytest.raises(BadConfiguration, match="never founded, or its disk was wiped"):
        machine.open()
    machine.view.make_directory("log")
    with pytest.raises(BadConfiguration, match="never founded"):
        machine.open()
    assert machine.segments() == []


def test_a_log_is_created_once() -> None:
    machine = Machine()
    machine.create()
    with pytest.raises(AlreadyExists):
        machine.create()


def test_a_crash_while_the_log_is_created_leaves_none_or_an_empty_one() -> None:
    for calls in range(40):
        machine = Machine(calls)
        machine.crash_after(calls)
        try:
            machine.create()
        except ProcessKilled:
            machine.restart(power_loss=calls % 2 == 0)
            if not machine.segments():
                machine.create()
        assert machine.recovered(power_loss=False) == {}
        assert machine.recovered() == {}


def test_the_log_of_another_node_or_cluster_is_refused() -> None:
    machine = Machine()
    machine.create()
    with pytest.raises(BadConfiguration, match="not of node 2"):
        run(Wal.open(machine.view, CLUSTER, NodeId(2)))
    with pytest.raises(BadConfiguration, match="not of node 1 of cluster d"):
        run(Wal.open(machine.view, ClusterId("d" * 32), NODE))


def test_a_log_of_a_newer_version_is_refused() -> None:
    machine = Machine()
    machine.create()
    name = machine.segments()[0]
    header = decode_segment_header(machine.content(name)[:SECTOR])
    assert header is not None
    newer = encode_segment_header(header._replace(version=FORMAT_VERSION + 1))
    machine.overwrite(name, 0, newer)
    with pytest.raises(BadConfiguration, match="newer version"):
        machine.open()


def four_segments() -> Machine:
    machine = Machine()
    wal = machine.opened()
    for index in range(1, 25):
        wal.append(ONE, entries(index, index, size=300))
        run(wal.sync())
    machine.restart()
    assert len(machine.segments()) == 4
    return machine


@pytest.mark.parametrize("missing", [0, 1, 2])
def test_a_missing_segment_is_damage(missing: int) -> None:
    machine = four_segments()
    machine.view.remove(f"log/{machine.segments()[missing]}")
    with pytest.raises(Damaged):
        machine.open()


def test_a_segment_under_another_name_or_cut_short_is_damage() -> None:
    machine = four_segments()
    machine.view.rename(f"log/{machine.segments()[1]}", "log/0000000000000009.seg")
    with pytest.raises(Damaged):
        machine.open()
    machine = four_segments()
    name = machine.segments()[-1]
    short = machine.content(name)[: -2 * SECTOR]
    machine.view.remove(f"log/{name}")
    machine.view.open(f"log/{name}", create=True)
    machine.overwrite(name, 0, short)
    with pytest.raises(Damaged, match="3072 of 4096 bytes"):
        machine.open()


def test_a_segment_that_was_being_made_is_thrown_away() -> None:
    machine = four_segments()
    machine.view.open("log/next", create=True)
    machine.overwrite("next", 0, b"Q" * 3 * SEGMENT_BYTES)
    for _ in range(2):
        found = machine.recovered(power_loss=False)
        assert found[ONE].entries == entries(1, 24, size=300)
    assert not machine.view.exists("log/next")


def test_foreign_files_beside_the_segments_are_left_alone() -> None:
    machine = four_segments()
    for name in ("README", "zz.seg", "000000000000000g.seg"):
        machine.view.open(f"log/{name}", create=True)
    assert machine.recovered(power_loss=False)[ONE].entries == entries(1, 24, size=300)
    assert machine.view.exists("log/README")


def test_damage_is_reported_and_nothing_is_changed() -> None:
    machine = four_segments()
    machine.overwrite(machine.segments()[-1], SECTOR + 100, b"?")
    before = [(name, machine.content(name)) for name in machine.view.list("log")]
    for _ in range(2):
        with pytest.raises(Damaged, match="take no part"):
            machine.open()
    assert [(name, machine.content(name)) for name in machine.view.list("log")] == before


def test_the_naive_rule_would_forget_a_vote(monkeypatch: pytest.MonkeyPatch) -> None:
    """What truncation at the first bad checksum does to a promise that was made."""
    machine = Machine()
    wal = machine.opened()
    wal.set_state(ONE, HardState(5, ReplicaId(1002)))
    run(wal.sync())
    machine.restart()
    machine.overwrite(machine.segments()[-1], 2 * SECTOR + 40, b"?")
    with pytest.raises(Damaged):
        machine.open()
    monkeypatch.setattr(scan, "check_torn", lambda *_: None)
    assert machine.recovered() == {}
