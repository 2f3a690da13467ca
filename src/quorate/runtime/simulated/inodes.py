"""Files and directories as a disk keeps them: what is seen now, and what a power loss leaves.

Rules (those of a journalled file system under Linux, at their worst):

- A file has its *current* bytes, which every process of the machine sees (the page cache), and its
  *durable* bytes.  A sync applies the writes made before it to the durable ones.
- At a power loss each unsynced write may reach the disk or not, sector by sector of 512 bytes:
  writes tear.  A sector is written back whole from the page cache, so of the writes that touched
  one sector those that reach the disk are always the first few.
- After a failed sync an arbitrary part of the writes has reached the disk, and the rest never
  will: the kernel calls the pages clean, so a later sync does not write them and reports success,
  while they still show in the current bytes ("fsyncgate").
- What was never synced is written back in the background sooner or later.
- A created, renamed or removed name is durable once its directory was synced; before, a power
  loss may forget it.  A rename is one change: old or new, never both or neither.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

SECTOR_BYTES = 512

_WRITEBACK_BYTES = 8 << 20
_WRITEBACK_CHANGES = 256
"""Above these, the oldest of what was never synced reaches the disk, as the kernel writes back in
the background; this is also what bounds a simulation's memory."""


class Write(NamedTuple):
    sequence: int
    offset: int
    data: bytes
    length: int
    """What the file's length is at least, once this is applied (``allocate`` has no data)."""
    old_data: bytes
    old_length: int


def _put(target: bytearray, offset: int, data: bytes | memoryview, length: int) -> None:
    if offset == len(target):
        target += data
    elif data:
        if len(target) < offset:
            target.extend(bytes(offset - len(target)))
        target[offset : offset + len(data)] = data
    if len(target) < length:
        target.extend(bytes(length - len(target)))


@dataclass(slots=True, eq=False)
class FileInode:
    """One file.  The durable bytes are kept as a second copy only where they cannot be had by
    taking the unsynced writes back from the current ones, that is after a failed sync."""

    current: bytearray = field(default_factory=bytearray)
    stale: bytearray | None = None
    """The durable bytes, if a failed sync has lost some of the current ones for ever."""
    unsynced: deque[Write] = field(default_factory=deque)
    unsynced_bytes: int = 0
    sequence: int = 0
    """Number of the last write; a sync covers those up to the one it found."""

    def write(self, offset: int, data: bytes) -> None:
        self._record(offset, data, offset + len(data))

    def allocate(self, length: int) -> None:
        if length > len(self.current):
            self._record(0, b"", length)

    def _record(self, offset: int, data: bytes, length: int) -> None:
        self.sequence += 1
        old = bytes(memoryview(self.current)[offset : offset + len(data)])
        self.unsynced.append(Write(self.sequence, offset, data, length, old, len(self.current)))
        self.unsynced_bytes += len(data)
        _put(self.current, offset, data, length)
        while self.unsynced_bytes > _WRITEBACK_BYTES and len(self.unsynced) > 1:
            self.persist(self.unsynced[0].sequence)

    def _taken(self, upto: int) -> Iterator[Write]:
        while self.unsynced and self.unsynced[0].sequence <= upto:
            write = self.unsynced.popleft()
            self.unsynced_bytes -= len(write.data)
            yield write

    def durable(self) -> bytearray:
        """What a power loss would leave for certain."""
        if self.stale is not None:
            return self.stale
        durable = bytearray(self.current)
        for write in reversed(self.unsynced):
            durable[write.offset : write.offset + len(write.old_data)] = write.old_data
            del durable[write.old_length :]
        return durable

    def persist(self, upto: int) -> None:
        """The writes up to number ``upto`` are on the disk."""
        for write in self._taken(upto):
            if self.stale is not None:
                _put(self.stale, write.offset, write.data, write.length)

    def persist_some(self, upto: int, source: random.Random) -> None:
        """An arbitrary part of the writes up to ``upto`` is on the disk, the rest never will be."""
        durable = self.stale = self.durable()
        taken = list(self._taken(upto))
        # All, nothing, a prefix with a torn end, or any sectors: each is a way disks fail, and
        # evenly drawn sectors alone would almost never give the first three.
        manner = source.randrange(4)
        if manner == 0 or not taken:
            return
        whole = len(taken) if manner == 1 else source.randrange(len(taken)) if manner == 2 else 0
        keep = source.random()
        skipped: set[int] = set()
        for number, write in enumerate(taken):
            if number < whole:
                _put(durable, write.offset, write.data, write.length)
            elif manner == 3 or number == whole:
                _persist_sectors(durable, write, keep, skipped, source)

    def lose_power(self, source: random.Random) -> None:
        if self.unsynced or self.stale is not None:
            self.persist_some(self.sequence, source)
            self.current, self.stale = self.durable(), None

    def flip_bit(self, offset: int, bit: int) -> None:
        durable = self.durable()
        for copy in (self.current, durable):
            if offset < len(copy):
                copy[offset] ^= 1 << bit
        if self.unsynced or self.stale is not None:
            self.stale = durable


