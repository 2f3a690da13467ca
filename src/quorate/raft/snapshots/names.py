"""What a snapshot is called, in messages and on the disk.

Two replicas that stand at the same index write the same state in other bytes (the order of a table
is not part of the state), so the replica that took a snapshot is part of its name: a transfer that
broke off is resumed only with the very bytes it began with.

Names of files are formed from numbers alone, never from what a peer calls a file, and what is not
exactly such a name is somebody else's file: it is neither read nor removed.
"""

import re
from enum import StrEnum

import msgspec

from quorate.base.errors import ProtocolError
from quorate.base.ids import GroupId, ReplicaId
from quorate.raft.core.entries import SnapshotId

DIRECTORY = "snapshots"


class Kind(StrEnum):
    """What a file is, as the end of its name."""

    WHOLE = ".snap"
    WRITING = ".writing"
    """Being written; of no use after a crash."""
    PARTIAL = ".partial"
    """Being received; it is resumed after a crash."""


_NAME = re.compile(r"([0-9a-f]{16})-([0-9a-f]{16})-([0-9a-f]{16})-([0-9a-f]{16})(\.[a-z]+)")


def path_of(id: SnapshotId, kind: Kind) -> str:
    """Raises ``ProtocolError`` for numbers that no snapshot has."""
    numbers = msgspec.structs.astuple(id)
    if not all(0 <= number < 1 << 64 for number in numbers):
        raise ProtocolError(f"no snapshot has the id {numbers}: its numbers are of 64 bits")
    return f"{DIRECTORY}/{'-'.join(f'{number:016x}' for number in numbers)}{kind}"


def parse_name(name: str) -> tuple[SnapshotId, Kind] | None:
    """What a name in ``DIRECTORY`` says; ``None`` if it is not one of ours."""
    match = _NAME.fullmatch(name)
    if match is None or match[5] not in list(Kind):
        return None
    group, index, term, source = (int(digits, 16) for digits in match.groups()[:4])
    return SnapshotId(GroupId(group), index, term, ReplicaId(source)), Kind(match[5])
