"""What a command is: its line in the table, and the parts that the lines share.

A command of the store is a function from its arguments to one operation (``kv/core/commands.py``)
and to what shows that operation's reply.  What is wrong with the arguments it raises, in Redis'
words, before anything reaches the store.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from quorate.base.errors import BadInput
from quorate.gateways.resp import encoder
from quorate.gateways.resp.parser import Args
from quorate.kv.core.commands import AnyOperation
from quorate.kv.core.numbers import integer

if TYPE_CHECKING:
    from quorate.gateways.resp.connection import RespConnection

UNLIMITED = 1 << 30
MAX_TIME_MS = 1 << 61
ASKS, CHANGES, GIVES = 1, 2, 4
"""A command of the store; it goes through the log; it answers with values.  SET with GET does, too,
but is not counted: that would cost every SET, and the store has a bound of its own."""
_GIVING = ("get", "getdel", "getex", "getrange", "getset", "mget", "object", "substr")

Show: TypeAlias = "Callable[[Any, RespConnection], bytes]"
"""Writes an operation's reply."""
Asked: TypeAlias = tuple[AnyOperation, Show]


class CommandError(Exception):
    """A command cannot be done; its text is the reply, code included."""


class NotHere(CommandError):
    """What is asked for is not there, so that a transaction with it must not go on."""


SYNTAX = "ERR syntax error"
NOT_AN_INTEGER = "ERR value is not an integer or out of range"
NO_SUCH_KEY = "ERR no such key"


@dataclass(slots=True, frozen=True)
class Entry:
    """One line of the table.  One of ``parse``, ``answer`` and ``alone`` is there."""

    name: str
    """In lower case."""
    arity: int
    """As COMMAND tells it: with the name; negative: at least so many."""
    flags: tuple[str, ...]
    keys: tuple[int, int, int]
    """Places of the first and last key, and the step between them; as COMMAND tells it."""
    group: str
    summary: str
    parse: Callable[[Args], Asked] | None = None
    """A command of the store."""
    answer: "Callable[[RespConnection, Args], bytes] | None" = None
    """Needs no store; its answer keeps its place among the others."""
    alone: "Callable[[RespConnection, Args], None] | None" = None
    """Begins when everything before has been answered, and calls ``RespConnection.done``."""
    work: int = 0
    """What it is to the store: ``ASKS``, and maybe ``CHANGES`` and ``GIVES``."""
    least: int = 0
    most: int = 0

    def takes(self, args: Args) -> bool:
        """Whether so many arguments."""
        return self.least <= len(args) <= self.most

    @staticmethod
    def make(
        name: str,
        arity: int,
        flags: str,
        keys: tuple[int, int, int],
        group: str,
        summary: str,
        *,
        through_log: bool = False,
        **work: Any,
    ) -> "Entry":
        """An entry; ``flags`` are words.  What writes goes through the log; ``through_log``: and
        this, since it moves something else (a cursor)."""
        words = tuple(flags.split())
        least, most = (arity, arity) if arity >= 0 else (-arity, UNLIMITED)
        kind = 0
        if "parse" in work:
            kind = ASKS | CHANGES * (through_log or "write" in words) | GIVES * (name in _GIVING)
        return Entry(
            name, arity, words, keys, group, summary, work=kind, least=least, most=most, **work
        )


def answered(
    answer: "Callable[[RespConnection, Args], bytes]", connection: "RespConnection", args: Args
) -> bytes:
    """What ``answer`` says, be it an error."""
    try:
        return answer(connection, args)
    except CommandError as error:
        return encoder.error(str(error))


def wrong_arity(name: str) -> bytes:
    return encoder.error(f"ERR wrong number of arguments for '{name}' command")


def number(text: bytes) -> int:
    """A 64-bit integer."""
    try:
        return integer(text)
    except BadInput:
        raise CommandError(NOT_AN_INTEGER) from None


def time_ms(text: bytes, unit_ms: int, command: str) -> int:
    """A time to live, or a moment, that must be positive."""
    found = number(text) * unit_ms
    if not 0 < found < MAX_TIME_MS:
        raise CommandError(f"ERR invalid expire time in '{command}' command")
    return found


def options(args: Sequence[bytes], start: int) -> list[bytes]:
    """The words from ``start`` on, in upper case."""
    return [word.upper() for word in args[start:]]


# What shows replies.


def ok(reply: object, connection: "RespConnection") -> bytes:
    return encoder.OK


def count(reply: int, connection: "RespConnection") -> bytes:
    return b":%d\r\n" % reply


def text(reply: bytes | None, connection: "RespConnection") -> bytes:
    """A value, or that there is none."""
    if reply is None:
        return encoder.nil(connection.protocol)
    return b"$%d\r\n%b\r\n" % (len(reply), reply)


def one_or_zero(reply: int, connection: "RespConnection") -> bytes:
    return b":1\r\n" if reply else b":0\r\n"
