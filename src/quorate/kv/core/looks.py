"""The operations that only read, and ranges."""

from quorate.kv.core.commands import (
    MAX_PAGE_BYTES,
    MAX_PAGE_ENTRIES,
    Entry,
    Exists,
    ExpiresAt,
    Fetch,
    Get,
    GetMany,
    GetRange,
    Length,
    Look,
    Page,
    Range,
    Revision,
    Size,
)
from quorate.kv.core.items import KEY_OVERHEAD_BYTES
from quorate.kv.core.state import State

ABSENT, ENDLESS = -2, -1
"""What ``ExpiresAt`` answers where there is no time to tell."""


def look(state: State, operation: Look) -> object:
    """The reply of ``operation``."""
    match operation:
        case Get(key):
            item = state.get(key)
            return None if item is None else item.value
        case GetMany(keys):
            items = [state.get(key) for key in keys]
            return [None if item is None else item.value for item in items]
        case Fetch(key):
            item = state.get(key)
            return None if item is None else [item.value, item.revision, item.at_ms]
        case Exists(keys):
            return sum(state.get(key) is not None for key in keys)
        case Length(key):
            item = state.get(key)
            return 0 if item is None else len(item.value)
        case GetRange(key, start, end):
            item = state.get(key)
            return b"" if item is None else part(item.value, start, end)
        case ExpiresAt(key):
            item = state.get(key)
            return ABSENT if item is None else item.at_ms or ENDLESS
        case Revision(key):
            item = state.get(key)
            return 0 if item is None else item.revision
        case Size():
            return len(state.items)


def part(value: bytes, start: int, end: int) -> bytes:
    """Both ends included; negative ones count from the end of the value."""
    length = len(value)
    start = max(0, start + length if start < 0 else start)
    end = end + length if end < 0 else end
    return value[start : end + 1] if end >= start else b""


def page(state: State, query: Range) -> Page:
    """The first entries of a range, within the bounds of an answer."""
    limit = min(query.limit, MAX_PAGE_ENTRIES)
    entries: list[Entry] = []
    size = 0
    for key, item in state.items.table.items(query.start):
        if query.end is not None and key >= query.end:
            break
        if item.at_ms and item.at_ms <= state.time_ms:
            continue
        value = item.value if query.values else b""
        size += len(key) + len(value) + KEY_OVERHEAD_BYTES // 4
        if len(entries) >= limit or (entries and size > MAX_PAGE_BYTES):
            return Page(entries, key, state.revision)
        entries.append(Entry(key, value, item.revision, item.at_ms))
    return Page(entries, None, state.revision)
