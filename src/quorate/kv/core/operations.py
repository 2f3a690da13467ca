"""The operations that change something: what each of them does to the state.

Each function looks first and changes last; what it raises is the operation's refusal.  What changes
several keys does so under one revision.
"""

from collections.abc import Callable, Sized
from itertools import islice
from typing import Any

from quorate.base.errors import BadInput, NotFound
from quorate.kv.core.commands import (
    MAX_OPERATIONS,
    MAX_VALUE_BYTES,
    Add,
    AddDecimal,
    Append,
    Clear,
    Copy,
    Delete,
    DeleteEqual,
    Entry,
    Expire,
    ExpireEqual,
    GetExpire,
    Persist,
    Put,
    PutMany,
    Rename,
    Scan,
    Set,
    SetRange,
    Skip,
    Take,
    When,
)
from quorate.kv.core.numbers import added, added_decimal
from quorate.kv.core.state import State

MAX_SCANNED = 10_000
"""Keys that one ``Scan`` gives at most."""
SCANNED_BYTES = 256
"""A key that is scanned is as much work as so many bytes of a value."""
TOUCHED_SHARE = 8
"""So many bytes of a value that stays as it is are as much work as one that is written."""


def put(state: State, it: Put) -> int:
    return state.write(it.key, state.value(it.value))


def set_(state: State, it: Set) -> list[int | bytes | None]:
    asks = it.give or it.keep_ttl or it.when is not When.ALWAYS
    before = state.get(it.key) if asks else None
    given = before.value if before is not None and it.give else None
    value = it.value if type(it.value) is bytes else state.value(it.value)
    if it.when is not When.ALWAYS and (before is not None) is not (it.when is When.PRESENT):
        return [0, given]
    at_ms = 0
    if it.ttl_ms or it.at_ms:
        if it.ttl_ms < 0 or it.at_ms < 0:
            raise BadInput("invalid expire time")
        at_ms = _end(state, it.ttl_ms or None, it.at_ms)
    if it.keep_ttl and before is not None:
        at_ms = before.at_ms
    return [state.write(it.key, value, at_ms), given]


def put_many(state: State, it: PutMany) -> int:
    _refuse_many(it.pairs)
    if it.when is When.ABSENT and any(state.get(key) is not None for key, _ in it.pairs):
        return 0
    pairs = {key: state.value(value) for key, value in it.pairs}
    state.make_room(pairs)
    for key, value in pairs.items():
        state.write(key, value, fits=True)
    return state.revision


def delete(state: State, it: Delete) -> int:
    _refuse_many(it.keys)
    return sum([state.remove(key) for key in it.keys])


def append(state: State, it: Append) -> int:
    before = state.get(it.key)
    value = state.value(it.value)
    if before is not None:
        value = before.value + value
    state.write(it.key, value, before.at_ms if before is not None else 0)
    return len(value)


def add(state: State, it: Add) -> int:
    before = state.get(it.key)
    total = added(before.value, it.by) if before is not None else added(b"0", it.by)
    state.write(it.key, b"%d" % total, before.at_ms if before is not None else 0)
    return total


def add_decimal(state: State, it: AddDecimal) -> bytes:
    before = state.get(it.key)
    total = added_decimal(before.value if before is not None else b"0", it.by)
    state.write(it.key, total, before.at_ms if before is not None else 0)
    return total


def set_range(state: State, it: SetRange) -> int:
    before = state.get(it.key)
    value = before.value if before is not None else b""
    new = state.value(it.value)
    if it.offset < 0:
        raise BadInput("offset is out of range")
    if not new:
        return len(value)
    if it.offset + len(new) > MAX_VALUE_BYTES:
        raise BadInput("string exceeds maximum allowed size (proto-max-bulk-len)")
    filled = value[: it.offset].ljust(it.offset, b"\0") + new + value[it.offset + len(new) :]
    state.write(it.key, filled, before.at_ms if before is not None else 0)
    return len(filled)


def expire(state: State, it: Expire) -> int:
    before = state.get(it.key)
    if before is None:
        return 0
    at_ms = _end(state, it.ttl_ms, it.at_ms)
    has = before.at_ms
    allowed = {
        "": True,
        "NX": not has,
        "XX": bool(has),
        "GT": bool(has) and at_ms > has,
        "LT": not has or at_ms < has,
        "XX LT": bool(has) and at_ms < has,
    }
    if it.only not in allowed:
        raise BadInput("Unsupported option for the end of a key")
    if not allowed[it.only]:
        return 0
    _move_end(state, it.key, before, max(1, at_ms))
    return 1


