"""The records in a batch, and how they fold to the state of each group.

A batch's payload is a msgpack array of records, each ``[kind, group, …]``.  The fold knows of each
entry in which batch it was written last: that is where it lives (``live.py``).
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

import msgspec

from quorate.base.ids import GroupId
from quorate.raft.core.entries import Count, Entry, HardState
from quorate.raft.wal.format import Batch


class Append(msgspec.Struct, array_like=True, tag=1):
    """Everything at and after index ``first`` is replaced by ``entries``."""

    group: GroupId
    first: Count
    entries: list[Entry]


class State(msgspec.Struct, array_like=True, tag=2):
    group: GroupId
    state: HardState


class Cut(msgspec.Struct, array_like=True, tag=3):
    """The log is discarded up to and including ``index``, which has ``term``."""

    group: GroupId
    index: Count
    term: Count


class Relocate(msgspec.Struct, array_like=True, tag=4):
    """Current entries once more, so that an old segment can go; nothing else changes."""

    group: GroupId
    entries: list[Entry]


Record: TypeAlias = Append | State | Cut | Relocate
Spill: TypeAlias = Callable[[bytes], bytes | memoryview]
"""Gives the same bytes, kept elsewhere than in this process's own memory."""

_decode = msgspec.msgpack.Decoder(list[Record]).decode


class Recovered(NamedTuple):
    """What the log says of one group."""

    state: HardState
    cut_index: int
    cut_term: int
    entries: list[Entry]
    """Contiguous, from ``cut_index + 1``."""


@dataclass(slots=True)
class Folded:
    """A group as the records so far tell it.

    Before the end of the log there may be gaps: entries whose older copies are in segments that
    are gone come back with a later ``Relocate``.
    """

    state: HardState = field(default_factory=HardState)
    state_batch: int = 0
    """The sequence number of the batch that has the newest ``State``; 0 if there is none."""
    cut_index: int = 0
    cut_term: int = 0
    cut_batch: int = 0
    entries: dict[int, tuple[Entry, int]] = field(default_factory=dict)
    """Index to entry and the batch that wrote it last."""
    last_index: int = 0

    def fold(self, record: Record, sequence: int) -> None:
        if isinstance(record, State):
            self.state, self.state_batch = record.state, sequence
        elif isinstance(record, Cut):
            self.cut_index, self.cut_term = record.index, record.term
            self.cut_batch = sequence
        else:
            if isinstance(record, Append):
                self._drop_from(record.first)
            for entry in record.entries:
                self.entries[entry.index] = (entry, sequence)
                self.last_index = max(self.last_index, entry.index)

    def _drop_from(self, first: int) -> None:
        replaced: Sequence[int] = range(first, self.last_index + 1)
        if self.last_index - first > len(self.entries):  # most of them are not here
            replaced = [index for index in self.entries if index >= first]
        for index in replaced:
            self.entries.pop(index, None)
        self.last_index = min(self.last_index, first - 1)

    def missing(self) -> int | None:
        """The first index between the cut and the end whose entry is not there."""
        wanted = range(self.cut_index + 1, self.last_index + 1)
        return next((index for index in wanted if index not in self.entries), None)

    def current(self) -> list[tuple[Entry, int]]:
        """The entries after the cut, each with the batch that wrote it last."""
        return [self.entries[i] for i in range(self.cut_index + 1, self.last_index + 1)]


def spill_entries(entries: Iterable[Entry], spill: Spill) -> None:
    """Let go of their data, which are on the disk: whoever reads them gets them from there.

    The entries stay what they are, frozen and equal, to all who hold them.
    """
    for entry in entries:
        msgspec.structs.force_setattr(entry, "data", spill(entry.data))


def fold(batches: Iterable[Batch], spill: Spill | None = None) -> dict[GroupId, Folded]:
    """Fold batches in the order of the log, and ``spill`` their entries.  Raises one of
    ``UNREADABLE`` (base/codec.py) on foreign bytes."""
    groups: dict[GroupId, Folded] = {}
    for batch in batches:
        for record in _decode(batch.payload):
            if spill is not None and isinstance(record, Append | Relocate):
                spill_entries(record.entries, spill)
            groups.setdefault(record.group, Folded()).fold(record, batch.sequence)
    return groups
