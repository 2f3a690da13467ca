"""What a process tells the one that started it: JSON lines on its standard output.

A process of a role reports to its supervisor, and a supervisor to ``quorate up``, in the same
words: ``Ready`` each time all of it listens (a supervisor again after it restarted a process), and
``Failed`` as the last line if it cannot go on.  Lines that are neither belong to the log.
"""

import sys
from typing import TypeAlias

import msgspec

from quorate.base.codec import UNREADABLE
from quorate.base.errors import ErrorInfo, QuorateError

PROCESSES_FILE = "processes.json"
"""In the data directory: the pids of the node's processes, as its supervisor knows them."""


class RunningProcess(msgspec.Struct, frozen=True):
    """One process of a node."""

    role: str
    pid: int
    resident_bytes: int | None = None
    """The memory that it holds, where somebody looked."""


class Ready(msgspec.Struct, frozen=True, tag="ready"):
    """All of these listen."""

    processes: tuple[RunningProcess, ...]


class Failed(msgspec.Struct, frozen=True, tag="failed"):
    """The sentence with which the process ends, for its user."""

    code: str
    message: str


Report: TypeAlias = Ready | Failed
_decoder = msgspec.json.Decoder(Report)


def parse(line: bytes) -> Report | None:
    """The report in ``line``, or ``None`` if it is only output."""
    try:
        found: Report = _decoder.decode(line)
        return found
    except UNREADABLE:
        return None


def report(message: Report) -> None:
    """Write one line to standard output and flush it."""
    try:
        sys.stdout.write(msgspec.json.encode(message).decode() + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        return  # nobody listens any more; the end of our standard input says the rest


def failed(error: QuorateError) -> Failed:
    """``error`` as a report."""
    return Failed(error.code, error.message)


def error_of(failure: Failed) -> ErrorInfo:
    """A report as what ``base.errors.error_from`` takes."""
    return ErrorInfo(failure.code, failure.message)