def persist(state: State, it: Persist) -> int:
    before = state.get(it.key)
    if before is None or not before.at_ms:
        return 0
    _move_end(state, it.key, before, 0)
    return 1


def take(state: State, it: Take) -> bytes | None:
    before = state.get(it.key)
    if before is None:
        return None
    state.remove(it.key)
    return before.value


def get_expire(state: State, it: GetExpire) -> bytes | None:
    before = state.get(it.key)
    if before is None:
        return None
    if it.persist:
        if before.at_ms:
            _move_end(state, it.key, before, 0)
    elif it.ttl_ms is not None or it.at_ms is not None:
        _move_end(state, it.key, before, max(1, _end(state, it.ttl_ms, it.at_ms or 0)))
    return before.value


def rename(state: State, it: Rename) -> int:
    before = state.get(it.key)
    if before is None:
        raise NotFound("no such key")
    if it.when is When.ABSENT and state.get(it.target) is not None:
        return 0
    if it.key != it.target:
        state.make_room_for_name(it.key, it.target)
        state.work_left -= len(before.value)
        state.remove(it.key)
        state.write(it.target, before.value, before.at_ms, fits=True)
    return 1


def copy(state: State, it: Copy) -> int:
    before = state.get(it.key)
    if before is None or (not it.replace and state.get(it.target) is not None):
        return 0
    state.write(it.target, before.value, before.at_ms)
    return 1


def clear(state: State, it: Clear) -> int:
    return state.clear()


def scan(state: State, it: Scan) -> list[Any]:
    start = None
    if it.cursor:
        start = state.cursors.get(it.cursor)
        if start is None:
            raise NotFound("invalid cursor: it is too old, or was never given; begin again with 0")
    if it.count < 1:
        raise BadInput("syntax error")
    count = min(it.count, MAX_SCANNED)
    found = [key for key, _ in islice(state.items.table.items(start), count + 1)]
    state.work_left -= sum(map(len, found)) + SCANNED_BYTES * len(found)
    cursor = 0
    if len(found) > count:
        cursor = state.new_cursor(found.pop())
    return [cursor, [key for key in found if state.get(key) is not None]]


def delete_equal(state: State, it: DeleteEqual) -> int:
    before = state.get(it.key)
    if before is None or before.value != it.value:
        return 0
    state.remove(it.key)
    return 1


def expire_equal(state: State, it: ExpireEqual) -> int:
    before = state.get(it.key)
    if before is None or before.value != it.value or (it.extend and not before.at_ms):
        return 0
    at_ms = _possible((before.at_ms if it.extend else state.time_ms) + it.ttl_ms)
    _move_end(state, it.key, before, max(1, at_ms))
    return 1


def skip(state: State, it: Skip) -> int:
    return state.skip(it.revision)


def _end(state: State, ttl_ms: int | None, at_ms: int) -> int:
    """The log time that is meant; 0: none."""
    if ttl_ms is None:
        return _possible(at_ms)
    return _possible(max(1, state.time_ms + ttl_ms))


def _possible(at_ms: int) -> int:
    if at_ms >= 1 << 62:
        raise BadInput("invalid expire time")
    return max(at_ms, 0)


def _move_end(state: State, key: bytes, before: Entry, at_ms: int) -> None:
    """The key ends then, or never (0).  This takes memory, and is never refused for that."""
    state.work_left -= len(before.value) // TOUCHED_SHARE
    state.write(key, before.value, at_ms, fits=True)


def _refuse_many(keys: Sized) -> None:
    if len(keys) > MAX_OPERATIONS:
        raise BadInput(f"{len(keys)} keys in one operation; {MAX_OPERATIONS} at most")


def _as_one(change: Callable[[State, Any], Any]) -> Callable[[State, Any], Any]:
    return lambda state, it: state.as_one(change, it)


CHANGES: dict[type[Any], Callable[[State, Any], Any]] = {
    Put: put,
    Set: set_,
    PutMany: _as_one(put_many),
    Delete: _as_one(delete),
    Append: append,
    Add: add,
    AddDecimal: add_decimal,
    SetRange: set_range,
    Expire: expire,
    Persist: persist,
    Take: take,
    GetExpire: get_expire,
    Rename: _as_one(rename),
    Copy: copy,
    Clear: clear,
    Scan: scan,
    DeleteEqual: delete_equal,
    ExpireEqual: expire_equal,
    Skip: skip,
}
"""What each does."""
