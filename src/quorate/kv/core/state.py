"""What the store holds, and the few ways in which it changes.

Rules:
* Everything goes through ``write`` and ``remove``, so that revision, events, digest and what a
  transaction would have to put back are right whatever the operation.
* What makes the store grow asks before anything is changed (``write``, ``make_room``): at the
  bound it is refused.  History and uploads count, the index of ends counts, and setting an end is
  never refused: it is a way out.  History gets an eighth of the bound at most, so that it alone
  never keeps the store full.
* Far from the bound a write pays one comparison for that: ``_free_to`` is the size of all items up
  to which nobody has to be asked.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar, cast

from quorate.base.checksum import stable_hash
from quorate.base.codec import encode
from quorate.base.errors import BadInput, StoreFull
from quorate.base.sometimes import sometimes
from quorate.kv.core.commands import (
    MAX_KEY_BYTES,
    MAX_SKIPPED,
    MAX_VALUE_BYTES,
    MAX_WORK_BYTES,
    Entry,
    Event,
    Kind,
    Stage,
    Value,
)
from quorate.kv.core.history import Happening, History
from quorate.kv.core.items import KEY_OVERHEAD_BYTES, SMALL_BYTES, Items, Table
from quorate.kv.core.uploads import Uploads

MAX_ENDED = 1000
"""Keys that one entry takes away because their time has come; of ``MAX_WORK_BYTES`` at most."""
MAX_CURSORS = 4096
LET_GO = 6
"""Pauses of what is let go of that one entry goes through: some thousand keys."""
HISTORY_SHARE = 8
TIGHT_BYTES = 1 << 20
_NO_BOUND = 1 << 62

T = TypeVar("T")


class State:
    """Keys, their history, and what is on its way to become a value."""

    max_ended = MAX_ENDED
    max_cursors = MAX_CURSORS

    def __init__(self, table: Table, max_events: int) -> None:
        self.items = Items(table)
        self.history = History(max_events)
        self.uploads = Uploads()
        self.revision = 0
        self.time_ms = 0
        """Log time of the last entry."""
        self.cursors: dict[int, bytes] = {}
        """Where a scan goes on, oldest first."""
        self.last_cursor = 0
        self.max_bytes = 0
        self.restricted = ""
        self.work_left = 0
        """Of ``MAX_WORK_BYTES``, in the command under way."""
        self._free_to = _NO_BOUND
        self._events: list[Happening] = []
        self._deletes: list[Event] = []
        """Those of them that wrote no value."""
        self._event_bytes = 0
        self._is_together = False
        """Whether all that changes has one revision, until further notice."""
        self._is_begun = False
        """Whether that revision has been given."""
        self._before: list[tuple[bytes, Entry | None]] | None = None
        """What a transaction that may be taken back has changed, in order."""
        self._garbage: deque[Iterator[None]] = deque()

    def get(self, key: bytes) -> Entry | None:
        """What is there now."""
        return self.items.get(key, self.time_ms)

    def value(self, value: Value) -> bytes:
        """The bytes that ``value`` stands for."""
        return self.uploads.use(value) if isinstance(value, int) else value

    @property
    def total_bytes(self) -> int:
        """What all of it takes, about."""
        return self.items.bytes + self.history.bytes + self.uploads.bytes

    # Changing.

    def write(self, key: bytes, value: bytes, at_ms: int = 0, *, fits: bool = False) -> int:
        """The key has this value, until ``at_ms`` if that is given; gives the revision.

        Raises ``BadInput`` for what cannot be stored, and ``StoreFull``; never what ``fits``.
        """
        size = len(key) + len(value)
        if not fits and (size > SMALL_BYTES or self.items.bytes + size > self._free_to):
            self._look_closer(key, value)
        if at_ms and at_ms <= self.time_ms:
            self.remove(key)
            return max(self.revision, 1)
        if self._is_begun:
            revision = self.revision
        else:
            revision = self.revision = self.revision + 1
            self._is_begun = self._is_together
        entry = Entry(key, value, revision, at_ms)
        before = self.items.put(entry)
        if self._before is not None:
            self._before.append((key, before))
        self._events.append(entry)
        self._event_bytes += size
        return revision

    def write_all(self, keys: Sequence[bytes], values: Sequence[Value]) -> Sequence[int] | None:
        """``write`` without ends, each a change of its own; gives the revisions.  ``None``, and
        nothing is done, where one by one has to be looked at."""
        if set(map(type, values)) != {bytes}:
            return None
        contents, items = cast(Sequence[bytes], values), self.items
        size = sum(map(len, keys)) + sum(map(len, contents))
        if (
            max(map(len, keys)) + max(map(len, contents)) >= SMALL_BYTES
            or items.bytes + size + KEY_OVERHEAD_BYTES * len(keys) > self._free_to
        ):
            return None
        revisions = range(self.revision + 1, self.revision + 1 + len(keys))
        self._events += items.put_all(keys, contents, revisions, size)
        self._event_bytes += size
        self.revision = revisions[-1]
        return revisions

    def remove(self, key: bytes, kind: Kind = Kind.DELETE) -> bool:
        """Take the key away; whether it was there."""
        if kind is Kind.DELETE and self.get(key) is None:
            return False
        before = self.items.remove(key)
        if self._before is not None:
            self._before.append((key, before))
        self._note(Event(self._advance(), kind, key, b""))
        return True

    def clear(self) -> int:
        """Take all keys away; how many there were."""
        if self._before is not None:
            raise BadInput("everything cannot be deleted as part of a whole transaction")
        count = len(self.items)
        if count:
            self._note(Event(self._advance(), Kind.CLEAR, b"", b""))
            self._garbage.append(self.items.clear())
        return count

    def skip(self, revision: int) -> int:
        """Revisions go on above this one, and nothing before is remembered; gives the revision."""
        if self._is_together:
            raise BadInput("revisions cannot be moved on as part of a transaction")
        if not 0 <= revision <= MAX_SKIPPED:
            raise BadInput(f"revision {revision} is none: from 0 to {MAX_SKIPPED}")
        if revision > self.revision:
            self._remember()
            self.history.restore([], revision)
            self.revision = revision
        return self.revision

    def _note(self, event: Event) -> None:
        self._events.append(event)
        self._deletes.append(event)
        self._event_bytes += len(event.key)

    def _advance(self) -> int:
        if not self._is_begun:
            self.revision += 1
            self._is_begun = self._is_together
        return self.revision

    # Bounds.

    def limit(self, max_bytes: int, restricted: str) -> None:
        """How large all of it may become."""
        if max_bytes < 0:
            raise BadInput(f"a store of at most {max_bytes} bytes")
        self.max_bytes, self.restricted = max_bytes, restricted
        self.history.bound(max_bytes // HISTORY_SHARE if max_bytes else None)
        self._ask_from()

    def make_room(self, pairs: dict[bytes, bytes]) -> None:
        """Raise unless all of them can be stored."""
        sizes = 0
        for key, value in pairs.items():
            sizes += len(key) + len(value)
            if len(key) + len(value) > SMALL_BYTES:
                self._refuse(key, value)
        if self.items.bytes + sizes + KEY_OVERHEAD_BYTES * len(pairs) > self._free_to:
            self.let_grow(sum(self.growth(key, len(value)) for key, value in pairs.items()))

    def make_room_for_name(self, key: bytes, target: bytes) -> None:
        """Raise unless what is at ``key`` can be at ``target`` instead."""
        self._refuse(target, b"")
        there = self.items.table.get(target)
        freed = len(target) + len(there.value) + KEY_OVERHEAD_BYTES if there is not None else 0
        self.let_grow(len(target) - len(key) - freed)

    def growth(self, key: bytes, length: int) -> int:
        """Of all items, if the key gets a value of so many bytes."""
        before = self.items.table.get(key)
        if before is None:
            return len(key) + length + KEY_OVERHEAD_BYTES
        return length - len(before.value)

    def let_grow(self, growth: int) -> None:
        """Raise ``StoreFull`` unless there is room for so many bytes more."""
        if growth <= 0:
            return
        if self.restricted:
            raise StoreFull(f"{self.restricted}: reads, deletes and what does not grow go on.")
        if self.max_bytes and self.total_bytes + growth > self.max_bytes:
            raise StoreFull(
                f"the store takes {self.total_bytes} of {self.max_bytes} bytes: delete keys,"
                " or raise the bound; reads, deletes and what does not grow go on."
            )

    @property
    def is_tight(self) -> bool:
        """Whether what fits one entry of the log may not fit the store."""
        return self.items.bytes + TIGHT_BYTES > self._free_to

    def _look_closer(self, key: bytes, value: bytes) -> None:
        self._refuse(key, value)
        if self.items.bytes + len(key) + len(value) > self._free_to:
            self.let_grow(self.growth(key, len(value)))

    def _refuse(self, key: bytes, value: bytes) -> None:
        """Raise ``BadInput`` for what is too large."""
        if len(key) > MAX_KEY_BYTES:
            raise BadInput(f"a key of {len(key)} bytes; {MAX_KEY_BYTES} at most")
        if len(value) > MAX_VALUE_BYTES:
            raise BadInput("string exceeds maximum allowed size (proto-max-bulk-len)")
        self.work_left -= len(value)

    def _ask_from(self) -> None:
        if self.restricted:
            self._free_to = -1
        elif self.max_bytes:
            others = self.history.bytes + self.uploads.bytes
            self._free_to = self.max_bytes - others - KEY_OVERHEAD_BYTES
        else:
            self._free_to = _NO_BOUND

    # Commands and transactions.

    def begin_command(self) -> None:
        """What follows may cost so much."""
        self.work_left = MAX_WORK_BYTES

    def begin(self, *, whole: bool) -> None:
        """What follows has one revision; ``whole``: and can be taken back."""
        self._is_together = True
        self._before = [] if whole else None

    def as_one(self, change: Callable[["State", T], object], operation: T) -> object:
        """An operation of several changes: they have one revision."""
        if self._is_together:
            return change(self, operation)
        self._is_together = True
        try:
            return change(self, operation)
        finally:
            self._is_together = self._is_begun = False

    def take_back(self) -> None:
        """Everything since ``begin``."""
        before, self._before = self._before or [], None
        sometimes("transaction taken back")
        for key, item in reversed(before):
            if item is not None:
                self.items.put(item)
            elif self.items.table.get(key) is not None:
                self.items.remove(key)
        if self._is_begun:
            self.revision -= 1
        self._events.clear()
        self._deletes.clear()
        self._event_bytes = 0

    def end(self) -> None:
        """A command is done: its events are told."""
        self._is_together = self._is_begun = False
        self._before = None
        self._remember()
        if self._free_to != _NO_BOUND:
            self._ask_from()

    def _remember(self) -> None:
        """What has happened goes into the history."""
        if self._events:
            self.history.add(self._events, self._event_bytes, self._deletes)
            self._events, self._deletes, self._event_bytes = [], [], 0

    # Uploads and cursors.

    def stage(self, piece: Stage) -> int:
        """Take one piece of an upload; how many bytes of it are there."""
        growth = self.uploads.growth(piece.upload, piece.offset, len(piece.data))
        if growth:
            self.let_grow(growth)
            self.uploads.add(piece.upload, piece.data, self.time_ms)
        return self.uploads.length(piece.upload)

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
        until = self.items.bytes - MAX_WORK_BYTES
        for _ in range(self.max_ended):
            ended = self.items.next_end()
            if ended is None or ended[0] > time_ms or self.items.bytes <= until:
                break
            self.remove(ended[1], Kind.EXPIRE)
        else:
            sometimes("ended keys left for the next entry")
        self.uploads.expire(time_ms)
        for _ in range(LET_GO):
            if not self._garbage:
                break
            if next(self._garbage[0], self) is self:
                self._garbage.popleft()
        self.end()

    def next_deadline_ms(self) -> int | None:
        """When ``pass_time`` has something to do."""
        if self._garbage:
            return self.time_ms
        ended, upload_ms = self.items.next_end(), self.uploads.next_end_ms()
        if ended is None or upload_ms is None:
            return upload_ms if ended is None else ended[0]
        return min(ended[0], upload_ms)

    def let_go(self) -> Iterator[None]:
        """The state is not used any more; exhaust it to let go of the memory."""
        yield from self.items.clear()
        while self._garbage:
            yield from self._garbage.popleft()

    def digest(self) -> int:
        """Of everything that a later command could tell apart."""
        rest = (
            self.items.digest,
            self.revision,
            self.history.forgotten,
            self.last_cursor,
            [(upload.number, upload.length) for upload in self.uploads],
            self.max_bytes,
            self.restricted,
        )
        return stable_hash(encode(rest))
