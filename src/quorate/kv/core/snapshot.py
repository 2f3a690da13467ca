"""The state as a stream of bytes, and back.

The first record says how much follows: keys with their items in order, and the history's events, a
page of them in a record; cursors, uploads (each followed by its pieces).
The digest in it must be that of what was read, so that a damaged stream never becomes a state.
"""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TypeVar

import msgspec

from quorate.base.codec import encode
from quorate.base.errors import CorruptData
from quorate.base.machine import RECORDS_PER_PAUSE
from quorate.base.stream import next_record, pack_records, unpack_records
from quorate.kv.core.commands import Entry, Event
from quorate.kv.core.state import State
from quorate.kv.core.uploads import Upload

VERSION = 3
BYTES_PER_PAUSE = 1 << 20
"""Of values that are read back in between two pauses."""
PAGE_ENTRIES, PAGE_BYTES = 100, 64 << 10
"""A page is full with so many entries, or with keys and values of so many bytes."""


T = TypeVar("T", Entry, Event)


class _Header(msgspec.Struct, array_like=True):
    version: int
    digest: int
    revision: int
    time_ms: int
    forgotten: int
    last_cursor: int
    keys: int
    chunks: list[int]
    """Of the history: how many events each has."""
    cursors: int
    uploads: int
    max_bytes: int
    restricted: str


class _Upload(msgspec.Struct, array_like=True):
    number: int
    until_ms: int
    pieces: int


def write(state: State) -> Iterator[bytes]:
    """The state as it is at this call, however late the pieces are asked for."""
    chunks = state.history.chunks()
    cursors = list(state.cursors.items())
    uploads = state.uploads.records()
    header = _Header(
        VERSION,
        state.digest(),
        state.revision,
        state.time_ms,
        state.history.forgotten,
        state.last_cursor,
        len(state.items),
        list(map(len, chunks)),
        len(cursors),
        len(uploads),
        state.max_bytes,
        state.restricted,
    )
    entries = state.items.table.freeze()

    def records() -> Iterator[bytes]:
        yield encode(header)
        yield from map(encode, _pages(entry for _, entry in entries))
        for events in chunks:
            yield from map(encode, _pages(events))
        yield from map(encode, cursors)
        for it in uploads:
            yield encode(_Upload(it.number, it.until_ms, len(it.pieces)))
            yield from it.pieces

    return pack_records(records())


def read(stream: Iterable[bytes], state: State) -> Iterator[None]:
    """Make an empty ``state`` that of the stream, with pauses; raises ``CorruptData``."""
    records = unpack_records(stream)
    header: _Header = next_record(records, _Header)
    if header.version != VERSION:
        raise CorruptData(f"a snapshot of version {header.version}; this build reads {VERSION}")
    state.revision, state.time_ms = header.revision, header.time_ms
    state.last_cursor = header.last_cursor
    work = 0
    while len(state.items) < header.keys:
        for entry in _page(records, Entry):
            state.items.put(entry)
            work += BYTES_PER_PAUSE // RECORDS_PER_PAUSE + len(entry.value)
            if work > BYTES_PER_PAUSE:
                work = 0
                yield
    chunks: list[list[Event]] = []
    for count in header.chunks:
        chunks.append([])
        while len(chunks[-1]) < count:
            chunks[-1] += _page(records, Event)
            yield
        if len(chunks[-1]) != count:
            raise CorruptData("a snapshot has more events than it says; fetch it again")
    state.history.restore(chunks, header.forgotten)
    for _ in range(header.cursors):
        cursor, key = next_record(records, tuple[int, bytes])
        state.cursors[cursor] = key
    yield
    state.uploads.restore([_upload(records) for _ in range(header.uploads)])
    state.limit(header.max_bytes, header.restricted)
    if next(records, None) is not None or state.digest() != header.digest:
        raise CorruptData("a snapshot does not add up to its digest; fetch it again")


def _pages(items: Iterable[T]) -> Iterator[list[T]]:
    page: list[T] = []
    size = 0
    for item in items:
        page.append(item)
        size += len(item.key) + len(item.value)
        if len(page) == PAGE_ENTRIES or size >= PAGE_BYTES:
            yield page
            page, size = [], 0
    if page:
        yield page


def _page(records: Iterator[bytes], kind: type[T]) -> list[T]:
    page: list[T] = next_record(records, list[kind])  # type: ignore[valid-type]
    if not page:
        raise CorruptData("a snapshot has an empty page; fetch it again")
    return page


def _upload(records: Iterator[bytes]) -> Upload:
    it: _Upload = next_record(records, _Upload)
    pieces = list(islice(records, it.pieces))
    return Upload(it.number, it.until_ms, sum(map(len, pieces)), pieces)
