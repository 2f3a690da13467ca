"""Messages between nodes, commands in the log, and how they become bytes.

One shape for all: a ``msgspec.Struct`` with a tag ``"name.version"``, encoded as a msgpack array
``[tag, field, …]``.  A new field goes to the end, with a default; a change of meaning is a new
version and so a new tag.  Nothing is ever unpickled.

The reply type of a request stands in its base class, so that a call is typed end to end::

    class Located(Reply): ...
    class Locate(Request[Located], tag="gfs.locate.1"): path: str
"""

from collections.abc import Iterable
from functools import cache
from typing import Any, Generic, TypeVar, Union, get_args

import msgspec

from quorate.base.errors import ErrorInfo, ProtocolError, QuorateError, error_from

R = TypeVar("R")

encode = msgspec.msgpack.Encoder().encode
"""Any message, command or plain value as msgpack bytes."""

UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""What a decoder raises on bytes that are not what it expects: also text that is not UTF-8, and
nesting that is deeper than the stack."""


class Reply(msgspec.Struct, array_like=True):
    """What comes back; untagged, since the request says its type."""


class Request(msgspec.Struct, Generic[R], array_like=True):
    """A call to another process; the answer is an ``R``."""


class Command(msgspec.Struct, Generic[R], array_like=True, forbid_unknown_fields=True):
    """A change of a state machine, as it stands in the log; applying it gives an ``R``.

    A field that this build does not know is refused, not passed over: a replica that ignored what
    others obey would part from them.  The structs in its fields must forbid unknown ones too: what
    is passed over may be nested so deep that it depends on the reader's stack whether it is read.
    """


class Query(msgspec.Struct, Generic[R], array_like=True):
    """A question to a state machine that changes nothing; the answer is an ``R``."""


class Notice(msgspec.Struct, array_like=True):
    """A one-way message: no answer, no promise that it arrives."""


@cache
def reply_type(message: type[Any]) -> Any:
    """The ``R`` of a ``Request[R]``, ``Command[R]`` or ``Query[R]`` subclass."""
    return get_args(message.__orig_bases__[0])[0]


@cache
def _decoder(kind: Any) -> msgspec.msgpack.Decoder[Any]:
    return msgspec.msgpack.Decoder(kind)


def decode(data: bytes | memoryview | msgspec.Raw, kind: Any) -> Any:
    """Bytes back to ``kind`` (a type).  Raises one of ``UNREADABLE`` on anything else."""
    return _decoder(kind).decode(data)


def union_decoder(kinds: Iterable[type[Any]]) -> msgspec.msgpack.Decoder[Any]:
    """A decoder of any of the tagged ``kinds``, chosen by the tag in the bytes."""
    return msgspec.msgpack.Decoder(Union[tuple(kinds)])  # noqa: UP007 - built at run time


class Outcome(msgspec.Struct, array_like=True):
    """The result of a command or query: an encoded value, or an error that is itself the result."""

    value: msgspec.Raw = msgspec.Raw(b"\xc0")
    error: ErrorInfo | None = None


_DONE = encode(Outcome())


def outcome_of(value: object) -> bytes:
    """A value, or a ``QuorateError``, as an encoded ``Outcome``."""
    if value is None:
        return _DONE
    if isinstance(value, QuorateError):
        return encode(Outcome(error=value.info()))
    # A tuple encodes as the array that Outcome is, in one pass with the value.
    return encode((value, None))


def result_of(data: bytes | memoryview | msgspec.Raw, kind: Any) -> Any:
    """The value in an encoded ``Outcome``; raises the error if it holds one, and
    ``ProtocolError`` if the bytes are no outcome of this kind."""
    try:
        outcome: Outcome = decode(data, Outcome)
        if outcome.error is None:
            return decode(outcome.value, kind)
    except UNREADABLE as error:
        raise ProtocolError(f"an answer cannot be read: {str(error)[:200]}") from None
    raise error_from(outcome.error)
