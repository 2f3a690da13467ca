"""The format of a chunk on disk: one file for each.

    header | table of checksums, zeros up to ``data_offset`` | data

The table has room for the chunk's whole capacity, so that data never move when a chunk grows; the
header has a checksum over itself and one over the table with its padding, the table one for each
block of data: no bit of the file can change unnoticed.  The header also says whose chunk it is, so
that a file from another cluster's disk is never taken for one of ours.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass

from quorate.base.checksum import crc32c
from quorate.base.errors import CorruptData
from quorate.base.ids import ClusterId, NodeId
from quorate.gfs.core.blocks import bad_block, block_count
from quorate.gfs.core.commands import BLOCK_BYTES, MAX_CHUNK_BYTES
from quorate.runtime.ports import File

MAGIC = b"quochunk"
FORMAT = 1
CHUNK_VERSION = 1
"""Of a chunk that was written once (GFS §4.5 raises it with each lease)."""

_HEADER = struct.Struct(">8sH32sIQQQII")  # magic … data_offset, table checksum
_CRC = struct.Struct(">I")
HEADER_BYTES = _HEADER.size + _CRC.size
_PAGE = 4096


def data_offset(capacity: int) -> int:
    """Where data begin in a chunk of up to ``capacity`` bytes: at the start of a page."""
    return -(-(HEADER_BYTES + 4 * block_count(capacity)) // _PAGE) * _PAGE


@dataclass(slots=True, frozen=True)
class ChunkOwner:
    """Whose disk the chunks are on; ``name`` is the machine's, for sentences."""

    cluster: ClusterId
    node: NodeId
    name: str
    earlier: tuple[NodeId, ...] = ()
    """Ids that the same machine had: what it stored then is its own."""

    def is_same(self, cluster: str, node: int) -> bool:
        """Whether ``node`` of ``cluster`` is this machine, or was."""
        return cluster == self.cluster and (node == self.node or node in self.earlier)


@dataclass(slots=True, frozen=True)
class ChunkHead:
    """Header and table of a chunk, verified."""

    length: int
    data_offset: int
    checksums: Sequence[int]


def pack_head(
    owner: ChunkOwner, handle: int, capacity: int, length: int, checksums: Sequence[int]
) -> bytes:
    """Header and table, ``data_offset(capacity)`` bytes."""
    offset = data_offset(capacity)
    table = struct.pack(f">{len(checksums)}I", *checksums).ljust(offset - HEADER_BYTES, b"\0")
    header = _HEADER.pack(
        MAGIC,
        FORMAT,
        owner.cluster.encode(),
        owner.node,
        handle,
        CHUNK_VERSION,
        length,
        offset,
        crc32c(table),
    )
    return header + _CRC.pack(crc32c(header)) + table


def read_head(file: File, owner: ChunkOwner, handle: int) -> ChunkHead:
    """Header and table of ``file``; raises ``CorruptData`` unless they are whole and ours."""
    where = f"chunk {handle:016x} on {owner.name}"
    raw = file.read(0, HEADER_BYTES)
    if len(raw) < HEADER_BYTES or raw[:8] != MAGIC:
        raise CorruptData(f"{where} has no chunk header: the file was damaged or replaced")
    _, version, *rest = _HEADER.unpack_from(raw)
    if _CRC.unpack_from(raw, _HEADER.size)[0] != crc32c(raw[: _HEADER.size]):
        raise CorruptData(f"{where} has a damaged header")
    if version != FORMAT:
        raise CorruptData(f"{where} has format {version}; this build reads {FORMAT}")
    cluster, node, found, chunk_version, length, offset, table_crc = rest
    if not owner.is_same(cluster.rstrip(b"\0").decode(errors="replace"), node):
        raise CorruptData(f"{where} was written by another cluster or machine: it is not used")
    if found != handle or chunk_version != CHUNK_VERSION:
        raise CorruptData(f"{where} holds chunk {found:016x}, version {chunk_version}")
    if not HEADER_BYTES + 4 * block_count(length) <= offset <= data_offset(MAX_CHUNK_BYTES):
        raise CorruptData(f"{where} has a header that does not fit {length} bytes")
    table = file.read(HEADER_BYTES, offset - HEADER_BYTES)
    if len(table) != offset - HEADER_BYTES or crc32c(table) != table_crc:
        raise CorruptData(f"{where} has a damaged table of checksums")
    checksums = struct.unpack_from(f">{block_count(length)}I", table)
    return ChunkHead(length, offset, checksums)


def read_blocks(
    file: File, head: ChunkHead, offset: int, length: int, where: str
) -> tuple[int, bytes, Sequence[int]]:
    """The blocks that hold ``length`` bytes from ``offset``: (start, data, checksums).

    Raises ``CorruptData`` before a byte leaves that is not what was written.
    """
    first = offset // BLOCK_BYTES
    start = first * BLOCK_BYTES
    end = min(block_count(offset + length) * BLOCK_BYTES, head.length)
    data = file.read(head.data_offset + start, end - start)
    checksums = head.checksums[first : first + block_count(end - start)]
    if len(data) != end - start:
        raise CorruptData(f"{where} is cut short at byte {start + len(data)}")
    if (bad := bad_block(data, checksums)) is not None:
        raise CorruptData(f"{where} has a damaged block at byte {start + bad * BLOCK_BYTES}")
    return start, data, checksums
