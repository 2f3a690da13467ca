"""The real disk: full, failing, and what its threads do."""

import asyncio
import contextlib
import errno
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from quorate.base.check import Bug
from quorate.base.errors import DiskFailed, DiskFull
from quorate.runtime.real.disk import RealDisk
from quorate.runtime.real.kernel_syncs import KernelSyncs


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[RealDisk]:
    """A disk of 1 MiB, which needs the right to mount."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("mounting a small tmpfs needs root")
    try:
        yield RealDisk(folder)
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_is_named_with_what_is_free_and_keeps_what_it_holds(
    small_disk: RealDisk,
) -> None:
    file = small_disk.open("log", create=True)
    file.write(0, b"kept" * 1_000)
    with pytest.raises(DiskFull, match=r"small/log: \d+ bytes are free"):
        file.write(4_000, b"x" * (2 << 20))
    other = small_disk.open("other", create=True)
    with pytest.raises(DiskFull, match="small/other"):
        other.allocate(2 << 20)
    assert file.read(0, 4_000) == b"kept" * 1_000
    file.close()
    other.close()


def test_a_full_disk_is_met_in_the_sync_thread_too(small_disk: RealDisk) -> None:
    async def main() -> None:
        file = small_disk.open("log", create=True)
        with pytest.raises(DiskFull, match="small/log"):
            await file.write_and_sync(0, b"x" * (2 << 20))
        file.close()

    asyncio.run(main())
    small_disk.close()


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC])
@pytest.mark.parametrize("by_kernel", [True, False])
def test_a_failing_sync_is_a_failed_disk_whatever_the_reason(
    number: int, by_kernel: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    def begun(disk: RealDisk, descriptor: int) -> asyncio.Future[int] | None:
        failed: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        failed.set_result(number)
        return failed if by_kernel else None

    async def main() -> None:
        disk = RealDisk(tmp_path)
        file = disk.open("log", create=True)
        monkeypatch.setattr(RealDisk, "sync_begun", begun)
        monkeypatch.setattr(os, "fdatasync", fail)
        monkeypatch.setattr(os, "fsync", fail)
        for work in (file.sync(), file.write_and_sync(0, b"x"), disk.sync_directory("")):
            with pytest.raises(DiskFailed, match="the disk failed to sync"):
                await work
        file.close()
        disk.close()

    asyncio.run(main())


def test_short_writes_are_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda fd, data, offset: whole(fd, data[:7], offset))
    file = RealDisk(tmp_path).open("file", create=True)
    file.write(3, bytes(range(100)))
    assert file.read(3, 200) == bytes(range(100))
    file.close()


def test_short_reads_are_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = os.pread
    monkeypatch.setattr(os, "pread", lambda fd, length, offset: whole(fd, min(length, 7), offset))
    file = RealDisk(tmp_path).open("file", create=True)
    file.write(0, bytes(range(100)))
    assert file.read(1, 200) == bytes(range(1, 100))
    file.close()


def test_where_no_space_can_be_reserved_the_length_is_right_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(descriptor: int, offset: int, length: int) -> None:
        raise OSError(errno.EOPNOTSUPP, "not supported")

    monkeypatch.setattr(os, "posix_fallocate", refuse)
    file = RealDisk(tmp_path).open("file", create=True)
    file.allocate(5_000)
    assert file.read(0, 9_999) == bytes(5_000)
    file.close()


def test_the_kernel_syncs_many_files_at_a_time_and_goes_on_though_nobody_waits(
    tmp_path: Path,
) -> None:
    pytest.importorskip("caio.linux_aio")

    async def main() -> None:
        disk = RealDisk(tmp_path, KernelSyncs())
        file = disk.open("file", create=True)
        file.write(0, b"x")
        with (tmp_path / "file").open() as other:
            begun = [disk.sync_begun(other.fileno()) for _ in range(3)]
        waited = [asyncio.ensure_future(file.sync()) for _ in range(200)]
        assert begun[0] is not None
        begun[0].cancel()
        async with asyncio.timeout(60):
            await asyncio.gather(*waited)
            assert [await it for it in begun[1:] if it is not None] == [0, 0]
        file.close()
        disk.close()

    asyncio.run(main())


def test_a_sync_that_the_kernel_says_has_failed_has_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    linux_aio = pytest.importorskip("caio.linux_aio")
    told: list[Callable[[int], None]] = []
    woken = asyncio.Event()
    problems: list[object] = []

    class Operation:
        fdsync = classmethod(lambda cls, descriptor: cls())
        set_callback = staticmethod(told.append)

    class Failing:
        def __init__(self, max_requests: int) -> None:
            self.fileno = os.eventfd(1)  # it seems to have something, and a signal comes
            self.poll = int

        def process_events(self, most: int, least: int, timeout: int) -> int:
            os.eventfd_read(self.fileno)
            woken.set()
            raise SystemError(errno.EINTR, "Interrupted system call")

        def submit(self, operation: object) -> int:
            result = (1 << 64) - errno.EIO  # as caio gives the kernel's -EIO
            asyncio.get_running_loop().call_soon(told.pop(), result)
            return 1

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, it: problems.append(it))
        monkeypatch.setattr(linux_aio, "Operation", Operation)
        monkeypatch.setattr(linux_aio, "Context", Failing)
        disk = RealDisk(tmp_path, KernelSyncs())
        file = disk.open("file", create=True)
        with pytest.raises(DiskFailed, match="the disk failed to sync"):
            await file.write_and_sync(0, b"x")
        async with asyncio.timeout(20):
            await woken.wait()
        file.close()
        disk.close()

    asyncio.run(main())
    assert not problems


def test_what_the_kernel_does_not_take_a_thread_syncs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    linux_aio = pytest.importorskip("caio.linux_aio")
    synced: list[int] = []
    fdatasync = os.fdatasync

    def counted(descriptor: int) -> None:
        synced.append(descriptor)
        fdatasync(descriptor)

    class Full:
        """A context that takes nothing."""

        def __init__(self, max_requests: int) -> None:
            self.fileno = os.eventfd(0)

        def submit(self, operation: object) -> int:
            raise OverflowError("no room")

    class Missing:
        """A kernel that has none."""

        def __init__(self, max_requests: int) -> None:
            raise SystemError("not implemented")

    async def main(context: type) -> None:
        monkeypatch.setattr(linux_aio, "Context", context)
        monkeypatch.setattr(os, "fdatasync", counted)
        disk = RealDisk(tmp_path, KernelSyncs())
        file = disk.open("file", create=True)
        before = len(synced)
        await file.write_and_sync(0, b"x")
        await file.sync()
        assert len(synced) == before + 2
        file.close()
        disk.close()

    asyncio.run(main(Full))
    asyncio.run(main(Missing))


@pytest.mark.parametrize("by_kernel", [True, False])
def test_syncs_leave_no_descriptors_behind(by_kernel: bool, tmp_path: Path) -> None:
    def open_descriptors() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    async def main() -> None:
        before = open_descriptors() + 1
        disk = RealDisk(tmp_path, KernelSyncs() if by_kernel else None)
        file = disk.open("file", create=True)
        for number in range(20):
            task = asyncio.ensure_future(file.write_and_sync(number, b"x"))
            await asyncio.sleep(0)
            if number % 2:
                task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            await disk.sync_directory("")
        disk.close()
        assert file.read(0, 100) == b"x" * 20
        assert open_descriptors() == before
        file.close()

    asyncio.run(main())


def test_a_large_file_is_gone_at_once_and_its_space_comes_back(tmp_path: Path) -> None:
    def open_descriptors() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    before = open_descriptors()
    disk = RealDisk(tmp_path)
    for _ in range(3):
        file = disk.open("file", create=True)
        file.write(8 << 20, b"x")
        file.close()
        disk.remove("file")
        disk.remove("file")
        assert disk.list("") == []
    disk.close()  # waits for the threads that give the space back
    assert open_descriptors() == before


def test_a_root_that_cannot_be_made_is_a_disk_failure(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DiskFailed, match="file"):
        RealDisk(tmp_path / "file")


@pytest.mark.parametrize("error", [OSError(errno.EIO, "gone"), Bug("impossible")])
def test_whatever_goes_wrong_in_a_sync_thread_reaches_who_waits(
    tmp_path: Path, error: BaseException
) -> None:
    def work(descriptor: int) -> None:
        raise error

    async def main() -> None:
        disk = RealDisk(tmp_path)
        with (tmp_path / "log").open("wb") as file:
            async with asyncio.timeout(5):
                with pytest.raises(type(error)):
                    await disk.in_thread(file.fileno(), work)
        disk.close()

    asyncio.run(main())


def test_a_close_that_fails_in_a_sync_thread_is_told_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(descriptor: int) -> None:
        raise OSError(errno.EIO, "gone")

    async def main() -> None:
        disk = RealDisk(tmp_path)
        with (tmp_path / "log").open("wb") as file:
            async with asyncio.timeout(5):
                with monkeypatch.context() as patched:
                    patched.setattr("quorate.runtime.real.disk.os.close", fail)
                    with pytest.raises(OSError, match="gone"):
                        await disk.in_thread(file.fileno(), lambda descriptor: None)
        disk.close()

    asyncio.run(main())
