"""The frame: what one message looks like between two processes.

The network port delimits frames; inside, each is

    u32 header length, big endian | header | payload

and the header is a msgpack array ``[kind, call_id, timeout_ms, body]``.  ``body`` is decoded a
second time, as what the kind and its own tag say.  The payload is raw bytes that no codec touches:
pieces go to the transport as they are, and the receiver gets a view into the frame.

A control frame has no payload and is at most 1 MiB, so that heartbeats and votes never wait behind
bulk data; those go over connections of their own (``handshake.Hello.channel``).

Everything a peer can send either decodes here or raises ``ProtocolError``, never anything else.
"""

import struct
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Final, Generic, TypeVar, Union

import msgspec

from quorate.base.codec import UNREADABLE, encode
from quorate.base.errors import ProtocolError, TooLarge
from quorate.runtime.ports import Buffer, Frame

T = TypeVar("T")

MAX_CONTROL_FRAME_BYTES = 1 << 20
MAX_HELLO_FRAME_BYTES = 4 << 10
"""Until a server knows who is there, nobody makes it keep more than this."""
MAX_PAYLOAD_BYTES = 8 << 20
MAX_BULK_FRAME_BYTES = MAX_PAYLOAD_BYTES + (64 << 10)
MAX_TIMEOUT_MS = 24 * 60 * 60 * 1000
"""A longer deadline travels as this."""

HELLO: Final = 0
WELCOME: Final = 1
REQUEST: Final = 2
REPLY: Final = 3
ERROR: Final = 4
NOTICE: Final = 5
PING: Final = 6
KIND_NAMES = ("hello", "welcome", "request", "reply", "error", "notice", "ping")

CONNECTION = 0
"""The ``call_id`` of frames that belong to no call; an error with it is about the connection."""

NO_PAYLOAD = memoryview(b"")
_pack_length = struct.Struct(">I").pack
_unpack_length = struct.Struct(">I").unpack_from


class Header(msgspec.Struct, array_like=True, gc=False):
    """The fixed part of a frame.  ``timeout_ms`` is what remains of a request's deadline."""

    kind: Annotated[int, msgspec.Meta(ge=0, lt=len(KIND_NAMES))]
    call_id: Annotated[int, msgspec.Meta(ge=0)]
    timeout_ms: Annotated[int, msgspec.Meta(ge=0, le=MAX_TIMEOUT_MS)]
    body: msgspec.Raw


class Message(msgspec.Struct, Generic[T], array_like=True, gc=False):
    """A header whose body is decoded with it, in one pass."""

    kind: Annotated[int, msgspec.Meta(ge=0, lt=len(KIND_NAMES))]
    call_id: Annotated[int, msgspec.Meta(ge=0)]
    timeout_ms: Annotated[int, msgspec.Meta(ge=0, le=MAX_TIMEOUT_MS)]
    body: T


def message_decoder(kinds: Sequence[type[Any]]) -> msgspec.msgpack.Decoder[Any]:
    """A decoder of headers whose body is one of the tagged ``kinds``."""
    return msgspec.msgpack.Decoder(Message[Union[tuple(kinds)]])  # type: ignore[misc] # noqa: UP007


_decode_header = msgspec.msgpack.Decoder(Header).decode


def unreadable(error: Exception) -> ProtocolError:
    """``error`` as ours; cut short, because it may quote what the peer sent."""
    return ProtocolError(f"a message cannot be read: {str(error)[:200]}")


def decode_body(decoder: Callable[[msgspec.Raw], T], body: msgspec.Raw) -> T:
    """``decoder(body)``, with whatever is wrong with the bytes as a ``ProtocolError``."""
    try:
        return decoder(body)
    except UNREADABLE as error:
        raise unreadable(error) from None


def encode_frame(
    kind: int,
    call_id: int,
    timeout_ms: int,
    body: object,
    payload: Sequence[Buffer] = (),
    max_bytes: int = MAX_CONTROL_FRAME_BYTES,
) -> tuple[Frame, int]:
    """A frame in pieces, and its length in bytes; ``TooLarge`` if that is above ``max_bytes``."""
    # A tuple encodes as the array that Header is, in one pass with the body.
    header = encode((kind, call_id, timeout_ms, body))
    size = len(header) + 4
    header = _pack_length(size - 4) + header
    frame: Frame = (header,)
    if payload:
        size += sum(memoryview(piece).nbytes for piece in payload)
        frame = (header, *payload)
    if size > max_bytes:
        what = getattr(type(body), "__struct_config__", None)
        name = (what and what.tag) or type(body).__name__
        raise TooLarge(
            f"{KIND_NAMES[kind]} {name} has {size} bytes and the most that may be sent is "
            f"{max_bytes}: ask for, or send, less at a time"
        )
    return frame, size


def decode_frame(frame: memoryview, bulk: bool) -> tuple[Header, memoryview]:
    """Header and payload of a received frame; both are views into it."""
    header, payload = split_frame(frame, bulk)
    return decode_header(header), payload


def split_frame(frame: memoryview, bulk: bool) -> tuple[memoryview, memoryview]:
    """The bytes of the header, and the payload."""
    size = len(frame)
    if size < 4:
        raise ProtocolError(f"a frame has only {size} bytes")
    end = _unpack_length(frame)[0] + 4
    payload = NO_PAYLOAD
    if end != size:
        if end > size:
            raise ProtocolError(f"a frame of {size} bytes has a header that ends at {end}")
        if not bulk:
            raise ProtocolError("a frame on a control connection has a payload")
        payload = frame[end:]
    return frame[4:end], payload


def decode_header(header: memoryview) -> Header:
    try:
        return _decode_header(header)
    except UNREADABLE as error:
        raise ProtocolError(f"a frame has no proper header: {str(error)[:200]}") from None


class _Tagged(msgspec.Struct, array_like=True):
    tag: str


_decode_tagged = msgspec.msgpack.Decoder(_Tagged).decode


def tag_of(body: msgspec.Raw) -> str | None:
    """The tag of a message, whatever else is in it, or ``None`` if it has none."""
    try:
        return _decode_tagged(body).tag
    except UNREADABLE:
        return None


def name_of(message: type[Any]) -> str:
    """What a message type is called on the wire and in error messages: its tag."""
    return str(message.__struct_config__.tag)
