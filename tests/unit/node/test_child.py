"""Child processes: their reports, their ends, their logs, and the lock on a directory."""

import asyncio
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from quorate.base.errors import BadConfiguration, DiskFull, Unavailable
from quorate.node import logfile
from quorate.node.child import Child
from quorate.node.lock import FileLock
from quorate.node.logfile import LogFile
from quorate.node.reports import Failed, Ready, RunningProcess, parse

READY = '{"type":"ready","processes":[{"role":"raft","pid":7}]}'


def with_child(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    program: str,
    look: Callable[[Child, list[Ready]], Awaitable[None]],
) -> None:
    """Start ``program`` as a child, ``look`` at it, and kill what is left of it."""
    (folder / "program_of_test.py").write_text(program)
    monkeypatch.setenv("PYTHONPATH", str(folder))
    heard: list[Ready] = []

    async def main() -> None:
        log = LogFile(folder / "log")
        child = await Child.start("test", "program_of_test", ["one"], log, heard.append)
        try:
            await look(child, heard)
        finally:
            await child.kill()

    asyncio.run(main())


def test_a_child_is_ready_when_it_says_so_and_the_rest_is_its_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def look(child: Child, heard: list[Ready]) -> None:
        await child.ready()
        assert heard == [Ready((RunningProcess("raft", 7),))]
        await child.stop(10_000)

    program = f"import sys\nprint('hello', sys.argv[2])\nprint('{READY}', flush=True)\ninput()\n"
    with_child(tmp_path, monkeypatch, program, look)
    assert (tmp_path / "log").read_text().startswith("hello one\n")


def test_what_a_child_failed_with_is_raised_as_the_same_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def look(child: Child, heard: list[Ready]) -> None:
        with pytest.raises(DiskFull, match="no space"):
            await child.ready()
        assert heard == []

    program = 'print(\'{"type":"failed","code":"disk_full","message":"no space"}\')\n'
    with_child(tmp_path, monkeypatch, program, look)


def test_a_child_that_ends_without_a_word_is_unavailable_with_its_last_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def look(child: Child, heard: list[Ready]) -> None:
        with pytest.raises(Unavailable, match=r"ended with status 1: ValueError: odd"):
            await child.ready()

    with_child(tmp_path, monkeypatch, "raise ValueError('odd')\n", look)
    assert "Traceback" in (tmp_path / "log").read_text()


def test_a_child_that_does_not_stop_in_time_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def look(child: Child, heard: list[Ready]) -> None:
        await child.ready()
        await child.stop(50)
        assert f"signal {signal.SIGKILL}" in (await child.ended()).message

    program = (
        "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        f"print('{READY}', flush=True)\nsignal.pause()\n"
    )
    with_child(tmp_path, monkeypatch, program, look)


def test_lines_that_are_no_reports_are_output() -> None:
    assert parse(b'{"type":"failed","code":"x","message":"y"}\n') == Failed("x", "y")
    for line in (b"hello\n", b"{}\n", b'{"type":"other"}\n', b"\xff\n", b""):
        assert parse(line) is None


def test_a_log_stays_within_its_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logfile, "MAX_LOG_BYTES", 100)
    log = LogFile(tmp_path / "log")
    for number in range(50):
        log.write(b"%040d\n" % number)
    log.close()
    assert (tmp_path / "log").read_bytes().endswith(b"%040d\n" % 49)
    assert {path.name: path.stat().st_size <= 100 for path in tmp_path.iterdir()} == {
        "log": True,
        "log.1": True,
    }


def test_a_log_that_cannot_be_written_stops_nobody(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "none" / "log")
    log.write(b"lost\n")
    log.close()
    assert list(tmp_path.iterdir()) == []


def test_a_directory_has_one_holder_and_is_free_when_that_ends(tmp_path: Path) -> None:
    first = FileLock(tmp_path / "lock", 0)
    with pytest.raises(BadConfiguration, match="in use by another process"):
        FileLock(tmp_path / "lock", 50)
    first.release()
    FileLock(tmp_path / "lock", 0).release()


def test_a_lock_that_cannot_be_made_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(BadConfiguration, match="cannot be made"):
        FileLock(tmp_path / "none" / "lock", 0)
