"""Frozen views of a store, which their clients read piece by piece: how a backup is made.

Rules:
* A view is the whole store at one index of the log.  It costs what changes meanwhile (a table that
  is frozen copies what is written to), so there are few of them, and none for ever.
* A piece is made when it is asked for, and kept until the next one is: an answer that was lost on
  its way is given again.
* A view that nobody reads for ``IDLE_MS`` has lost its client, and is dropped; so is one that is
  older than ``MAX_AGE_MS``.
"""

from collections.abc import Iterator

from quorate.base.codec import encode
from quorate.base.errors import BadInput, NotFound, Overloaded
from quorate.kv.core.commands import MAX_PAGE_ENTRIES, Entry
from quorate.kv.core.store import Store
from quorate.runtime.ports import Timer, World

MAX_VIEWS = 2
IDLE_MS = 60_000.0
"""Enough for whoever writes a piece, and many before it, to a store far away."""
MAX_AGE_MS = 6 * 60 * 60 * 1000.0
PIECE_BYTES = 1 << 20
"""A larger value is a piece of its own."""


class _View:
    """One of them."""

    def __init__(self, entries: Iterator[Entry], opened_ms: float) -> None:
        self._entries = entries
        self._next = next(entries, None)
        self._number = -1
        self._piece = b""
        self.opened_ms = opened_ms
        self.timer: Timer | None = None

    def piece(self, number: int, piece_bytes: int) -> bytes:
        """Raises ``BadInput`` for another than the next one or the latest."""
        if number == self._number + 1:
            entries, size = list[Entry](), 0
            while (entry := self._next) is not None:
                size += len(entry.key) + len(entry.value)
                if entries and (size > piece_bytes or len(entries) == MAX_PAGE_ENTRIES):
                    break
                entries.append(entry)
                self._next = next(self._entries, None)
            self._number, self._piece = number, encode(entries)
        elif number != self._number:
            raise BadInput(f"piece {number} of a view that is at piece {self._number}")
        return self._piece

    @property
    def is_over(self) -> bool:
        """Whether the latest piece is the last."""
        return self._next is None


class Views:
    """The views that one node holds."""

    piece_bytes = PIECE_BYTES

    def __init__(self, world: World, store: Store) -> None:
        self._world = world
        self._store = store
        self._views: dict[int, _View] = {}

    def open(self, time_ms: int) -> int:
        """Hold the store as it is now, where log time is ``time_ms``; gives the view's number."""
        if len(self._views) >= MAX_VIEWS:
            raise Overloaded(
                f"{MAX_VIEWS} backups are read from this node already: try again when one is done"
            )
        number = self._world.random.getrandbits(62)
        frozen = self._store.state.items.table.freeze()
        entries = (
            Entry(key, item.value, item.revision, max(0, item.at_ms - time_ms))
            for key, item in frozen
            if not 0 < item.at_ms <= time_ms
        )
        self._views[number] = _View(entries, self._world.clock.monotonic_ms())
        self._used(number)
        return number

    def read(self, number: int, piece: int) -> tuple[bytes, bool]:
        """A piece of a view, and whether it is the last; raises ``NotFound``."""
        view = self._views.get(number)
        if view is None:
            raise NotFound("this view of the store is not held any more: begin the backup again")
        self._used(number)
        return view.piece(piece, self.piece_bytes), view.is_over

    def close(self, number: int) -> None:
        """Let go of it."""
        view = self._views.pop(number, None)
        if view is not None and view.timer is not None:
            view.timer.cancel()

    def _used(self, number: int) -> None:
        view, clock = self._views[number], self._world.clock
        if view.timer is not None:
            view.timer.cancel()
        left_ms = view.opened_ms + MAX_AGE_MS - clock.monotonic_ms()
        view.timer = clock.call_later(max(0.0, min(IDLE_MS, left_ms)), self.close, number)
