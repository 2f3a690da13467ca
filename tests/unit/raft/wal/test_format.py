"""The bytes of the log: what the torn-or-damaged rule takes for granted about them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quorate.base.check import Bug
from quorate.base.ids import ClusterId, NodeId
from quorate.raft.wal.format import (
    BATCH_MAGIC,
    FORMAT_VERSION,
    SECTOR,
    STAMP,
    SegmentHeader,
    batch_bytes,
    decode_batch,
    decode_batch_header,
    decode_segment_header,
    encode_batch,
    encode_segment_header,
)

HEADER = SegmentHeader(FORMAT_VERSION, NodeId(3), ClusterId("c" * 32), 17, 1 << 20)
EDGES = [0, 1, 479, 480, 481, 990, 991, 992, 1502, 1503, 70_000]


def flipped(data: bytes, bit: int) -> bytes:
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


@pytest.mark.parametrize("size", EDGES)
@pytest.mark.parametrize("fill", [b"\0", STAMP, BATCH_MAGIC[:1], b"x"])
def test_a_batch_comes_back_whatever_its_size_and_content(size: int, fill: bytes) -> None:
    image = encode_batch(9, 4, fill * size)
    assert len(image) == batch_bytes(size)
    batch = decode_batch(b"before" + image + b"after", 6)
    assert batch == (9, 4, fill * size, 6 + len(image))


@given(st.binary(max_size=3000))
def test_a_batch_comes_back(payload: bytes) -> None:
    batch = decode_batch(encode_batch(1, 1, payload), 0)
    assert batch is not None and batch.payload == payload


@pytest.mark.parametrize("size", EDGES)
@pytest.mark.parametrize("fill", [b"\0", STAMP, BATCH_MAGIC[:1]])
def test_every_sector_says_what_it_is_and_none_is_zero(size: int, fill: bytes) -> None:
    image = encode_batch(1, 1, fill * size)
    assert image[: len(BATCH_MAGIC)] == BATCH_MAGIC
    assert image[SECTOR::SECTOR] == STAMP * (len(image) // SECTOR - 1)


def test_zero_stamp_and_magic_are_three_bits_apart() -> None:
    marks = [0, STAMP[0], BATCH_MAGIC[0]]
    for one in marks:
        for other in marks:
            assert one == other or (one ^ other).bit_count() >= 3


def test_no_flipped_bit_of_a_batch_passes() -> None:
    image = encode_batch(5, 2, bytes(range(250)) * 5)  # three sectors and padding
    assert len(image) == 3 * SECTOR
    for bit in range(len(image) * 8):
        assert decode_batch(flipped(image, bit), 0) is None


def test_a_batch_that_the_data_do_not_hold_whole_is_none() -> None:
    image = encode_batch(5, 2, bytes(2000))
    assert decode_batch(image[:-1], 0) is None
    assert decode_batch(image, SECTOR) is None
    assert decode_batch_header(image[: SECTOR - 1], 0) is None


def test_a_segment_header_comes_back() -> None:
    sector = encode_segment_header(HEADER)
    assert len(sector) == SECTOR
    assert decode_segment_header(sector) == HEADER


def test_no_flipped_bit_of_a_segment_header_passes() -> None:
    sector = encode_segment_header(HEADER)
    for bit in range(SECTOR * 8):
        assert decode_segment_header(flipped(sector, bit)) is None
    assert decode_segment_header(sector[:-1]) is None


def test_a_cluster_id_that_does_not_fit_is_a_bug() -> None:
    with pytest.raises(Bug):
        encode_segment_header(HEADER._replace(cluster=ClusterId("c" * 33)))
