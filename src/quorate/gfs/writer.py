"""Writing a file: chunk by chunk to all replicas, and then the one command that makes it appear.

Rules:
* Data go from here to every chosen chunkserver at once, in pieces, a bounded number in flight
  (control and data apart, GFS §3.2; the paper's chain of chunkservers comes with leases).
* A chunkserver that fails is dropped.  If fewer than the minimum are left, the whole chunk is
  written anew elsewhere, under a new handle; for that the writer keeps the bytes of the one chunk
  it is at, and no more.
* The last piece of a chunk goes when all others are there; its answer means that the chunk is on
  the disk.  Only then is the file created, so a file that can be seen is on synced disks.
"""

import asyncio
from dataclasses import dataclass

from quorate.base.errors import (
    AlreadyExists,
    BadInput,
    DeadlineExceeded,
    DiskFull,
    Maybe,
    NotFound,
    Overloaded,
    QuorateError,
    Unavailable,
)
from quorate.base.ids import NodeId
from quorate.base.together import together
from quorate.gfs.access import PIECE_TIMEOUT_MS, WINDOW, Access, Deadline
from quorate.gfs.core.blocks import block_checksums
from quorate.gfs.core.commands import CreateFile, ReleaseChunks, RenewChunks
from quorate.gfs.messages import (
    PIECE_BYTES,
    REPLICAS_WANTED,
    FileStatus,
    PlaceChunks,
    PlacedChunk,
    Server,
    StatFile,
    WriteChunk,
)
from quorate.gfs.pool import ChunkPool, place_chunks
from quorate.runtime.ports import Buffer

BATCH_BYTES = WINDOW * PIECE_BYTES
MAX_PLACEMENTS = 3
"""How often one chunk is tried on other chunkservers."""
FINISH_TIMEOUT_MS = 10_000
"""For the piece that waits for the chunk's fsync."""
ATTEMPTS = 2
"""To send one piece to one chunkserver, when the answer did not come."""
RETRY_PAUSE_MS = 50
ELSEWHERE_TIMEOUT_MS = 2_000
RELEASE_TIMEOUT_MS = 2_000
RENEW_MS = 20 * 60 * 1000
"""A writer that takes longer than this tells the master that it is still there."""


@dataclass(slots=True, frozen=True)
class _Piece:
    offset: int
    data: memoryview
    checksums: list[int]


