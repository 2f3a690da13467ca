"""Chunk handles: which are given out, which are in files, which are garbage.

Rules:
* A handle is given out once, in order, and never again (GFS §2.1: "immutable and globally unique").
* It is *pending* from then until a file uses it, its writer gives it up, or ``PENDING_MS`` of log
  time have passed since it was given out or renewed: a writer that died leaves nothing behind.
* A handle is *garbage* iff it was given out and is neither pending nor in a file.  It stays garbage
  for ever, so a replica that lags behind may judge it too: what it calls garbage, is.  Chunkservers
  learn of garbage with their heartbeats (GFS §4.4.1).
"""

from collections.abc import Iterable

from quorate.base.checksum import SetDigest
from quorate.base.codec import encode
from quorate.base.errors import NotFound

PENDING_MS = 60 * 60 * 1000


def pending_item(handle: int, expiry_ms: int) -> bytes:
    return encode((handle, expiry_ms))


class ChunkTable:
    """Every handle ever given out, by what became of it."""

    def __init__(self) -> None:
        self.next_handle = 1
        self.pending: dict[int, int] = {}  # handle -> expiry, earliest first
        self.used: set[int] = set()  # in files; derived from the tree, so not in the digest
        self.digest = SetDigest()

    def allocate(self, count: int, time_ms: int) -> int:
        """The first of ``count`` new handles."""
        first = self.next_handle
        self.next_handle += count
        for handle in range(first, self.next_handle):
            self.hold(handle, time_ms + PENDING_MS)
        return first

    def hold(self, handle: int, expiry_ms: int) -> None:
        """Note a pending handle.  Log time never runs backwards, so the order is by expiry."""
        self.pending[handle] = expiry_ms
        self.digest.add(pending_item(handle, expiry_ms))

    def _release(self, handle: int) -> None:
        self.digest.remove(pending_item(handle, self.pending.pop(handle)))

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
            self.used.add(handle)

    def let_go(self, handles: Iterable[int]) -> None:
        """Handles of a file that is gone: garbage from here on."""
        self.used.difference_update(handles)

    def expire(self, time_ms: int) -> None:
        while (deadline_ms := self.next_deadline_ms()) is not None and deadline_ms <= time_ms:
            self._release(next(iter(self.pending)))

    def next_deadline_ms(self) -> int | None:
        return next(iter(self.pending.values()), None)

    def is_garbage(self, handle: int) -> bool:
        return handle < self.next_handle and handle not in self.pending and handle not in self.used
