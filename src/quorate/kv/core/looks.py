"""The operations that only read, and ranges."""

from collections.abc import Callable
from typing import Any

from quorate.base.errors import BadInput
from quorate.kv.core.commands import (
    MAX_PAGE_BYTES,
    MAX_PAGE_ENTRIES,
    MAX_WORK_BYTES,
    Entry,
    Exists,
    ExpiresAt,
    Fetch,
    Get,
    GetMany,
    GetRange,
    Length,
    Page,
    Range,
    Revision,
    Size,
)
from quorate.kv.core.state import State

ABSENT, ENDLESS = -2, -1
"""What ``ExpiresAt`` answers where there is no time to tell."""
ENTRY_BYTES = 32
"""Of an entry in an answer, beside key and value; at most."""


def get(state: State, it: Get) -> bytes | None:
    item = state.get(it.key)
    return None if item is None else item.value


def get_many(state: State, it: GetMany) -> list[bytes | None]:
    found: list[bytes | None] = []
    size = 0
    for key in it.keys:
        item = state.get(key)
        found.append(None if item is None else item.value)
        size += 0 if item is None else len(item.value)
        if size > MAX_WORK_BYTES:
            raise BadInput(f"an answer of more than {MAX_WORK_BYTES} bytes: ask for fewer keys")
    return found


def fetch(state: State, it: Fetch) -> list[bytes | int] | None:
    item = state.get(it.key)
    return None if item is None else [item.value, item.revision, item.at_ms]


def exists(state: State, it: Exists) -> int:
    return sum(state.get(key) is not None for key in it.keys)


def length(state: State, it: Length) -> int:
    item = state.get(it.key)
    return 0 if item is None else len(item.value)


def get_range(state: State, it: GetRange) -> bytes:
    item = state.get(it.key)
    return b"" if item is None else part(item.value, it.start, it.end)


def expires_at(state: State, it: ExpiresAt) -> int:
    item = state.get(it.key)
    return ABSENT if item is None else item.at_ms or ENDLESS


def revision(state: State, it: Revision) -> int:
    item = state.get(it.key)
    return 0 if item is None else item.revision


def size(state: State, it: Size) -> int:
    return len(state.items)


LOOKS: dict[type[Any], Callable[[State, Any], Any]] = {
    Get: get,
    GetMany: get_many,
    Fetch: fetch,
    Exists: exists,
    Length: length,
    GetRange: get_range,
    ExpiresAt: expires_at,
    Revision: revision,
    Size: size,
}
"""What each gives."""


def part(value: bytes, start: int, end: int) -> bytes:
    """Both ends included; negative ones count from the end of the value, and one that is before its
    beginning is its first byte, as Redis has it, unless ``start`` is behind ``end`` already."""
    if start < 0 and end < start:
        return b""
    length = len(value)
    start = max(0, start + length if start < 0 else start)
    end = max(0, end + length if end < 0 else end)
    return value[start : end + 1]


def page(state: State, query: Range) -> Page:
    """The first entries of a range, within the bounds of an answer."""
    limit = max(1, min(query.limit, MAX_PAGE_ENTRIES))
    entries: list[Entry] = []
    size = 0
    for count, (key, item) in enumerate(state.items.table.items(query.start)):
        if query.end is not None and key >= query.end:
            break
        if count > MAX_PAGE_ENTRIES:  # of which many have ended
            return Page(entries, key, state.revision)
        if item.at_ms and item.at_ms <= state.time_ms:
            continue
        entry = item if query.values else Entry(key, b"", item.revision, item.at_ms)
        size += len(key) + len(entry.value) + ENTRY_BYTES
        if len(entries) >= limit or (entries and size > MAX_PAGE_BYTES):
            return Page(entries, key, state.revision)
        entries.append(entry)
    return Page(entries, None, state.revision)
