"""The chunk format: no bit of a file can change unnoticed."""

import random
from pathlib import Path

import pytest

from quorate.base.checksum import crc32c
from quorate.base.errors import CorruptData
from quorate.base.ids import ClusterId, NodeId
from quorate.gfs.chunk_file import (
    HEADER_BYTES,
    ChunkOwner,
    data_offset,
    pack_head,
    read_blocks,
    read_head,
)
from quorate.gfs.core.blocks import block_checksums
from quorate.runtime.ports import File
from quorate.runtime.real.disk import RealDisk

BLOCK = 64 * 1024
OWNER = ChunkOwner(ClusterId("ab" * 16), NodeId(3), "n3")
HANDLE = 0x1234


def bytes_of(data: bytes, capacity: int = 64 << 20, owner: ChunkOwner = OWNER) -> bytes:
    return pack_head(owner, HANDLE, capacity, len(data), block_checksums(data)) + data


def file_of(root: Path, content: bytes) -> File:
    file = RealDisk(root).open("chunk", create=True)
    file.write(0, content)
    return file


def read_all(file: File, length: int) -> bytes:
    head = read_head(file, OWNER, HANDLE)
    start, data, _ = read_blocks(file, head, 0, length, "the chunk")
    assert (start, head.length) == (0, length)
    return data


def test_data_begin_at_a_page_behind_room_for_every_checksum() -> None:
    for capacity in (BLOCK, 63 << 20, 64 << 20, 256 << 20):
        offset = data_offset(capacity)
        assert offset % 4096 == 0
        assert offset >= HEADER_BYTES + 4 * (capacity // BLOCK)
    assert data_offset(64 << 20) == 8192


@pytest.mark.parametrize("length", [1, BLOCK, BLOCK + 1, 3 * BLOCK - 7])
def test_what_was_written_is_read(tmp_path: Path, length: int) -> None:
    data = random.Random(length).randbytes(length)
    assert read_all(file_of(tmp_path, bytes_of(data)), length) == data


def test_a_read_covers_whole_blocks_and_no_more(tmp_path: Path) -> None:
    data = random.Random(0).randbytes(3 * BLOCK + 100)
    file = file_of(tmp_path, bytes_of(data))
    head = read_head(file, OWNER, HANDLE)
    start, found, checksums = read_blocks(file, head, BLOCK + 5, BLOCK, "the chunk")
    assert (start, found) == (BLOCK, data[BLOCK : 3 * BLOCK])
    assert list(checksums) == block_checksums(found)
    assert read_blocks(file, head, 3 * BLOCK + 99, 1, "the chunk")[1] == data[3 * BLOCK :]


def test_every_flipped_bit_is_found(tmp_path: Path) -> None:
    data = random.Random(1).randbytes(500)
    content = bytes_of(data, BLOCK)
    file = file_of(tmp_path, content)
    for position in range(len(content)):
        for bit in range(8):
            file.write(position, bytes([content[position] ^ 1 << bit]))
            with pytest.raises(CorruptData, match=r"n3|the chunk"):
                read_all(file, len(data))
        file.write(position, content[position : position + 1])
    assert read_all(file, len(data)) == data


def test_a_flipped_bit_in_one_block_leaves_the_others_readable(tmp_path: Path) -> None:
    data = random.Random(2).randbytes(3 * BLOCK)
    file = file_of(tmp_path, bytes_of(data))
    head = read_head(file, OWNER, HANDLE)
    file.write(head.data_offset + BLOCK + 9, bytes([data[BLOCK + 9] ^ 4]))
    with pytest.raises(CorruptData, match=f"damaged block at byte {BLOCK}"):
        read_blocks(file, head, 0, 3 * BLOCK, "the chunk")
    assert read_blocks(file, head, 0, BLOCK, "the chunk")[1] == data[:BLOCK]
    assert read_blocks(file, head, 2 * BLOCK, 1, "the chunk")[1] == data[2 * BLOCK :]


@pytest.mark.parametrize("kept", [0, 7, HEADER_BYTES, 4000, 5000])
def test_a_file_that_is_cut_short_is_found(tmp_path: Path, kept: int) -> None:
    data = bytes(2000)
    file = file_of(tmp_path, bytes_of(data, BLOCK)[:kept])
    with pytest.raises(CorruptData):
        read_all(file, len(data))


@pytest.mark.parametrize(
    ("owner", "handle", "sentence"),
    [
        (ChunkOwner(ClusterId("cd" * 16), NodeId(3), "n3"), HANDLE, "another cluster"),
        (ChunkOwner(ClusterId("ab" * 16), NodeId(4), "n3"), HANDLE, "another cluster or machine"),
        (OWNER, HANDLE + 1, "holds chunk 0000000000001234"),
    ],
)
def test_a_chunk_of_somebody_else_is_never_taken_for_ours(
    tmp_path: Path, owner: ChunkOwner, handle: int, sentence: str
) -> None:
    file = file_of(tmp_path, bytes_of(b"x", BLOCK))
    with pytest.raises(CorruptData, match=sentence):
        read_head(file, owner, handle)


def test_a_format_of_the_future_is_refused_by_its_number(tmp_path: Path) -> None:
    content = bytearray(bytes_of(b"x", BLOCK))
    content[8:10] = (2).to_bytes(2, "big")
    header = bytes(content[: HEADER_BYTES - 4])
    content[HEADER_BYTES - 4 : HEADER_BYTES] = crc32c(header).to_bytes(4, "big")
    with pytest.raises(CorruptData, match="format 2; this build reads 1"):
        read_head(file_of(tmp_path, bytes(content)), OWNER, HANDLE)
