"""What happened lately, so that a watch can go on from where it was, whoever leads.

Rules:
* Events stand in the order of their revisions.  At most so many, and so many bytes, are kept; the
  oldest go first.  ``forgotten`` is the revision of the last that went.
* A watch that has been told everything up to a revision that is not before ``forgotten`` misses
  nothing; an earlier one is refused, never answered with a gap.
* Of keys that were deleted the revision of that is remembered as long as its event is: so *was
  this key touched since* has an answer, or it is forgotten and counts as touched.
"""

from collections import deque
from collections.abc import Sequence

from quorate.base.errors import NotFound
from quorate.kv.core.commands import MAX_PAGE_BYTES, Changed, Event, Kind

MAX_EVENTS = 16 * 1024
MAX_BYTES = 32 << 20
EVENT_BYTES = 100
"""What an event takes beside its key and value, about."""


class History:
    """The latest events of one store."""

    def __init__(self, max_events: int = MAX_EVENTS) -> None:
        self._max_events = max_events
        self._events: deque[Event] = deque()
        self._bytes = 0
        self._deleted: dict[bytes, int] = {}
        self._cleared = 0
        self.forgotten = 0

    def __len__(self) -> int:
        return len(self._events)

    def events(self) -> list[Event]:
        """All, oldest first."""
        return list(self._events)

    def add(self, events: Sequence[Event]) -> None:
        """What happened now."""
        size = 0
        for event in events:
            size += len(event.key) + len(event.value) + EVENT_BYTES
            if event.kind == Kind.CLEAR:
                self._cleared = event.revision
            elif event.kind:
                self._deleted[event.key] = event.revision
        self._events.extend(events)
        self._bytes += size
        while len(self._events) > self._max_events or self._bytes > MAX_BYTES:
            oldest = self._events.popleft()
            self._bytes -= _size(oldest)
            self.forgotten = oldest.revision
            if self._deleted.get(oldest.key) == oldest.revision:
                del self._deleted[oldest.key]

    def restore(self, events: Sequence[Event], forgotten: int) -> None:
        """Begin with these."""
        self._events.clear()
        self._deleted.clear()
        self._bytes = self._cleared = 0
        self.forgotten = forgotten
        self.add(events)

    def deleted_after(self, key: bytes, since: int) -> bool:
        """Whether an absent key may have been deleted after revision ``since``."""
        last = max(self._deleted.get(key, 0), self._cleared, self.forgotten)
        return last > since

    def after(self, since: int, start: bytes, end: bytes | None, limit: int, now: int) -> Changed:
        """Events behind ``since`` that concern the keys from ``start`` to before ``end``, of whole
        revisions, and how far that is; ``now`` is the store's revision."""
        if since < self.forgotten:
            raise NotFound(
                f"what changed after revision {since} is forgotten (up to {self.forgotten}): read"
                " the keys again, and watch from that reading's revision."
            )
        new = []
        for event in reversed(self._events):
            if event.revision <= since:
                break
            new.append(event)
        found: list[Event] = []
        size = told = 0
        for event in reversed(new):
            full = len(found) >= limit or size >= MAX_PAGE_BYTES
            if full and event.revision != told:
                return Changed(found, told)
            told = event.revision
            if event.kind is Kind.CLEAR or (
                event.key >= start and (end is None or event.key < end)
            ):
                found.append(event)
                size += _size(event)
        return Changed(found, max(now, since))


def _size(event: Event) -> int:
    return len(event.key) + len(event.value) + EVENT_BYTES
