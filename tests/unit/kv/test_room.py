"""How large the store may become: what its machines say, and the bound that follows."""

import pytest

from quorate.kv.core.commands import Limit
from quorate.kv.core.room import LIFT_BYTES, RESERVE_BYTES, Room, limit_for, reserve_bytes
from quorate.kv.core.state import State
from quorate.kv.core.store import in_memory

OPEN = Limit(0)


def room(name: str, max_bytes: int = 0, spare_bytes: int = 1 << 40) -> Room:
    """With so much more than its reserve."""
    return Room(name, max_bytes, RESERVE_BYTES + spare_bytes, RESERVE_BYTES)


@pytest.mark.parametrize(
    ("bounds", "expected"), [([0, 0], 0), ([0, 7], 7), ([9, 7, 0], 7), ([], 0)]
)
def test_the_smallest_bound_counts(bounds: list[int], expected: int) -> None:
    rooms = [room(f"n{number}", bound) for number, bound in enumerate(bounds)]
    assert limit_for(rooms, Limit(5), heard_all=True) == Limit(expected)


def test_nothing_may_grow_while_one_disk_has_less_than_its_reserve() -> None:
    rooms = [room("n3", spare_bytes=-1), room("n1"), room("n2", spare_bytes=0)]
    assert limit_for(rooms, OPEN, heard_all=True).restricted == "too little space is left on n3"
    rooms.append(room("n0", spare_bytes=-5))
    assert limit_for(rooms, OPEN, heard_all=True).restricted == "too little space is left on n0, n3"


def test_it_may_grow_again_when_there_is_some_more_than_the_reserve() -> None:
    restricted = limit_for([room("n1", spare_bytes=-1)], OPEN, heard_all=True)
    for spare in (0, LIFT_BYTES - 1):
        assert limit_for([room("n1", spare_bytes=spare)], restricted, heard_all=True) == restricted
        assert limit_for([room("n1", spare_bytes=spare)], OPEN, heard_all=True) == OPEN
    assert limit_for([room("n1", spare_bytes=LIFT_BYTES)], restricted, heard_all=True) == OPEN


def test_while_somebody_was_not_heard_a_bound_is_only_made_tighter() -> None:
    now = Limit(10, "too little space is left on n2")
    assert limit_for([room("n1", 20)], now, heard_all=False) == now
    assert limit_for([room("n1", 5)], now, heard_all=False) == Limit(5, now.restricted)
    assert limit_for([room("n1", 20, -1)], OPEN, heard_all=False) == Limit(
        20, "too little space is left on n1"
    )
    assert limit_for([room("n1", 20)], now, heard_all=True) == Limit(20)


def test_the_reserve_holds_the_next_snapshot_unless_one_is_being_written() -> None:
    state = State(in_memory(), 100)
    assert reserve_bytes(state, is_snapshotting=False) == RESERVE_BYTES
    state.write(b"key", bytes(1_000_000))
    state.end()
    assert reserve_bytes(state, is_snapshotting=False) > RESERVE_BYTES + 1_000_000
    assert reserve_bytes(state, is_snapshotting=True) == RESERVE_BYTES


def test_the_reserve_holds_a_log_that_grows_with_the_store_also_while_a_snapshot_is_written() -> (
    None
):
    state = State(in_memory(), 100)
    state.write(b"key", bytes(1_000_000))
    state.end()
    with_log = reserve_bytes(state, is_snapshotting=True, log_share=0.75)
    assert with_log > RESERVE_BYTES + 750_000
    snapshot = reserve_bytes(state, is_snapshotting=False) - RESERVE_BYTES
    assert reserve_bytes(state, is_snapshotting=False, log_share=0.75) == with_log + snapshot
