"""The state as a stream of bytes, and back.

The first record says how much follows: keys with their items in order, events, cursors, uploads.
The digest in it must be that of what was read, so that a damaged stream never becomes a state.
"""

from collections.abc import Callable, Iterable, Iterator

import msgspec

from quorate.base.codec import encode
from quorate.base.errors import CorruptData
from quorate.base.machine import RECORDS_PER_PAUSE
from quorate.base.stream import next_record, pack_records, unpack_records
from quorate.kv.core.commands import Entry, Event
from quorate.kv.core.items import Item
from quorate.kv.core.state import State, Upload

VERSION = 1


class _Header(msgspec.Struct, array_like=True):
    version: int
    digest: int
    revision: int
    time_ms: int
    forgotten: int
    last_cursor: int
    keys: int
    events: int
    cursors: int
    uploads: int


def write(state: State) -> Iterator[bytes]:
    """The state as it is at this call, however late the pieces are asked for."""
    events = state.history.events()
    cursors = list(state.cursors.items())
    uploads = [
        (number, upload.pieces.copy(), upload.until_ms) for number, upload in state.uploads.items()
    ]
    header = _Header(
        VERSION,
        state.digest(),
        state.revision,
        state.time_ms,
        state.history.forgotten,
        state.last_cursor,
        len(state.items),
        len(events),
        len(cursors),
        len(uploads),
    )
    entries = state.items.table.freeze()

    def records() -> Iterator[bytes]:
        yield encode(header)
        for key, item in entries:
            yield encode(Entry(key, item.value, item.revision, item.at_ms))
        yield from map(encode, events)
        yield from map(encode, cursors)
        yield from map(encode, uploads)

    return pack_records(records())


def read(
    stream: Iterable[bytes], make_state: Callable[[], State], take: Callable[[State], None]
) -> Iterator[None]:
    """Make a state of ``stream`` and hand it to ``take``; exhaust it to be done.

    Raises ``CorruptData``, and then ``take`` was not called.
    """
    records = unpack_records(stream)
    header: _Header = next_record(records, _Header)
    if header.version != VERSION:
        raise CorruptData(f"a snapshot of version {header.version}; this build reads {VERSION}")
    state = make_state()
    state.revision, state.time_ms = header.revision, header.time_ms
    state.last_cursor = header.last_cursor
    for number in range(header.keys):
        entry: Entry = next_record(records, Entry)
        state.items.put(entry.key, Item(entry.value, entry.revision, entry.at_ms))
        if number % RECORDS_PER_PAUSE == 0:
            yield
    events = [next_record(records, Event) for _ in range(header.events)]
    state.history.restore(events, header.forgotten)
    for _ in range(header.cursors):
        cursor, key = next_record(records, tuple[int, bytes])
        state.cursors[cursor] = key
    for _ in range(header.uploads):
        upload, pieces, until_ms = next_record(records, tuple[int, list[bytes], int])
        size = sum(map(len, pieces))
        state.uploads[upload] = Upload(pieces, size, until_ms)
        state.staged_bytes += size
    if next(records, None) is not None or state.digest() != header.digest:
        raise CorruptData("a snapshot does not add up to its digest; fetch it again")
    take(state)
