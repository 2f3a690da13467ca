"""A simulated disk: one for each machine, with a view of a subtree for each process.

Crash rules are those of inodes.py.  A process that dies leaves the page cache as it is; only
``power_loss`` brings the durable state back.  A sync costs virtual time, can stall and can fail.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from quorate.base.check import check
from quorate.base.errors import DiskFailed, DiskFull, NotFound
from quorate.runtime.paths import path_parts
from quorate.runtime.ports import Buffer, File
from quorate.runtime.simulated.inodes import DirectoryInode, Entry, FileInode, Inode, Journal
from quorate.runtime.simulated.process import SimulatedProcess


@dataclass(slots=True)
class DiskFaults:
    """Cost and failures, changed by a nemesis at any time."""

    sync_ms: tuple[float, float] = (0.2, 2.0)
    bytes_per_ms: float = 500_000.0
    stall_probability: float = 0.0
    stall_ms: tuple[float, float] = (100.0, 2_000.0)
    sync_failure_probability: float = 0.0
    fail_next_syncs: int = 0
    """That many syncs fail from now on, whatever the probability."""
    capacity_bytes: int = 1 << 40


class SimulatedDisk:
    """The disk of one machine."""

    def __init__(self, source: random.Random) -> None:
        self.faults = DiskFaults()
        self.used_bytes = 0
        self.journal = Journal()
        self._random = source
        self._root = DirectoryInode()

    def wipe(self) -> None:
        """Another disk takes its place, empty."""
        self.used_bytes = 0
        self.journal = Journal()
        self._root = DirectoryInode()

    def view(self, process: SimulatedProcess, root: str) -> SimulatedView:
        """The tree below ``root``, made durably if it is missing, as ``process`` sees it."""
        return SimulatedView(self, process, path_parts(root))

    def found(self, parts: Sequence[str]) -> Inode | None:
        inode: Inode = self._root
        for part in parts:
            child = inode.entries.get(part) if isinstance(inode, DirectoryInode) else None
            if child is None:
                return None
            inode = child
        return inode

    def directory(self, parts: Sequence[str]) -> DirectoryInode:
        inode = self.found(parts)
        if not isinstance(inode, DirectoryInode):
            raise NotFound(f"there is no directory {'/'.join(parts) or '.'}")
        return inode

    def make_directory(self, parts: Sequence[str]) -> None:
        for depth in range(len(parts)):
            inode = self.found(parts[: depth + 1])
            if inode is None:
                parent = self.directory(parts[:depth])
                self.journal.record(Entry(parent, parts[depth], DirectoryInode()))
            elif isinstance(inode, FileInode):
                raise DiskFailed(f"{'/'.join(parts[: depth + 1])} is a file, not a directory")

    def make_durable(self, parts: Sequence[str]) -> None:
        """The directories on the way to ``parts`` survive any power loss."""
        for depth in range(len(parts)):
            self.journal.persist(self.directory(parts[:depth]), self.journal.sequence)

    def reserve(self, more_bytes: int, path: str) -> None:
        if more_bytes > self.free_bytes():
            raise DiskFull(
                f"no space is left on the disk for {path}: {self.free_bytes()} bytes are free; "
                "free some or give the node a larger disk"
            )
        self.used_bytes += more_bytes

    def free_bytes(self) -> int:
        return max(0, self.faults.capacity_bytes - self.used_bytes)

    def forget(self, inode: Inode | None) -> None:
        """The last name of ``inode`` is gone."""
        if isinstance(inode, FileInode):
            self.used_bytes -= len(inode.current)

    async def sync(self, written_bytes: int) -> bool:
        """Take the time of a sync; whether it succeeds."""
        faults, draw = self.faults, self._random
        delay_ms = draw.uniform(*faults.sync_ms) + written_bytes / faults.bytes_per_ms
        if draw.random() < faults.stall_probability:
            delay_ms += draw.uniform(*faults.stall_ms)
        await asyncio.sleep(delay_ms / 1000.0)
        if faults.fail_next_syncs:
            faults.fail_next_syncs -= 1
            return False
        return draw.random() >= faults.sync_failure_probability

    def lose_some(self, inode: FileInode, upto: int) -> None:
        inode.persist_some(upto, self._random)

    def power_loss(self) -> None:
        """Keep what is durable, and an arbitrary part of what is not.

        The caller kills the machine's processes first: open files do not outlive this.
        """
        self.journal.lose_power(self._random)
        self.used_bytes = 0
        for directory in self._walk(self._root):
            directory.entries = dict(directory.durable)
            for inode in directory.entries.values():
                if isinstance(inode, FileInode):
                    inode.lose_power(self._random)
                    self.used_bytes += len(inode.current)

    def _walk(self, directory: DirectoryInode) -> Iterator[DirectoryInode]:
        yield directory
        for inode in list(directory.entries.values()):
            if isinstance(inode, DirectoryInode):
                yield from self._walk(inode)

    def discard(self) -> None:
        """Give the memory of all files back; the end of the disk."""
        self._root = DirectoryInode()
        self.journal = Journal()

    def flip_bit(self, path: str, offset: int, bit: int) -> None:
        """Damage one bit of the file at ``path`` (from the machine's root), cached and stored."""
        inode = self.found(path_parts(path))
        if not isinstance(inode, FileInode):
            raise NotFound(f"there is no file {path} to damage")
        inode.flip_bit(offset, bit)


class SimulatedFile:
    """An open file of one process."""

    __slots__ = ("_inode", "_open", "_path", "_view")

    def __init__(self, view: SimulatedView, inode: FileInode, path: str) -> None:
        self._view = view
        self._inode = inode
        self._path = path
        self._open = True

    def size(self) -> int:
        self._require_usable()
        return len(self._inode.current)

    def read(self, offset: int, length: int) -> bytes:
        self._require_usable()
        data = bytes(memoryview(self._inode.current)[offset : offset + length])
        self._view.bytes_moved += len(data)
        return data

    def write(self, offset: int, data: Buffer) -> None:
        self._require_usable()
        copied = bytes(data)
        self._view.bytes_moved += len(copied)
        self._reserve(offset + len(copied))
        self._inode.write(offset, copied)

    def allocate(self, length: int) -> None:
        self._require_usable()
        self._reserve(length)
        self._inode.allocate(length)

    def _reserve(self, length: int) -> None:
        more = length - len(self._inode.current)
        if more > 0:
            self._view.disk.reserve(more, self._path)

    async def write_and_sync(self, offset: int, data: Buffer) -> None:
        self.write(offset, data)
        await self.sync()

    async def sync(self) -> None:
        self._require_usable()
        inode, disk = self._inode, self._view.disk
        upto = inode.sequence
        if await disk.sync(inode.unsynced_bytes):
            inode.persist(upto)
        else:
            disk.lose_some(inode, upto)
            raise DiskFailed(f"the disk failed to sync {self._path}: replace it")

    def close(self) -> None:
        self._view.process.require_alive()
        self._open = False

    def _require_usable(self) -> None:
        self._view.process.require_alive()
        check(self._open, f"{self._path} was closed")


class SimulatedView:
    """The disk port of one process."""

    def __init__(self, disk: SimulatedDisk, process: SimulatedProcess, root: tuple[str, ...]):
        self.disk = disk
        self.process = process
        self.bytes_moved = 0
        """Read and written so far; what a task process is charged for."""
        self._root = root
        disk.make_directory(root)
        disk.make_durable(root)

    def open(self, path: str, *, create: bool = False) -> File:
        parts = self._parts(path)
        inode = self.disk.found(parts)
        if inode is None and create:
            inode = FileInode()
            self.disk.journal.record(Entry(self.disk.directory(parts[:-1]), parts[-1], inode))
        if not isinstance(inode, FileInode):
            raise NotFound(f"there is no file {path}")
        return SimulatedFile(self, inode, path)

    def exists(self, path: str) -> bool:
        return self.disk.found(self._parts(path)) is not None

    def list(self, directory: str) -> list[str]:
        inode = self.disk.found(self._parts(directory))
        return sorted(inode.entries) if isinstance(inode, DirectoryInode) else []

    def make_directory(self, path: str) -> None:
        self.disk.make_directory(self._parts(path))

    def rename(self, source: str, target: str) -> None:
        old, new = self._parts(source), self._parts(target)
        inode = self.disk.found(old)
        if inode is None:
            raise NotFound(f"there is no file {source}")
        if old == new:
            return
        replaced = self.disk.found(new)
        if replaced is not None and not (
            isinstance(replaced, FileInode) and isinstance(inode, FileInode)
        ):
            raise DiskFailed(f"{source} cannot take the name {target}: that is a directory")
        target_directory = self.disk.directory(new[:-1])
        self.disk.forget(replaced)
        self.disk.journal.record(
            Entry(self.disk.directory(old[:-1]), old[-1], None),
            Entry(target_directory, new[-1], inode),
        )

    def remove(self, path: str) -> None:
        parts = self._parts(path)
        check(len(parts) > len(self._root), "a process does not remove its own root")
        inode = self.disk.found(parts)
        if inode is not None:
            self._remove(self.disk.directory(parts[:-1]), parts[-1], inode)

    def _remove(self, parent: DirectoryInode, name: str, inode: Inode) -> None:
        # Name by name, as a tree is removed: a power loss may leave part of it.
        if isinstance(inode, DirectoryInode):
            for child_name, child in list(inode.entries.items()):
                self._remove(inode, child_name, child)
        self.disk.forget(inode)
        self.disk.journal.record(Entry(parent, name, None))

    async def sync_directory(self, directory: str) -> None:
        inode = self.disk.directory(self._parts(directory))
        upto = self.disk.journal.sequence
        if not await self.disk.sync(0):
            raise DiskFailed(f"the disk failed to sync the directory {directory}: replace it")
        self.disk.journal.persist(inode, upto)

    def free_bytes(self) -> int:
        self.process.require_alive()
        return self.disk.free_bytes()

    def _parts(self, path: str) -> tuple[str, ...]:
        self.process.require_alive()
        return self._root + path_parts(path)