class ChunkWriter:
    """One chunk on its way to its chunkservers."""

    def __init__(self, access: Access, pool: ChunkPool) -> None:
        self.placed: PlacedChunk | None = None
        self.servers: list[Server] = []
        """Those that have all that was sent."""
        self.given_up: list[int] = []
        """Handles of places where too few chunkservers were left."""
        self.length = 0
        self._access = access
        self._pool = pool
        self._minimum = 1
        self._pieces: list[_Piece] = []
        self._failures: dict[NodeId, tuple[str, QuorateError]] = {}

    async def send(self, data: bytes, *, complete: bool, deadline: Deadline) -> None:
        """Store ``data`` behind what was sent before; ``complete`` ends the chunk and waits for
        the disks.  Raises ``Unavailable`` or ``DiskFull`` if too few chunkservers are left."""
        fresh = []
        view = memoryview(data)
        for start in range(0, len(data), PIECE_BYTES):
            piece = view[start : start + PIECE_BYTES]
            fresh.append(_Piece(self.length, piece, block_checksums(piece)))
            self.length += len(piece)
        self._pieces += fresh
        for _ in range(MAX_PLACEMENTS):
            if self.placed is None:
                self.placed = await self._place(deadline)
                fresh = self._pieces
            await self._push(fresh, self.length if complete else 0, deadline)
            if len(self.servers) >= self._minimum:
                return
            self.given_up.append(self.placed.handle)
            self.placed = None
        raise self._error()

    async def _place(self, deadline: Deadline) -> PlacedChunk:
        needed = self._pieces[-1].offset + PIECE_BYTES
        if not self._failures:
            placed, self._minimum = await self._pool.take(needed, deadline)
        else:
            placed, self._minimum = await self._place_elsewhere(needed, deadline)
        self.servers = list(placed.servers)
        return placed

    async def _place_elsewhere(self, needed: int, deadline: Deadline) -> tuple[PlacedChunk, int]:
        """A place without the chunkservers that failed, or, if too few are left, with them again:
        they may be back."""
        left_ms = min(deadline.remaining_ms(), ELSEWHERE_TIMEOUT_MS)
        request = PlaceChunks(1, needed, list(self._failures))
        try:
            placement = await place_chunks(self._access, request, left_ms)
        except (Unavailable, DiskFull):
            if all(isinstance(error, DiskFull) for _, error in self._failures.values()):
                raise self._error() from None
            return await self._pool.take(needed, deadline)
        return placement.chunks[0], placement.minimum

    async def _push(self, pieces: list[_Piece], total: int, deadline: Deadline) -> None:
        servers = self.servers
        work = [self._push_to(server, pieces, total, deadline) for server in servers]
        errors = await asyncio.gather(*work)
        self.servers = []
        for server, error in zip(servers, errors, strict=True):
            if error is None:
                self.servers.append(server)
            else:
                self._failures[server.node] = (server.name, error)
                self._pool.clear()  # what was placed ahead names this chunkserver, too

    async def _push_to(
        self, server: Server, pieces: list[_Piece], total: int, deadline: Deadline
    ) -> QuorateError | None:
        """What went wrong, if anything did."""
        before = pieces[:-1] if total else pieces
        try:
            for start in range(0, len(before), WINDOW):
                window = before[start : start + WINDOW]
                await together(self._write(server, piece, 0, deadline) for piece in window)
            if total:
                await self._write(server, pieces[-1], total, deadline)
        except QuorateError as error:
            self._access.world.trace.event(
                "replica dropped", server=server.name, error=error.message
            )
            return error
        return None

    async def _write(self, server: Server, piece: _Piece, total: int, deadline: Deadline) -> None:
        """A piece may arrive twice, so it is sent again if the answer does not come."""
        if self.placed is None:
            raise BadInput("a piece without a chunk")
        request = WriteChunk(
            self.placed.handle, piece.offset, self._access.chunk_bytes, piece.checksums, total
        )
        limit_ms = FINISH_TIMEOUT_MS if total else PIECE_TIMEOUT_MS
        for attempt in range(1, ATTEMPTS + 1):
            timeout_ms = min(deadline.remaining_ms(), limit_ms)
            try:
                await self._access.rpc.call_bulk(
                    server.address, request, [piece.data], timeout_ms=timeout_ms
                )
                return
            except (Maybe, Overloaded, DeadlineExceeded):
                if attempt == ATTEMPTS:
                    raise
            await self._access.world.clock.sleep(RETRY_PAUSE_MS)

    def _error(self) -> QuorateError:
        reasons = "; ".join(f"{name}: {error.message}" for name, error in self._failures.values())
        sentence = (
            f"fewer than {self._minimum} chunkservers could store a chunk ({reasons}):"
            " nothing was written"
        )
        full = any(isinstance(error, DiskFull) for _, error in self._failures.values())
        return DiskFull(sentence) if full else Unavailable(sentence)


