"""Reading a log back.  Changes nothing on the disk.

The newest segment is read first: its last batch says which segments are needed.  Every one of
them is then read in order, and each must be complete up to where the next begins; only at the end
of the newest may anything be missing, and only what ``scan.check_torn`` finds to be torn.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, pairwise

from quorate.base.codec import UNREADABLE
from quorate.base.errors import BadConfiguration
from quorate.base.ids import ClusterId, GroupId, NodeId
from quorate.raft.wal.format import Batch
from quorate.raft.wal.records import Folded, Spill, fold
from quorate.raft.wal.scan import check_segment_header, damaged, scan_segment
from quorate.runtime.ports import Disk

DIRECTORY = "log"
NEXT = f"{DIRECTORY}/next"
"""A segment that is being made and has no name yet."""
SUFFIX = ".seg"


def segment_path(first: int) -> str:
    return f"{DIRECTORY}/{first:016x}{SUFFIX}"


def segments(disk: Disk) -> list[int]:
    """The ``first`` of each segment on the disk, in order."""
    names = [name.removesuffix(SUFFIX) for name in disk.list(DIRECTORY) if name.endswith(SUFFIX)]
    return sorted(int(name, 16) for name in names if len(name) == 16 and _is_hex(name))


def _is_hex(name: str) -> bool:
    return all(digit in "0123456789abcdef" for digit in name)


@dataclass(slots=True)
class Found:
    """A log as it stands on a disk."""

    segments: list[tuple[int, int]]
    """``first`` and size of each segment that is needed, in order."""
    unneeded: list[int]
    """The ``first`` of each older one, which a crash has kept from being removed."""
    last: Batch
    groups: dict[GroupId, Folded]


def read_log(disk: Disk, cluster: ClusterId, node: NodeId, spill: Spill | None = None) -> Found:
    """``spill`` keeps what the entries hold.

    Raises ``Damaged``, or ``BadConfiguration`` if there is no log, or not one for us.
    """
    firsts = segments(disk)
    if not firsts:
        raise BadConfiguration(
            f"There is no log in {DIRECTORY}/: this node was never founded, or its disk was wiped;"
            " a wiped node does not come back under its old name, add it as a new member."
        )

    def read(first: int, until: int | None) -> tuple[int, list[Batch]]:
        path = segment_path(first)
        data = _content(disk, path)
        check_segment_header(data, path, first, cluster, node)
        return len(data), scan_segment(data, path, first, until)

    newest = read(firsts[-1], None)
    last = newest[1][-1]
    needed = [first for first in firsts if first >= last.oldest]
    if not needed or needed[0] != last.oldest:
        raise damaged(segment_path(last.oldest), 0, "the oldest segment is missing")
    sizes: list[tuple[int, int]] = []

    def older() -> Iterator[Batch]:  # a segment in memory at a time
        for first, until in pairwise(needed):
            size, batches = read(first, until)
            sizes.append((first, size))
            yield from batches

    try:
        groups = fold(chain(older(), newest[1]), spill)
    except UNREADABLE as error:
        raise damaged(DIRECTORY, 0, f"a batch holds no records ({error})") from error
    sizes.append((needed[-1], newest[0]))
    for group, folded in groups.items():
        if (index := folded.missing()) is not None:
            raise damaged(DIRECTORY, 0, f"entry {index} of group {group} is missing")
    return Found(sizes, [first for first in firsts if first < last.oldest], last, groups)


def _content(disk: Disk, path: str) -> bytes:
    file = disk.open(path)
    try:
        return file.read(0, file.size())
    finally:
        file.close()
