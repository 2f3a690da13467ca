"""Join tokens: what comes out is what went in, or one sentence."""

import base64

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quorate.base.checksum import crc32c
from quorate.base.codec import encode
from quorate.base.errors import BadConfiguration, BadInput, QuorateError
from quorate.base.ids import Address, ClusterId
from quorate.node.join_token import VERSION, JoinToken, text_of, token_of

DOOR = Address("10.0.0.1:7400")
TOKEN = JoinToken(VERSION, ClusterId("c" * 32), "n4", (DOOR,), {"n1": DOOR}, 1, "ca", "cert", "key")


def sealed(data: bytes) -> str:
    return base64.urlsafe_b64encode(data + crc32c(data).to_bytes(4, "big")).decode()


def test_a_token_says_what_it_was_made_of_also_with_line_breaks_in_it() -> None:
    text = text_of(TOKEN)
    assert token_of(text) == TOKEN
    assert token_of(f" {text[:40]}\n{text[40:]}\n") == TOKEN


@given(st.data())
def test_a_token_with_one_wrong_character_is_none(data: st.DataObject) -> None:
    text = text_of(TOKEN)
    at = data.draw(st.integers(0, len(text) - 2))  # the bits of the last one may be padding
    wrong = data.draw(st.sampled_from([c for c in "ABCxyz019-_" if c != text[at]]))
    with pytest.raises(BadInput, match="no whole join token"):
        token_of(text[:at] + wrong + text[at + 1 :])


@given(st.text(max_size=200) | st.binary(max_size=100).map(sealed))
def test_any_other_text_is_one_sentence(text: str) -> None:
    with pytest.raises(QuorateError):
        token_of(text)


def test_a_token_of_another_version_says_so_whatever_it_holds() -> None:
    with pytest.raises(BadConfiguration, match="has version 2 and this quorate reads version 1"):
        token_of(sealed(encode([2, {"all": "different"}])))


def test_a_field_that_is_not_known_is_refused() -> None:
    with pytest.raises(BadInput):
        token_of(sealed(encode([*msgspec.structs.astuple(TOKEN), "more"])))
