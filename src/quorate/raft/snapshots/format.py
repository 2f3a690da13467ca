"""Snapshot files: what they promise, why that holds, and their bytes.

**A file that has its name is whole.**  It is made under another name, synced, renamed, and then
the directory is synced.  So a crash leaves the old snapshots, or the old ones and the new one.  At
every start the directory is synced again before anything is believed: a log may be cut behind a
snapshot only when neither its bytes nor its name can be lost.

**Header, blocks, end.**  Every piece carries a CRC32C, and that of a block also covers the one of
the piece before it: a chain.  So each piece is verified as soon as it is there, none can be
flipped, left out, repeated or exchanged with another (another snapshot's neither, since the chain
begins with the header, and the header names the snapshot), and the last checksum is one over
everything.  The end is a piece of its own, with the length of the whole stream; without it a file
was cut short, and a byte behind it is damage.

    header   magic, format version, group, index, term, source, log time, CRC of these
    members  like a block: the configuration of the group at that index, as msgpack
    block    CRC of (CRC of the piece before, length, data), length from 1 to 256 KiB, data
    end      CRC of (CRC of the piece before, 0, total), length 0, bytes of data in all blocks

Magic, version and the checksum of the first 56 bytes stay where they are for ever, so that a newer
format is told from a damaged one.  The data are whatever the state machine gave: nothing here
looks inside.

**Transfers.**  A receiver stores a piece only once it is verified, so a file that was left behind
by a crash says itself how far it came: as far as its pieces check.  What follows (sectors that a
power loss left) is overwritten.  A process that died in an fsync, or whose fsync failed, may find
in the page cache what is not on the disk ("fsyncgate"): what a resumed transfer found good it
writes again, so that its next sync covers it.
"""

from collections.abc import Iterator
from struct import Struct
from typing import NamedTuple

import msgspec

from quorate.base.checksum import crc32c
from quorate.base.codec import UNREADABLE, decode, encode
from quorate.base.errors import BadConfiguration, CorruptData
from quorate.raft.core.configuration import Configuration
from quorate.raft.core.entries import Snapshot, SnapshotId
from quorate.runtime.ports import File

MAGIC = b"quoraSNP"
FORMAT_VERSION = 2
BLOCK_BYTES = 256 << 10

_HEADER = Struct("<8sIQQQQQ")
_CHECKSUM = Struct("<I")
_LENGTH = Struct("<I")
_TOTAL = Struct("<Q")
HEADER_BYTES = _HEADER.size + _CHECKSUM.size
FRAME_BYTES = _CHECKSUM.size + _LENGTH.size
"""What stands before the data of a block."""
END_BYTES = FRAME_BYTES + _TOTAL.size
MEMBERS_BYTES = 32 << 10
"""A configuration is never larger."""
HEAD_BYTES = HEADER_BYTES + FRAME_BYTES + MEMBERS_BYTES
"""What to read to know whose snapshot a file is."""
PIECE_BYTES = FRAME_BYTES + BLOCK_BYTES
"""No piece is larger."""


class Encoder:
    """The pieces of one file, in order: ``header``, ``block`` for each, ``end``."""

    def __init__(self) -> None:
        self._link = b""
        self._total = 0

    def header(self, id: SnapshotId, time_ms: int, configuration: Configuration) -> bytes:
        """With the members."""
        covered = _HEADER.pack(MAGIC, FORMAT_VERSION, *msgspec.structs.astuple(id), time_ms)
        self._link = _CHECKSUM.pack(crc32c(covered))
        fixed = covered + self._link
        members = encode(configuration)
        return fixed + self._piece(len(members), members)

    def block(self, data: bytes) -> bytes:
        self._total += len(data)
        return self._piece(len(data), data)

    def end(self) -> bytes:
        return self._piece(0, _TOTAL.pack(self._total))

    def _piece(self, length: int, body: bytes) -> bytes:
        covered = _LENGTH.pack(length) + body
        self._link = _CHECKSUM.pack(crc32c(self._link + covered))
        return self._link + covered


class Piece(NamedTuple):
    raw: bytes
    """As it stands in the file."""
    data: bytes
    """Of the stream; empty for header and end."""


