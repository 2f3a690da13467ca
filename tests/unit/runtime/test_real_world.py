"""How a real process ends, and what it writes down."""

import io
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from quorate.runtime.real.trace import RealTrace

PROGRAM = """
import asyncio, pathlib, sys
from quorate.base.check import check
from quorate.base.errors import DiskFailed
from quorate.runtime.real.world import real_world, run

async def work(kind):
    await asyncio.sleep(0)
    if kind == "bug":
        check(False, "two leaders in one term")
    if kind == "unexpected":
        {}["missing"]
    raise DiskFailed("the disk failed to sync the log: replace it")

async def main():
    world = real_world(pathlib.Path(sys.argv[2]))
    try:
        if sys.argv[1] == "callback":
            world.clock.call_later(1, lambda: {}["missing"])
        else:
            world.spawn(work(sys.argv[1]), "work")
        await world.clock.sleep(60_000)
    finally:
        print("cleaned up")

run(main)
"""


@pytest.mark.parametrize(
    ("kind", "status", "said"),
    [
        ("bug", 70, "two leaders in one term"),
        ("unexpected", 70, "KeyError"),
        ("callback", 70, "KeyError"),
        ("user", 12, "^quorate: the disk failed to sync the log: replace it\n$"),
    ],
)
def test_a_failing_task_ends_the_process_at_once(
    kind: str, status: int, said: str, tmp_path: Path
) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM, kind, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        check=False,
    )
    assert (ended.returncode, ended.stdout) == (status, "")
    assert re.search(said, ended.stderr)
    assert ("Traceback" in ended.stderr) == (status == 70)


def test_a_trace_is_one_bounded_line_for_each_event() -> None:
    stream = io.StringIO()
    trace = RealTrace(stream, "raft", events=True)
    trace.event("election won", term=3, peer="a b", text="two\nlines")
    trace.error("the disk\nis full")
    trace.event("long", text="x" * 100_000)
    won, full, long = stream.getvalue().splitlines()
    assert re.fullmatch(
        r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3} event raft "
        r"election won term=3 peer='a b' text='two\\nlines'",
        won,
    )
    assert full.endswith(r"error raft the disk\nis full")
    assert len(long) <= 4_000


def test_events_are_off_unless_asked_for_and_errors_never() -> None:
    stream = io.StringIO()
    trace = RealTrace(stream, "raft")
    trace.event("election won", term=3)
    assert stream.getvalue() == ""
    trace.error("the disk is full")
    assert "the disk is full" in stream.getvalue()


def test_a_trace_that_cannot_be_written_stops_nothing() -> None:
    stream = io.StringIO()
    stream.close()
    RealTrace(stream, "raft").error("the disk is full")
