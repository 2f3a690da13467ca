"""What happened lately, so that a watch can go on from where it was, whoever leads.

Rules:
* Events stand in the order of their revisions.  At most so many, and so many bytes, are kept; the
  oldest go first.  ``forgotten`` is the revision of the last that went.
* A watch that has been told everything up to a revision that is not before ``forgotten`` misses
  nothing; an earlier one is refused, never answered with a gap.
* A change that wrote a value is remembered as the entry that it made: it costs nothing more.
* Events are forgotten by the chunk.  What happened with one entry of the log is in one chunk,
  unless it is larger than one: so where a chunk begins depends on the log alone, snapshots keep
  where that was, and all replicas forget alike.
* Of keys that were deleted the revision of that is remembered as long as its event is: so *was
  this key touched since* has an answer, or it is forgotten and counts as touched.
"""

from collections import deque
from collections.abc import Sequence
from typing import TypeAlias

from quorate.base.errors import NotFound
from quorate.base.sometimes import sometimes
from quorate.kv.core.commands import MAX_PAGE_BYTES, Changed, Entry, Event, Kind

Happening: TypeAlias = Event | Entry

MAX_EVENTS = 16 * 1024
MAX_BYTES = 32 << 20
CHUNKS = 16
"""So many hold all events, if they are small."""
SMALL_CHUNKS = 64
"""So many hold all bytes."""
EVENT_BYTES = 100
"""What an event takes beside its key and value, about."""


class _Chunk:
    __slots__ = ("bytes", "deletes", "events")

    def __init__(self) -> None:
        self.events: list[Happening] = []
        self.deletes: list[Event] = []
        """Those of the events that wrote no value."""
        self.bytes = 0


class History:
    """The latest events of one store."""

    def __init__(self, max_events: int = MAX_EVENTS) -> None:
        self._max_events = max_events
        self._max_bytes = MAX_BYTES
        self._chunk_events = max(max_events // CHUNKS, 1)
        self._chunks: deque[_Chunk] = deque()
        self._count = 0
        self.bytes = 0
        """What the events take, about."""
        self._deleted: dict[bytes, int] = {}
        self._cleared = 0
        self.forgotten = 0

    def __len__(self) -> int:
        return self._count

    def chunks(self) -> list[list[Event]]:
        """All events, oldest first, as they will be forgotten together."""
        return [list(map(_told, chunk.events)) for chunk in self._chunks]

    def add(self, events: list[Happening], size: int, deletes: list[Event]) -> None:
        """What happened now: keys and values of ``size`` bytes; ``deletes`` are those among them
        that wrote no value."""
        chunk = self._chunks[-1] if self._chunks else self._begin_chunk()
        size += EVENT_BYTES * len(events)
        chunk_bytes = self._max_bytes // SMALL_CHUNKS or 1
        count = len(chunk.events) + len(events)
        if chunk.events and (count > self._chunk_events or chunk.bytes + size > chunk_bytes):
            chunk = self._begin_chunk()
        if len(events) <= self._chunk_events and size <= chunk_bytes:
            chunk.events += events
            chunk.deletes += deletes
            chunk.bytes += size
        else:
            for event in events:
                if len(chunk.events) >= self._chunk_events or chunk.bytes >= chunk_bytes:
                    chunk = self._begin_chunk()
                chunk.events.append(event)
                chunk.bytes += _size(event)
                if type(event) is Event:
                    chunk.deletes.append(event)
        self._count += len(events)
        self.bytes += size
        self._remember(deletes)
        self._forget()

    def _remember(self, deletes: list[Event]) -> None:
        for event in deletes:
            if event.kind is Kind.CLEAR:
                self._cleared = event.revision
            else:
                self._deleted[event.key] = event.revision

    def _begin_chunk(self) -> _Chunk:
        chunk = _Chunk()
        self._chunks.append(chunk)
        return chunk

    def bound(self, max_bytes: int | None) -> None:
        """Keep no more than so much; ``None``: as usual."""
        self._max_bytes = MAX_BYTES if max_bytes is None else min(MAX_BYTES, max_bytes)
        self._forget()

    def _forget(self) -> None:
        """What is too much."""
        while self._chunks and (self._count > self._max_events or self.bytes > self._max_bytes):
            oldest = self._chunks.popleft()
            self._count -= len(oldest.events)
            self.bytes -= oldest.bytes
            self.forgotten = oldest.events[-1].revision
            for event in oldest.deletes:
                if self._deleted.get(event.key) == event.revision:
                    del self._deleted[event.key]

    def restore(self, chunks: Sequence[list[Event]], forgotten: int) -> None:
        """Begin with these."""
        self._chunks.clear()
        self._deleted.clear()
        self._count = self.bytes = self._cleared = 0
        self.forgotten = forgotten
        for events in chunks:
            chunk = self._begin_chunk()
            chunk.events = list(map(_kept, events))
            chunk.deletes = [event for event in events if event.kind is not Kind.PUT]
            chunk.bytes = sum(map(_size, events))
            self._count += len(events)
            self.bytes += chunk.bytes
            self._remember(chunk.deletes)

    def deleted_after(self, key: bytes, since: int) -> bool:
        """Whether an absent key may have been deleted after revision ``since``."""
        last = max(self._deleted.get(key, 0), self._cleared, self.forgotten)
        return last > since

    def after(self, since: int, start: bytes, end: bytes | None, limit: int, now: int) -> Changed:
        """Events behind ``since`` that concern the keys from ``start`` to before ``end``, of whole
        revisions, and how far that is; ``now`` is the store's revision."""
        if since < self.forgotten:
            sometimes("forgotten history refused")
            raise NotFound(
                f"what changed after revision {since} is forgotten (up to {self.forgotten}): read"
                " the keys again, and watch from that reading's revision."
            )
        new: list[Happening] = []
        for chunk in reversed(self._chunks):
            for event in reversed(chunk.events):
                if event.revision <= since:
                    break
                new.append(event)
            else:
                continue
            break
        found: list[Event] = []
        size, told = 0, since
        for event in reversed(new):
            full = len(found) >= max(limit, 1) or size >= MAX_PAGE_BYTES
            if full and event.revision != told:
                return Changed(found, told)
            told = event.revision
            is_clear = type(event) is Event and event.kind is Kind.CLEAR
            if is_clear or (event.key >= start and (end is None or event.key < end)):
                found.append(_told(event))
                size += _size(event)
        return Changed(found, max(now, since))


def _told(event: Happening) -> Event:
    """As others are told of it."""
    if isinstance(event, Event):
        return event
    return Event(event.revision, Kind.PUT, event.key, event.value)


def _kept(event: Event) -> Happening:
    """The opposite of ``_told``."""
    if event.kind is not Kind.PUT:
        return event
    return Entry(event.key, event.value, event.revision)


def _size(event: Happening) -> int:
    return len(event.key) + len(event.value) + EVENT_BYTES