def _persist_sectors(
    durable: bytearray, write: Write, keep: float, skipped: set[int], source: random.Random
) -> None:
    if not write.data:
        if source.random() < keep:
            _put(durable, 0, b"", write.length)
        return
    data = memoryview(write.data)
    end = write.offset + len(data)
    for sector in range(write.offset // SECTOR_BYTES, -(-end // SECTOR_BYTES)):
        if sector in skipped or source.random() >= keep:
            skipped.add(sector)
            continue
        start = max(write.offset, sector * SECTOR_BYTES)
        stop = min(end, (sector + 1) * SECTOR_BYTES)
        _put(durable, start, data[start - write.offset : stop - write.offset], stop)


@dataclass(slots=True, eq=False)
class DirectoryInode:
    entries: dict[str, Inode] = field(default_factory=dict)
    durable: dict[str, Inode] = field(default_factory=dict)


Inode: TypeAlias = FileInode | DirectoryInode


class Entry(NamedTuple):
    """One name of one directory set to an inode, or taken away."""

    directory: DirectoryInode
    name: str
    inode: Inode | None


class Change:
    """What a create, remove or rename does to directories, as a whole."""

    __slots__ = ("entries", "sequence")

    def __init__(self, sequence: int, entries: tuple[Entry, ...]) -> None:
        self.sequence = sequence
        self.entries = entries
        for directory, name, inode in entries:
            _set(directory.entries, name, inode)

    def persist(self) -> None:
        for directory, name, inode in self.entries:
            _set(directory.durable, name, inode)


def _set(names: dict[str, Inode], name: str, inode: Inode | None) -> None:
    names.pop(name, None)
    if inode is not None:
        names[name] = inode


class Journal:
    """The changes of names that are not durable yet, in order."""

    def __init__(self) -> None:
        self.changes: list[Change] = []
        self.sequence = 0
        """Number of the last change; a sync of a directory covers those up to the one it found."""

    def record(self, *entries: Entry) -> None:
        self.sequence += 1
        self.changes.append(Change(self.sequence, entries))
        if len(self.changes) > _WRITEBACK_CHANGES:
            half = _WRITEBACK_CHANGES // 2
            for change in self.changes[:half]:
                change.persist()
            del self.changes[:half]

    def persist(self, directory: DirectoryInode, upto: int) -> None:
        """``directory`` is synced: its changes up to number ``upto`` are durable, and with them
        the earlier ones that they build on (a journal commits in order)."""
        names: set[tuple[DirectoryInode, str]] = set()
        chosen, left = [], []
        for change in reversed(self.changes):
            keys = [(entry.directory, entry.name) for entry in change.entries]
            wanted = any(key[0] is directory or key in names for key in keys)
            if wanted and change.sequence <= upto:
                names.update(keys)
                chosen.append(change)
            else:
                left.append(change)
        for change in reversed(chosen):
            change.persist()
        self.changes = left[::-1]

    def lose_power(self, source: random.Random) -> None:
        """Each change is kept or forgotten."""
        keep = source.choice((0.0, 0.5, 1.0))
        for change in self.changes:
            if source.random() < keep:
                change.persist()
        self.changes.clear()
