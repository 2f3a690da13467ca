"""Any work, then a crash at any point, again and again: what is promised comes back."""

from contextlib import suppress
from typing import NamedTuple
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from unit.raft.wal.machine import Machine, ProcessKilled, entries, run

from quorate.base.errors import DiskFailed
from quorate.base.ids import GroupId, ReplicaId
from quorate.raft.core.entries import HardState
from quorate.raft.wal import Damaged, Recovered, Wal, scan
from quorate.raft.wal.format import SECTOR
from quorate.raft.wal.live import RECORD_BYTES

State = dict[GroupId, Recovered]

GROUPS = st.integers(1, 3).map(GroupId)
BUSY, SLEEPING = GroupId(1), GroupId(2)


class Append(NamedTuple):
    group: GroupId
    back: int
    """How many entries of the end it replaces."""
    count: int
    size: int


class SetState(NamedTuple):
    group: GroupId
    term: int


class Cut(NamedTuple):
    group: GroupId
    ahead: int
    """Of the last cut; may be beyond the end."""
    conflicting: bool


class Sync(NamedTuple):
    pass


class Crash(NamedTuple):
    """How a round of work ends."""

    at: int
    """The call of the disk at which the process dies, or the number of the sync that fails; a
    large one comes after all work."""
    failing_sync: bool
    power_loss: bool


Step = Append | SetState | Cut | Sync

STEPS = st.lists(
    st.one_of(
        st.builds(Append, GROUPS, st.integers(0, 3), st.integers(1, 4), st.integers(0, 700)),
        st.builds(Append, GROUPS, st.just(0), st.just(1), st.integers(0, 2500)),
        st.builds(SetState, GROUPS, st.integers(0, 9)),
        st.builds(Cut, GROUPS, st.integers(0, 8), st.booleans()),
        st.builds(Sync),
        st.builds(Sync),
    ),
    max_size=40,
)
CRASHES = st.one_of(
    st.builds(Crash, st.integers(0, 150), st.just(False), st.booleans()),
    st.builds(Crash, st.integers(0, 10), st.just(True), st.booleans()),
)


class Model:
    """What the log should hold: a plain dictionary."""

    def __init__(self, state: State) -> None:
        self.state = dict(state)
        self.term = 1

    def apply(self, wal: Wal, step: Append | SetState | Cut) -> None:
        old = self.state.get(step.group, Recovered(HardState(), 0, 0, []))
        last = old.cut_index + len(old.entries)
        if isinstance(step, Append):
            self.term += 1
            first = max(old.cut_index, last - step.back) + 1
            new = entries(first, first + step.count - 1, self.term, step.size)
            wal.append(step.group, new)
            kept = old.entries[: first - old.cut_index - 1]
            self.state[step.group] = old._replace(entries=kept + new)
        elif isinstance(step, SetState):
            hard_state = HardState(step.term, ReplicaId(step.group * 1000 + 1))
            wal.set_state(step.group, hard_state)
            self.state[step.group] = old._replace(state=hard_state)
        elif step.ahead:
            index = old.cut_index + step.ahead
            after = old.entries[step.ahead - 1 :]
            term = after[0].term if after and not step.conflicting else 1000 + index
            wal.cut(step.group, index, term)
            kept = after[1:] if after and after[0].term == term else []
            self.state[step.group] = old._replace(cut_index=index, cut_term=term, entries=kept)


def check_accounts(wal: Wal) -> None:
    """Each live thing counts once, in the segment it was written to last."""
    expected = sum(
        sum(len(entry.data) + RECORD_BYTES for entry in log.entries)
        + RECORD_BYTES * ((log.state is not None) + (log.cut_index > 0))
        for log in wal._groups.values()
    )
    assert sum(segment.live_bytes for segment in wal._segments) == expected
    assert all(segment.live_bytes >= 0 for segment in wal._segments)


def work(
    machine: Machine, wal: Wal, steps: list[Step], failing_sync: int | None, candidates: list[State]
) -> None:
    """``candidates`` are the states that may be on the disk: the one of the last sync that ended
    and, while one runs, the one it makes."""
    model = Model(candidates[0])
    syncs = 0
    for step in steps:
        if isinstance(step, Sync):
            candidates.append(dict(model.state))
            if syncs == failing_sync:
                machine.fail_next_sync()
            run(wal.sync())
            syncs += 1
            del candidates[0]
            check_accounts(wal)
        else:
            model.apply(wal, step)


