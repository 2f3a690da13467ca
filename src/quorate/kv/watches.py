"""Who waits for which keys to change.

One look at each new event wakes those who wait for its key: those of single keys are found by the
key, those of ranges are asked one after the other.
"""

import asyncio

from quorate.base.errors import NotFound, Overloaded
from quorate.kv.core.commands import Changes, Event, Kind
from quorate.kv.core.store import Store

MAX_WAITING = 10_000


class _Waiting:
    __slots__ = ("end", "future", "start")

    def __init__(self, start: bytes, end: bytes | None) -> None:
        self.start = start
        self.end = end
        self.future: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def is_single(self) -> bool:
        return self.end == self.start + b"\0"

    def wake(self) -> None:
        if not self.future.done():
            self.future.set_result(None)


class Watches:
    """The watches of one node."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._seen = store.state.revision
        self._singles: dict[bytes, dict[_Waiting, None]] = {}
        self._ranges: dict[_Waiting, None] = {}
        self.count = 0

    async def wait(self, start: bytes, end: bytes | None) -> None:
        """Until something has happened in the range, or may have; raises ``Overloaded``."""
        if self.count >= MAX_WAITING:
            raise Overloaded(f"{self.count} watches wait on this node already: ask another one")
        waiting = _Waiting(start, end)
        mine = self._singles.setdefault(start, {}) if waiting.is_single else self._ranges
        mine[waiting] = None
        self.count += 1
        try:
            await waiting.future
        finally:
            self.count -= 1
            del mine[waiting]
            if waiting.is_single and not mine:
                self._singles.pop(start, None)

    def applied(self) -> None:
        """The store may have changed."""
        revision = self._store.state.revision
        if revision == self._seen:
            return
        since, self._seen = self._seen, revision
        if not self.count:
            return
        try:
            changed = self._store.changes(Changes(since, b"", None, limit=1 << 30))
        except NotFound:  # a snapshot was installed, or more happened than is remembered
            return self._wake_all()
        self._seen = changed.revision
        for event in changed.events:
            self._wake(event)
        if self._seen < revision:
            self.applied()

    def _wake(self, event: Event) -> None:
        if event.kind is Kind.CLEAR:
            return self._wake_all()
        for waiting in self._singles.get(event.key, ()):
            waiting.wake()
        for waiting in self._ranges:
            if waiting.start <= event.key and (waiting.end is None or event.key < waiting.end):
                waiting.wake()

    def _wake_all(self) -> None:
        for waiting in self._ranges:
            waiting.wake()
        for singles in self._singles.values():
            for waiting in singles:
                waiting.wake()
