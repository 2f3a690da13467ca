"""The snapshots of a node: written, found again, read, sent, received and discarded.

Rules (their reasons stand in ``format.py``):
* Of one group, one snapshot is written and one received at a time.
* After ``write`` or ``receive`` has returned, the snapshot survives any crash of this node; the log
  may be cut behind it.
* A snapshot that is being sent is not taken away from who reads it: it stays until nobody has read
  a chunk of it for ``KEPT_AFTER_READ_MS`` and ``discard_before`` is called again.
* What fails leaves everything else as it was.  After ``DiskFailed`` nothing is tried again.
"""

from collections.abc import Iterator

from quorate.base.check import check
from quorate.base.errors import (
    BadConfiguration,
    CorruptData,
    NotFound,
    ProtocolError,
    ReplicaDamaged,
)
from quorate.base.ids import GroupId
from quorate.raft.core.configuration import Configuration
from quorate.raft.core.entries import Snapshot, SnapshotId
from quorate.raft.snapshots.format import (
    BLOCK_BYTES,
    HEAD_BYTES,
    Encoder,
    Verifier,
    decode_header,
    pieces,
)
from quorate.raft.snapshots.names import DIRECTORY, Kind, parse_name, path_of
from quorate.raft.snapshots.output import Output, Turn
from quorate.raft.snapshots.receiving import CHUNK_BYTES, Fetch, receive_file
from quorate.runtime.ports import World

KEPT_AFTER_READ_MS = 30_000.0

_ADVICE = f"nothing can be restored from it: {ReplicaDamaged.ADVICE}."


