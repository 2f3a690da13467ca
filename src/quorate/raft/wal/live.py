"""What is live in the log, and where it was written last: an index in memory.

Each live thing (a group's current entries, its newest state, its newest cut) has a *place*, the
segment with its newest copy, and counts there in ``Segment.live_bytes``.  What was buffered and
has no place yet gets one when its batch is composed.  The entries are the same objects that the
Raft core holds.
"""

from collections.abc import Callable
from contextlib import suppress

from quorate.base.check import check
from quorate.base.ids import GroupId
from quorate.raft.core.entries import Entry, HardState
from quorate.raft.wal.records import Folded

RECORD_BYTES = 32
"""What a record takes besides an entry's data, generously."""


class Segment:
    """A segment that is still needed."""

    __slots__ = ("first", "live_bytes", "size")

    def __init__(self, first: int, size: int) -> None:
        self.first = first
        """The sequence number of its first batch; its name."""
        self.size = size
        self.live_bytes = 0


class LiveGroup:
    """One group: its state, its cut, its current entries, and the place of each."""

    __slots__ = (
        "_cut_place",
        "_places",
        "_state_place",
        "cut_index",
        "cut_term",
        "entries",
        "group",
        "state",
    )

    def __init__(self, group: GroupId) -> None:
        self.group = group
        self.state: HardState | None = None
        self.cut_index = 0
        self.cut_term = 0
        self.entries: list[Entry] = []
        """From ``cut_index + 1`` on."""
        self._places: list[Segment] = []
        """Of the first of ``entries``; the rest is buffered."""
        self._state_place: Segment | None = None
        self._cut_place: Segment | None = None

    @property
    def last_index(self) -> int:
        return self.cut_index + len(self.entries)

    def replace_from(self, first: int, entries: list[Entry]) -> None:
        start = first - self.cut_index - 1
        if start != len(self.entries):
            check(0 <= start < len(self.entries), f"log entry {first} leaves a gap")
            self._release(start, len(self.entries))
        self.entries.extend(entries)

    def set_state(self, state: HardState) -> None:
        self.state = state
        self.release_state()

    def cut(self, index: int, term: int) -> None:
        self._release(0, min(index - self.cut_index, len(self.entries)))
        self.cut_index, self.cut_term = index, term
        self.release_cut()

    def buffered_bytes(self) -> int:
        """Of entries that have no place yet."""
        buffered = self.entries[len(self._places) :]
        return sum([len(entry.data) for entry in buffered]) + RECORD_BYTES * len(buffered)

    def place(self, segment: Segment, buffered_bytes: int) -> None:
        """All that has no place yet (``buffered_bytes`` of entries) is now written there."""
        self._places += [segment] * (len(self.entries) - len(self._places))
        segment.live_bytes += buffered_bytes
        if self.state is not None and self._state_place is None:
            self._state_place = segment
            segment.live_bytes += RECORD_BYTES
        if self.cut_index and self._cut_place is None:
            self._cut_place = segment
            segment.live_bytes += RECORD_BYTES

    def recover(self, folded: Folded, place: Callable[[int], Segment]) -> None:
        """What recovery found; ``place`` says where a batch stands."""
        self.cut_index, self.cut_term = folded.cut_index, folded.cut_term
        for entry, batch in folded.current():
            segment = place(batch)
            self.entries.append(entry)
            self._places.append(segment)
            segment.live_bytes += len(entry.data) + RECORD_BYTES
        if folded.state_batch:
            self.state, self._state_place = folded.state, place(folded.state_batch)
            self._state_place.live_bytes += RECORD_BYTES
        if folded.cut_batch:
            self._cut_place = place(folded.cut_batch)
            self._cut_place.live_bytes += RECORD_BYTES

    # Relocation: live things leave a segment and are buffered, or at once placed, elsewhere.

    def state_is_in(self, segment: Segment) -> bool:
        return self._state_place is segment

    def cut_is_in(self, segment: Segment) -> bool:
        return self._cut_place is segment

    def release_state(self) -> None:
        if self._state_place is not None:
            self._state_place.live_bytes -= RECORD_BYTES
            self._state_place = None

    def release_cut(self) -> None:
        if self._cut_place is not None:
            self._cut_place.live_bytes -= RECORD_BYTES
            self._cut_place = None

    def entries_in(self, segment: Segment, max_bytes: int) -> list[Entry]:
        """Entries whose place is ``segment``: up to ``max_bytes`` of them, but at least one if
        there is one."""
        found: list[Entry] = []
        size = at = 0
        with suppress(ValueError):  # there are no more
            while True:
                at = self._places.index(segment, at)
                size += len(self.entries[at].data) + RECORD_BYTES
                if size > max_bytes and found:
                    break
                found.append(self.entries[at])
                at += 1
        return found

    def move(self, entries: list[Entry], segment: Segment) -> None:
        """Entries that have a place are now written in ``segment``."""
        for entry in entries:
            at = entry.index - self.cut_index - 1
            size = len(entry.data) + RECORD_BYTES
            self._places[at].live_bytes -= size
            self._places[at] = segment
            segment.live_bytes += size

    def _release(self, start: int, end: int) -> None:
        for entry, place in zip(self.entries[start:end], self._places[start:end], strict=False):
            place.live_bytes -= len(entry.data) + RECORD_BYTES
        del self.entries[start:end]
        del self._places[start:end]
