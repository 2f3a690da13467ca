"""Planted bugs of whole nodes: files and jobs."""

from collections.abc import Sequence

import msgspec

from quorate.gfs.chunk_file import ChunkOwner, pack_head
from quorate.gfs.core import output
from quorate.gfs.core.commands import OutputPart, Publish
from quorate.gfs.core.paths import join, split
from quorate.gfs.core.tree import Directory, Tree
from quorate.gfs.group_sync import GroupSync
from quorate.gfs.partial import PartialChunk
from quorate.simulator.planted.patching import PlantedBug

_publish = output.publish


def _publish_what_is_there(tree: Tree, command: Publish, time_ms: int) -> list[int]:
    path = split(command.folder)
    folder = tree.find(path)
    if isinstance(folder, Directory):
        named = {part.path: part.name for part in command.parts}
        there = {join((*path, name)): name for name, _ in tree.children(folder)}
        parts = [OutputPart(named.get(file, name), file) for file, name in there.items()]
        fence = max(folder.fence, command.fence)
        command = msgspec.structs.replace(command, parts=parts, fence=fence)
    return _publish(tree, command, time_ms)


async def _seal_unsynced(
    self: PartialChunk, owner: ChunkOwner, total: int, checksums: Sequence[int]
) -> None:
    self._file.write(0, pack_head(owner, self._handle, self._capacity, total, checksums))


async def _sync_later(self: GroupSync, directory: str) -> None:
    """Whatever the kernel will do in its own time."""


BUGS = (
    PlantedBug(
        "output published as what is there",
        "a job's temporary folder becomes the output with whatever lost attempts have left in it,"
        " and whoever asks, fenced or not",
        ((output, "publish", _publish_what_is_there),),
        "words",
    ),
    PlantedBug(
        "close before the chunkservers' fsync",
        "a chunk is acknowledged while it is still in the page caches",
        ((PartialChunk, "seal", _seal_unsynced), (GroupSync, "sync", _sync_later)),
        "words",
    ),
)
