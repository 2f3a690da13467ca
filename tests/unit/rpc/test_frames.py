"""Frames: what was encoded comes back, and nothing that can be sent does more than be refused."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quorate.base.codec import Notice, Reply, Request, encode, union_decoder
from quorate.base.errors import BadInput, ProtocolError
from quorate.rpc.frames import (
    KIND_NAMES,
    MAX_BULK_FRAME_BYTES,
    MAX_CONTROL_FRAME_BYTES,
    MAX_TIMEOUT_MS,
    REQUEST,
    Header,
    decode_body,
    decode_frame,
    encode_frame,
    name_of,
    tag_of,
)


class Pong(Reply):
    number: int


class Ping(Request[Pong], tag="test.ping.1"):
    number: int
    note: str = ""
    table: dict[str, list[float]] | None = None


class Hint(Notice, tag="test.hint.1"):
    number: int


messages = union_decoder([Ping, Hint]).decode


def joined(*args: object, **kwargs: object) -> memoryview:
    frame, size = encode_frame(*args, **kwargs)  # type: ignore[arg-type]
    whole = b"".join(frame)
    assert len(whole) == size
    return memoryview(whole)


@given(
    kind=st.integers(0, len(KIND_NAMES) - 1),
    call_id=st.integers(0, 2**64 - 1),
    timeout_ms=st.integers(0, MAX_TIMEOUT_MS),
    payload=st.lists(st.binary(max_size=50), max_size=3),
)
def test_what_was_encoded_comes_back(
    kind: int, call_id: int, timeout_ms: int, payload: list[bytes]
) -> None:
    request = Ping(call_id % 1000, "ü")
    header, received = decode_frame(joined(kind, call_id, timeout_ms, request, payload), bulk=True)
    assert (header.kind, header.call_id, header.timeout_ms) == (kind, call_id, timeout_ms)
    assert decode_body(messages, header.body) == request
    assert bytes(received) == b"".join(payload)


@given(st.binary(max_size=300), st.booleans())
def test_any_bytes_decode_or_are_a_protocol_error(data: bytes, bulk: bool) -> None:
    try:
        header, _ = decode_frame(memoryview(data), bulk)
        decode_body(messages, header.body)
    except ProtocolError:
        pass


@given(st.integers(0, 60), st.binary(min_size=1, max_size=4), st.booleans())
def test_a_damaged_frame_decodes_or_is_a_protocol_error(
    position: int, damage: bytes, bulk: bool
) -> None:
    request = Ping(7, "some words", {"a": [1.0, 2.5]})
    frame = bytearray(joined(REQUEST, 1, 500, request))
    frame[position : position + len(damage)] = damage
    try:
        header, _ = decode_frame(memoryview(bytes(frame)), bulk)
        decode_body(messages, header.body)
        tag_of(header.body)
    except ProtocolError:
        pass


@pytest.mark.parametrize(
    "body",
    [
        b"\x91" * 100_000 + b"\x01",  # nested deeper than any stack
        b"\xdd\xff\xff\xff\xff",  # an array of four thousand million items
        b"\x92\xabtest.ping.1\xa1\xff",  # text that is no UTF-8
        encode(["test.ping.1", "no number"]),
        encode(["test.ping.1"]),
        encode(7),
    ],
)
def test_a_malformed_body_is_a_protocol_error(body: bytes) -> None:
    with pytest.raises(ProtocolError):
        decode_body(messages, msgspec.Raw(body))


def test_deep_nesting_in_place_of_the_header_is_a_protocol_error() -> None:
    nested = b"\x91" * 100_000 + b"\x01"
    frame = len(nested).to_bytes(4, "big") + nested
    with pytest.raises(ProtocolError, match="no proper header"):
        decode_frame(memoryview(frame), bulk=False)


def test_a_header_longer_than_its_frame_is_a_protocol_error() -> None:
    with pytest.raises(ProtocolError, match="ends at 104"):
        decode_frame(memoryview((100).to_bytes(4, "big") + b"short"), bulk=True)


def test_a_payload_on_a_control_connection_is_a_protocol_error() -> None:
    frame = joined(REQUEST, 1, 1, Ping(1), [b"bytes"])
    assert bytes(decode_frame(frame, bulk=True)[1]) == b"bytes"
    with pytest.raises(ProtocolError, match="payload"):
        decode_frame(frame, bulk=False)


def test_header_fields_out_of_range_are_protocol_errors() -> None:
    for fields in ([7, 0, 0, 0], [-1, 0, 0, 0], [2, -1, 0, 0], [2, 1, MAX_TIMEOUT_MS + 1, 0]):
        header = encode(fields)
        frame = len(header).to_bytes(4, "big") + header
        with pytest.raises(ProtocolError):
            decode_frame(memoryview(frame), bulk=False)


def test_a_newer_header_with_more_fields_is_understood() -> None:
    header = encode([REQUEST, 5, 100, ["test.ping.1", 1], "new"])
    frame = len(header).to_bytes(4, "big") + header
    decoded, _ = decode_frame(memoryview(frame), bulk=False)
    assert decoded.call_id == 5


def test_payload_pieces_are_handed_on_and_received_as_they_are() -> None:
    piece = bytearray(b"x" * 1000)
    view = memoryview(piece)[100:600]
    frame, _ = encode_frame(REQUEST, 1, 1, Ping(1), [piece, view], MAX_BULK_FRAME_BYTES)
    assert frame[-2] is piece
    assert frame[-1] is view
    whole = bytearray(b"".join(frame))
    _, payload = decode_frame(memoryview(whole), bulk=True)
    assert payload.obj is whole


def test_views_of_wider_items_are_measured_in_bytes() -> None:
    wide = memoryview(bytes(80)).cast("Q")
    _, size = encode_frame(REQUEST, 1, 1, Ping(1), [wide], MAX_BULK_FRAME_BYTES)
    _, empty = encode_frame(REQUEST, 1, 1, Ping(1), [b""], MAX_BULK_FRAME_BYTES)
    assert size - empty == 80


def test_a_frame_that_is_too_large_is_refused_before_it_is_sent() -> None:
    with pytest.raises(BadInput, match=r"request test\.ping\.1 has .* 1048576"):
        encode_frame(REQUEST, 1, 1, Ping(1, "x" * MAX_CONTROL_FRAME_BYTES))
    with pytest.raises(BadInput):
        encode_frame(REQUEST, 1, 1, Ping(1), [bytes(1000)], 1000)


def test_the_tag_of_an_unknown_message_can_be_read() -> None:
    assert tag_of(msgspec.Raw(encode(Ping(1)))) == "test.ping.1"
    assert tag_of(msgspec.Raw(encode(["new.one.9", {"any": "thing"}]))) == "new.one.9"
    assert tag_of(msgspec.Raw(encode([1, 2]))) is None
    assert tag_of(msgspec.Raw(b"\x91\xa1\xff")) is None
    assert name_of(Ping) == "test.ping.1"


def test_a_header_does_not_copy_its_body() -> None:
    header: Header = decode_frame(joined(REQUEST, 1, 1, Ping(1)), bulk=False)[0]
    assert isinstance(header.body, msgspec.Raw)
