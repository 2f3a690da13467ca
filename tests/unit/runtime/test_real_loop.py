"""The loop of a real process: how long collections of garbage may stop it, and how often."""

import gc

from session_bench import Bench

from quorate.base.frozen import BLOCK_ENTRIES, FreezableMap
from quorate.raft.sessions import SessionMachine
from quorate.runtime.real.loop import GC_THRESHOLDS, run


def test_what_was_there_before_the_loop_is_no_longer_looked_at() -> None:
    async def main() -> tuple[int, int, tuple[int, int, int]]:
        return gc.get_freeze_count(), len(gc.get_objects()), gc.get_threshold()

    thresholds = gc.get_threshold()
    frozen, looked_at, during = run(main)
    assert frozen > 10_000
    assert looked_at < 1_000
    assert during == GC_THRESHOLDS
    assert (gc.get_freeze_count(), gc.get_threshold()) == (0, thresholds)


def test_a_large_state_is_not_looked_at() -> None:
    """Not by a collection either that happens while it is in use."""
    values: FreezableMap[bytes, bytes] = FreezableMap()
    for number in range(20 * BLOCK_ENTRIES):
        values[b"%d" % number] = b""
    assert not any(map(gc.is_tracked, values._blocks))
    bench = Bench()
    session = bench.open()
    bench.add(session, 1)
    machine: SessionMachine = bench.machine
    assert not gc.is_tracked(machine._sessions)
    assert not any(map(gc.is_tracked, machine._sessions.values()))
