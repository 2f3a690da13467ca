"""Blocks of 64 KiB and their checksums (GFS §5.2).

A checksum is made by the writer, checked by the chunkserver when the block arrives and each time
it is read, and checked again by the reader: nothing that changed on the way is ever used.
"""

from collections.abc import Sequence

from quorate.base.checksum import crc32c
from quorate.base.errors import BadInput
from quorate.gfs.core.commands import BLOCK_BYTES, MAX_CHUNK_BYTES


def check_chunk_bytes(chunk_bytes: int) -> None:
    """Raise ``BadInput`` unless the chunks of a file may be this long."""
    if not BLOCK_BYTES <= chunk_bytes <= MAX_CHUNK_BYTES or chunk_bytes % BLOCK_BYTES:
        raise BadInput(
            f"a chunk size of {chunk_bytes} bytes; it must be a multiple of {BLOCK_BYTES}"
            f" and at most {MAX_CHUNK_BYTES}"
        )


def block_count(length: int) -> int:
    """Blocks that hold ``length`` bytes."""
    return -(-length // BLOCK_BYTES)


def block_checksums(data: bytes | bytearray | memoryview) -> list[int]:
    """One CRC32C for each 64 KiB of ``data``, the last block as long as it is."""
    view = memoryview(data)
    return [crc32c(view[start : start + BLOCK_BYTES]) for start in range(0, len(view), BLOCK_BYTES)]


def bad_block(data: bytes | bytearray | memoryview, checksums: Sequence[int]) -> int | None:
    """The first block whose checksum does not fit, or ``None``."""
    found = block_checksums(data)
    if len(found) != len(checksums):
        return min(len(found), len(checksums))
    for position, (one, other) in enumerate(zip(found, checksums, strict=True)):
        if one != other:
            return position
    return None
