"""A directory of the real disk as the disk port.

Reads and writes go to the page cache, in the loop's thread, but for what is large and synced at
once; syncs are the kernel's, or run on a few threads, since they wait for the device.  Once a write
or sync has failed the error goes to the caller and nothing is tried again (ports.py).
"""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import stat
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

from quorate.base.check import check
from quorate.base.errors import DiskFailed, DiskFull, NotFound, QuorateError
from quorate.runtime.paths import path_parts
from quorate.runtime.ports import Buffer, File
from quorate.runtime.real.kernel_syncs import KernelSyncs
from quorate.runtime.real.threads import Threads

_SYNC_THREADS = 4
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""EFBIG is a limit on file sizes: to the writer, the same as no space."""
_LARGE_BYTES = 4 << 20
"""From here on the space of a removed file comes back in a thread."""
_SMALL_BYTES = 128 << 10
"""Up to here a copy into the page cache is made at once.  A larger one may have to wait, where much
of the cache is not on the disk yet, and a thread makes it."""


class RealFile:
    """An open file."""

    def __init__(self, disk: RealDisk, descriptor: int, path: str) -> None:
        self._disk = disk
        self._descriptor = descriptor
        self._path = path

    def size(self) -> int:
        return os.fstat(self._descriptor).st_size

    def read(self, offset: int, length: int) -> bytes:
        try:
            data = os.pread(self._descriptor, length, offset)
            while 0 < len(data) < length:
                more = os.pread(self._descriptor, length - len(data), offset + len(data))
                if not more:
                    break
                data += more
            return data
        except OSError as error:
            raise self._disk.failure(error, "read", self._path) from error

    def write(self, offset: int, data: Buffer) -> None:
        self._write(self._descriptor, offset, memoryview(data).cast("B"))

    def _write(self, descriptor: int, offset: int, view: memoryview) -> None:
        try:
            while view:
                written = os.pwrite(descriptor, view, offset)
                offset += written
                view = view[written:]
        except OSError as error:
            raise self._disk.failure(error, "write", self._path) from error

    async def write_and_sync(self, offset: int, data: Buffer) -> None:
        view = memoryview(data).cast("B")
        if len(view) <= _SMALL_BYTES:
            self._write(self._descriptor, offset, view)
            return await self.sync()

        def work(descriptor: int) -> None:
            self._write(descriptor, offset, view)
            self._sync(descriptor)

        await self._disk.in_thread(self._descriptor, work)

    async def sync(self) -> None:
        done = self._disk.sync_begun(self._descriptor)
        if done is None:
            await self._disk.in_thread(self._descriptor, self._sync)
        elif number := await done:
            error = OSError(number, os.strerror(number))
            raise self._disk.failure(error, "sync", self._path) from error

    def _sync(self, descriptor: int) -> None:
        try:
            os.fdatasync(descriptor)
        except OSError as error:
            raise self._disk.failure(error, "sync", self._path) from error

    def allocate(self, length: int) -> None:
        if length <= self.size():
            return
        try:
            os.posix_fallocate(self._descriptor, 0, length)
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS):
                raise self._disk.failure(error, "allocate", self._path) from error
            # This file system reserves no space: the length is right, DiskFull may come later.
            os.ftruncate(self._descriptor, length)

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


class RealDisk:
    """The disk port, rooted at a directory, which is made if it is missing."""

    def __init__(self, root: Path, syncs: KernelSyncs | None = None) -> None:
        """``syncs`` are for this disk alone; without, threads do it."""
        self.root = root
        self._threads = Threads(_SYNC_THREADS)
        self._syncs = syncs
        try:
            root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise self.failure(error, "make", ".") from error

    def open(self, path: str, *, create: bool = False) -> File:
        flags = os.O_RDWR | os.O_CLOEXEC | (os.O_CREAT if create else 0)
        try:
            return RealFile(self, os.open(self._path(path), flags, 0o644), path)
        except OSError as error:
            raise self.failure(error, "open", path) from error

    def exists(self, path: str) -> bool:
        return self._path(path).exists()

    def list(self, directory: str) -> list[str]:
        try:
            return sorted(entry.name for entry in self._path(directory).iterdir())
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            raise self.failure(error, "list", directory) from error

    def make_directory(self, path: str) -> None:
        try:
            self._path(path).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise self.failure(error, "make", path) from error

    def rename(self, source: str, target: str) -> None:
        try:
            self._path(source).replace(self._path(target))
        except OSError as error:
            raise self.failure(error, "rename", source) from error

    def remove(self, path: str) -> None:
        check(path_parts(path), "a process does not remove its own root")
        target = self._path(path)
        try:
            if target.is_dir() and not target.is_symlink():
                shutil.rmtree(target)
            else:
                self._unlink(target)
        except OSError as error:
            raise self.failure(error, "remove", path) from error

    def _unlink(self, target: Path) -> None:
        """The name goes at once.  Giving the space back takes a quarter of a second for a GiB, so
        for a large file that is left to a thread: it comes with the last descriptor's close."""
        try:
            status = target.lstat()
        except FileNotFoundError:
            return
        if not stat.S_ISREG(status.st_mode) or status.st_size < _LARGE_BYTES:
            target.unlink(missing_ok=True)
            return
        descriptor = os.open(target, os.O_RDONLY | os.O_CLOEXEC)
        try:
            target.unlink(missing_ok=True)
        finally:
            self._threads.start(partial(_close, descriptor))

    async def sync_directory(self, directory: str) -> None:
        def work(descriptor: int) -> None:
            try:
                os.fsync(descriptor)
            except OSError as error:
                raise self.failure(error, "sync", directory) from error

        try:
            descriptor = os.open(self._path(directory), os.O_RDONLY | os.O_DIRECTORY)
        except OSError as error:
            raise self.failure(error, "open", directory) from error
        try:
            await self.in_thread(descriptor, work)
        finally:
            os.close(descriptor)

    def free_bytes(self) -> int:
        try:
            status = os.statvfs(self.root)
        except OSError:  # the root itself is gone
            return 0
        return status.f_bavail * status.f_frsize

    def sync_begun(self, descriptor: int) -> asyncio.Future[int] | None:
        """The number of the error that a sync ends with, or 0; ``None`` if a thread has to do it.

        A caller that is cancelled does not take it back.
        """
        return self._syncs.start(descriptor) if self._syncs is not None else None

    async def in_thread(self, descriptor: int, work: Callable[[int], None]) -> None:
        """Run ``work`` with a duplicate of ``descriptor`` on a sync thread.

        The duplicate keeps the file open if its owner closes it meanwhile.  A caller that is
        cancelled does not take the work back: it is with the kernel.
        """
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()
        duplicate = os.dup(descriptor)

        def run() -> None:
            failure: BaseException | None = None
            try:
                try:
                    work(duplicate)
                finally:
                    os.close(duplicate)
            except BaseException as error:  # whatever it is, somebody waits for it
                failure = error
            with suppress(RuntimeError):  # the loop is closed: nobody waits
                loop.call_soon_threadsafe(_settle, done, failure)

        self._threads.start(run)
        await done

    def failure(self, error: OSError, verb: str, path: str) -> QuorateError:
        """What the port raises for ``error``."""
        where = self.root / path
        missing = isinstance(error, FileNotFoundError | NotADirectoryError)
        if missing or (verb == "open" and isinstance(error, IsADirectoryError)):
            return NotFound(f"cannot {verb} {where}: {error.strerror}")
        if error.errno in _NO_SPACE and verb != "sync":
            return DiskFull(
                f"no space is left on the disk for {where}: {self.free_bytes()} bytes are free; "
                "free some or give the node a larger disk"
            )
        return DiskFailed(f"the disk failed to {verb} {where}: {error.strerror}")

    def close(self) -> None:
        """Wait for running syncs and end the threads."""
        if self._syncs is not None:
            self._syncs.close()
        self._threads.close()

    def _path(self, path: str) -> Path:
        return self.root.joinpath(*path_parts(path))


def _close(descriptor: int) -> None:
    with suppress(OSError):  # the file had no name any more
        os.close(descriptor)


def _settle(done: asyncio.Future[None], failure: BaseException | None) -> None:
    if done.done():
        return
    if failure is None:
        done.set_result(None)
    else:
        done.set_exception(failure)