def crash_and_check(machine: Machine, durable: State, steps: list[Step], crash: Crash) -> State:
    """One round; returns what is durable after it."""
    candidates = [durable]
    machine.restart()
    if not crash.failing_sync:
        machine.crash_after(crash.at)
    try:
        wal, recovered = machine.open()
        assert recovered == durable
        work(machine, wal, steps, crash.at if crash.failing_sync else None, candidates)
    except (ProcessKilled, DiskFailed):
        pass
    machine.disk.faults.fail_next_syncs = 0
    recovered = machine.recovered(power_loss=crash.power_loss)
    assert recovered in candidates
    # Whatever a start has found stays, also if it was only in the page cache before.
    assert machine.recovered(power_loss=True) == recovered
    return recovered


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 1 << 32), st.lists(st.tuples(STEPS, CRASHES), max_size=5))
def test_exactly_the_synced_batches_and_perhaps_the_last_one_come_back(
    seed: int, rounds: list[tuple[list[Step], Crash]]
) -> None:
    machine = Machine(seed)
    machine.create()
    durable: State = {}
    with mock.patch("quorate.raft.wal.log.RELOCATION_BYTES", 600):
        for steps, crash in rounds:
            durable = crash_and_check(machine, durable, steps, crash)


def relocating_steps() -> list[Step]:
    """A group that sleeps while another fills and cuts its log."""
    steps: list[Step] = [
        Append(SLEEPING, 0, 8, 250),
        SetState(SLEEPING, 3),
        Cut(SLEEPING, 2, False),
    ]
    for _ in range(30):
        steps += [Append(BUSY, 0, 1, 700), Cut(BUSY, 1, False), Sync()]
    return steps


def test_a_crash_anywhere_in_a_relocation_changes_nothing() -> None:
    calls = 0
    while True:
        machine = Machine(calls)
        machine.create()
        with mock.patch("quorate.raft.wal.log.RELOCATION_BYTES", 600):
            crash = Crash(calls, False, power_loss=calls % 3 > 0)
            durable = crash_and_check(machine, {}, relocating_steps(), crash)
            durable = crash_and_check(machine, durable, relocating_steps()[3:], crash)
        if SLEEPING in durable and BUSY in durable and durable[BUSY].cut_index == 60:
            break
        calls += 1
    assert calls > 100
    assert len(durable[SLEEPING].entries) == 6


@settings(max_examples=100, deadline=None)
@given(STEPS, st.integers(0, 1 << 32), st.integers(0, SECTOR * 8 - 1))
def test_a_flipped_bit_is_reported_or_harmless(steps: list[Step], where: int, bit: int) -> None:
    machine = Machine()
    wal = machine.opened()
    candidates: list[State] = [{}]
    work(machine, wal, [*steps, Sync()], None, candidates)
    names = machine.segments()
    name = names[where % len(names)]
    sectors = len(machine.content(name)) // SECTOR
    offset = (where // len(names)) % sectors * SECTOR + bit // 8
    machine.disk.flip_bit(f"node/log/{name}", offset, bit % 8)
    with suppress(Damaged):
        assert machine.recovered() == candidates[0]


def test_every_flipped_bit_of_the_newest_segment_is_reported() -> None:
    machine = Machine()
    wal = machine.opened()
    for group in (BUSY, SLEEPING):
        wal.append(group, entries(1, 3, size=300))
        run(wal.sync())
    machine.restart()
    name = machine.segments()[-1]
    for offset in range(0, len(machine.content(name)), 7):
        machine.disk.flip_bit(f"node/log/{name}", offset, offset % 8)
        with pytest.raises(Damaged):
            machine.open()
        machine.disk.flip_bit(f"node/log/{name}", offset, offset % 8)
    assert len(machine.recovered()) == 2


def test_the_naive_rule_fails_this_very_property() -> None:
    """Truncation at the first bad checksum, planted: a flipped bit shortens the log unseen."""
    machine = Machine()
    wal = machine.opened()
    candidates: list[State] = [{}]
    work(
        machine,
        wal,
        [Append(BUSY, 0, 2, 600), Sync(), Append(BUSY, 0, 2, 600), Sync()],
        None,
        candidates,
    )
    machine.disk.flip_bit(f"node/log/{machine.segments()[-1]}", SECTOR * 5, 0)
    machine.restart()
    with pytest.raises(Damaged):
        machine.open()
    with mock.patch.object(scan, "check_torn", lambda *_: None):
        assert machine.recovered() != candidates[0]
