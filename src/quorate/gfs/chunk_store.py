"""The chunks of one machine, on its disk.

    chunkserver               whose disk this is (store_record.py)
    chunks/a3/<16 hex>        a chunk (chunk_file.py), whole and durable
    chunks/a3/<16 hex>.part   one under construction (partial.py)

Rules:
* A chunk gets its name only after its bytes are on the disk, and is acknowledged only after its
  name is: data, sync, rename, sync of the folder.  Handles that follow each other lie in one
  folder, so that those who finish together share that last sync (group_sync.py).
* A chunk that is found at a start may have lost its process before that last sync: folders are
  synced before their chunks are told of, or a writer that asks again would be promised too much.
* Finishing runs in a task of its own: a caller that goes away does not stop it halfway.
* A failed write or sync is not tried again: the chunk is removed and its writer told.
* Every block is verified when it arrives and whenever it is read.
"""

import asyncio
from collections.abc import Callable, Sequence

from quorate.base.errors import (
    AlreadyExists,
    BadInput,
    CorruptData,
    DiskFailed,
    DiskFull,
    NotFound,
    Overloaded,
    QuorateError,
)
from quorate.gfs.chunk_file import ChunkHead, ChunkOwner, read_blocks, read_head
from quorate.gfs.core.blocks import bad_block
from quorate.gfs.core.commands import BLOCK_BYTES
from quorate.gfs.group_sync import GroupSync
from quorate.gfs.messages import PIECE_BYTES, ChunkBlocks, WriteChunk
from quorate.gfs.partial import PartialChunk, check_piece
from quorate.gfs.store_record import next_incarnation
from quorate.runtime.ports import File, World

FOLDERS = 256
PART = ".part"
MAX_PARTIALS = 512
"""Chunks under construction, each an open file; more are refused with ``Overloaded``.  A process
may have 1,024 files open by default."""
PARTIAL_IDLE_MS = 15 * 60 * 1000
"""After this long without a piece, a chunk under construction is given up."""


def _folder(handle: int) -> str:
    return f"chunks/{handle // FOLDERS % FOLDERS:02x}"


def _path(handle: int) -> str:
    return f"{_folder(handle)}/{handle:016x}"


def _handle_of(name: str) -> int | None:
    try:
        handle = int(name, 16)
    except ValueError:
        return None
    return handle if name == f"{handle:016x}" else None


