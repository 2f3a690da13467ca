"""The write-ahead log: what it promises, why that holds, and its bytes.

**One log a node, shared by its Raft groups.**  All records that come in one turn of the loop are
one *batch*: one write, one sync.  Batch n+1 is written only after the sync of batch n returned.
So whatever exists of batch n+1 proves that batch n was synced, and may have been acknowledged.

**No sector is written twice.**  A batch begins at a 512-byte sector of a preallocated *segment*
and is padded with zeros to the next; unwritten space reads as zeros.  A segment is named by the
sequence number of its first batch, ``log/<16 hex>.seg``.  It is made as ``log/next``: header
sector and first batch are written and synced, then it gets its name, then the directory is synced.
So a segment that has a name has a whole header and a whole first batch, and everything of the
segments before it was synced.  A segment's name also says that what earlier segments hold *from
that sequence number on* is void.

**Torn or damaged?**  Each sector of a batch after the first opens with a stamp byte, inserted
between the bytes of the payload (the idea of NTFS's update sequence); the first sector opens with
the batch's magic.  Neither is zero, and they differ from zero and each other in at least three
bits.  So no sector of a batch is ever all zeros, a sector alone tells what it is, whatever bytes
users put into it, and:

    A last batch that is not whole is TORN if, and only if, some sector of it still holds what it
    held before the write: zeros.  Then its write never ended, its sync never returned, and nothing
    in it was acknowledged: it is dropped.

    If all its sectors were written and a checksum does not fit, or something follows that is
    written only after its sync, it is DAMAGED: it may hold a vote that was cast or an entry that
    was acknowledged.  Recovery says so and truncates nothing; the replicas of this node can no
    longer know what they promised.

This takes of the disk what disks promise: a sector of 512 bytes is written whole or not at all.
The header and every byte of the rest, stamps and padding included, are under a CRC32C: no flipped
bit in a batch passes.  What cannot be told from the log alone: a disk that answers zeros for a
synced sector of the *last* batch, and a log whose newest segments somebody removed.

**The last batch is written again at every start**, byte for byte, as the first of a new segment.
A process that died in an fsync, or whose fsync failed, may find in the page cache what is not on
the disk ("fsyncgate"); only the last batch can be such, and after this it is not.

**Space.**  Each batch header names the ``oldest`` segment that is still needed; those before it
are removed once that batch is synced.  A segment is needed while one of a group's current entries,
its newest state or its newest cut was written there last.  When most of the log is garbage, what
is live in the oldest segment is written again at the head, a bounded piece with each batch (see
``log.py``), so that a group which lags or sleeps does not pin the segments of the others.

Rewritten entries come as ``Relocate``, which sets single slots of the log, while ``Append``
replaces everything from its first slot on.  Recovery folds the records in the order of the log;
a record that makes another obsolete always stands after it, so that folding the log from any
``oldest`` on gives the same state, wherever a crash falls in between.
"""

from struct import Struct
from typing import NamedTuple

from quorate.base.check import check
from quorate.base.checksum import crc32c
from quorate.base.errors import ReplicaDamaged
from quorate.base.ids import ClusterId, NodeId

FORMAT_VERSION = 1
SECTOR = 512
ZERO_SECTOR = bytes(SECTOR)
SEGMENT_MAGIC = b"quoraWAL"
BATCH_MAGIC = b"Qbat"
STAMP = b"\xae"

_SEGMENT = Struct("<8sHI32sQQ")
_CHECKSUM = Struct("<I")
_BATCH = Struct("<4sIQQII")  # magic, CRC of the rest of the header, then the fields of BatchHeader
_COVERED = Struct("<QQII")
_FIRST = SECTOR - _BATCH.size
_OTHER = SECTOR - len(STAMP)


class Damaged(ReplicaDamaged):
    """The log on this disk does not say any more what this node promised.

    ``details`` hold ``path`` and ``offset``.  Nothing was changed on the disk.
    """

    code = "log_damaged"


class SegmentHeader(NamedTuple):
    """The first sector of a segment.  Magic, version and checksum stay where they are for ever."""

    version: int
    node: NodeId
    cluster: ClusterId
    first: int
    """The sequence number of the first batch, as in the name."""
    size: int
    """Bytes of the file, so that a file cut short is noticed."""


class BatchHeader(NamedTuple):
    sequence: int
    oldest: int
    """The ``first`` of the oldest segment that is needed when this batch is synced."""
    payload_bytes: int
    body_checksum: int
    """CRC32C of all that follows the header, to the end of the batch's last sector."""


class Batch(NamedTuple):
    sequence: int
    oldest: int
    payload: bytes
    end: int
    """The offset behind it, where the next batch begins."""


def encode_segment_header(header: SegmentHeader) -> bytes:
    cluster = header.cluster.encode()
    check(len(cluster) <= 32, f"cluster id {header.cluster!r} is longer than 32 bytes")
    fields = _SEGMENT.pack(
        SEGMENT_MAGIC, header.version, header.node, cluster, header.first, header.size
    )
    sector = fields.ljust(SECTOR - _CHECKSUM.size, b"\0")
    return sector + _CHECKSUM.pack(crc32c(sector))


def decode_segment_header(sector: bytes) -> SegmentHeader | None:
    """``None`` if these are not the bytes that were written."""
    if len(sector) != SECTOR:
        return None
    covered = sector[: -_CHECKSUM.size]
    magic, version, node, cluster, first, size = _SEGMENT.unpack_from(covered)
    if magic != SEGMENT_MAGIC or _CHECKSUM.pack(crc32c(covered)) != sector[-_CHECKSUM.size :]:
        return None
    name = cluster.rstrip(b"\0").decode(errors="replace")
    return SegmentHeader(version, NodeId(node), ClusterId(name), first, size)


def batch_bytes(payload_bytes: int) -> int:
    """What a batch takes on the disk: whole sectors."""
    others = -(-max(0, payload_bytes - _FIRST) // _OTHER)
    return SECTOR * (1 + others)


def encode_batch(sequence: int, oldest: int, payload: bytes) -> bytes:
    """The sectors of a batch."""
    size = batch_bytes(len(payload))
    pieces = [payload[:_FIRST]]
    pieces += [payload[at : at + _OTHER] for at in range(_FIRST, len(payload), _OTHER)]
    body = STAMP.join(pieces).ljust(size - _BATCH.size, b"\0")
    covered = _COVERED.pack(sequence, oldest, len(payload), crc32c(body))
    return b"".join((BATCH_MAGIC, _CHECKSUM.pack(crc32c(covered)), covered, body))


def decode_batch_header(data: bytes, offset: int) -> BatchHeader | None:
    """The header at ``offset``; ``None`` if there is none or its checksum does not fit."""
    if offset + SECTOR > len(data):
        return None
    magic, checksum, *fields = _BATCH.unpack_from(data, offset)
    covered = data[offset + _BATCH.size - _COVERED.size : offset + _BATCH.size]
    if magic != BATCH_MAGIC or checksum != crc32c(covered):
        return None
    return BatchHeader(*fields)


def decode_batch(data: bytes, offset: int) -> Batch | None:
    """The batch at ``offset``; ``None`` unless it is whole."""
    header = decode_batch_header(data, offset)
    if header is None:
        return None
    end = offset + batch_bytes(header.payload_bytes)
    body = data[offset + _BATCH.size : end]
    if end > len(data) or crc32c(body) != header.body_checksum:
        return None
    payload = bytearray(body)
    del payload[_FIRST::SECTOR]
    return Batch(header.sequence, header.oldest, bytes(payload[: header.payload_bytes]), end)