class Verifier:
    """Takes the pieces of the file of ``snapshot`` one after the other, and believes none unseen.

    ``path`` and ``advice`` are for the sentence of the error.
    """

    def __init__(self, snapshot: Snapshot, path: str, advice: str) -> None:
        self._snapshot = snapshot
        self._path = path
        self._advice = advice
        self._link = b""
        self._total = 0
        self.position = 0
        """Where the next piece begins."""
        self.ended = False

    def take(self, data: bytes) -> Piece | None:
        """The piece that ``data``, what stands at ``position``, begin with; ``None`` if they hold
        only a part of it.

        Raises ``CorruptData``, or ``BadConfiguration`` for a newer format; then nothing was taken.
        """
        piece = self._header(data) if self.position == 0 else self._block(data)
        if piece is not None:
            self._link = piece.raw[: _CHECKSUM.size] if self.position else piece.raw[-4:]
            self._total += len(piece.data)
            self.ended = self.position > HEADER_BYTES and not piece.data
            self.position += len(piece.raw)
        return piece

    def damaged(self, what: str) -> CorruptData:
        return CorruptData(
            f"The snapshot {self._path} is damaged at byte {self.position}: {what}; {self._advice}",
            path=self._path,
            offset=self.position,
        )

    def _header(self, data: bytes) -> Piece | None:
        if len(data) < HEADER_BYTES:
            return None
        raw = data[:HEADER_BYTES]
        found = _decode_fixed(raw, self._path)
        if found is None:
            raise self.damaged("its header is not what was written")
        if found != (self._snapshot.id, self._snapshot.time_ms):
            raise self.damaged("its header is that of another snapshot")
        return Piece(raw, b"")

    def _block(self, data: bytes) -> Piece | None:
        if len(data) < FRAME_BYTES:
            return None
        (length,) = _LENGTH.unpack_from(data, _CHECKSUM.size)
        size = FRAME_BYTES + length if length else END_BYTES
        end = self.position + size
        if length > BLOCK_BYTES or end > self._snapshot.bytes:
            raise self.damaged("a block is longer than can be")
        if len(data) < size:
            return None
        raw = data[:size]
        if _CHECKSUM.pack(crc32c(self._link + raw[_CHECKSUM.size :])) != raw[: _CHECKSUM.size]:
            raise self.damaged("the checksum of a block does not fit")
        if self.position == HEADER_BYTES:
            if raw[FRAME_BYTES:] != encode(self._snapshot.configuration):
                raise self.damaged("its members are those of another snapshot")
            return Piece(raw, b"")
        if length:
            return Piece(raw, raw[FRAME_BYTES:])
        if _TOTAL.unpack_from(raw, FRAME_BYTES)[0] != self._total or end != self._snapshot.bytes:
            raise self.damaged("its end is in the wrong place")
        return Piece(raw, b"")


def decode_header(raw: bytes, path: str) -> tuple[SnapshotId, int, Configuration] | None:
    """Id, log time and members, from the first ``HEAD_BYTES`` of a file; ``None`` if these are not
    the bytes that were written.

    Raises ``BadConfiguration`` for another format.
    """
    found = _decode_fixed(raw[:HEADER_BYTES], path)
    if found is None or len(raw) < HEADER_BYTES + FRAME_BYTES:
        return None
    (length,) = _LENGTH.unpack_from(raw, HEADER_BYTES + _CHECKSUM.size)
    end = HEADER_BYTES + FRAME_BYTES + length
    covered = raw[_HEADER.size : HEADER_BYTES] + raw[HEADER_BYTES + _CHECKSUM.size : end]
    checksum = raw[HEADER_BYTES : HEADER_BYTES + _CHECKSUM.size]
    if end > len(raw) or _CHECKSUM.pack(crc32c(covered)) != checksum:
        return None
    try:
        configuration: Configuration = decode(raw[end - length : end], Configuration)
    except UNREADABLE:
        return None
    return (*found, configuration)


def _decode_fixed(raw: bytes, path: str) -> tuple[SnapshotId, int] | None:
    if len(raw) < HEADER_BYTES:
        return None
    magic, version, group, index, term, source, time_ms = _HEADER.unpack_from(raw)
    checksum = _CHECKSUM.pack(crc32c(raw[: _HEADER.size]))
    if magic != MAGIC or version == 0 or raw[_HEADER.size : HEADER_BYTES] != checksum:
        return None
    if version > FORMAT_VERSION:
        raise BadConfiguration(
            f"{path} was written by a newer version of quorate (snapshot format {version}, this"
            f" one knows {FORMAT_VERSION}): run that version."
        )
    if version < FORMAT_VERSION:
        raise BadConfiguration(
            f"{path} was written by an older version of quorate (snapshot format {version}, this"
            f" one knows {FORMAT_VERSION}): found the cluster anew, or run that version."
        )
    return SnapshotId(group, index, term, source), time_ms


def pieces(file: File, verifier: Verifier) -> Iterator[Piece]:
    """All pieces of ``file``, each verified.

    Raises as ``Verifier.take``, and if there is no end, or anything behind it.
    """
    while not verifier.ended:
        piece = verifier.take(file.read(verifier.position, PIECE_BYTES))
        if piece is None:
            raise verifier.damaged("it is cut short")
        yield piece
    if file.size() != verifier.position:
        raise verifier.damaged("something stands behind its end")
