"""Who waits for which keys to change.

One look at each new event wakes those who wait for its key: those of single keys are found by the
key, those of ranges are asked one after the other.  Who was not woken has been told by that: up to
``seen`` nothing has happened to its keys, however much has to others.
"""

import asyncio

from quorate.base.errors import NotFound, Overloaded
from quorate.kv.core.commands import Changes, Event, Kind
from quorate.kv.core.store import Store
from quorate.runtime.ports import Clock

MAX_WAITING = 10_000


class _Waiting:
    __slots__ = ("end", "future", "start")

    def __init__(self, start: bytes, end: bytes | None) -> None:
        self.start = start
        self.end = end
        self.future: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    @property
    def is_single(self) -> bool:
        return self.end == self.start + b"\0"

    def wake(self, since: int) -> None:
        """Up to revision ``since`` there was nothing for it."""
        if not self.future.done():
            self.future.set_result(since)


class Watches:
    """The watches of one node."""

    def __init__(self, clock: Clock, store: Store) -> None:
        self._clock = clock
        self._store = store
        self.seen = store.state.revision
        """Up to here all events have been looked at."""
        self._singles: dict[bytes, dict[_Waiting, None]] = {}
        self._ranges: dict[_Waiting, None] = {}
        self.count = 0

    async def wait(self, since: int, start: bytes, end: bytes | None, timeout_ms: float) -> int:
        """Until something has happened in the range after revision ``since``, that of the store, or
        may have, or the time is over; gives the revision up to which nothing did.  Raises
        ``Overloaded``."""
        if self.count >= MAX_WAITING:
            raise Overloaded(f"{self.count} watches wait on this node already: ask another one")
        waiting = _Waiting(start, end)
        mine = self._singles.setdefault(start, {}) if waiting.is_single else self._ranges
        mine[waiting] = None
        self.count += 1
        # Not a timeout, which would cancel who has just been woken, and lose what for.
        timer = self._clock.call_later(timeout_ms, lambda: waiting.wake(self.seen))
        try:
            return max(since, await waiting.future)
        finally:
            timer.cancel()
            self.count -= 1
            del mine[waiting]
            if waiting.is_single and not mine:
                self._singles.pop(start, None)

    def applied(self) -> None:
        """The store may have changed."""
        revision = self._store.state.revision
        if revision == self.seen:
            return
        since, self.seen = self.seen, revision
        if not self.count:
            return
        try:
            changed = self._store.changes(Changes(since, b"", None, limit=1 << 30))
        except NotFound:  # a snapshot was installed, or more happened than is remembered
            return self._wake_all(since)
        self.seen = changed.revision
        for event in changed.events:
            self._wake(event, since)
        if self.seen < revision:
            self.applied()

    def _wake(self, event: Event, since: int) -> None:
        if event.kind is Kind.CLEAR:
            return self._wake_all(since)
        for waiting in self._singles.get(event.key, ()):
            waiting.wake(since)
        for waiting in self._ranges:
            if waiting.start <= event.key and (waiting.end is None or event.key < waiting.end):
                waiting.wake(since)

    def _wake_all(self, since: int) -> None:
        for waiting in self._ranges:
            waiting.wake(since)
        for singles in self._singles.values():
            for waiting in singles:
                waiting.wake(since)
