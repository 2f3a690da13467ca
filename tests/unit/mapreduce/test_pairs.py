"""Keys, partitions, regions and lines of output."""

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quorate.base.errors import CorruptData, JobFailed
from quorate.mapreduce.pairs import (
    merge_regions,
    output_lines,
    partition,
    partition_of,
    read_region,
    write_region,
)

ATOMS = st.one_of(
    st.text(max_size=5),
    st.binary(max_size=5),
    st.integers(-(2**63), 2**64 - 1),
    st.floats(allow_nan=False),
    st.booleans(),
)
KEYS = st.one_of(ATOMS, st.tuples(ATOMS, ATOMS))
VALUES = st.one_of(st.none(), st.integers(0, 9), st.text(max_size=5), st.lists(st.integers(0, 9)))


@settings(deadline=None)
@given(st.dictionaries(KEYS, st.lists(VALUES, min_size=1)))
def test_a_region_brings_back_its_keys_and_values(groups: dict[Any, list[Any]]) -> None:
    keys = list(groups)
    region = b"".join(write_region(keys, groups))
    assert merge_regions([region]) == groups
    assert [type(key) for block, _ in read_region(region) for key in block] == list(map(type, keys))


def test_values_of_one_key_come_in_order_of_the_regions() -> None:
    first = b"".join(write_region(["a", "b"], {"a": [1, 2], "b": [3]}))
    second = b"".join(write_region(["a", "c"], {"a": [4], "c": [5]}))
    assert merge_regions([first, second]) == {"a": [1, 2, 4], "b": [3], "c": [5]}


def test_a_large_region_has_many_blocks() -> None:
    groups = {number: [number] for number in range(10_000)}
    region = b"".join(write_region(list(groups), groups))
    assert len(list(read_region(region))) == 3
    assert merge_regions([region]) == groups


@settings(deadline=None)
@given(st.integers(0, 200), st.integers(1, 255))
def test_any_damage_to_a_region_is_found(position: int, change: int) -> None:
    groups = {f"key {number}": ["value"] for number in range(10)}
    region = bytearray(b"".join(write_region(list(groups), groups)))
    region[position % len(region)] ^= change
    with pytest.raises(CorruptData):
        merge_regions([bytes(region)])


@pytest.mark.parametrize("length", [3, 20])
def test_a_region_that_is_cut_short_is_found(length: int) -> None:
    region = b"".join(write_region(["key"], {"key": ["value" * 10]}))
    with pytest.raises(CorruptData):
        merge_regions([region[:length]])


@settings(deadline=None)
@given(st.lists(st.text(), unique=True), st.integers(1, 20))
def test_partitions_hold_each_key_once_in_increasing_order(keys: list[str], reduces: int) -> None:
    partitions = partition(keys, reduces)
    assert sorted(key for part in partitions for key in part) == sorted(keys)
    for number, part in enumerate(partitions):
        assert part == sorted(part)
        assert all(partition_of(key, reduces) == number for key in part)


def test_the_partition_function_is_the_same_for_ever() -> None:
    assert [partition_of(key, 100) for key in ("", "the", b"the", 7, 1.5, ("a", 1))] == [
        11,
        95,
        67,
        98,
        22,
        79,
    ]


@settings(deadline=None)
@given(st.integers(2, 100))
def test_equal_keys_of_different_types_meet_in_one_partition(reduces: int) -> None:
    assert len({partition_of(key, reduces) for key in (1, 1.0, True)}) == 1
    assert len({partition_of(key, reduces) for key in (0, 0.0, -0.0, False)}) == 1
    assert len({partition_of((key, "a"), reduces) for key in (2, 2.0)}) == 1
    assert len({partition_of(key, reduces) for key in (10**19, 1e19)}) == 1


@pytest.mark.parametrize(
    ("key", "sentence"),
    [
        (None, "the key None is a NoneType"),
        (math.nan, "NaN"),
        (("a", None), "the key None"),
        (frozenset("a"), "is a frozenset"),
        (2**64, "cannot be encoded"),
        ("\ud800", "cannot be encoded"),
    ],
)
def test_what_cannot_be_a_key_is_refused_in_a_sentence(key: Any, sentence: str) -> None:
    with pytest.raises(JobFailed, match=sentence):
        partition([key], 3)


def test_keys_that_do_not_compare_are_shown() -> None:
    with pytest.raises(JobFailed, match=r"the keys 1 and 'a' of this job do not compare"):
        partition([1, "a"], 1)


def test_values_that_cannot_be_encoded_are_refused() -> None:
    with pytest.raises(JobFailed, match="a value cannot be encoded"):
        list(write_region(["a"], {"a": [object()]}))


def test_output_lines_are_key_tab_value() -> None:
    assert output_lines([("a", 1), (("b", 2), "x\ty"), (b"c", None)]) == (
        b"a\t1\n('b', 2)\tx\ty\nb'c'\tNone\n"
    )
    assert output_lines([]) == b""
    assert output_lines([("ü", "€")]) == "ü\t€\n".encode()


@pytest.mark.parametrize("pair", [("a\tb", 1), ("a\nb", 1), ("a", "b\nc")])
def test_a_pair_that_would_not_be_one_line_is_refused(pair: tuple[str, object]) -> None:
    with pytest.raises(JobFailed, match="would break the line of output"):
        output_lines([("fine", 1), pair])


def test_text_that_is_not_unicode_is_refused() -> None:
    with pytest.raises(JobFailed, match="not Unicode"):
        output_lines([("\ud800", 1)])
