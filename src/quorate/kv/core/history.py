"""What happened lately, so that a watch can go on from where it was, whoever leads.

Rules:
* Events stand in the order of their revisions.  At most so many, and so many bytes, are kept; the
  oldest go first.  ``forgotten`` is the revision of the last that went.
* A watch that has been told everything up to a revision that is not before ``forgotten`` misses
  nothing; an earlier one is refused, never answered with a gap.
* A change that wrote a value is remembered as the entry that it made: it costs nothing more.
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
EVENT_BYTES = 100
"""What an event takes beside its key and value, about."""


class History:
    """The latest events of one store."""

    def __init__(self, max_events: int = MAX_EVENTS) -> None:
        self._max_events = max_events
        self._max_bytes = MAX_BYTES
        self._events: deque[Happening] = deque()
        self.bytes = 0
        """What the events take, about."""
        self._deleted: dict[bytes, int] = {}
        self._cleared = 0
        self.forgotten = 0

    def __len__(self) -> int:
        return len(self._events)

    def events(self) -> list[Event]:
        """All, oldest first."""
        return list(map(_told, self._events))

    def add(self, events: Sequence[Happening]) -> None:
        """What happened now."""
        size = 0
        for event in events:
            size += len(event.key) + len(event.value)
            if type(event) is Event:
                if event.kind is Kind.CLEAR:
                    self._cleared = event.revision
                else:
                    self._deleted[event.key] = event.revision
        self._events.extend(events)
        self.bytes += size + EVENT_BYTES * len(events)
        self._forget()

    def bound(self, max_bytes: int | None) -> None:
        """Keep no more than so much; ``None``: as usual."""
        self._max_bytes = MAX_BYTES if max_bytes is None else min(MAX_BYTES, max_bytes)
        self._forget()

    def _forget(self) -> None:
        """What is too much."""
        events, oldest = self._events, None
        excess = len(events) - self._max_events
        while excess > 0 or self.bytes > self._max_bytes:
            oldest = events.popleft()
            excess -= 1
            self.bytes -= len(oldest.key) + len(oldest.value) + EVENT_BYTES
            if type(oldest) is Event and self._deleted.get(oldest.key) == oldest.revision:
                del self._deleted[oldest.key]
        if oldest is not None:
            self.forgotten = oldest.revision

    def restore(self, events: Sequence[Event], forgotten: int) -> None:
        """Begin with these."""
        self._events.clear()
        self._deleted.clear()
        self.bytes = self._cleared = 0
        self.forgotten = forgotten
        self.add([_kept(event) for event in events])

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
        for event in reversed(self._events):
            if event.revision <= since:
                break
            new.append(event)
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
