"""What can be asked of the namespace: its commands, queries and their replies.

Commands go through the log of the namespace group (exactly once, by raft/sessions.py); each is
refused with an error that changes nothing, or done whole.
"""

from typing import Literal

import msgspec

from quorate.base.codec import Command, Query, Reply

BLOCK_BYTES = 64 * 1024
"""The unit of checksums (GFS §5.2)."""

DEFAULT_CHUNK_BYTES = 64 * 1024 * 1024
"""GFS §2.5."""

MAX_CHUNK_BYTES = 256 * 1024 * 1024

MAX_FILE_CHUNKS = 32 * 1024
"""So that one command that names them all fits a log entry."""

MAX_ALLOCATION = 1000
"""Chunk handles in one command."""

MAX_ENTRIES = 1000
"""Entries in one page of a listing."""

MAX_PAGE_BYTES = 256 * 1024
"""Names in one page of a listing, so that it fits a control frame."""

MAX_LOCATED = 64
"""Chunks in one answer to ``Locate``."""

EntryType = Literal["file", "directory"]


class Allocated(Reply):
    """The handles ``first``, ``first + 1``, …; each is given out once and never again."""

    first: int


class AllocateChunks(Command[Allocated], tag="gfs.allocate_chunks.1"):
    """Give out ``count`` new chunk handles, pending until a file uses them or they expire."""

    count: int


class RenewChunks(Command[None], tag="gfs.renew_chunks.1"):
    """Keep pending handles pending: their file is still being written."""

    handles: list[int]


class ReleaseChunks(Command[None], tag="gfs.release_chunks.1"):
    """No file will use these: those that are pending are garbage from here on, the others are left
    as they are."""

    handles: list[int]


class Created(Reply):
    """``modified_ms`` is the log time of the creation."""

    file: int
    modified_ms: int


class CreateFile(Command[Created], tag="gfs.create_file.1"):
    """Make a file appear, whole.

    All chunks but the last are ``chunk_bytes`` long.  Below the temporary folder of a job the
    ``fence`` must be at least the folder's; elsewhere it must be 0.
    """

    path: str
    size: int
    chunk_bytes: int
    handles: list[int]
    fence: int = 0
    make_parents: bool = False
    creator: str = ""


class Mkdir(Command[None], tag="gfs.mkdir.1"):
    """With ``parents``: also those missing above, and no error if the folder exists."""

    path: str
    parents: bool = False


class Delete(Command[None], tag="gfs.delete.1"):
    """A file, or a folder; one that is not empty only if ``recursive``."""

    path: str
    recursive: bool = False


class Rename(Command[None], tag="gfs.rename.1"):
    """Move a file or folder; ``target`` must not exist and its folder must."""

    source: str
    target: str


class Prepared(Reply):
    """``published``: the same owner's output is there already, so there is nothing left to do."""

    published: bool


class PrepareOutput(Command[Prepared], tag="gfs.prepare_output.1"):
    """Make the temporary ``folder`` of job ``owner``, or raise its fence; ``output`` must not
    exist, unless this job published it."""

    folder: str
    output: str
    owner: str
    fence: int


class OutputPart(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    """The file at ``path`` is to become ``name`` in the output folder."""

    name: str
    path: str


class Publish(Command[None], tag="gfs.publish.1"):
    """Move exactly these files into a new folder ``output`` and remove ``folder``, in one step.

    Succeeds again, changing nothing, once the same owner has published ``output``.
    """

    folder: str
    output: str
    parts: list[OutputPart]
    owner: str
    fence: int


class DropOutput(Command[None], tag="gfs.drop_output.1"):
    """Remove the temporary folder of a job that failed; no error if it is not there."""

    folder: str
    owner: str
    fence: int


class Entry(Reply):
    """A file or folder as the namespace knows it; ``size`` and the rest are 0 for a folder."""

    path: str
    type: EntryType
    size: int
    modified_ms: int
    handles: list[int]


class Stat(Query[Entry], tag="gfs.stat.1"):
    path: str


class EntryPage(Reply):
    """``more``: there are entries after the last of these."""

    entries: list[Entry]
    more: bool


class List(Query[EntryPage], tag="gfs.list.1"):
    """What lies directly below ``path``, or, if ``recursive``, at any depth: folders before what
    they hold, names in order.  A file is listed as itself.  ``after`` is the last path of the page
    before, or empty."""

    path: str
    after: str = ""
    limit: int = MAX_ENTRIES
    recursive: bool = False


class FileChunks(Reply):
    """The chunks ``first``, ``first + 1``, … of a file."""

    file: int
    size: int
    chunk_bytes: int
    first: int
    handles: list[int]


class Locate(Query[FileChunks], tag="gfs.locate.1"):
    """Up to ``count`` chunks of a file, from the one that holds byte ``offset``.

    ``file`` is the id from the answer before, so that a reader never mixes two files that had one
    path after each other; 0 for the first question.
    """

    path: str
    offset: int
    count: int
    file: int = 0
