"""How much of an entry of the log an operation takes, and how much its reply may be.

Values of more than ``LARGE_BYTES`` in a command that is too large as a whole are sent ahead of it
(``KvService.stage``); all else has to fit one entry.
"""

from collections.abc import Sequence
from typing import Any

from quorate.kv.core.commands import (
    MAX_INLINE_BYTES,
    MAX_KEY_BYTES,
    AnyOperation,
    Append,
    Get,
    GetExpire,
    GetMany,
    GetRange,
    Length,
    Put,
    PutMany,
    Set,
    SetRange,
    Take,
)
from quorate.kv.core.store import Store

LARGE_BYTES = 16 << 10
MAX_PLAIN_BYTES = MAX_INLINE_BYTES
"""Of one command of ours."""
OPERATION_BYTES = 24
PART_BYTES = 6
"""What an operation, and each key or value in it, takes beside its bytes, at most."""

_WITH_VALUE = (Put, Set, Append, SetRange)
_GIVES = (Get, GetRange, Take, GetExpire)


def plain_bytes(operation: AnyOperation) -> int:
    """What stands in the log, large values aside."""
    size = OPERATION_BYTES
    for name in operation.__struct_fields__:
        field: Any = getattr(operation, name)
        if isinstance(field, bytes):
            size += PART_BYTES + len(field)
        elif isinstance(field, list):
            for part in field:
                parts: Sequence[bytes] = part if isinstance(part, tuple) else (part,)
                size += sum(map(len, parts)) + PART_BYTES * len(parts) + 1
    return size - sum(map(len, large_values(operation)))


def too_many_bytes(operations: Sequence[AnyOperation]) -> str:
    """Why ``operations`` have more than ``MAX_PLAIN_BYTES`` beside their large values."""
    longest = max(len(key) for each in operations for key in _keys(each))
    if longest > MAX_KEY_BYTES:
        return f"a key of {longest} bytes; {MAX_KEY_BYTES} at most"
    return f"a command has {MAX_PLAIN_BYTES} bytes at most beside its large values"


def _keys(operation: AnyOperation) -> list[bytes]:
    if isinstance(operation, PutMany):
        return [key for key, _ in operation.pairs]
    names = [name for name in ("key", "target") if name in operation.__struct_fields__]
    return [getattr(operation, name) for name in names] + list(getattr(operation, "keys", []))


def large_values(operation: AnyOperation) -> list[bytes]:
    """The values in ``operation`` that can be sent ahead."""
    values: list[bytes | int] = []
    if isinstance(operation, _WITH_VALUE):
        values = [operation.value]
    elif isinstance(operation, PutMany):
        values = [value for _, value in operation.pairs]
    return [value for value in values if isinstance(value, bytes) and len(value) > LARGE_BYTES]


def replace_values(operation: AnyOperation, uploads: Sequence[int]) -> None:
    """Let ``uploads`` stand for the large values, in order."""
    following = iter(uploads)

    def instead(value: bytes | int) -> bytes | int:
        is_large = isinstance(value, bytes) and len(value) > LARGE_BYTES
        return next(following) if is_large else value

    if isinstance(operation, _WITH_VALUE):
        operation.value = instead(operation.value)
    elif isinstance(operation, PutMany):
        operation.pairs = [(key, instead(value)) for key, value in operation.pairs]


def expected_bytes(store: Store, operation: AnyOperation) -> int:
    """How large the values are that ``operation`` gives, going by what is here now."""
    if isinstance(operation, _GIVES) or (isinstance(operation, Set) and operation.give):
        return _length(store, operation.key)
    if isinstance(operation, GetMany):
        return sum(_length(store, key) for key in operation.keys)
    return 0


def _length(store: Store, key: bytes) -> int:
    found: Any = store.look(Length(key))
    return int(found)
