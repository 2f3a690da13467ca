"""The keys of a store: values, ends, digest, and what all of it takes.

Rules:
* A key whose end is at or before log time is not there, whether it has been taken away yet or not.
* Ends lie in a map of their own, in the order of time, so that the next one is found at once.
* A table is an ordered map that can be frozen: in memory (base/frozen.py), or on a disk.
"""

from collections.abc import Iterator
from typing import Protocol

import msgspec
from google_crc32c import value as checksum

from quorate.base.frozen import FreezableMap

KEY_OVERHEAD_BYTES = 220
"""What a key takes in memory beside its own bytes and its value's, about (bench/kv_memory.py)."""

SMALL_BYTES = 4096
"""Of a value that is cheaper to copy than to look at apart from its key."""

_MASK = (1 << 64) - 1


class Item(msgspec.Struct, array_like=True, gc=False):
    """What is known of a key; never changed, only replaced: a frozen view may show it."""

    value: bytes
    revision: int
    at_ms: int = 0
    """The log time of its end; 0: none."""


class Table(Protocol):
    """Keys in order, with their items."""

    def __len__(self) -> int: ...

    def get(self, key: bytes) -> Item | None: ...

    def swap(self, key: bytes, value: Item) -> Item | None:
        """Set it; gives what was there."""

    def pop(self, key: bytes) -> Item:
        """Raises ``KeyError``."""

    def items(self, start: bytes | None = None) -> Iterator[tuple[bytes, Item]]:
        """In order, from ``start`` on; the table is not to be changed meanwhile."""

    def freeze(self) -> Iterator[tuple[bytes, Item]]:
        """As they are now, in order, however the table changes while they are read."""

    def clear(self) -> Iterator[None]:
        """Empty at once; exhaust it to let go of what there was."""


class Items:
    """A table, and what is kept up beside it."""

    def __init__(self, table: Table) -> None:
        self.table = table
        self.bytes = 0
        self.digest = 0
        """The sum of the items' digests, modulo 2**64."""
        self._ends: FreezableMap[bytes, None] = FreezableMap()
        """Time (8 bytes, big-endian) and key."""

    def __len__(self) -> int:
        return len(self.table)

    @property
    def with_end(self) -> int:
        return len(self._ends)

    def get(self, key: bytes, time_ms: int) -> Item | None:
        """What is there at log time ``time_ms``."""
        item = self.table.get(key)
        if item is not None and item.at_ms and item.at_ms <= time_ms:
            return None
        return item

    def put(self, key: bytes, item: Item) -> Item | None:
        """Gives what was there, ended or not."""
        before = self.table.swap(key, item)
        if before is None:
            self.bytes += len(key) + len(item.value) + KEY_OVERHEAD_BYTES
            self.digest = (self.digest + digest_of(key, item)) & _MASK
            if item.at_ms:
                self._ends[_end(item.at_ms, key)] = None
            return None
        self.bytes += len(item.value) - len(before.value)
        self.digest = (self.digest + digest_of(key, item) - digest_of(key, before)) & _MASK
        if before.at_ms != item.at_ms:
            if before.at_ms:
                self._ends.pop(_end(before.at_ms, key))
            if item.at_ms:
                self._ends[_end(item.at_ms, key)] = None
        return before

    def remove(self, key: bytes) -> Item:
        """Raises ``KeyError``."""
        item = self.table.pop(key)
        self.bytes -= len(key) + len(item.value) + KEY_OVERHEAD_BYTES
        self.digest = (self.digest - digest_of(key, item)) & _MASK
        if item.at_ms:
            self._ends.pop(_end(item.at_ms, key))
        return item

    def next_end(self) -> tuple[int, bytes] | None:
        """The earliest end, and whose it is."""
        first = self._ends.first()
        return None if first is None else (int.from_bytes(first[:8], "big"), first[8:])

    def clear(self) -> Iterator[None]:
        """Empty at once; exhaust it to let go of the memory."""
        ends, self._ends = self._ends, FreezableMap()
        self.bytes = self.digest = 0
        table = self.table.clear()
        next(table, None)

        def let_go() -> Iterator[None]:
            yield from table
            yield from ends.clear()

        return let_go()


def digest_of(key: bytes, item: Item) -> int:
    """A number that depends on all of it."""
    value = item.value
    content: int
    if len(value) < SMALL_BYTES:
        content = checksum(key + value)
    else:
        content = checksum(value) ^ checksum(key) << 16
    content = content << 16 ^ len(key)
    content = content * 0x9E3779B1 + item.revision * 0x85EBCA77C2B2AE3D + item.at_ms * 0xC2B2AE35
    return content


def _end(at_ms: int, key: bytes) -> bytes:
    return at_ms.to_bytes(8, "big") + key
