"""A chunk that is being written: its pieces, in any order and perhaps twice, until it is whole.

Until then it has a name of its own (``….part``), which a restart removes: what was never
acknowledged need not survive.
"""

import asyncio
from collections.abc import Sequence

from quorate.base.errors import BadInput, QuorateError
from quorate.gfs.chunk_file import ChunkOwner, data_offset, pack_head
from quorate.gfs.core.blocks import block_count
from quorate.gfs.core.commands import BLOCK_BYTES, MAX_CHUNK_BYTES
from quorate.gfs.messages import WriteChunk
from quorate.runtime.ports import Disk


def check_piece(request: WriteChunk, length: int, name: str) -> None:
    """Raise ``BadInput`` unless a piece of ``length`` bytes fits its place."""
    end = request.offset + length
    aligned = request.offset % BLOCK_BYTES == 0 and request.capacity % BLOCK_BYTES == 0
    inside = length > 0 <= request.offset and end <= request.capacity <= MAX_CHUNK_BYTES
    ends = end == request.total if request.total else length % BLOCK_BYTES == 0
    whole = len(request.checksums) == block_count(length)
    if not (request.handle > 0 and aligned and inside and ends and whole):
        raise BadInput(
            f"a piece of {length} bytes at {request.offset} of chunk {request.handle:016x}"
            f" does not fit; {name} did not store it"
        )


class PartialChunk:
    """One chunk under construction on a disk."""

    def __init__(self, disk: Disk, path: str, handle: int, capacity: int, now_ms: float) -> None:
        self.path = path
        self.touched_ms = now_ms
        self.finishing: asyncio.Task[QuorateError | None] | None = None
        self._handle = handle
        self._capacity = capacity
        self._offset = data_offset(capacity)
        self._checksums: dict[int, int] = {}  # block -> CRC32C
        self._file = disk.open(path, create=True)

    def put(self, request: WriteChunk, payload: memoryview, now_ms: float) -> None:
        """Write a piece, checked before, into the page cache."""
        if request.capacity != self._capacity:
            raise BadInput(
                f"chunk {self._handle:016x} has room for {self._capacity} bytes, not"
                f" {request.capacity}"
            )
        self.touched_ms = now_ms
        self._file.write(self._offset + request.offset, payload)
        first = request.offset // BLOCK_BYTES
        self._checksums.update(enumerate(request.checksums, first))

    def checksums(self, total: int) -> Sequence[int] | None:
        """Those of all blocks of ``total`` bytes, or ``None`` if a piece is missing."""
        blocks = range(block_count(total))
        if len(self._checksums) != len(blocks) or any(b not in self._checksums for b in blocks):
            return None
        return [self._checksums[block] for block in blocks]

    async def seal(self, owner: ChunkOwner, total: int, checksums: Sequence[int]) -> None:
        """Header and table in front, and all of it on the disk."""
        head = pack_head(owner, self._handle, self._capacity, total, checksums)
        await self._file.write_and_sync(0, head)

    def close(self) -> None:
        self._file.close()
