"""The log of one replica, in memory.

Rules:
* Indexes are contiguous from ``base.index + 1``; ``base`` is the last entry that a snapshot stands
  for, (0, 0) at the beginning.
* Terms never decrease along the log.
* What is committed is never removed or replaced; the owner checks that before it truncates.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence

from quorate.base.check import Bug
from quorate.raft.core.entries import ENTRY_BYTES, Entry, EntryId


def _term(entry: Entry) -> int:
    return entry.term


def _size(entries: Sequence[Entry]) -> int:
    return sum([len(entry.data) for entry in entries]) + ENTRY_BYTES * len(entries)


_NOTHING = EntryId(0, 0)


class Log:
    """Entries after ``base``, and the questions that elections and replication ask of them."""

    __slots__ = ("_entries", "base", "bytes", "last_index")

    def __init__(self, base: EntryId = _NOTHING, entries: Sequence[Entry] = ()) -> None:
        self.base = base
        self._entries = list(entries)
        expected = base.index + 1
        for entry in self._entries:
            if entry.index != expected:
                raise Bug(f"log entry {entry.index} where {expected} belongs")
            expected += 1
        self.last_index = expected - 1
        self.bytes = _size(self._entries)
        """Of all entries, about."""

    def cut(self, index: int) -> None:
        """Forget the entries up to and including ``index``: a snapshot stands for them."""
        term = self.term(index)
        if term is None:
            raise Bug(f"the log is cut at {index}, where it has no entry")
        cut = index - self.base.index
        self.bytes -= _size(self._entries[:cut])
        del self._entries[:cut]
        self.base = EntryId(index, term)

    def reset(self, base: EntryId) -> None:
        """Forget everything: a snapshot of another history takes its place (figure 13, step 7)."""
        self._entries.clear()
        self.bytes = 0
        self.base = base
        self.last_index = base.index

    @property
    def last_term(self) -> int:
        return self._entries[-1].term if self._entries else self.base.term

    def term(self, index: int) -> int | None:
        """The term of the entry at ``index``; ``None`` if it is not known here."""
        if index == self.base.index:
            return self.base.term
        if self.base.index < index <= self.last_index:
            return self._entries[index - self.base.index - 1].term
        return None

    def is_up_to_date(self, candidate: EntryId) -> bool:
        """Whether a log that ends in ``candidate`` is at least as up to date (Raft §5.4.1)."""
        return (candidate.term, candidate.index) >= (self.last_term, self.last_index)

    def entry(self, index: int) -> Entry:
        if not self.base.index < index <= self.last_index:
            raise Bug(f"log entry {index} is not here")
        return self._entries[index - self.base.index - 1]

    def slice(self, first: int, last: int) -> list[Entry]:
        """The entries from ``first`` to ``last``, both included."""
        start = first - self.base.index - 1
        if start < 0:
            raise Bug(f"log entry {first} is behind the snapshot at {self.base.index}")
        return self._entries[start : last - self.base.index]

    def index_before(self, index: int, max_bytes: int, max_entries: int) -> int:
        """The index behind which, up to ``index``, entries of ``max_bytes`` (and no more than
        ``max_entries``) stand."""
        size, at = 0, index
        while at > max(self.base.index, index - max_entries):
            size += len(self._entries[at - self.base.index - 1].data) + ENTRY_BYTES
            if size > max_bytes:
                break
            at -= 1
        return at

    def batch(self, first: int, max_bytes: int) -> list[Entry]:
        """Entries from ``first`` on, up to ``max_bytes`` of data, at least one if there is one."""
        start = first - self.base.index - 1
        if start < 0:
            raise Bug(f"log entry {first} is behind the snapshot at {self.base.index}")
        end, size = start, 0
        while end < len(self._entries):
            size += len(self._entries[end].data) + ENTRY_BYTES
            if size > max_bytes and end > start:
                break
            end += 1
        return self._entries[start:end]

    def append(self, entries: Sequence[Entry]) -> None:
        """Replace everything at and after the index of the first of ``entries`` by them."""
        start = entries[0].index - self.base.index - 1
        if not 0 <= start <= len(self._entries):
            raise Bug(f"log entry {entries[0].index} leaves a gap")
        if start < len(self._entries):
            self.bytes -= _size(self._entries[start:])
            del self._entries[start:]
        self._entries.extend(entries)
        self.bytes += _size(entries)
        self.last_index = entries[-1].index

    def first_index_of_term(self, term: int) -> int:
        """Where ``term`` begins in this log, or would."""
        return self.base.index + 1 + bisect_left(self._entries, term, key=_term)

    def last_index_of_term(self, term: int) -> int | None:
        """The last index with ``term``, or ``None`` if this log has no such entry."""
        end = bisect_right(self._entries, term, key=_term)
        if end and self._entries[end - 1].term == term:
            return self.base.index + end
        # The entry at the base is known by its term, too: what follows it can be sent.
        return self.base.index if end == 0 and 0 < term == self.base.term else None
