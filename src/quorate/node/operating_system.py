"""What the operating system says of a process: read when it is asked for, never kept.

Who looks is a process of the same user on the same machine: no process reports these itself, so
one that is stuck is seen as well.
"""

import os
from pathlib import Path
from typing import NamedTuple

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")


class ProcessUse(NamedTuple):
    """What one process uses; ``cpu_s`` is of all its threads, user and system, since it began."""

    resident_bytes: int
    cpu_s: float
    open_files: int
    threads: int


def process_use(pid: int) -> ProcessUse | None:
    """Of the process ``pid``, or ``None`` if it is gone."""
    folder = Path("/proc") / str(pid)
    try:
        # Behind the name, which may hold anything: proc(5), fields 3 and on.
        fields = (folder / "stat").read_text().rpartition(")")[2].split()
        open_files = sum(1 for _ in (folder / "fd").iterdir())
    except OSError:
        return None
    cpu_s = (int(fields[11]) + int(fields[12])) / _TICKS_A_SECOND
    return ProcessUse(int(fields[21]) * _PAGE_BYTES, cpu_s, open_files, int(fields[17]))


def resident_bytes(pid: int) -> int | None:
    """The memory that the process ``pid`` holds, or ``None`` if it is gone."""
    use = process_use(pid)
    return None if use is None else use.resident_bytes
