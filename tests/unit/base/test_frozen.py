"""The map that can be frozen, against a plain dict."""

import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quorate.base import frozen
from quorate.base.frozen import FreezableMap

KEYS = st.one_of(st.integers(0, 30), st.integers(-(2**70), 2**70))
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("set"), KEYS),
        st.tuples(st.just("run"), st.integers(0, 40)),
        st.tuples(st.just("all"), st.integers(0, 40)),
        st.tuples(st.just("pop"), KEYS),
        st.tuples(st.just("pop there"), st.integers(0, 10**6)),
        st.tuples(st.just("drain"), st.integers(0, 30)),
        st.tuples(st.just("freeze"), st.just(0)),
        st.tuples(st.just("read"), st.integers(0, 40)),
        st.tuples(st.just("drop"), st.integers(0, 3)),
        st.tuples(st.just("clear"), st.just(0)),
    ),
    max_size=120,
)


class Pair:
    """The map and a dict, changed alike, with the views of both."""

    def __init__(self) -> None:
        self.map: FreezableMap[int, int] = FreezableMap()
        self.model: dict[int, int] = {}
        self.views: list[tuple[Iterator[tuple[int, int]], Iterator[tuple[int, int]]]] = []
        self.clock = 0

    def set(self, key: int) -> None:
        self.clock += 1
        self.map[key] = self.model[key] = self.clock

    def pop(self, key: int) -> None:
        if key in self.model:
            assert self.map.pop(key) == self.model.pop(key)
        else:
            with pytest.raises(KeyError):
                self.map.pop(key)

    def step(self, what: str, number: int) -> None:
        there = sorted(self.model)
        match what:
            case "set":
                self.set(number)
            case "run":  # ascending, as ids are given out
                for key in range(number * 10, number * 10 + 20):
                    self.set(key)
            case "all":  # some of them twice
                keys = [key % 40 for key in range(number, 3 * number, 2)]
                values = list(range(self.clock, self.clock + len(keys)))
                self.clock += len(keys)
                expected = []
                for key, value in zip(keys, values, strict=True):
                    expected.append(self.model.get(key))
                    self.model[key] = value
                assert self.map.swap_all(keys, values) == expected
            case "pop":
                self.pop(number)
            case "pop there" if there:
                self.pop(there[number % len(there)])
            case "drain":
                for key in there[:number]:
                    self.pop(key)
            case "freeze":
                self.views.append((self.map.freeze(), iter(sorted(self.model.items()))))
            case "read" if self.views:
                view, expected = self.views[number % len(self.views)]
                for _ in range(number):
                    assert next(view, None) == next(expected, None)
            case "drop" if self.views:
                del self.views[number % len(self.views)]
            case "clear":
                pauses = self.map.clear()
                next(pauses)
                assert (len(self.map), self.map.first()) == (0, None)
                assert list(pauses).count(None) <= len(self.model)
                self.model = {}

    def check(self) -> None:
        assert len(self.map) == len(self.model)
        assert self.map.first() == min(self.model, default=None)
        assert list(self.map.items()) == sorted(self.model.items())
        blocks = self.map._blocks
        assert all(blocks) or len(blocks) == 1
        assert max(map(len, blocks)) <= frozen.BLOCK_ENTRIES
        assert len(self.map._bounds) == len(blocks) - 1 == len(self.map._owned) - 1


@pytest.mark.parametrize("entries", [4, 9, 128])
@settings(max_examples=150, deadline=None)
@given(steps=STEPS)
def test_it_is_a_dict_in_order_whose_views_stay_as_they_were(
    entries: int, steps: list[tuple[str, int]]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(frozen, "BLOCK_ENTRIES", entries)
        pair = Pair()
        for what, number in steps:
            pair.step(what, number)
            pair.check()
            assert (number in pair.map, pair.map.get(number)) == (
                number in pair.model,
                pair.model.get(number),
            )
        for view, expected in pair.views:
            assert list(view) == list(expected)


@given(st.sets(st.integers(0, 200)), st.integers(-5, 205))
def test_entries_from_a_key_on(keys: set[int], start: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(frozen, "BLOCK_ENTRIES", 8)
        mapping: FreezableMap[int, None] = FreezableMap()
        for key in keys:
            mapping[key] = None
        expected = [(key, None) for key in sorted(keys) if key >= start]
        assert list(mapping.items(start)) == expected


def test_a_change_copies_one_block_once_and_a_view_lets_go_of_what_it_has_shown() -> None:
    mapping: FreezableMap[int, int] = FreezableMap()
    for key in range(10 * frozen.BLOCK_ENTRIES):
        mapping[key] = key
    assert [len(block) for block in mapping._blocks] == [frozen.BLOCK_ENTRIES] * 10
    blocks = list(mapping._blocks)
    view = mapping.freeze()
    mapping[0] = -1
    mapping[1] = -1
    changed = [new is not old for new, old in zip(mapping._blocks, blocks, strict=True)]
    assert changed == [True] + [False] * 9
    first = blocks[0]
    del blocks
    held = sys.getrefcount(first)
    for _ in range(frozen.BLOCK_ENTRIES + 1):
        next(view)
    assert sys.getrefcount(first) == held - 1


def test_what_was_deleted_is_given_back() -> None:
    mapping: FreezableMap[int, int] = FreezableMap()
    for key in range(100_000):
        mapping[key] = key
    for key in range(100_000):
        if key % 100:
            mapping.pop(key)
    assert len(mapping) == 1000
    assert len(mapping._blocks) <= 4 * 1000 / (frozen.BLOCK_ENTRIES // 4)


PROGRAM = """
from quorate.base.frozen import FreezableMap
strings, data = FreezableMap(), FreezableMap()
for n in range(3000):
    strings[str(n * 7919 % 3001)] = n
    data[str(n * 7919 % 3001).encode()] = n
for n in range(0, 3000, 3):
    strings.pop(str(n)) if str(n) in strings else None
print([list(strings.freeze()), list(data.items()), [len(b) for b in strings._blocks]])
"""


def test_nothing_depends_on_the_hashes_of_strings() -> None:
    said: list[Any] = [
        subprocess.run(
            [sys.executable, "-c", PROGRAM],
            env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
            timeout=60,
        ).stdout
        for seed in ("1", "2")
    ]
    assert said[0] == said[1]
    assert len(said[0]) > 10_000