class SnapshotStore:
    """Made by ``open``, once for each process."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._snapshots: dict[SnapshotId, Snapshot] = {}
        self._read_ms: dict[SnapshotId, float] = {}
        """When a chunk was read last, by the monotonic clock."""
        self._writing: dict[GroupId, SnapshotId] = {}
        self._receiving: dict[GroupId, SnapshotId] = {}

    @staticmethod
    async def open(world: World) -> "SnapshotStore":
        """The snapshots in ``snapshots/``; what crashes left there is removed.

        Of each group the newest whose header checks is kept, and what claims to be newer (it is
        reported to the operator, and not used).  Raises ``BadConfiguration`` if a snapshot has a
        newer format.
        """
        store = SnapshotStore(world)
        world.disk.make_directory(DIRECTORY)
        await world.disk.sync_directory("")
        store._find()
        store._remove_leftovers()
        await world.disk.sync_directory(DIRECTORY)
        return store

    def newest(self, group: GroupId) -> Snapshot | None:
        """The newest whose header checks.  It is for the caller to see that it is not older than
        where the log was cut: if it is, the one that belongs there was lost."""
        own = [snapshot.id for snapshot in self._snapshots.values() if snapshot.id.group == group]
        return self._snapshots[max(own)] if own else None

    async def write(
        self,
        id: SnapshotId,
        time_ms: int,
        configuration: Configuration,
        stream: Iterator[bytes],
    ) -> Snapshot:
        """Write ``stream`` as the snapshot ``id``, in short turns.

        If that snapshot is here already, and whole, it stays and ``stream`` is not touched: an id
        names these very bytes.  Raises ``DiskFull`` or ``DiskFailed``, or what ``stream`` raises;
        then, or if it is cancelled, the file is removed.
        """
        check(id.group not in self._writing, f"group {id.group} writes one snapshot at a time")
        check(time_ms >= 0, f"a log time of {time_ms} ms")
        self._writing[id.group] = id
        try:
            if (here := await self.whole(id)) is not None:
                return here
            encoder = Encoder()
            header = encoder.header(id, time_ms, configuration)
            size = await self._write_file(id, encoder, header, stream)
        finally:
            del self._writing[id.group]
        return self._add(Snapshot(id, time_ms, size, configuration), "snapshot written")

    async def _write_file(
        self, id: SnapshotId, encoder: Encoder, header: bytes, stream: Iterator[bytes]
    ) -> int:
        path, temporary = path_of(id, Kind.WHOLE), path_of(id, Kind.WRITING)
        self._world.disk.remove(temporary)
        output = Output(self._world, temporary)
        try:
            await output.put(header)
            await _write_stream(output, encoder, stream)
            await output.publish(path)
        except BaseException:
            output.remove()
            raise
        finally:
            output.close()
        return output.position

    def read(self, snapshot: Snapshot) -> Iterator[bytes]:
        """The stream that was written, in blocks of at most 256 KiB, each verified before it is
        given.

        Raises ``ReplicaDamaged`` (``details``: path and offset) at the first byte that is not what
        was written, and at the end if the end is missing; ``NotFound`` if the file is gone.
        """
        path = path_of(snapshot.id, Kind.WHOLE)
        file = self._world.disk.open(path)
        try:
            for piece in pieces(file, Verifier(snapshot, path, _ADVICE)):
                if piece.data:
                    yield piece.data
        except CorruptData as error:
            raise ReplicaDamaged(error.message, **error.details) from error
        finally:
            file.close()

    def chunk(self, id: SnapshotId, offset: int, length: int) -> bytes:
        """Raw bytes of the file, to be sent: ``length`` of them, fewer at its end, at least one.

        Raises ``NotFound`` if the snapshot is not here any more, ``ProtocolError`` for bytes that
        it does not have or more than ``CHUNK_BYTES`` at once.
        """
        snapshot = self._snapshots.get(id)
        if snapshot is None:
            raise NotFound(
                f"The snapshot of group {id.group} at index {id.index} is not here any more: ask"
                " the leader for a newer one."
            )
        if not (0 <= offset < snapshot.bytes and 0 < length <= CHUNK_BYTES):
            raise ProtocolError(
                f"{length} bytes at {offset} were asked of a snapshot of {snapshot.bytes} bytes"
            )
        self._read_ms[id] = self._world.clock.monotonic_ms()
        path = path_of(id, Kind.WHOLE)
        file = self._world.disk.open(path)
        try:
            data = file.read(offset, min(length, snapshot.bytes - offset))
        finally:
            file.close()
        if not data:
            raise CorruptData(f"The snapshot {path} was cut short before byte {offset}; {_ADVICE}")
        return data

    async def receive(self, offer: Snapshot, fetch: Fetch) -> Snapshot:
        """The snapshot that ``offer`` describes, fetched chunk by chunk (``receiving.Fetch``).

        A transfer of the same id that broke off, in this process or an earlier one, is resumed;
        one of another id of this group is given up for ever.  What is here already, and whole, is
        not fetched at all.

        Raises ``CorruptData`` for bytes that do not check, ``BadConfiguration`` for a newer
        format, ``DiskFull``, ``DiskFailed``: then what was received is removed.  What ``fetch``
        raises, ``ProtocolError`` for an answer that is empty or too long, and a cancellation leave
        it to be resumed.
        """
        group, partial = offer.id.group, path_of(offer.id, Kind.PARTIAL)
        check(group not in self._receiving, f"group {group} receives one snapshot at a time")
        self._receiving[group] = offer.id
        try:
            if (here := await self.whole(offer.id)) is not None:
                return here
            for id, path in self._files(Kind.PARTIAL):
                if id.group == group and path != partial:
                    self._world.disk.remove(path)
            await receive_file(self._world, offer, fetch)
        finally:
            del self._receiving[group]
        return self._add(offer, "snapshot received")

    def discard_before(self, group: GroupId, index: int) -> None:
        """Remove the group's snapshots of an index below ``index``, but never the newest; and those
        that are damaged, if the newest stands for all that they stand for."""
        newest = self.newest(group)
        now_ms = self._world.clock.monotonic_ms()
        for id, path in self._files(Kind.WHOLE):
            if id.group != group or newest is None:
                continue
            damaged = id not in self._snapshots and id.index <= newest.id.index
            if not damaged and (id.index >= index or id >= newest.id):
                continue
            read_ms = self._read_ms.get(id)
            if read_ms is not None and now_ms - read_ms < KEPT_AFTER_READ_MS:
                continue
            self._world.disk.remove(path)
            self._snapshots.pop(id, None)
            self._read_ms.pop(id, None)

    def _add(self, snapshot: Snapshot, event: str) -> Snapshot:
        self._snapshots[snapshot.id] = snapshot
        id = snapshot.id
        self._world.trace.event(event, group=id.group, index=id.index, bytes=snapshot.bytes)
        return snapshot

    async def whole(self, id: SnapshotId) -> Snapshot | None:
        """The snapshot ``id``, if it is here and every byte of it checks; else it is forgotten."""
        snapshot = self._snapshots.get(id)
        if snapshot is None:
            return None
        try:
            turn = Turn(self._world.clock)
            for data in self.read(snapshot):
                await turn.spend(len(data))
        except (CorruptData, BadConfiguration, NotFound):
            del self._snapshots[id]
            return None
        return snapshot

    # Starting again.

    def _files(self, *kinds: Kind) -> list[tuple[SnapshotId, str]]:
        """The files of these kinds in the directory, with their paths; newest first."""
        names = map(parse_name, self._world.disk.list(DIRECTORY))
        found = [name for name in names if name is not None and name[1] in kinds]
        return sorted([(id, path_of(id, kind)) for id, kind in found], reverse=True)

    def _find(self) -> None:
        """Look at the headers, from the newest on, until one of each group checks."""
        for id, path in self._files(Kind.WHOLE):
            if self.newest(id.group) is not None:
                self._world.disk.remove(path)
            elif (snapshot := self._header(id, path)) is not None:
                self._snapshots[id] = snapshot
            else:
                self._world.trace.error(
                    f"The header of the snapshot {path} is damaged: it is not used; an older one"
                    " is, if there is one."
                )

    def _header(self, id: SnapshotId, path: str) -> Snapshot | None:
        try:
            file = self._world.disk.open(path)
        except NotFound:  # a directory
            return None
        try:
            found = decode_header(file.read(0, HEAD_BYTES), path)
            if found is None or found[0] != id:
                return None
            return Snapshot(id, found[1], file.size(), found[2])
        finally:
            file.close()

    def _remove_leftovers(self) -> None:
        for _, path in self._files(Kind.WRITING):
            self._world.disk.remove(path)
        kept: dict[GroupId, SnapshotId] = {}
        for id, path in self._files(Kind.PARTIAL):
            newest = self.newest(id.group)
            # Two of a group, if a power loss brought a removed name back: the newer is wanted.
            if id.group in kept or (newest is not None and id.index <= newest.id.index):
                self._world.disk.remove(path)
            else:
                kept[id.group] = id


async def _write_stream(output: Output, encoder: Encoder, stream: Iterator[bytes]) -> None:
    buffer = bytearray()
    ended = False
    while not ended:
        ended = _fill(buffer, stream, output.turn)
        while len(buffer) >= BLOCK_BYTES or (ended and buffer):
            data = bytes(buffer[:BLOCK_BYTES])
            del buffer[:BLOCK_BYTES]
            await output.put(encoder.block(data))
        await output.turn.spend()
    await output.put(encoder.end())


def _fill(buffer: bytearray, stream: Iterator[bytes], turn: Turn) -> bool:
    """Take pieces until there is a block of them or the turn is over; whether the stream ended."""
    for piece in stream:
        buffer += piece
        if len(buffer) >= BLOCK_BYTES or turn.over:
            return False
    return True