class FileWriter:
    """A file that is being written.  It appears, whole, when ``close`` returns; until then nobody
    sees it, and after ``abort``, or an error, nobody ever will."""

    def __init__(
        self, access: Access, pool: ChunkPool, path: str, fence: int, make_parents: bool
    ) -> None:
        self._access = access
        self._pool = pool
        self._path = path
        self._fence = fence
        self._make_parents = make_parents
        self._buffer = bytearray()
        self._chunk = ChunkWriter(access, pool)
        self._handles: list[int] = []
        self._given_up: list[int] = []
        self._size = 0
        self._fewest = REPLICAS_WANTED
        self._renewed_ms = access.world.clock.monotonic_ms()
        self._ended = False

    async def write(self, data: Buffer) -> None:
        """Append ``data``.  Raises ``Unavailable``, ``DiskFull`` or ``DeadlineExceeded``, and then
        the file cannot be finished: write it again."""
        view = memoryview(data).cast("B")
        self._require_open()
        try:
            await self._renew()
            while view:
                # One byte more than a batch: what is sent then is surely not the end of the file.
                limit = min(BATCH_BYTES, self._access.chunk_bytes - self._chunk.length)
                room = limit + 1 - len(self._buffer)
                self._buffer += view[:room]
                view = view[room:]
                if len(self._buffer) > limit:
                    if not self._size:
                        await self._refuse_existing()
                    await self._renew()
                    await self._flush(limit, self._access.deadline())
        except (Exception, asyncio.CancelledError):
            await self._give_up()
            raise

    async def close(self) -> FileStatus:
        """Finish: the data are on the disks of the replicas and the file is there.

        Raises also ``AlreadyExists``, ``NotFound`` (the folder), ``Fenced``, and ``Maybe``.
        """
        self._require_open()
        self._ended = True
        deadline = self._access.deadline()
        try:
            if self._buffer:
                await self._flush(len(self._buffer), deadline, last=True)
            command = CreateFile(
                self._path,
                self._size,
                self._access.chunk_bytes,
                self._handles,
                self._fence,
                self._make_parents,
                self._access.creator,
            )
            created = await self._access.group.execute(command, timeout_ms=deadline.remaining_ms())
        except (Exception, asyncio.CancelledError):
            await self._give_up()
            raise
        return FileStatus(
            self._path,
            "file",
            self._size,
            created.modified_ms,
            len(self._handles),
            REPLICAS_WANTED,
            self._fewest,
        )

    def abort(self) -> None:
        """Give up.  What was written is garbage, and collected when it expires."""
        self._ended = True
        self._buffer.clear()
        self._chunk = ChunkWriter(self._access, self._pool)

    async def _give_up(self) -> None:
        """As ``abort``, but the space is free at once: what failed was perhaps for want of it.

        Safe also if it is not known whether the file was created: chunks that are in a file are
        left alone, and without its chunks a file cannot appear any more.
        """
        handles = [*self._pending(), *self._given_up, *self._chunk.given_up]
        self.abort()
        if not handles:
            return
        try:
            await self._access.group.execute(ReleaseChunks(handles), timeout_ms=RELEASE_TIMEOUT_MS)
        except QuorateError:
            return  # they expire

    def _pending(self) -> list[int]:
        """The chunks of this file so far."""
        placed = self._chunk.placed
        return [*self._handles, placed.handle] if placed is not None else [*self._handles]

    async def _renew(self) -> None:
        """Keep the chunks of a file whose writing takes long."""
        now_ms = self._access.world.clock.monotonic_ms()
        if now_ms - self._renewed_ms <= RENEW_MS:
            return
        if handles := self._pending():
            command = RenewChunks(handles)
            await self._access.group.execute(command, timeout_ms=self._access.timeout_ms)
        self._renewed_ms = now_ms

    def _require_open(self) -> None:
        if self._ended:
            raise BadInput(f"{self._path} is closed, or was given up after an error; open it anew")

    async def _refuse_existing(self) -> None:
        """Only ``close`` can tell for sure, but a large file should not be sent for nothing."""
        try:
            await self._access.group.call_leader(
                StatFile(self._path), timeout_ms=self._access.timeout_ms
            )
        except NotFound:
            return
        raise AlreadyExists(f"{self._path} exists; delete it or choose another name")

    async def _flush(self, size: int, deadline: Deadline, *, last: bool = False) -> None:
        """Send the first ``size`` bytes of the buffer, which do not reach beyond the chunk."""
        with memoryview(self._buffer) as whole:
            data = bytes(whole[:size])
        del self._buffer[:size]
        chunk = self._chunk
        complete = last or chunk.length + size == self._access.chunk_bytes
        await chunk.send(data, complete=complete, deadline=deadline)
        self._size += size
        if complete and chunk.placed is not None:
            self._handles.append(chunk.placed.handle)
            self._given_up += chunk.given_up
            self._fewest = min(self._fewest, len(chunk.servers))
            self._chunk = ChunkWriter(self._access, self._pool)
