"""Chunk handles: which are given out, which are in files, which are garbage.

Rules:
* A handle is given out once, in order, and never again (GFS §2.1: "immutable and globally unique").
* It is *pending* from then until a file uses it, its writer gives it up, or ``PENDING_MS`` of log
  time have passed since it was given out or renewed: a writer that died leaves nothing behind.
* A handle is *garbage* iff it was given out and is neither pending nor in a file.  It stays garbage
  for ever, so a replica that lags behind may judge it too: what it calls garbage, is.  Chunkservers
  learn of garbage with their heartbeats (GFS §4.4.1).
"""

from collections.abc import Iterable, Iterator

from quorate.base.checksum import SetDigest
from quorate.base.codec import encode
from quorate.base.errors import NotFound
from quorate.base.frozen import FreezableMap

PENDING_MS = 60 * 60 * 1000
MAX_EXPIRED = 1000
"""Handles that expire with one batch: if they are more, the rest goes with the next ones."""


def pending_item(handle: int, expiry_ms: int) -> bytes:
    return encode((handle, expiry_ms))


class ChunkTable:
    """Every handle ever given out, by what became of it."""

    def __init__(self) -> None:
        self.next_handle = 1
        self.pending: FreezableMap[int, int] = FreezableMap()  # handle -> expiry
        self._expiries: FreezableMap[tuple[int, int], None] = FreezableMap()  # (expiry, handle)
        # In files; derived from the tree, so not in the digest.
        self.used: FreezableMap[int, None] = FreezableMap()
        self.digest = SetDigest()

    def allocate(self, count: int, time_ms: int) -> int:
        """The first of ``count`` new handles."""
        first = self.next_handle
        self.next_handle += count
        for handle in range(first, self.next_handle):
            self.hold(handle, time_ms + PENDING_MS)
        return first

    def hold(self, handle: int, expiry_ms: int) -> None:
        """Note a pending handle."""
        self.pending[handle] = expiry_ms
        self._expiries[expiry_ms, handle] = None
        self.digest.add(pending_item(handle, expiry_ms))

    def _release(self, handle: int) -> None:
        expiry_ms = self.pending.pop(handle)
        self._expiries.pop((expiry_ms, handle))
        self.digest.remove(pending_item(handle, expiry_ms))

    def require_pending(self, handles: Iterable[int]) -> None:
        """Raise ``NotFound`` unless all are pending."""
        for handle in handles:
            if handle not in self.pending:
                raise NotFound(
                    f"chunk {handle:016x} is no longer kept for a file that is being written:"
                    " writing took too long, or the file was closed twice; write it again"
                )

    def renew(self, handles: Iterable[int], time_ms: int) -> None:
        for handle in handles:
            self._release(handle)
            self.hold(handle, time_ms + PENDING_MS)

    def release(self, handles: Iterable[int]) -> None:
        """Give up those of ``handles`` that are pending."""
        for handle in handles:
            if handle in self.pending:
                self._release(handle)

    def use(self, handles: Iterable[int]) -> None:
        """Pending handles are in a file now."""
        for handle in handles:
            self._release(handle)
            self.used[handle] = None

    def let_go(self, handles: Iterable[int]) -> None:
        """Handles of a file that is gone: garbage from here on."""
        for handle in handles:
            self.used.pop(handle)

    def expire(self, time_ms: int) -> None:
        for _ in range(MAX_EXPIRED):
            first = self._expiries.first()
            if first is None or first[0] > time_ms:
                return
            self._release(first[1])

    def next_deadline_ms(self) -> int | None:
        first = self._expiries.first()
        return None if first is None else first[0]

    def clear(self) -> Iterator[None]:
        """Let go of everything, with pauses."""
        yield from self.pending.clear()
        yield from self._expiries.clear()
        yield from self.used.clear()

    def is_garbage(self, handle: int) -> bool:
        return handle < self.next_handle and handle not in self.pending and handle not in self.used
