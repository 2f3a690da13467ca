"""Bytes that are on the disk rather than in memory."""

import gc
import os
from pathlib import Path

import pytest

from quorate.runtime.real import spill
from quorate.runtime.real.spill import SMALL_BYTES, Spill


def mapped(folder: Path) -> int:
    """How many files of the folder this process has mapped."""
    return Path("/proc/self/maps").read_text().count(str(folder))


def test_what_is_kept_is_what_was_given(tmp_path: Path) -> None:
    keep = Spill(tmp_path)
    given = [os.urandom(size) for size in (SMALL_BYTES, 100_000, 3 * spill.FILE_BYTES // 2, 70_000)]
    kept = [keep(data) for data in given]
    assert kept == given
    assert all(isinstance(data, memoryview) and data.readonly for data in kept)
    assert list(tmp_path.iterdir()) == []


def test_what_is_small_stays_where_it_is(tmp_path: Path) -> None:
    small = bytes(SMALL_BYTES - 1)
    assert Spill(tmp_path)(small) is small
    assert mapped(tmp_path) == 0


def test_a_file_goes_with_the_last_view_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spill, "FILE_BYTES", 8192)
    keep = Spill(tmp_path)
    kept = [keep(bytes([number]) * 4096) for number in range(8)]
    assert mapped(tmp_path) == 4
    del kept[:3]
    gc.collect()
    assert mapped(tmp_path) == 3
    kept.clear()
    assert mapped(tmp_path) == 1  # which takes more


def test_without_room_on_the_disk_memory_keeps_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int, offset: int, length: int) -> None:
        raise OSError(28, "No space left on device")

    keep, data = Spill(tmp_path), bytes(10_000)
    with monkeypatch.context() as patch:
        patch.setattr(os, "posix_fallocate", full)
        assert keep(data) is data
    assert keep(data) is data, "another file is not tried for each"
    whole = bytes(spill.FILE_BYTES)
    assert keep(whole) is whole
    assert isinstance(keep(data), memoryview)
