"""Chunks placed ahead of their use, so that many small files do not cost a proposal each.

The first file asks for one chunk, the next for two, then four, up to ``MAX_AHEAD``: who writes one
file leaves nothing behind, who writes thousands asks rarely.  What is not used expires.
"""

import asyncio
from collections import deque

from quorate.base.errors import DeadlineExceeded, ProtocolError
from quorate.gfs.access import Access, Deadline
from quorate.gfs.messages import PlaceChunks, PlacedChunk, Placement

MAX_AHEAD = 32
FRESH_MS = 10_000
"""An older placement may name chunkservers that have died since."""


async def place_chunks(access: Access, request: PlaceChunks, timeout_ms: float) -> Placement:
    """The master's answer; raises ``ProtocolError`` if it is none to this question."""
    placement = await access.group.call_leader(request, timeout_ms=timeout_ms)
    if len(placement.chunks) != request.count:
        raise ProtocolError(
            f"the master placed {len(placement.chunks)} chunks where {request.count} were asked for"
        )
    return placement


class ChunkPool:
    """Placed chunks of one ``FileSystem``."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self._chunks: deque[PlacedChunk] = deque()
        self._minimum = 1
        self._placed_ms = 0.0
        self._ahead = 1
        self._lock = asyncio.Lock()

    async def take(self, needed_bytes: int, deadline: Deadline) -> tuple[PlacedChunk, int]:
        """A new chunk with its chunkservers, and how many of these must have it."""
        try:
            async with asyncio.timeout(deadline.remaining_ms() / 1000):
                await self._lock.acquire()
        except TimeoutError:
            raise DeadlineExceeded("no chunk could be had before the deadline") from None
        try:
            now_ms = self._access.world.clock.monotonic_ms()
            if now_ms - self._placed_ms > FRESH_MS:
                self._chunks.clear()
            if not self._chunks:
                await self._fill(needed_bytes, deadline)
            return self._chunks.popleft(), self._minimum
        finally:
            self._lock.release()

    async def _fill(self, needed_bytes: int, deadline: Deadline) -> None:
        request = PlaceChunks(self._ahead, needed_bytes, [])
        timeout_ms = deadline.remaining_ms()
        placement = await place_chunks(self._access, request, timeout_ms)
        self._chunks.extend(placement.chunks)
        self._minimum = placement.minimum
        self._placed_ms = self._access.world.clock.monotonic_ms()
        self._ahead = min(2 * self._ahead, MAX_AHEAD)

    def clear(self) -> None:
        """Forget what was placed: one of the chunkservers failed."""
        self._chunks.clear()
