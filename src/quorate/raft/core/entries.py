"""What a Raft log is made of, and what must be on disk."""

from enum import IntEnum
from typing import Annotated, TypeAlias

import msgspec

from quorate.base.ids import ReplicaId

NOBODY = ReplicaId(0)

Count: TypeAlias = Annotated[int, msgspec.Meta(ge=0)]
"""A term or an index: what is below zero is refused where it is decoded."""


class EntryKind(IntEnum):
    NOOP = 0
    """Appended by a new leader, so that it can commit its predecessors' entries (Raft §8)."""
    COMMAND = 1
    """Bytes for the state machine; Raft does not look inside."""


class Entry(msgspec.Struct, array_like=True, frozen=True):
    """One slot of the log."""

    index: Count
    term: Count
    kind: int
    data: bytes


class EntryId(msgspec.Struct, array_like=True, frozen=True):
    """Index and term: if two logs share one, they are equal up to it (Raft §5.3)."""

    index: int
    term: int


class HardState(msgspec.Struct, array_like=True, frozen=True):
    """What must be on disk before it is acted upon (Raft figure 2, "persistent state")."""

    term: int = 0
    voted_for: ReplicaId = NOBODY
