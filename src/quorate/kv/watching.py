"""Watching keys: a client's half of ``server.py``.

    async for event in await kv.watch(prefix="job/"):
        ...

Rules:
* A watch knows up to which revision it has told everything, and asks any node for what came after
  that.  So it loses nothing and repeats nothing, whichever node, leader or connection is lost.
* One node is asked until it fails; then the next.
* ``revision`` is where another watch, of another process on another day, can go on.
* The nodes remember a bounded number of changes.  A watch that was away for longer raises
  ``NotFound``: read the keys again, and watch from the revision of that reading.
"""

from collections import deque
from typing import Self

from quorate.base.errors import Maybe, NotLeader, TooLarge, Unavailable
from quorate.kv.core.commands import Changed, Event
from quorate.kv.messages import Watch
from quorate.raft.client import GroupClient
from quorate.rpc.client import RpcClient
from quorate.runtime.ports import World

ASK_MS = 5_000.0
"""How long one question waits at a node."""
PATIENCE_MS = 30_000.0
"""If no node has answered for so long, the watch says so."""
PAUSE_MS = 50.0


class Watching:
    """The changes of the keys from ``start`` to before ``end``, after revision ``since``.

    ``async for`` gives each event once, in order; ``events`` those that are there.  Both may raise
    ``NotFound`` (what comes next is forgotten) and ``Unavailable`` (no node answers): after the
    latter just go on.
    """

    def __init__(
        self,
        world: World,
        rpc: RpcClient,
        group: GroupClient,
        since: int,
        start: bytes,
        end: bytes | None,
    ) -> None:
        self._clock = world.clock
        self._rpc = rpc
        self._group = group
        self._since = since
        self._start = start
        self._end = end
        self._target = 0
        self._heard_ms = self._clock.monotonic_ms()
        self._pieces: list[Event] = []
        """Events behind ``since`` that are not all of their revision yet."""
        self._waiting: deque[Event] = deque()
        """Answered, and not yet given by ``async for``."""

    @property
    def revision(self) -> int:
        """Everything up to here has been given; what is half given is not counted."""
        return self._waiting[0].revision - 1 if self._waiting else self._since

    async def events(self, timeout_s: float) -> list[Event]:
        """What came next, of whole revisions; nothing, if nothing came in time."""
        if self._waiting:
            events = list(self._waiting)
            self._waiting.clear()
            return events
        end_ms = self._clock.monotonic_ms() + timeout_s * 1000
        while (left_ms := end_ms - self._clock.monotonic_ms()) >= 1:
            changed = await self._ask(min(left_ms, ASK_MS))
            if changed is not None:
                self._since = changed.revision
                self._pieces += changed.events
                if self._pieces and not changed.is_piece:
                    events, self._pieces = self._pieces, []
                    return events
        return []

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        while not self._waiting:
            self._waiting.extend(await self.events(PATIENCE_MS / 1000))
        return self._waiting.popleft()

    async def _ask(self, timeout_ms: float) -> Changed | None:
        """One question to one node; ``None`` if that did not answer."""
        addresses = self._group.addresses
        address = addresses[self._target % len(addresses)]
        request = Watch(self._since, self._start, self._end, told=len(self._pieces))
        try:
            try:
                changed = await self._rpc.call(address, request, timeout_ms=timeout_ms)
            except TooLarge:
                changed, _ = await self._rpc.call_bulk(address, request, timeout_ms=timeout_ms)
        except (Unavailable, Maybe, NotLeader) as error:
            self._target += 1
            silent_ms = self._clock.monotonic_ms() - self._heard_ms
            if silent_ms >= PATIENCE_MS:
                self._heard_ms = self._clock.monotonic_ms()
                raise Unavailable(
                    f"no node has answered this watch for {silent_ms / 1000:.0f} s; it can go on"
                    f" from revision {self._since}: {error.message}"
                ) from error
            await self._clock.sleep(min(PAUSE_MS, timeout_ms))
            return None
        self._heard_ms = self._clock.monotonic_ms()
        return changed
