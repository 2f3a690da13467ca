"""Checksums and digests that are the same in every process."""

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from quorate.base.checksum import SetDigest, crc32c, stable_hash

ITEMS = st.lists(st.binary(max_size=8), max_size=8)


def digest_of(items: list[bytes]) -> int:
    digest = SetDigest()
    for item in items:
        digest.add(item)
    return digest.value


def test_crc32c_is_the_castagnoli_polynomials() -> None:
    """RFC 3720, appendix B.4."""
    assert crc32c(b"\x00" * 32) == 0x8A9136AA
    assert crc32c(b"\xff" * 32) == 0x62A8AB43
    assert crc32c(bytes(range(32))) == 0x46DD794E
    assert crc32c(b"") == 0


@given(st.binary(max_size=100))
def test_crc32c_takes_any_buffer(data: bytes) -> None:
    padded = b"x" + data
    forms = (data, bytearray(data), memoryview(data), memoryview(padded)[1:])
    assert {crc32c(form) for form in forms} == {crc32c(data)}


def test_the_stable_hash_is_the_same_in_every_process() -> None:
    assert stable_hash(b"") == 0xE4A6A0577479B2B4
    assert 0 <= stable_hash(b"quorate") < 1 << 64


@given(ITEMS, st.randoms(use_true_random=False))
def test_a_digest_does_not_depend_on_the_order(items: list[bytes], random: Random) -> None:
    shuffled = list(items)
    random.shuffle(shuffled)
    assert digest_of(shuffled) == digest_of(items)


@given(ITEMS, ITEMS)
def test_what_was_added_and_removed_leaves_no_trace(kept: list[bytes], gone: list[bytes]) -> None:
    digest = SetDigest()
    for item in kept + gone:
        digest.add(item)
    for item in reversed(gone):
        digest.remove(item)
    assert digest.value == digest_of(kept)
    assert 0 <= digest.value < 1 << 64


@given(ITEMS, ITEMS)
def test_different_sets_have_different_digests(one: list[bytes], other: list[bytes]) -> None:
    assert (digest_of(one) == digest_of(other)) == (sorted(one) == sorted(other))


def test_nothing_has_the_digest_zero() -> None:
    assert SetDigest().value == 0
