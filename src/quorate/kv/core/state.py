"""What the store holds, and the few ways in which it changes.

Everything goes through ``write`` and ``remove``, so that revision, events, digest and what a
transaction would have to put back are right whatever the operation.
"""

from collections.abc import Iterator

import msgspec

from quorate.base.checksum import stable_hash
from quorate.base.codec import encode
from quorate.base.errors import BadInput, NotFound, Overloaded
from quorate.kv.core.commands import (
    MAX_KEY_BYTES,
    MAX_STAGED_BYTES,
    MAX_VALUE_BYTES,
    Event,
    Kind,
    Stage,
    Value,
)
from quorate.kv.core.history import History
from quorate.kv.core.items import Item, Items, Table

MAX_ENDED = 1000
"""Keys that one entry takes away because their time has come."""
MAX_CURSORS = 4096
UPLOAD_MS = 60_000


class Upload(msgspec.Struct, array_like=True, gc=False):
    """A value that comes in pieces."""

    pieces: list[bytes]
    bytes: int
    until_ms: int


class State:
    """Keys, their history, and what is on its way to become a value."""

    max_ended = MAX_ENDED
    max_cursors = MAX_CURSORS

    def __init__(self, table: Table, max_events: int) -> None:
        self.items = Items(table)
        self.history = History(max_events)
        self.revision = 0
        self.time_ms = 0
        """Log time of the last entry."""
        self.cursors: dict[int, bytes] = {}
        """Where a scan goes on, oldest first."""
        self.last_cursor = 0
        self.uploads: dict[int, Upload] = {}
        self.staged_bytes = 0
        self._used: list[int] = []
        self._events: list[Event] = []
        self._together = 0
        """The revision of the transaction under way; 0: none has changed anything yet."""
        self._is_together = False
        self._before: list[tuple[bytes, Item | None]] | None = None
        """What a transaction that may be taken back has changed, in order."""
        self._garbage: Iterator[None] | None = None

    def get(self, key: bytes) -> Item | None:
        """What is there now."""
        return self.items.get(key, self.time_ms)

    def value(self, value: Value) -> bytes:
        """The bytes that ``value`` stands for."""
        if isinstance(value, int):
            upload = self.uploads.get(value)
            if upload is None:
                raise NotFound("the pieces of this value are not there any more: send it again")
            self._used.append(value)
            return b"".join(upload.pieces)
        return value

    # Changing.

    @staticmethod
    def refuse(key: bytes, value: bytes) -> None:
        """Raise ``BadInput`` for what cannot be stored."""
        if len(key) > MAX_KEY_BYTES:
            raise BadInput(f"a key of {len(key)} bytes; {MAX_KEY_BYTES} at most")
        if len(value) > MAX_VALUE_BYTES:
            raise BadInput("string exceeds maximum allowed size (proto-max-bulk-len)")

    def write(self, key: bytes, value: bytes, at_ms: int = 0) -> int:
        """The key has this value, until ``at_ms`` if that is given; gives the revision."""
        self.refuse(key, value)
        if at_ms and at_ms <= self.time_ms:
            self.remove(key)
            return self.revision
        revision = self._advance()
        before = self.items.put(key, Item(value, revision, at_ms))
        if self._before is not None:
            self._before.append((key, before))
        self._events.append(Event(revision, Kind.PUT, key, value))
        return revision

    def remove(self, key: bytes, kind: Kind = Kind.DELETE) -> bool:
        """Take the key away; whether it was there."""
        if self.get(key) is None and kind is Kind.DELETE:
            return False
        before = self.items.remove(key)
        if self._before is not None:
            self._before.append((key, before))
        self._events.append(Event(self._advance(), kind, key, b""))
        return True

    def clear(self) -> int:
        """Take all keys away; how many there were."""
        if self._before is not None:
            raise BadInput("everything cannot be deleted as part of a whole transaction")
        count = len(self.items)
        if count:
            self._events.append(Event(self._advance(), Kind.CLEAR, b"", b""))
            self._let_go(self.items.clear())
        return count

    def _advance(self) -> int:
        if not self._is_together:
            self.revision += 1
        elif not self._together:
            self.revision += 1
            self._together = self.revision
        return self.revision

    def _let_go(self, garbage: Iterator[None]) -> None:
        before = self._garbage

        def both() -> Iterator[None]:
            yield from before or ()
            yield from garbage

        self._garbage = both()

    # Transactions.

    def begin(self, *, whole: bool) -> None:
        """What follows has one revision; ``whole``: and can be taken back."""
        self._is_together, self._together = True, 0
        self._before = [] if whole else None

    def take_back(self) -> None:
        """Everything since ``begin``."""
        before, self._before = self._before or [], None
        for key, item in reversed(before):
            if item is not None:
                self.items.put(key, item)
            elif self.items.table.get(key) is not None:
                self.items.remove(key)
        if self._together:
            self.revision -= 1
        self._events.clear()

    def end(self) -> None:
        """A command is done: its events are told, and the uploads that it used dropped."""
        self._is_together, self._before = False, None
        if self._events:
            self.history.add(self._events)
            self._events.clear()
        for upload in self._used:
            if upload in self.uploads:
                self.staged_bytes -= self.uploads.pop(upload).bytes
        self._used.clear()

    # Uploads and cursors.

    def stage(self, piece: Stage) -> int:
        """Take one piece of an upload; how many bytes of it are there."""
        upload = self.uploads.get(piece.upload)
        there = upload.bytes if upload is not None else 0
        if piece.offset + len(piece.data) <= there:
            return there
        if piece.offset != there:
            raise NotFound("the pieces of this value are not there any more: send it again")
        if there + len(piece.data) > MAX_VALUE_BYTES:
            raise BadInput(f"a value of more than {MAX_VALUE_BYTES} bytes")
        if self.staged_bytes + len(piece.data) > MAX_STAGED_BYTES:
            raise Overloaded("too many large values are on their way; try again later")
        if upload is None:
            upload = self.uploads[piece.upload] = Upload([], 0, self.time_ms + UPLOAD_MS)
        upload.pieces.append(piece.data)
        upload.bytes += len(piece.data)
        self.staged_bytes += len(piece.data)
        return upload.bytes

    def new_cursor(self, key: bytes) -> int:
        """A number for the place in front of ``key``."""
        self.last_cursor += 1
        self.cursors[self.last_cursor] = key
        if len(self.cursors) > self.max_cursors:
            del self.cursors[next(iter(self.cursors))]
        return self.last_cursor

    # Time.

    def pass_time(self, time_ms: int) -> None:
        """It is ``time_ms`` now: take away some of what has ended."""
        self.time_ms = time_ms
        for _ in range(self.max_ended):
            ended = self.items.next_end()
            if ended is None or ended[0] > time_ms:
                break
            self.remove(ended[1], Kind.EXPIRE)
        while self.uploads:
            oldest = next(iter(self.uploads))
            if self.uploads[oldest].until_ms > time_ms:
                break
            self.staged_bytes -= self.uploads.pop(oldest).bytes
        if self._garbage is not None:
            for _ in range(MAX_ENDED // 16):
                if next(self._garbage, self) is self:
                    self._garbage = None
                    break
        self.end()

    def next_deadline_ms(self) -> int | None:
        """When ``pass_time`` has something to do."""
        if self._garbage is not None:
            return self.time_ms
        deadlines = [upload.until_ms for upload in self.uploads.values()][:1]
        if (ended := self.items.next_end()) is not None:
            deadlines.append(ended[0])
        return min(deadlines, default=None)

    def digest(self) -> int:
        """Of everything that a later command could tell apart."""
        rest = (
            self.items.digest,
            self.revision,
            self.history.forgotten,
            self.last_cursor,
            [(upload, staged.bytes) for upload, staged in self.uploads.items()],
        )
        return stable_hash(encode(rest))
