"""Sizes as people write them, and what the store may take of a machine by default.

A machine runs more than the replica that holds the store: its log and a snapshot of it, the
chunkserver, tasks, and the system's page cache.  So in memory the store may take ``MEMORY_SHARE``
of the machine's, or of what the group of processes is limited to.  On a disk it may take what is
there, but for the reserve (kv/core/room.py).
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from quorate.base.errors import BadInput

MEMORY_SHARE = 0.3
UNITS = {
    "": 1, "B": 1,
    "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12,
    "KIB": 1 << 10, "MIB": 1 << 20, "GIB": 1 << 30, "TIB": 1 << 40,
}  # fmt: skip
_SIZE = re.compile(r"(\d{1,15}(?:\.\d{1,3})?) ?([A-Za-z]{0,3})")
_GROUPS = Path("/proc/self/cgroup")
_LIMITS = Path("/sys/fs/cgroup")


def size_of(text: str | int) -> int:
    """Bytes: a number, or one with a unit (``2GB``, ``512MiB``).  Raises ``BadInput``."""
    found = _SIZE.fullmatch(str(text).strip())
    if found is None or found[2].upper() not in UNITS:
        raise BadInput(f"{text!r} is no size: a number of bytes, or one with MB, GB, MiB, GiB")
    return int(float(found[1]) * UNITS[found[2].upper()])


def memory_bytes() -> int:
    """What this machine has for its processes, or this one's control group allows."""
    found = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    for path in _limits():
        try:
            found.append(int(path.read_text()))
        except (OSError, ValueError):  # there is none, or it says "max"
            continue
    return min(found)


def _limits() -> Iterator[Path]:
    """Where the limits of this process's control groups stand: of its own, and those above."""
    try:
        lines = _GROUPS.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, group = line.split(":", 2)
        if controllers not in ("", "memory"):
            continue
        name = "memory.limit_in_bytes" if controllers else "memory.max"
        own = PurePosixPath(group)
        for place in (own, *own.parents):
            yield _LIMITS / controllers / str(place).lstrip("/") / name


def store_share(nodes_here: int = 1) -> int:
    """What a store in memory may take by default, of each of so many nodes on one machine."""
    return int(MEMORY_SHARE * memory_bytes() / nodes_here)
