"""Reading a file: from any replica, verified, and from another one if that fails.

Rules:
* The chunks of a file are located a few at a time, and remembered only while one read lasts.
* Every piece is verified here again, although the chunkserver has done so: the network is between.
* A replica that is dead, hung or corrupt is passed over, also for the rest of this read.  Only when
  no replica has good bytes is the data called corrupt.
"""

import asyncio
from collections.abc import AsyncIterator

from quorate.base.errors import (
    BadInput,
    CorruptData,
    ProtocolError,
    QuorateError,
    Unavailable,
)
from quorate.base.ids import NodeId
from quorate.base.together import together
from quorate.gfs.access import PIECE_TIMEOUT_MS, WINDOW, Access, Deadline
from quorate.gfs.core.blocks import bad_block, block_count
from quorate.gfs.core.commands import BLOCK_BYTES
from quorate.gfs.messages import (
    PIECE_BYTES,
    REPLICAS_WANTED,
    ChunkBlocks,
    LocatedChunk,
    LocateFile,
    ReadChunk,
    Server,
)

PREFETCH = 8
"""Chunks located at a time (GFS §2.7.1)."""
PAUSE_MS = 50
"""Before asking again where a chunk is."""
CORRUPT_AFTER_MS = 5_000
"""So long a replica that is good may take to show itself."""


class FileReader:
    """One read of a part of a file."""

    def __init__(self, access: Access, path: str) -> None:
        self._access = access
        self._path = path
        self._file = 0
        self._size = 0
        self._chunk_bytes = 0
        self._chunks: dict[int, LocatedChunk] = {}
        self._locating = asyncio.Lock()
        self._avoid: dict[NodeId, None] = {}
        self._turn = access.world.random.randrange(REPLICAS_WANTED)

    async def pieces(self, offset: int, length: int | None) -> AsyncIterator[memoryview]:
        """The bytes from ``offset`` on, in order, in pieces of up to 1 MiB."""
        if offset < 0 or (length is not None and length < 0):
            raise BadInput(f"cannot read {length} bytes from byte {offset} of {self._path}")
        await self._locate(offset, self._access.deadline())
        end = self._size if length is None else min(self._size, offset + length)
        position = offset
        while position < end:
            batch: list[tuple[int, int]] = []
            while position < end and len(batch) < WINDOW:
                in_chunk = position % self._chunk_bytes
                size = min(
                    PIECE_BYTES - in_chunk % PIECE_BYTES,
                    self._chunk_bytes - in_chunk,
                    end - position,
                )
                batch.append((position, size))
                position += size
            for piece in await together(self._fetch(start, size) for start, size in batch):
                yield piece

    async def _locate(self, offset: int, deadline: Deadline) -> None:
        request = LocateFile(self._path, offset, PREFETCH, self._file)
        timeout_ms = deadline.remaining_ms()
        located = await self._access.group.call_leader(request, timeout_ms=timeout_ms)
        index = offset // located.chunk_bytes if located.chunk_bytes > 0 else -1
        there = located.first <= index < located.first + len(located.chunks)
        if index < 0 or (offset < located.size and not there):
            raise ProtocolError(f"{self._path}: the master named other chunks than were asked for")
        self._file, self._size = located.file, located.size
        self._chunk_bytes = located.chunk_bytes
        self._chunks = dict(enumerate(located.chunks, located.first))

    async def _chunk(self, index: int, deadline: Deadline) -> LocatedChunk:
        async with self._locating:
            if index not in self._chunks:
                await self._locate(index * self._chunk_bytes, deadline)
            return self._chunks[index]

    def _order(self, servers: list[Server]) -> list[Server]:
        """Good before bad, near before far, and otherwise by turns."""
        self._turn += 1
        turned = servers[self._turn % len(servers) :] + servers[: self._turn % len(servers)]
        return sorted(
            turned, key=lambda s: (s.node in self._avoid, s.node != self._access.local_node)
        )

    async def _fetch(self, position: int, size: int) -> memoryview:
        """``size`` bytes from ``position``, which lie in one chunk."""
        deadline = self._access.deadline()
        started_ms = self._access.world.clock.monotonic_ms()
        index, in_chunk = divmod(position, self._chunk_bytes)
        failures: dict[str, QuorateError] = {}
        while True:
            chunk = await self._chunk(index, deadline)
            for server in self._order(chunk.servers) if chunk.servers else ():
                try:
                    return await self._read(server, chunk.handle, index, in_chunk, size, deadline)
                except QuorateError as error:
                    self._avoid[server.node] = None
                    failures[server.name] = error
            waited_ms = self._access.world.clock.monotonic_ms() - started_ms
            self._judge(failures, waited_ms, position)
            self._chunks.pop(index, None)
            await self._access.world.clock.sleep(PAUSE_MS)

    def _judge(self, failures: dict[str, QuorateError], waited_ms: float, position: int) -> None:
        """Raise if there is no hope left, or no time."""
        corrupt = [name for name, error in failures.items() if isinstance(error, CorruptData)]
        hopeless = len(corrupt) >= REPLICAS_WANTED or waited_ms > CORRUPT_AFTER_MS
        where = f"{self._path} at byte {position}"
        if corrupt and hopeless and len(corrupt) == len(failures):
            raise CorruptData(
                f"{where}: the replicas on {', '.join(sorted(corrupt))} are all damaged and no"
                " other is known; restore the file from elsewhere"
            )
        if waited_ms + PAUSE_MS >= self._access.timeout_ms:
            reasons = "; ".join(f"{name}: {error.message}" for name, error in failures.items())
            raise Unavailable(
                f"{where}: no replica could be read ({reasons or 'no chunkserver has it'}):"
                " start the machines that have it"
            )

    async def _read(
        self,
        server: Server,
        handle: int,
        index: int,
        in_chunk: int,
        size: int,
        deadline: Deadline,
    ) -> memoryview:
        request = ReadChunk(handle, in_chunk, size)
        timeout_ms = min(deadline.remaining_ms(), PIECE_TIMEOUT_MS)
        blocks, payload = await self._access.rpc.call_bulk(
            server.address, request, timeout_ms=timeout_ms
        )
        length = min(self._chunk_bytes, self._size - index * self._chunk_bytes)
        self._verify(blocks, payload, length, in_chunk, size, server)
        start = in_chunk - blocks.offset
        return payload[start : start + size]

    def _verify(
        self,
        blocks: ChunkBlocks,
        payload: memoryview,
        length: int,
        in_chunk: int,
        size: int,
        server: Server,
    ) -> None:
        """Raise ``CorruptData`` unless these are the blocks that hold the bytes asked for."""
        start = in_chunk // BLOCK_BYTES * BLOCK_BYTES
        end = min(block_count(in_chunk + size) * BLOCK_BYTES, length)
        shape = (blocks.length, blocks.offset, len(payload))
        if shape != (length, start, end - start):
            raise CorruptData(f"{server.name} sent other bytes than were asked for")
        if bad_block(payload, blocks.checksums) is not None:
            raise CorruptData(f"bytes from {server.name} were damaged on the way")
