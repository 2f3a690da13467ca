"""Locks with fencing tokens.

    async with kv.lock("report", ttl_s=10) as token:
        await kv.commit(Transaction().if_lock(token).put("report", data))

Rules:
* A lock is a key with an end.  Its value is drawn by who holds it, so that nobody gives back or
  keeps alive what has become another's.  The commands are those that clients of Redis use for the
  same, so both exclude each other.
* While it is held it is kept alive, three times in each ``ttl_s``.  If that fails for so long that
  another may have it, it counts as lost here, before the others can take it if clocks run alike.
* No lease makes sure of what its holder does late: a process may stand still between looking at the
  lock and writing.  That is what the token is for: who writes with ``Transaction.if_lock`` is
  refused once the lock is another's, and others can compare ``Token.number``.
* A lock that is lost cancels the work inside ``async with``, which then raises ``Fenced``; with
  ``on_lost`` it calls that, and the work goes on until it looks.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING

from quorate.base.errors import (
    BadInput,
    DeadlineExceeded,
    Fenced,
    NotFound,
    QuorateError,
)
from quorate.kv.core.commands import DeleteEqual, ExpireEqual, Fetch, Kind, Set, When
from quorate.kv.transaction import Bytes, Token, as_bytes, milliseconds
from quorate.kv.watching import Watching
from quorate.runtime.ports import World

if TYPE_CHECKING:
    from quorate.kv.client import KvClient

RENEWALS = 3
"""In each time to live."""
RETRY_SHARE = 1 / 20
"""Of the time to live: the pause after a renewal that failed."""
WAIT_S = 5.0
"""How long who waits for a lock listens before looking at it himself."""


class Lock:
    """One lock of one holder; it may be taken again after it was given back."""

    def __init__(
        self,
        world: World,
        kv: "KvClient",
        name: Bytes,
        ttl_s: float,
        wait_s: float | None,
        on_lost: Callable[[], object] | None,
    ) -> None:
        self._world = world
        self._kv = kv
        self._key = as_bytes(name)
        self._ttl_ms = milliseconds(ttl_s)
        self._wait_s = wait_s
        self._on_lost = on_lost
        self._token: Token | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._holder: asyncio.Task[object] | None = None
        """Who is to be cancelled."""
        self._cancelling = 0
        self._has_cancelled = False
        self.is_lost = False
        """Somebody else may have it by now."""

    async def acquire(self) -> Token:
        """Wait for the lock and take it; raises ``DeadlineExceeded`` after ``wait_s``."""
        if self._token is not None:
            raise BadInput("this lock object holds its lock already: make another one of that name")
        clock = self._world.clock
        end_ms = clock.monotonic_ms() + (self._wait_s or 0) * 1000
        owner = b"%032x" % self._world.random.getrandbits(128)
        watching: Watching | None = None
        while True:
            asked_ms = clock.monotonic_ms()
            try:
                number = await self._take(owner)
            except BaseException:
                # It may be taken now: nobody should have to wait until its time is over.
                self._world.spawn(self._give_back(owner), "give a lock back")
                raise
            if number:
                break
            left_s = (end_ms - clock.monotonic_ms()) / 1000
            if self._wait_s is not None and left_s <= 0:
                raise DeadlineExceeded(f"the lock {self._key!r} was held by another all the time")
            if watching is None:  # and look once more: it may have been given back before that
                watching = await self._kv.watch(self._key)
            elif not await self._freed(watching, left_s if self._wait_s is not None else WAIT_S):
                watching = None
        self._token, self.is_lost = Token(self._key, owner, number), False
        self._keeper = self._world.spawn(self._keep(self._token, asked_ms), "keep a lock")
        return self._token

    async def release(self) -> None:
        """Give it back, if it is held; a node that does not answer lets it end by itself."""
        token, self._token = self._token, None
        if self._keeper is not None:
            self._keeper.cancel()
            self._keeper = None
        if token is not None and not self.is_lost:
            await self._give_back(token.owner)

    async def _give_back(self, owner: bytes) -> None:
        with suppress(QuorateError):
            await self._kv.perform(DeleteEqual(self._key, owner))

    async def _take(self, owner: bytes) -> int:
        """The token's number, or 0 if another has the lock."""
        taking = Set(self._key, owner, ttl_ms=self._ttl_ms, when=When.ABSENT, give=True)
        revision, before = await self._kv.perform(taking)
        if before == owner:  # by an attempt of which nothing was known
            entry = await self._kv.perform(Fetch(self._key))
            return entry.revision if entry is not None and entry.value == owner else 0
        return int(revision)

    async def _freed(self, watching: Watching, left_s: float) -> bool:
        """Wait until the lock may be free; false if the watch is of no use any more."""
        clock = self._world.clock
        end_ms = clock.monotonic_ms() + min(left_s, WAIT_S) * 1000
        try:
            while (left_ms := end_ms - clock.monotonic_ms()) >= 1:
                events = await watching.events(left_ms / 1000)
                if any(event.kind is not Kind.PUT for event in events):
                    break  # and not only kept alive
        except NotFound:
            return False
        return True

    async def _keep(self, token: Token, renewed_ms: float) -> None:
        """Prolong it again and again; returns when it is lost."""
        clock, ttl_ms = self._world.clock, self._ttl_ms
        pause_ms = ttl_ms / RENEWALS
        while True:
            left_ms = renewed_ms + ttl_ms - clock.monotonic_ms()
            await clock.sleep(max(0.0, min(pause_ms, left_ms)))
            asked_ms = clock.monotonic_ms()
            left_ms = renewed_ms + ttl_ms - asked_ms
            if left_ms <= 0:
                break
            pause_ms = ttl_ms * RETRY_SHARE
            try:
                kv = self._kv.within(left_ms / 1000)
                if not await kv.perform(ExpireEqual(token.key, token.owner, ttl_ms)):
                    break
            except QuorateError:
                continue
            renewed_ms, pause_ms = asked_ms, ttl_ms / RENEWALS
        self.is_lost = True
        if self._on_lost is not None:
            self._on_lost()
        elif self._holder is not None:
            self._has_cancelled = True
            self._holder.cancel()

    async def __aenter__(self) -> Token:
        token = await self.acquire()
        self._holder = asyncio.current_task()
        self._cancelling = self._holder.cancelling() if self._holder is not None else 0
        self._has_cancelled = False
        return token

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        holder, self._holder = self._holder, None
        if self._has_cancelled and holder is not None:
            if kind is not asyncio.CancelledError:
                with suppress(asyncio.CancelledError):  # ours, which has not been seen yet
                    await self._world.clock.sleep(0)
            elif holder.uncancel() > self._cancelling:
                return  # somebody else wants it to end, too
            else:
                raise self._lost() from error
            holder.uncancel()
        await self.release()
        if self.is_lost and kind is None:
            raise self._lost()

    def _lost(self) -> Fenced:
        return Fenced(
            f"the lock {self._key!r} was lost while it was held: another may have had it meanwhile"
        )
