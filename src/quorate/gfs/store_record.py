"""The record at the root of a chunk store: whose it is, and how often it was started.

It is written before the first chunk and replaced at each start (runtime/record.py).
"""

import msgspec

from quorate.base.errors import BadConfiguration
from quorate.base.ids import ClusterId, NodeId
from quorate.gfs.chunk_file import ChunkOwner
from quorate.runtime.ports import World
from quorate.runtime.record import read_record, write_record

RECORD_PATH = "chunkserver"


class StoreRecord(msgspec.Struct, frozen=True):
    """What stands in the record."""

    cluster: ClusterId
    node: NodeId
    incarnation: int
    """Grows with each start, and so orders a chunkserver's heartbeats across restarts."""


async def next_incarnation(world: World, owner: ChunkOwner) -> int:
    """The number of this start, durably noted; the first one makes the record.

    It is at least the wall clock's milliseconds, so that it grows also when the disk was replaced
    and the old numbers went with it: masters would take what this start says for old news.
    Raises ``BadConfiguration`` if the disk is another cluster's or machine's, or holds chunks and
    no record.
    """
    disk = world.disk
    where = f"the chunk store of {owner.name}"
    incarnation = world.clock.wall_ms()
    record = read_record(disk, RECORD_PATH, StoreRecord, f"the record of {where}")
    if record is not None:
        if not owner.is_same(record.cluster, record.node):
            raise BadConfiguration(
                f"{where} belongs to node {record.node} of cluster {record.cluster}, not to node"
                f" {owner.node} of {owner.cluster}: give this node its own directory"
            )
        incarnation = max(incarnation, record.incarnation + 1)
    elif disk.exists("chunks"):
        raise BadConfiguration(
            f"{where} holds chunks and no record of whose they are: restore the file"
            f" '{RECORD_PATH}' or use an empty directory"
        )
    await write_record(disk, RECORD_PATH, StoreRecord(owner.cluster, owner.node, incarnation))
    return incarnation
