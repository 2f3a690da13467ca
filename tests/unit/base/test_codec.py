"""Messages and outcomes as bytes, there and back."""

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from quorate.base.codec import (
    UNREADABLE,
    Command,
    Query,
    Reply,
    Request,
    decode,
    encode,
    outcome_of,
    reply_type,
    result_of,
    union_decoder,
)
from quorate.base.errors import NotFound, ProtocolError, QuorateError


class Found(Reply):
    path: str
    size: int = 0


class Find(Request[Found], tag="test.find.1"):
    path: str
    depth: int = 3


class Put(Command[None], tag="test.put.1"):
    key: str
    value: bytes = b""


class Count(Query[dict[str, int]], tag="test.count.1"):
    pass


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text() | st.binary(),
    lambda values: st.lists(values, max_size=4) | st.dictionaries(st.text(), values, max_size=4),
    max_leaves=12,
)


@given(VALUES)
def test_a_plain_value_comes_out_of_an_outcome_as_it_went_in(value: object) -> None:
    got = result_of(outcome_of(value), object)
    assert encode(got) == encode(value)


def test_a_reply_comes_out_of_an_outcome_as_it_went_in() -> None:
    assert result_of(outcome_of(Found("a", 2)), Found) == Found("a", 2)
    assert result_of(outcome_of(None), type(None)) is None


def test_an_outcome_may_be_read_from_any_kind_of_buffer() -> None:
    outcome = outcome_of([1, 2])
    for form in (outcome, memoryview(outcome), msgspec.Raw(outcome)):
        assert result_of(form, list[int]) == [1, 2]


def test_an_error_is_raised_where_its_outcome_is_read() -> None:
    outcome = outcome_of(NotFound("/a is not there", path="/a", index=3))
    with pytest.raises(NotFound, match="/a is not there") as caught:
        result_of(outcome, int)
    assert caught.value.details == {"path": "/a", "index": 3}


@given(VALUES, st.sampled_from([int, str, Found, list[int]]))
def test_an_outcome_of_another_type_is_a_protocol_error(value: object, kind: type) -> None:
    try:
        result_of(outcome_of(value), kind)
    except QuorateError as error:
        assert isinstance(error, ProtocolError)


@given(st.binary(max_size=30))
@example(b"\x92\xabtest.find.1\xa2\xff\xfe")  # text that is not UTF-8
@example(b"\x94\xabtest.find.1\xa1a\x01" + b"\x91" * 10_000)  # passed over, and deep
def test_no_bytes_make_decoding_fail_otherwise_than_as_unreadable(data: bytes) -> None:
    for kind in (Find, Found, int):
        try:
            decode(data, kind)
        except UNREADABLE:
            continue


def test_the_reply_type_stands_in_the_request() -> None:
    assert reply_type(Find) is Found
    assert reply_type(Put) is type(None)
    assert reply_type(Count) == dict[str, int]


def test_messages_are_chosen_by_their_tag() -> None:
    decoder = union_decoder((Find, Put))
    assert decoder.decode(encode(Find("a", 1))) == Find("a", 1)
    assert decoder.decode(encode(Put("k", b"v"))) == Put("k", b"v")
    with pytest.raises(msgspec.DecodeError):
        decoder.decode(encode(Count()))


def test_a_message_is_an_array_that_begins_with_its_tag() -> None:
    assert msgspec.msgpack.decode(encode(Find("a", 1))) == ["test.find.1", "a", 1]


def test_a_message_of_an_older_build_lacks_fields_and_one_of_a_newer_has_more() -> None:
    """A new field goes to the end, with a default."""
    assert decode(encode(["test.find.1", "a"]), Find) == Find("a", 3)
    assert decode(encode(["test.find.1", "a", 1, "new"]), Find) == Find("a", 1)


def test_a_command_of_a_newer_build_is_refused() -> None:
    """A replica that passes over what others obey would part from them."""
    with pytest.raises(msgspec.ValidationError):
        decode(encode(["test.put.1", "k", b"v", "new"]), Put)
    deep = b"\x94\xaatest.put.1\xa1k\xc4\x00" + b"\x91" * 5000 + b"\xc0"
    with pytest.raises(msgspec.ValidationError):
        decode(deep, Put)
