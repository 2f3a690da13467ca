"""The namespace as a stream of bytes, and back.

The state lies in maps that are frozen without a pause (base/frozen.py).  A reader rebuilds the
digest as it goes and refuses a stream that does not add up to the digest in its header, so that a
damaged snapshot never becomes a replica's state.
"""

from collections.abc import Callable, Generator, Iterable, Iterator

import msgspec

from quorate.base.codec import encode
from quorate.base.errors import CorruptData
from quorate.base.machine import RECORDS_PER_PAUSE
from quorate.base.stream import next_record, pack_records, unpack_records
from quorate.gfs.core.chunks import ChunkTable
from quorate.gfs.core.tree import Directory, File, Node, Tree, split_key

VERSION = 1


class _Header(msgspec.Struct, array_like=True):
    version: int
    digest: int
    next_id: int
    next_handle: int
    longest: int
    pending: int
    unlinked: int
    entries: int


class _Pending(msgspec.Struct, array_like=True):
    handle: int
    expiry_ms: int


class _File(msgspec.Struct, array_like=True, tag=1):
    parent: int
    name: str
    id: int
    size: int
    modified_ms: int
    chunk_bytes: int
    handles: tuple[int, ...]
    creator: str


class _Directory(msgspec.Struct, array_like=True, tag=2):
    parent: int
    name: str
    id: int
    modified_ms: int
    owner: str
    fence: int


def write(tree: Tree, chunks: ChunkTable, digest: int) -> Iterator[bytes]:
    """The state as it is at this call, however late the pieces are asked for."""
    pending, unlinked, entries = chunks.pending, tree.unlinked, tree.entries
    counts = len(pending), len(unlinked), len(entries)
    header = _Header(VERSION, digest, tree.next_id, chunks.next_handle, tree.longest, *counts)
    return pack_records(_records(header, pending.freeze(), unlinked.freeze(), entries.freeze()))


def _records(
    header: _Header,
    pending: Iterator[tuple[int, int]],
    unlinked: Iterator[tuple[int, None]],
    entries: Iterator[tuple[bytes, Node]],
) -> Iterator[bytes]:
    yield encode(header)
    for handle, expiry_ms in pending:
        yield encode(_Pending(handle, expiry_ms))
    for directory, _ in unlinked:
        yield encode(directory)
    for key, node in entries:
        yield encode(_record(*split_key(key), node))


def _record(parent: int, name: str, node: Node) -> _File | _Directory:
    if isinstance(node, Directory):
        return _Directory(parent, name, node.id, node.modified_ms, node.owner, node.fence)
    return _File(
        parent,
        name,
        node.id,
        node.size,
        node.modified_ms,
        node.chunk_bytes,
        node.handles,
        node.creator,
    )


def read(
    stream: Iterable[bytes], digest: Callable[[Tree, ChunkTable], int]
) -> Generator[None, None, tuple[Tree, ChunkTable]]:
    """The state in ``stream``, with pauses; raises ``CorruptData`` if it is not whole."""
    records = unpack_records(stream)
    header: _Header = next_record(records, _Header)
    if header.version != VERSION:
        raise CorruptData(f"a namespace snapshot of version {header.version} is unknown here")
    tree, chunks = Tree(), ChunkTable()
    tree.next_id, tree.longest = header.next_id, header.longest
    chunks.next_handle = header.next_handle
    total = header.pending + header.unlinked + header.entries
    for number in range(total):
        if number < header.pending:
            pending: _Pending = next_record(records, _Pending)
            chunks.hold(pending.handle, pending.expiry_ms)
        elif number < header.pending + header.unlinked:
            tree.unlink(next_record(records, int))
        else:
            _read_entry(next_record(records, _File | _Directory), tree, chunks)
        if number % RECORDS_PER_PAUSE == 0:
            yield
    if digest(tree, chunks) != header.digest:
        raise CorruptData("a namespace snapshot does not have its own digest; fetch it again")
    return tree, chunks


def _read_entry(record: _File | _Directory, tree: Tree, chunks: ChunkTable) -> None:
    parent = Directory(record.parent, 0)
    if not 0 < parent.id < tree.next_id or tree.child(parent, record.name) is not None:
        raise CorruptData("a namespace snapshot is damaged; fetch it again")
    node: Node
    if isinstance(record, _Directory):
        node = Directory(record.id, record.modified_ms, record.owner, record.fence)
    else:
        node = File(
            record.id,
            record.size,
            record.modified_ms,
            record.chunk_bytes,
            record.handles,
            record.creator,
        )
        for handle in record.handles:
            chunks.used[handle] = None
    tree.attach(record.parent, record.name, node)
