"""A map that can be frozen without a pause, however large: the memory of our state machines.

A plain dict of four million entries takes 0.6 s to copy, and 0.2 s to grow once.  This map is cut
into blocks, small dicts that lie in the order of their keys.

* ``freeze`` copies the list of blocks and marks every block as shared: a millisecond for a GB of
  state.  A block that is shared is copied by the first change to it, and only then.
* A block that has grown too large is cut in two; nothing is ever done to all entries at once.
* Any number of frozen views may be read at a time.  A view lets go of each block it has shown, and
  of the rest when it is dropped.
* Entries come in the order of the keys: nothing depends on the hashes of strings, and equal maps
  give equal streams.
* Values that a view may show must not change: they are replaced.

A block of bytes, numbers, strings or structs without ``gc`` is not looked at by the collector of
cyclic garbage, which sees two lists instead of millions of objects.
"""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Generic, TypeVar

K = TypeVar("K", bytes, int, str, tuple[int, int])
V = TypeVar("V")

BLOCK_ENTRIES = 128
"""The most a block holds.  Smaller blocks make the first change after a freeze cheaper (20 µs), and
freezing and growing dearer; bench/state.py prints both."""

BLOCKS_CLEARED = 16
"""Blocks that ``clear`` lets go of before it pauses."""


class FreezableMap(Generic[K, V]):
    """A map of keys that have an order; see the module for its rules."""

    __slots__ = ("_blocks", "_bounds", "_length", "_owned")

    def __init__(self) -> None:
        self._blocks: list[dict[K, V]] = [{}]  # none is empty, unless it is the only one
        self._bounds: list[K] = []  # block i + 1 holds keys from bounds[i] on
        self._owned = bytearray(b"\x01")  # whether block i is in no view
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def __contains__(self, key: K) -> bool:
        return key in self._blocks[bisect_right(self._bounds, key)]

    def __getitem__(self, key: K) -> V:
        return self._blocks[bisect_right(self._bounds, key)][key]

    def get(self, key: K) -> V | None:
        """The value, or ``None``."""
        return self._blocks[bisect_right(self._bounds, key)].get(key)

    def first(self) -> K | None:
        """The smallest key, or ``None``."""
        return min(self._blocks[0], default=None)

    def items(self, start: K | None = None) -> Iterator[tuple[K, V]]:
        """The entries in order, from the key ``start`` on; the map is not to be changed meanwhile
        (a frozen view stands changes)."""
        position = 0 if start is None else bisect_right(self._bounds, start)
        for block in islice(self._blocks, position, None):
            for key in sorted(block):
                if start is None or key >= start:
                    yield key, block[key]

    def freeze(self) -> Iterator[tuple[K, V]]:
        """The entries as they are now, in order, however the map changes while they are read."""
        blocks = self._blocks.copy()
        self._owned = bytearray(len(blocks))
        blocks.reverse()
        return _entries(blocks)

    # Changing.

    def __setitem__(self, key: K, value: V) -> None:
        self.swap(key, value)

    def swap(self, key: K, value: V) -> V | None:
        """Set the entry; gives what was there, or ``None``."""
        position = bisect_right(self._bounds, key)
        block = self._blocks[position] if self._owned[position] else self._own(position)
        before = block.get(key)
        if before is not None:
            block[key] = value
            return before
        length = len(block)
        block[key] = value
        if len(block) != length:
            self._length += 1
            if length == BLOCK_ENTRIES:
                self._cut(position, key)
        return None

    def swap_all(self, keys: Sequence[K], values: Sequence[V]) -> list[V | None]:
        """``swap`` for each of them, in order, without its calls."""
        bounds, blocks, owned = self._bounds, self._blocks, self._owned
        before: list[V | None] = []
        for key, value in zip(keys, values, strict=True):
            position = bisect_right(bounds, key)
            block = blocks[position] if owned[position] else self._own(position)
            there = block.get(key)
            before.append(there)
            if there is not None:
                block[key] = value
                continue
            length = len(block)
            block[key] = value
            if len(block) != length:
                self._length += 1
                if length == BLOCK_ENTRIES:
                    self._cut(position, key)
        return before

    def pop(self, key: K) -> V:
        """Take the entry away; raises ``KeyError``."""
        position = bisect_right(self._bounds, key)
        if key not in self._blocks[position]:
            raise KeyError(key)
        block = self._own(position)
        value = block.pop(key)
        self._length -= 1
        if len(block) < BLOCK_ENTRIES // 4 and not self._join(position):
            self._join(position - 1)
        return value

    def clear(self) -> Iterator[None]:
        """Let go of everything, a little before each pause; exhaust it to be done.

        To drop a large map all at once would take as long as to copy it.
        """
        blocks = self._blocks
        self.__init__()  # type: ignore[misc]
        while blocks:
            del blocks[-BLOCKS_CLEARED:]
            yield

    def _own(self, position: int) -> dict[K, V]:
        if not self._owned[position]:
            self._blocks[position] = self._blocks[position].copy()
            self._owned[position] = 1
        return self._blocks[position]

    def _cut(self, position: int, added: K) -> None:
        """Make two blocks of one.  Keys that come in ascending order leave full blocks behind."""
        block = self._blocks[position]
        keys = sorted(block)
        at_the_end = added == keys[-1] and position == len(self._bounds)
        middle = len(keys) - 1 if at_the_end else len(keys) // 2
        self._blocks[position] = {key: block[key] for key in keys[:middle]}
        self._blocks.insert(position + 1, {key: block[key] for key in keys[middle:]})
        self._bounds.insert(position, keys[middle])
        self._owned.insert(position + 1, 1)

    def _join(self, position: int) -> bool:
        """Make one block of two, if there are two and they are small, or one of them is empty."""
        if not 0 <= position < len(self._bounds):
            return False
        left, right = self._blocks[position], self._blocks[position + 1]
        if left and right and len(left) + len(right) > BLOCK_ENTRIES // 2:
            return False
        self._blocks[position] = left | right  # a new dict, as large as it needs to be
        self._owned[position] = 1
        del self._blocks[position + 1], self._bounds[position], self._owned[position + 1]
        return True


def _entries(blocks: list[dict[K, V]]) -> Iterator[tuple[K, V]]:
    while blocks:
        block = blocks.pop()
        for key in sorted(block):
            yield key, block[key]
