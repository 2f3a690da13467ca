"""Replies, as RESP2 and RESP3 write them.

``protocol`` is 2 or 3: that of the connection.  Where they differ: ``nil``, maps, sets, verbatim
text.
"""

from collections.abc import Mapping, Sequence
from typing import TypeAlias

OK = b"+OK\r\n"
QUEUED = b"+QUEUED\r\n"
PONG = b"+PONG\r\n"
EMPTY = b"*0\r\n"

_NIL = {2: b"$-1\r\n", 3: b"_\r\n"}
_NIL_ARRAY = {2: b"*-1\r\n", 3: b"_\r\n"}
_SHOWN_BYTES = 1024
"""Of an error; the rest is cut off."""


class Status(str):
    """A short text that is written as a simple string."""

    __slots__ = ()


class Flags(list[str]):
    """Statuses that are a set in RESP3."""

    __slots__ = ()


Shown: TypeAlias = (
    "bytes | str | int | Sequence[Shown] | Mapping[str, Shown] | Mapping[bytes, Shown] | None"
)


def nil(protocol: int) -> bytes:
    """There is no such value."""
    return _NIL[protocol]


def nil_array(protocol: int) -> bytes:
    """There is no such list: what EXEC answers if a watched key was touched."""
    return _NIL_ARRAY[protocol]


def bulk(value: bytes) -> bytes:
    return b"$%d\r\n%b\r\n" % (len(value), value)


def integer(value: int) -> bytes:
    return b":%d\r\n" % value


def status(text: str) -> bytes:
    return b"+%b\r\n" % text.encode()


def array(parts: Sequence[bytes]) -> bytes:
    """Of replies that are written already."""
    return b"*%d\r\n%b" % (len(parts), b"".join(parts))


def error(text: str | bytes) -> bytes:
    """``text`` begins with the error's code; it is one line, whatever a user put into it."""
    data = text.encode("utf-8", "replace") if isinstance(text, str) else text
    return b"-%b\r\n" % data[:_SHOWN_BYTES].replace(b"\r", b" ").replace(b"\n", b" ")


def verbatim(text: str, protocol: int) -> bytes:
    """Text for people."""
    data = text.encode()
    return bulk(data) if protocol == 2 else b"=%d\r\ntxt:%b\r\n" % (len(data) + 4, data)


def shown(value: Shown, protocol: int) -> bytes:
    """Any value: texts are bulk strings, mappings maps or, in RESP2, arrays of twice the length."""
    match value:
        case None:
            return nil(protocol)
        case Status():
            return status(value)
        case bytes():
            return bulk(value)
        case str():
            return bulk(value.encode())
        case int():
            return integer(value)
        case Flags():
            mark = b"*" if protocol == 2 else b"~"
            return b"%b%d\r\n%b" % (mark, len(value), b"".join(map(status, value)))
        case Mapping():
            body = b"".join(
                shown(key, protocol) + shown(content, protocol) for key, content in value.items()
            )
            if protocol == 2:
                return b"*%d\r\n%b" % (2 * len(value), body)
            return b"%%%d\r\n%b" % (len(value), body)
        case _:
            return array([shown(part, protocol) for part in value])
