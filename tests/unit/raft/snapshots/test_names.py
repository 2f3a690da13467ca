"""Names are formed from numbers and parsed strictly."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit.raft.snapshots.machine import snapshot_id

from quorate.base.errors import ProtocolError
from quorate.raft.snapshots.names import DIRECTORY, Kind, parse_name, path_of

NUMBERS = st.integers(0, (1 << 64) - 1)
GOOD = "0000000000000007-0000000000000005-0000000000000003-0000000000000009"


@given(NUMBERS, NUMBERS, NUMBERS, NUMBERS, st.sampled_from(list(Kind)))
def test_a_name_gives_back_its_id(
    index: int, group: int, term: int, source: int, kind: Kind
) -> None:
    id = snapshot_id(index, group=group, term=term, source=source)
    directory, _, name = path_of(id, kind).rpartition("/")
    assert directory == DIRECTORY
    assert parse_name(name) == (id, kind)


@given(st.text())
def test_any_other_name_is_somebody_elses(name: str) -> None:
    parsed = parse_name(name)
    assert parsed is None or path_of(*parsed) == f"{DIRECTORY}/{name}"


@pytest.mark.parametrize(
    "name",
    [
        GOOD,
        GOOD + ".snap.old",
        GOOD + ".snap\n",
        GOOD + ".snapp",
        GOOD.replace("7", "A") + ".snap",
        GOOD[1:] + ".snap",
        "0" + GOOD + ".snap",
        GOOD.replace("-", "_") + ".snap",
        GOOD.replace("7", "\u0667") + ".snap",
        "../" + GOOD + ".snap",
    ],
)
def test_near_misses_are_not_ours(name: str) -> None:
    assert parse_name(GOOD + ".snap") == (snapshot_id(5), Kind.WHOLE)
    assert parse_name(name) is None


@pytest.mark.parametrize("number", [-1, 1 << 64])
def test_numbers_that_do_not_fit_make_no_path(number: int) -> None:
    for id in (
        snapshot_id(number),
        snapshot_id(1, group=number),
        snapshot_id(1, term=number),
        snapshot_id(1, source=number),
    ):
        with pytest.raises(ProtocolError, match="64 bits"):
            path_of(id, Kind.PARTIAL)


def test_ids_of_a_group_are_ordered_by_what_they_stand_for() -> None:
    assert snapshot_id(9, term=3) < snapshot_id(10, term=2)
    assert snapshot_id(9, term=3, source=8) < snapshot_id(9, term=4, source=1)
