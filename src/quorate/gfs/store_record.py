"""The record at the root of a chunk store: whose it is, and how often it was started.

It is written before the first chunk and replaced at each start, whole or not at all: beside its
name, synced, renamed over it, the folder synced.
"""

import msgspec

from quorate.base.checksum import crc32c
from quorate.base.codec import decode, encode
from quorate.base.errors import BadConfiguration, CorruptData
from quorate.base.ids import ClusterId, NodeId
from quorate.gfs.chunk_file import ChunkOwner
from quorate.runtime.ports import Disk

RECORD_PATH = "chunkserver"
FORMAT = 1


class StoreRecord(msgspec.Struct, array_like=True):
    """``format`` stays first for ever, whatever follows changes."""

    format: int
    cluster: ClusterId
    node: NodeId
    incarnation: int
    """1 for the first start; grows, and so orders a chunkserver's heartbeats across restarts."""


class _Format(msgspec.Struct, array_like=True):
    format: int


def _read(disk: Disk, where: str) -> StoreRecord:
    file = disk.open(RECORD_PATH)
    try:
        data = file.read(0, file.size())
    finally:
        file.close()
    body, checksum = data[:-4], data[-4:]
    if len(data) < 5 or crc32c(body).to_bytes(4, "big") != checksum:
        raise CorruptData(f"{where}: the record of the chunk store is damaged; replace the disk")
    found: _Format = decode(body, _Format)
    if found.format > FORMAT:
        raise BadConfiguration(
            f"{where} was written by a newer version (format {found.format}, this build knows"
            f" {FORMAT}): use that version, or another directory"
        )
    record: StoreRecord = decode(body, StoreRecord)
    return record


async def next_incarnation(disk: Disk, owner: ChunkOwner) -> int:
    """The number of this start, durably noted; the first one makes the record.

    Raises ``BadConfiguration`` if the disk is another cluster's or machine's, or holds chunks and
    no record.
    """
    where = f"the chunk store of {owner.name}"
    incarnation = 1
    if disk.exists(RECORD_PATH):
        record = _read(disk, where)
        if (record.cluster, record.node) != (owner.cluster, owner.node):
            raise BadConfiguration(
                f"{where} belongs to node {record.node} of cluster {record.cluster}, not to node"
                f" {owner.node} of {owner.cluster}: give this node its own directory"
            )
        incarnation = record.incarnation + 1
    elif disk.exists("chunks"):
        raise BadConfiguration(
            f"{where} holds chunks and no record of whose they are: restore the file"
            f" '{RECORD_PATH}' or use an empty directory"
        )
    body = encode(StoreRecord(FORMAT, owner.cluster, owner.node, incarnation))
    new = RECORD_PATH + ".new"
    disk.remove(new)
    file = disk.open(new, create=True)
    try:
        await file.write_and_sync(0, body + crc32c(body).to_bytes(4, "big"))
    finally:
        file.close()
    disk.rename(new, RECORD_PATH)
    await disk.sync_directory("")
    return incarnation
