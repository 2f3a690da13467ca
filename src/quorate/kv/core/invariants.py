"""What is true of every store, after every command."""

from itertools import chain

from quorate.base.check import check
from quorate.kv.core.commands import MAX_STAGED_BYTES, Kind
from quorate.kv.core.history import EVENT_BYTES
from quorate.kv.core.items import END_OVERHEAD_BYTES, KEY_OVERHEAD_BYTES, digest_of
from quorate.kv.core.state import MAX_CURSORS, State
from quorate.kv.core.uploads import PIECE_BYTES


def check_state(state: State) -> None:
    """Stop with ``Bug`` unless the parts of the state agree with each other."""
    digest = size = ends = count = 0
    last: bytes | None = None
    for key, item in state.items.table.items():
        check(last is None or key > last, "keys out of order")
        check(0 < item.revision <= state.revision, f"{key!r}: a revision that never was")
        last, count = key, count + 1
        digest += digest_of(item)
        size += len(key) + len(item.value) + KEY_OVERHEAD_BYTES
        if item.at_ms:
            ends += 1
            size += len(key) + END_OVERHEAD_BYTES
    check(count == len(state.items), "the number of keys is wrong")
    check(digest & ((1 << 64) - 1) == state.items.digest, "the digest is not that of the items")
    check(size == state.items.bytes, "the bytes are not those of the items")
    check(ends == state.items.with_end, "the ends are not those of the items")
    _check_history(state)
    staged = sum(len(piece) + PIECE_BYTES for upload in state.uploads for piece in upload.pieces)
    check(staged == state.uploads.bytes <= MAX_STAGED_BYTES, "the staged bytes are wrong")
    check(len(state.cursors) <= MAX_CURSORS, "too many cursors")


def _check_history(state: State) -> None:
    """The events, replayed, lead to the keys that they name."""
    revision = state.history.forgotten
    size = 0
    final: dict[bytes, bytes | None] = {}
    for event in chain.from_iterable(state.history.chunks()):
        check(event.revision >= revision, "events out of order")
        revision = event.revision
        size += len(event.key) + len(event.value) + EVENT_BYTES
        if event.kind is Kind.CLEAR:
            final = dict.fromkeys(final)
        else:
            final[event.key] = event.value if event.kind is Kind.PUT else None
    check(size == state.history.bytes, "the bytes are not those of the events")
    check(revision <= state.revision, "an event of a revision that never was")
    for key, value in final.items():
        item = state.items.table.get(key)
        check((item.value if item is not None else None) == value, f"{key!r} is not as was told")


def check_step(before: tuple[int, int], after: State) -> None:
    """``before`` is revision and log time of an earlier state; neither runs back."""
    check(before[0] <= after.revision, "the revision ran back")
    check(before[1] <= after.time_ms, "log time ran back")
