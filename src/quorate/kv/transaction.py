"""A transaction as its users write it down: conditions, what to do then, and what otherwise.

    moved = await kv.commit(
        Transaction()
        .if_value("owner", "anna")
        .if_lock(token)
        .put("owner", "bert")
        .increment("changes")
        .otherwise()
        .get("owner")
    )
    if not moved.held:
        (owner,) = moved.replies

It is data and nothing else: it may be made anywhere, committed by any client, and committed again.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Self, TypeAlias

import msgspec

from quorate.base.errors import BadInput, ErrorInfo, ProtocolError, error_from
from quorate.kv.core.commands import (
    Add,
    AnyOperation,
    Append,
    Condition,
    Delete,
    Entry,
    Expire,
    Fetch,
    HasRevision,
    HasValue,
    Persist,
    Put,
    Set,
    Untouched,
)

Bytes: TypeAlias = bytes | str
"""Keys and values are bytes; text stands for its UTF-8."""


def as_bytes(text: Bytes) -> bytes:
    """What is stored."""
    return text.encode() if isinstance(text, str) else bytes(text)


def milliseconds(seconds: float) -> int:
    """A time to live as it travels; raises ``BadInput`` unless it is one."""
    if not 0.001 <= seconds < 1e12:
        raise BadInput(f"{seconds} s is no time to live: give a millisecond or more")
    return round(seconds * 1000)


def put_operation(key: Bytes, value: Bytes, ttl_s: float | None) -> Put | Set:
    """``Put``, or what does the same with a time to live."""
    if ttl_s is None:
        return Put(as_bytes(key), as_bytes(value))
    return Set(as_bytes(key), as_bytes(value), ttl_ms=milliseconds(ttl_s))


@dataclass(frozen=True, slots=True)
class Token:
    """That somebody holds a lock.

    Whoever guards something with the lock takes ``number`` along, and what is guarded refuses a
    smaller one than it has seen; in this store ``Transaction.if_lock`` does it.
    """

    key: bytes
    owner: bytes
    """The lock's value as long as this holder has it: no other holder ever has the same."""
    number: int
    """The revision at which it was taken: each holder's is larger than all before."""


class Transaction:
    """Conditions and operations; each method adds one and gives the transaction itself."""

    def __init__(self) -> None:
        self.conditions: list[Condition] = []
        self.then: list[AnyOperation] = []
        self.other: list[AnyOperation] = []
        self._branch = self.then

    # Conditions; all must hold.

    def if_value(self, key: Bytes, value: Bytes) -> Self:
        """The key has this value."""
        self.conditions.append(HasValue(as_bytes(key), as_bytes(value)))
        return self

    def if_revision(self, key: Bytes, revision: int) -> Self:
        """The key's last change was at this revision."""
        self.conditions.append(HasRevision(as_bytes(key), revision))
        return self

    def if_absent(self, key: Bytes) -> Self:
        return self.if_revision(key, 0)

    def if_untouched(self, key: Bytes, since: int) -> Self:
        """Nothing has happened to the key after revision ``since``, nor was it deleted and made
        again."""
        self.conditions.append(Untouched(as_bytes(key), since))
        return self

    def if_lock(self, token: Token) -> Self:
        """Whoever has the token still holds the lock: what a former holder does late is refused."""
        return self.if_value(token.key, token.owner)

    # Operations, and what stands for each in ``Committed.replies``.

    def otherwise(self) -> Self:
        """What follows is done if not all conditions hold."""
        self._branch = self.other
        return self

    def put(self, key: Bytes, value: Bytes, *, ttl_s: float | None = None) -> Self:
        """Reply: the revision."""
        return self.add(put_operation(key, value, ttl_s))

    def delete(self, *keys: Bytes) -> Self:
        """Reply: how many of them were there."""
        return self.add(Delete([as_bytes(key) for key in keys]))

    def append(self, key: Bytes, value: Bytes) -> Self:
        """Reply: the length of the whole value in bytes."""
        return self.add(Append(as_bytes(key), as_bytes(value)))

    def increment(self, key: Bytes, by: int = 1) -> Self:
        """Reply: the sum."""
        return self.add(Add(as_bytes(key), by))

    def expire(self, key: Bytes, ttl_s: float) -> Self:
        """Reply: 1, or 0 if the key is absent."""
        return self.add(Expire(as_bytes(key), milliseconds(ttl_s)))

    def persist(self, key: Bytes) -> Self:
        """Reply: 1, or 0 if the key had no end."""
        return self.add(Persist(as_bytes(key)))

    def get(self, key: Bytes) -> Self:
        """Reply: the ``Entry``, or ``None``."""
        return self.add(Fetch(as_bytes(key)))

    def add(self, *operations: AnyOperation) -> Self:
        """Any operations of the store (kv/core/commands.py)."""
        self._branch.extend(operations)
        return self


@dataclass(frozen=True, slots=True)
class Committed:
    """What became of a transaction."""

    held: bool
    """Whether all conditions held."""
    revision: int
    """Of the store, after it."""
    replies: list[Any]
    """One for each operation of the branch that was taken."""


def reply_of(operation: AnyOperation, reply: Any) -> Any:
    """What came back for ``operation``, as its caller gets it; raises what refused it."""
    try:
        if isinstance(reply, dict):
            raise error_from(ErrorInfo(reply["code"], reply["message"]))
        match operation:
            case Fetch(key):
                return None if reply is None else Entry(key, *_fetched(reply))
            case Set(give=False):
                return int(reply[0])
            case _:
                return reply
    except (KeyError, IndexError, TypeError, ValueError, msgspec.MsgspecError) as error:
        raise ProtocolError(f"a reply to {type(operation).__name__} cannot be read") from error


def replies_of(operations: Iterable[AnyOperation], replies: list[Any]) -> list[Any]:
    """The same of several."""
    try:
        pairs = list(zip(operations, replies, strict=True))
    except ValueError:
        raise ProtocolError("there are not as many replies as operations") from None
    return [reply_of(operation, reply) for operation, reply in pairs]


def _fetched(reply: Any) -> tuple[bytes, int, int]:
    return msgspec.convert(reply, tuple[bytes, int, int])