class ChunkStore:
    """Chunks by handle.  ``changed(handle, present)`` is called when one appears or goes."""

    def __init__(
        self, world: World, owner: ChunkOwner, changed: Callable[[int, bool], None]
    ) -> None:
        self.handles: dict[int, None] = {}
        self._world = world
        self._disk = world.disk
        self._owner = owner
        self._changed = changed
        self._partials: dict[int, PartialChunk] = {}
        self._group_sync = GroupSync(world)

    async def open(self) -> int:
        """Find the chunks and remove what is left of unfinished ones; gives the incarnation.

        Raises ``BadConfiguration`` if the disk is somebody else's.
        """
        incarnation = await next_incarnation(self._world, self._owner)
        for number in range(FOLDERS):
            self._disk.make_directory(f"chunks/{number:02x}")
        await self._disk.sync_directory("chunks")
        await self._disk.sync_directory("")
        for number in range(FOLDERS):
            folder = f"chunks/{number:02x}"
            names = self._disk.list(folder)
            if names:
                await self._disk.sync_directory(folder)
            for name in names:
                handle = _handle_of(name)
                if handle is not None and _folder(handle) == folder:
                    self.handles[handle] = None
                elif name.endswith(PART):
                    self._disk.remove(f"{folder}/{name}")
                else:
                    self._world.trace.error(f"{folder}/{name} is not a chunk; it is left alone")
        return incarnation

    # Writing.

    async def write(self, request: WriteChunk, payload: memoryview) -> None:
        """Store a piece; if it completes the chunk, return when all of it is on the disk.

        Raises ``CorruptData`` (damaged on the way), ``BadInput`` (does not fit), ``AlreadyExists``
        (other bytes are there), ``DiskFull``, ``DiskFailed`` or ``Overloaded``.
        """
        handle, name = request.handle, self._owner.name
        check_piece(request, len(payload), name)
        if bad_block(payload, request.checksums) is not None:
            raise CorruptData(f"a piece of chunk {handle:016x} was damaged on its way to {name}")
        if handle in self.handles:
            self._require_same(request)
            return
        partial = self._partials.get(handle)
        if partial is None:
            partial = self._new_partial(request)
        if partial.finishing is None:
            self._put(partial, request, payload)
        if not request.total:
            return
        if partial.finishing is None:
            checksums = partial.checksums(request.total)
            if checksums is None:
                raise BadInput(f"chunk {handle:016x} is not whole: {name} misses a part of it")
            work = self._finish(partial, request, checksums)
            partial.finishing = self._world.spawn(work, "finish chunk")
        if (error := await asyncio.shield(partial.finishing)) is not None:
            raise error

    def _new_partial(self, request: WriteChunk) -> PartialChunk:
        if len(self._partials) >= MAX_PARTIALS:
            raise Overloaded(
                f"{self._owner.name} has {MAX_PARTIALS} chunks under construction; try again"
            )
        path = _path(request.handle) + PART
        now_ms = self._world.clock.monotonic_ms()
        try:
            partial = PartialChunk(self._disk, path, request.handle, request.capacity, now_ms)
        except (DiskFull, DiskFailed) as error:
            raise self._named(error) from error
        self._partials[request.handle] = partial
        return partial

    def _put(self, partial: PartialChunk, request: WriteChunk, payload: memoryview) -> None:
        try:
            partial.put(request, payload, self._world.clock.monotonic_ms())
        except (DiskFull, DiskFailed) as error:
            self._drop(request.handle)
            raise self._named(error) from error

    async def _finish(
        self, partial: PartialChunk, request: WriteChunk, checksums: Sequence[int]
    ) -> QuorateError | None:
        handle = request.handle
        try:
            await partial.seal(self._owner, request.total, checksums)
            self._disk.rename(partial.path, _path(handle))
            await self._group_sync.sync(_folder(handle))
        except (DiskFull, DiskFailed) as error:
            self._drop(handle)
            self._remove(_path(handle))
            return self._named(error)
        partial.close()
        del self._partials[handle]
        self.handles[handle] = None
        self._changed(handle, True)
        return None

    def _named(self, error: QuorateError) -> QuorateError:
        """A disk's error, with the machine it happened on and what to do."""
        if isinstance(error, DiskFull):
            return DiskFull(
                f"the disk of the chunkserver on {self._owner.name} is full: delete files or give"
                " it a larger disk"
            )
        self._world.trace.error(f"the chunk store's disk fails: {error.message}")
        return DiskFailed(
            f"the disk of the chunkserver on {self._owner.name} fails ({error.message}): replace it"
        )

    def _drop(self, handle: int) -> None:
        partial = self._partials.pop(handle, None)
        if partial is not None:
            partial.close()
            self._remove(partial.path)

    def _remove(self, path: str) -> bool:
        """Whether the file is gone.  A disk that cannot remove may still be read, so it goes on."""
        try:
            self._disk.remove(path)
        except (DiskFull, DiskFailed) as error:
            self._named(error)
            return False
        return True

    def drop_idle(self) -> None:
        """Give up chunks whose writers are gone."""
        limit_ms = self._world.clock.monotonic_ms() - PARTIAL_IDLE_MS
        for handle, partial in list(self._partials.items()):
            if partial.finishing is None and partial.touched_ms < limit_ms:
                self._drop(handle)

    def _require_same(self, request: WriteChunk) -> None:
        """A piece that comes again after its chunk is whole must be the same piece."""
        file, head = self._open(request.handle)
        file.close()
        first = request.offset // BLOCK_BYTES
        there = list(head.checksums[first : first + len(request.checksums)])
        if there != request.checksums or request.total not in (0, head.length):
            raise AlreadyExists(
                f"chunk {request.handle:016x} on {self._owner.name} has other bytes already"
            )

    # Reading.

    def _open(self, handle: int) -> tuple[File, ChunkHead]:
        try:
            file = self._disk.open(_path(handle))
        except NotFound:
            raise NotFound(f"{self._owner.name} does not have chunk {handle:016x}") from None
        try:
            return file, read_head(file, self._owner, handle)
        except QuorateError:
            file.close()
            raise

    def read(self, handle: int, offset: int, length: int) -> tuple[ChunkBlocks, bytes]:
        """The verified blocks that hold ``length`` bytes from ``offset``.

        Raises ``NotFound``, ``CorruptData`` or ``BadInput``.
        """
        file, head = self._open(handle)
        try:
            fits = 0 < length <= PIECE_BYTES and offset + length <= head.length
            if offset < 0 or not fits:
                raise BadInput(
                    f"{length} bytes from {offset} of chunk {handle:016x}, which has {head.length}"
                )
            where = f"chunk {handle:016x} on {self._owner.name}"
            start, data, checksums = read_blocks(file, head, offset, length, where)
        finally:
            file.close()
        return ChunkBlocks(start, head.length, list(checksums)), data

    def delete(self, handle: int) -> None:
        """Remove a chunk.  If a crash brings it back, it is reported, and deleted, again."""
        if self._remove(_path(handle)) and handle in self.handles:
            del self.handles[handle]
            self._changed(handle, False)
