"""No byte of a snapshot file can change, move or be missing unnoticed."""

from struct import pack
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st
from raft_replicas import group_of
from unit.raft.snapshots.machine import (
    BLOCKS_AT,
    MEMBERS,
    TIME_MS,
    content,
    file_bytes,
    offer_of,
    snapshot_id,
)

from quorate.base.checksum import crc32c
from quorate.base.codec import encode
from quorate.base.errors import BadConfiguration, CorruptData
from quorate.base.ids import Address, ReplicaId
from quorate.raft.core.configuration import MAX_MEMBERS, founding
from quorate.raft.snapshots import Snapshot, format
from quorate.raft.snapshots.format import (
    BLOCK_BYTES,
    END_BYTES,
    FRAME_BYTES,
    HEAD_BYTES,
    HEADER_BYTES,
    Encoder,
    Verifier,
    decode_header,
)

ID = snapshot_id(5)
BLOCK = FRAME_BYTES + 100
DATA = content(300)
RAW = file_bytes(ID, DATA, block_bytes=100)


def verified(raw: bytes, offer: Snapshot) -> bytes:
    """The stream in ``raw``; raises ``EOFError`` where it is cut short."""
    verifier = Verifier(offer, "the file", "do this.")
    data = b""
    while not verifier.ended:
        piece = verifier.take(raw[verifier.position :])
        if piece is None:
            raise EOFError
        data += piece.data
    assert verifier.position == len(raw)
    return data


def test_what_was_written_is_what_is_read() -> None:
    assert verified(RAW, offer_of(ID, RAW)) == DATA
    empty = file_bytes(ID, b"")
    assert len(empty) == BLOCKS_AT + END_BYTES
    assert verified(empty, offer_of(ID, empty)) == b""


def test_each_flipped_bit_is_noticed() -> None:
    for offset in range(len(RAW)):
        for bit in range(8):
            raw = bytearray(RAW)
            raw[offset] ^= 1 << bit
            with pytest.raises(CorruptData) as caught:
                verified(bytes(raw), offer_of(ID, RAW))
            assert caught.value.details["path"] == "the file"
            assert int(caught.value.details["offset"]) <= offset


def test_a_file_cut_short_anywhere_never_ends() -> None:
    for length in range(len(RAW)):
        with pytest.raises(EOFError):
            verified(RAW[:length], offer_of(ID, RAW))
        with pytest.raises((EOFError, CorruptData)):
            verified(RAW[:length], offer_of(ID, RAW[:length]))


@pytest.mark.parametrize("order", [[1, 0, 2], [0, 2], [0, 0, 1, 2], [0, 1, 2, 2], [], [0, 1]])
def test_blocks_left_out_repeated_or_exchanged_are_noticed(order: list[int]) -> None:
    blocks = [RAW[at : at + BLOCK] for at in range(BLOCKS_AT, len(RAW) - END_BYTES, BLOCK)]
    raw = RAW[:BLOCKS_AT] + b"".join(blocks[i] for i in order) + RAW[-END_BYTES:]
    with pytest.raises(CorruptData, match="checksum"):
        verified(raw, offer_of(ID, raw))


def test_the_blocks_of_another_snapshot_do_not_follow_this_header() -> None:
    other = file_bytes(snapshot_id(6), DATA, block_bytes=100)
    raw = RAW[:HEADER_BYTES] + other[HEADER_BYTES:]
    with pytest.raises(CorruptData, match=f"byte {HEADER_BYTES}: the checksum"):
        verified(raw, offer_of(ID, raw))


@pytest.mark.parametrize(
    "offer",
    [
        offer_of(snapshot_id(6), RAW),
        offer_of(snapshot_id(5, term=4), RAW),
        offer_of(snapshot_id(5, group=8), RAW),
        offer_of(snapshot_id(5, source=8), RAW),
        Snapshot(ID, TIME_MS + 1, len(RAW), MEMBERS),
        Snapshot(ID, TIME_MS, len(RAW), group_of(4)),
    ],
)
def test_a_header_that_names_another_snapshot_is_refused(offer: Snapshot) -> None:
    with pytest.raises(CorruptData, match="another snapshot"):
        verified(RAW, offer)


