"""What clients, masters and chunkservers say to each other.

Control (``Master``, in the process that holds the namespace group): heartbeats to every node;
placing, locating and listing at the leader.  Bulk (``Chunkserver``): pieces of chunks.
"""

from typing import Literal

import msgspec

from quorate.base.codec import Reply, Request
from quorate.base.ids import Address, NodeId
from quorate.gfs.core.commands import MAX_ENTRIES

PIECE_BYTES = 1024 * 1024
"""The most that one ``WriteChunk`` or ``ReadChunk`` carries."""

REPLICAS_WANTED = 3
"""GFS §2.3."""

MAX_PLACED = 64
"""Chunks in one ``PlaceChunks``."""

MAX_NAMED = 3
"""Files in one ``Copies``."""

MAX_IDS = 64
"""Of a machine, in one ``CountCopies``."""


class FileStatus(Reply):
    """A file or folder.  ``chunks`` and the replicas are 0 for a folder."""

    path: str
    type: Literal["file", "directory"]
    size: int
    """Bytes."""
    modified_ms: int
    """Log time of its creation, milliseconds since 1970."""
    chunks: int = 0
    replicas_wanted: int = 0
    replicas_live: int = 0
    """Of the chunk that has the fewest; an empty file has all it wants."""

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2] or "/"


class Server(Reply):
    """A chunkserver and where it listens."""

    node: NodeId
    name: str
    address: Address


class HeartbeatReply(Reply):
    """``garbage``: chunks that no file has, to be deleted (GFS §4.4.1)."""

    garbage: list[int]
    want_full: bool
    masters: list[Address] = msgspec.field(default_factory=list)
    """The doors of all masters, as this one knows them: machines come and go."""


class Heartbeat(Request[HeartbeatReply], tag="gfs.heartbeat.1"):
    """A chunkserver is alive, and what changed in its chunks since the last heartbeat that this
    master acknowledged.  ``full``: forget what was known of it; this begins anew.

    ``incarnation`` grows with each start of the chunkserver, ``sequence`` with each heartbeat to
    one master, so that what comes late or twice is recognised.
    """

    node: NodeId
    name: str
    address: Address
    incarnation: int
    sequence: int
    full: bool
    added: list[int]
    removed: list[int]
    free_bytes: int
    chunks: int


class PlacedChunk(Reply):
    handle: int
    servers: list[Server]


class Placement(Reply):
    """A chunk counts as written on ``minimum`` servers; each is to be written on all of its own."""

    chunks: list[PlacedChunk]
    minimum: int


class PlaceChunks(Request[Placement], tag="gfs.place_chunks.1"):
    """New chunks, and servers with this much space for each; none of ``exclude``."""

    count: int
    needed_bytes: int
    exclude: list[NodeId]


class LocatedChunk(Reply):
    handle: int
    servers: list[Server]
    """Live ones that have reported the chunk."""


class Located(Reply):
    """The chunks ``first``, ``first + 1``, … of a file; ``file`` goes into the next question."""

    file: int
    size: int
    chunk_bytes: int
    first: int
    chunks: list[LocatedChunk]


class LocateFile(Request[Located], tag="gfs.locate_file.1"):
    """Up to ``count`` chunks from the one that holds byte ``offset``."""

    path: str
    offset: int
    count: int
    file: int = 0


class StatFile(Request[FileStatus], tag="gfs.stat_file.1"):
    path: str


class FilePage(Reply):
    """``more``: ask again after the last of these."""

    files: list[FileStatus]
    more: bool


class ListFiles(Request[FilePage], tag="gfs.list_files.1"):
    """See ``core.commands.List``."""

    path: str
    after: str = ""
    limit: int = MAX_ENTRIES
    recursive: bool = False


class ServerStatus(Reply):
    """A chunkserver as the asked master sees it."""

    node: NodeId
    name: str
    address: Address
    live: bool
    chunks: int
    free_bytes: int


class ServerStatuses(Reply):
    servers: list[ServerStatus]


class ListServers(Request[ServerStatuses], tag="gfs.list_servers.1"):
    """The chunkservers that the asked master has heard of; any node answers."""


class Copies(Reply):
    """What a machine's going would do to the chunks of some files; "elsewhere" is on the others
    that belong to the cluster."""

    fewer: int
    """Chunks with a copy there, and live ones elsewhere."""
    single: int
    """Of these, chunks with one live copy elsewhere."""
    last: int
    """Chunks that are live nowhere else, and are there, or may be: a machine that is silent is
    taken to have whatever nobody else has."""
    files: list[str]
    """Some that such chunks belong to."""
    after: str
    more: bool
    """Ask again with ``after``: there are more files."""


class CountCopies(Request[Copies], tag="gfs.count_copies.1"):
    """How the chunks of all files would do without the machine ``nodes``, all its ids; a page of
    files at a time, from the one after the path ``after`` on."""

    nodes: list[NodeId]
    after: str = ""


class WriteChunk(Request[None], tag="gfs.write_chunk.1"):
    """A piece of a chunk, the payload; the same piece may come twice.

    ``offset`` is a multiple of 64 KiB, and so is the length unless the chunk ends here;
    ``checksums`` has one CRC32C for each 64 KiB.  ``capacity`` is the chunk size of the file.  With
    ``total`` above 0 the chunk is complete and ``total`` bytes long: the answer then means that it
    is on the disk, name and all.
    """

    handle: int
    offset: int
    capacity: int
    checksums: list[int]
    total: int = 0


class ChunkBlocks(Reply):
    """The payload begins at ``offset`` of the chunk, the start of a block, and holds whole blocks;
    ``length`` is the chunk's."""

    offset: int
    length: int
    checksums: list[int]


class ReadChunk(Request[ChunkBlocks], tag="gfs.read_chunk.1"):
    """The blocks that hold ``length`` bytes from ``offset``, verified."""

    handle: int
    offset: int
    length: int


class ChunkserverFigures(msgspec.Struct, tag="chunkserver"):
    """What a chunkserver has and does now."""

    chunks: int
    writes_under_way: int
    """Pieces that are being stored."""
