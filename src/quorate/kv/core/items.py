"""The keys of a store: values, ends, digest, and what all of it takes.

Rules:
* A key whose end is at or before log time is not there, whether it has been taken away yet or not.
* Ends lie in a map of their own, in the order of time, so that the next one is found at once.
* An entry is never changed, only replaced: a frozen view may show it, or the history.
* A table is an ordered map that can be frozen: in memory (base/frozen.py), or on a disk.
"""

from collections.abc import Iterator, Sequence
from operator import add, mul
from typing import Protocol

from google_crc32c import value as checksum

from quorate.base.frozen import FreezableMap
from quorate.kv.core.commands import Entry

KEY_OVERHEAD_BYTES = 220
"""What a key takes in memory beside its own bytes and its value's, about (bench/kv_memory.py)."""

END_OVERHEAD_BYTES = 120
"""What its end takes, if it has one, beside the key's bytes once more (bench/kv_memory.py)."""

SMALL_BYTES = 4096
"""Of key and value together, where it is cheaper to copy them than to look at each."""

_MASK = (1 << 64) - 1


class Table(Protocol):
    """Keys in order, with their items."""

    def __len__(self) -> int: ...

    def get(self, key: bytes) -> Entry | None: ...

    def swap(self, key: bytes, value: Entry) -> Entry | None:
        """Set it; gives what was there."""

    def swap_all(self, keys: Sequence[bytes], values: Sequence[Entry]) -> list[Entry | None]:
        """``swap`` for each of them, in order."""

    def pop(self, key: bytes) -> Entry:
        """Raises ``KeyError``."""

    def items(self, start: bytes | None = None) -> Iterator[tuple[bytes, Entry]]:
        """In order, from ``start`` on; the table is not to be changed meanwhile."""

    def freeze(self) -> Iterator[tuple[bytes, Entry]]:
        """As they are now, in order, however the table changes while they are read."""

    def clear(self) -> Iterator[None]:
        """Empty at once; exhaust it to let go of what there was."""


class Items:
    """A table, and what is kept up beside it."""

    def __init__(self, table: Table) -> None:
        self.table = table
        self.bytes = 0
        self.sum = 0
        """Of the items' digests."""
        self._ends: FreezableMap[bytes, None] = FreezableMap()
        """Time (8 bytes, big-endian) and key."""

    def __len__(self) -> int:
        return len(self.table)

    @property
    def digest(self) -> int:
        """Of all items, in whatever order they came."""
        return self.sum & _MASK

    @property
    def with_end(self) -> int:
        return len(self._ends)

    def get(self, key: bytes, time_ms: int) -> Entry | None:
        """What is there at log time ``time_ms``."""
        item = self.table.get(key)
        if item is not None and item.at_ms and item.at_ms <= time_ms:
            return None
        return item

    def put(self, entry: Entry) -> Entry | None:
        """Gives what was there, ended or not."""
        before = self.table.swap(entry.key, entry)
        if before is None:
            self.bytes += len(entry.key) + len(entry.value) + KEY_OVERHEAD_BYTES
            self.sum += digest_of(entry)
            if entry.at_ms:
                self._add_end(entry)
            return None
        entry.key = before.key  # one copy of it is enough, and the table keeps the first
        self.bytes += len(entry.value) - len(before.value)
        self.sum += digest_of(entry) - digest_of(before)
        if before.at_ms != entry.at_ms:
            if before.at_ms:
                self._remove_end(before)
            if entry.at_ms:
                self._add_end(entry)
        return before

    def put_all(
        self, keys: Sequence[bytes], values: Sequence[bytes], revisions: Sequence[int], size: int
    ) -> list[Entry]:
        """``put`` of entries without ends, small ones, of ``size`` bytes together: what nearly all
        changes are, so as much as possible is done for all of them at once."""
        entries = list(map(Entry, keys, values, revisions))
        digest = sum(map(mul, map(checksum, map(add, keys, values)), revisions))
        for entry, before in zip(entries, self.table.swap_all(keys, entries), strict=True):
            if before is None:
                size += KEY_OVERHEAD_BYTES
                continue
            entry.key, old = before.key, before.value
            size -= len(before.key) + len(old)
            if len(old) < SMALL_BYTES and not before.at_ms:
                digest -= checksum(before.key + old) * before.revision  # ``digest_of``
            else:
                digest -= digest_of(before)
                if before.at_ms:
                    self._remove_end(before)
        self.bytes += size
        self.sum += digest
        return entries

    def remove(self, key: bytes) -> Entry:
        """Raises ``KeyError``."""
        entry = self.table.pop(key)
        self.bytes -= len(key) + len(entry.value) + KEY_OVERHEAD_BYTES
        self.sum -= digest_of(entry)
        if entry.at_ms:
            self._remove_end(entry)
        return entry

    def _add_end(self, entry: Entry) -> None:
        self._ends[_end(entry)] = None
        self.bytes += len(entry.key) + END_OVERHEAD_BYTES

    def _remove_end(self, entry: Entry) -> None:
        self._ends.pop(_end(entry))
        self.bytes -= len(entry.key) + END_OVERHEAD_BYTES

    def next_end(self) -> tuple[int, bytes] | None:
        """The earliest end, and whose it is."""
        first = self._ends.first()
        return None if first is None else (int.from_bytes(first[:8], "big"), first[8:])

    def clear(self) -> Iterator[None]:
        """Empty at once; exhaust it to let go of the memory."""
        ends, self._ends = self._ends, FreezableMap()
        self.bytes = self.sum = 0
        table = self.table.clear()
        next(table, None)

        def let_go() -> Iterator[None]:
            yield from table
            yield from ends.clear()

        return let_go()


def digest_of(entry: Entry) -> int:
    """A number that depends on all of it.  They are added up; the product sees to it that two keys
    which swapped values, ends or revisions would be noticed."""
    value = entry.value
    if len(value) < SMALL_BYTES:
        content: int = checksum(entry.key + value)
    else:
        content = checksum(value) + (checksum(entry.key) << 32)
    if entry.at_ms:
        content += entry.at_ms * 0x85EBCA77C2B2AE3D
    return content * entry.revision


def _end(entry: Entry) -> bytes:
    return entry.at_ms.to_bytes(8, "big") + entry.key