def test_a_file_is_as_long_as_was_said() -> None:
    with pytest.raises(CorruptData, match="wrong place"):
        verified(RAW, Snapshot(ID, TIME_MS, len(RAW) + 1, MEMBERS))
    with pytest.raises(CorruptData, match="longer than can be"):
        verified(RAW, Snapshot(ID, TIME_MS, len(RAW) - 1, MEMBERS))


def test_a_block_larger_than_any_is_refused_before_it_is_waited_for() -> None:
    raw = RAW[:BLOCKS_AT] + pack("<II", 0, BLOCK_BYTES + 1)
    with pytest.raises(CorruptData, match="longer than can be"):
        verified(raw, Snapshot(ID, TIME_MS, 1 << 40, MEMBERS))


def test_a_wrong_total_is_noticed_under_a_right_checksum() -> None:
    link = RAW[BLOCKS_AT : BLOCKS_AT + 4]
    covered = pack("<IQ", 0, 99)
    end = pack("<I", crc32c(link + covered)) + covered
    raw = RAW[: BLOCKS_AT + BLOCK] + end
    with pytest.raises(CorruptData, match="wrong place"):
        verified(raw, offer_of(ID, raw))


def test_an_older_format_says_so() -> None:
    with mock.patch.object(format, "FORMAT_VERSION", 1):
        raw = file_bytes(ID, DATA)
    for read in (lambda: verified(raw, offer_of(ID, raw)), lambda: decode_header(raw, "the file")):
        with pytest.raises(BadConfiguration, match=r"older version .* \(snapshot format 1, this"):
            read()


def test_the_members_are_known_from_the_first_bytes_of_the_file() -> None:
    largest = founding(
        {ReplicaId(1000 * n): Address("n" * 200 + ":1") for n in range(1, MAX_MEMBERS + 1)}
    )
    for members in (MEMBERS, largest, MEMBERS.towards(group_of(5))):
        raw = Encoder().header(ID, TIME_MS, members) + bytes(100)
        assert decode_header(raw[:HEAD_BYTES], "the file") == (ID, TIME_MS, members)


def test_members_that_are_not_what_was_written_are_not_believed() -> None:
    head = RAW[:BLOCKS_AT]
    assert decode_header(head, "the file") == (ID, TIME_MS, MEMBERS)
    for length in range(BLOCKS_AT):
        assert decode_header(head[:length], "the file") is None
    for offset in range(HEADER_BYTES, BLOCKS_AT):
        raw = bytearray(RAW)
        raw[offset] ^= 1
        assert decode_header(bytes(raw), "the file") is None
    other = file_bytes(snapshot_id(6), DATA)
    assert decode_header(RAW[:HEADER_BYTES] + other[HEADER_BYTES:], "the file") is None


def test_members_that_are_none_are_not_believed_under_a_right_checksum() -> None:
    link = RAW[HEADER_BYTES - 4 : HEADER_BYTES]
    for body in (b"", b"nonsense", encode(["a", {}])):
        covered = pack("<I", len(body)) + body
        raw = RAW[:HEADER_BYTES] + pack("<I", crc32c(link + covered)) + covered
        assert decode_header(raw, "the file") is None
        with pytest.raises((CorruptData, EOFError)):
            verified(raw, offer_of(ID, RAW))


def test_a_newer_format_says_to_run_that_version() -> None:
    with mock.patch.object(format, "FORMAT_VERSION", 3):
        raw = file_bytes(ID, DATA)
    with pytest.raises(BadConfiguration, match="run that version"):
        verified(raw, offer_of(ID, raw))
    with mock.patch.object(format, "FORMAT_VERSION", 0):
        raw = file_bytes(ID, DATA)
    assert decode_header(raw, "the file") is None


@given(st.binary(max_size=400), st.booleans(), st.integers(0, 1 << 64))
def test_arbitrary_bytes_are_damaged_or_unfinished(data: bytes, ours: bool, size: int) -> None:
    raw = RAW[:BLOCKS_AT] + data if ours else data
    with pytest.raises((CorruptData, EOFError)):
        verified(raw, Snapshot(ID, TIME_MS, size, MEMBERS))
