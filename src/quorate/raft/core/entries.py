"""What a Raft log is made of, and what must be on disk."""

from collections.abc import Iterable
from enum import IntEnum
from typing import Annotated, TypeAlias

import msgspec

from quorate.base.codec import UNREADABLE, decode
from quorate.base.errors import ProtocolError
from quorate.base.ids import GroupId, ReplicaId
from quorate.raft.core.configuration import Configuration, fault_of

NOBODY = ReplicaId(0)

Count: TypeAlias = Annotated[int, msgspec.Meta(ge=0, lt=1 << 62)]
"""A term or an index: what is below zero, or so high that nobody could count on from it, is refused
where it is decoded."""

ENTRY_BYTES = 32
"""What an entry takes besides its data, generously."""


VIEW_BYTES = 256
"""What the view of data takes that are not in memory (``wal.Spill``)."""


class EntryKind(IntEnum):
    NOOP = 0
    """Appended by a new leader, so that it can commit its predecessors' entries (Raft §8)."""
    COMMAND = 1
    """Bytes for the state machine; Raft does not look inside."""
    CONFIGURATION = 2
    """Who belongs to the group from here on (configuration.py)."""


class Entry(msgspec.Struct, array_like=True, frozen=True):
    """One slot of the log."""

    index: Count
    term: Count
    kind: int
    data: bytes


def held_bytes(entry: Entry) -> int:
    """What it takes in memory, about."""
    return ENTRY_BYTES + (len(entry.data) if type(entry.data) is bytes else VIEW_BYTES)


class EntryId(msgspec.Struct, array_like=True, frozen=True):
    """Index and term: if two logs share one, they are equal up to it (Raft §5.3)."""

    index: int
    term: int


class HardState(msgspec.Struct, array_like=True, frozen=True):
    """What must be on disk before it is acted upon (Raft figure 2, "persistent state")."""

    term: int = 0
    voted_for: ReplicaId = NOBODY


class SnapshotId(msgspec.Struct, array_like=True, frozen=True, order=True):
    """Names the very bytes of a snapshot: two replicas may write the same state differently.

    Of one group, the greater id is the newer state.
    """

    group: GroupId
    index: Count
    """It stands for all entries up to this one."""
    term: Count
    """Of the entry at ``index``."""
    source: ReplicaId
    """The replica that took it."""


class Snapshot(msgspec.Struct, array_like=True, frozen=True):
    """A snapshot that is whole on somebody's disk (Raft §7)."""

    id: SnapshotId
    time_ms: Count
    """Log time at its index."""
    bytes: Count
    """Of the file."""
    configuration: Configuration
    """In force at its index."""


def configuration_in(entry: Entry) -> Configuration:
    """What an entry of that kind holds.  Raises ``ProtocolError`` for what no leader appends."""
    try:
        found: Configuration = decode(entry.data, Configuration)
    except UNREADABLE as error:
        raise ProtocolError(f"entry {entry.index} holds no configuration: {error}") from None
    why = fault_of(found)
    if why is not None:
        raise ProtocolError(f"entry {entry.index} holds no configuration: {why}")
    return found


def configurations_in(entries: Iterable[Entry]) -> list[tuple[int, Configuration]]:
    """Those among ``entries``, with their indexes."""
    return [
        (entry.index, configuration_in(entry))
        for entry in entries
        if entry.kind == EntryKind.CONFIGURATION
    ]
