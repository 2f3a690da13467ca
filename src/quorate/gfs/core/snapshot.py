"""The namespace as a stream of bytes, and back.

The view is frozen by a shallow copy of what the folders hold: files never change and are shared.
A reader rebuilds the digest as it goes and refuses a stream that does not add up to the digest in
its header, so that a damaged snapshot never becomes a replica's state.
"""

from collections.abc import Callable, Iterable, Iterator

import msgspec

from quorate.base.codec import decode, encode
from quorate.base.errors import CorruptData
from quorate.base.stream import pack_records, unpack_records
from quorate.gfs.core.chunks import ChunkTable
from quorate.gfs.core.tree import Directory, File, Node, Tree

VERSION = 1


class _Header(msgspec.Struct, array_like=True):
    version: int
    digest: int
    next_id: int
    next_handle: int
    pending: int
    nodes: int


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
    pending = list(chunks.pending.items())
    # A fence is the one thing of a folder that may change; the rest of it is frozen by not being
    # read later.
    nodes = [
        (parent.id, name, node, node.fence if isinstance(node, Directory) else 0)
        for parent, name, node in tree.items()
    ]
    header = _Header(VERSION, digest, tree.next_id, chunks.next_handle, len(pending), len(nodes))

    def records() -> Iterator[bytes]:
        yield encode(header)
        for handle, expiry_ms in pending:
            yield encode(_Pending(handle, expiry_ms))
        for parent, name, node, fence in nodes:
            yield encode(_record(parent, name, node, fence))

    return pack_records(records())


def _record(parent: int, name: str, node: Node, fence: int) -> _File | _Directory:
    if isinstance(node, Directory):
        return _Directory(parent, name, node.id, node.modified_ms, node.owner, fence)
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
) -> tuple[Tree, ChunkTable]:
    """The state in ``stream``; raises ``CorruptData`` if it is not whole."""
    records = unpack_records(stream)
    try:
        header: _Header = decode(next(records), _Header)
        if header.version != VERSION:
            raise CorruptData(f"a namespace snapshot of version {header.version} is unknown here")
        tree, chunks = Tree(), ChunkTable()
        tree.next_id, chunks.next_handle = header.next_id, header.next_handle
        for _ in range(header.pending):
            pending: _Pending = decode(next(records), _Pending)
            chunks.hold(pending.handle, pending.expiry_ms)
        _read_nodes(records, header.nodes, tree, chunks)
    except (StopIteration, msgspec.DecodeError, KeyError) as error:
        raise CorruptData("a namespace snapshot is not whole; fetch it again") from error
    if digest(tree, chunks) != header.digest:
        raise CorruptData("a namespace snapshot does not have its own digest; fetch it again")
    return tree, chunks


def _read_nodes(records: Iterator[bytes], count: int, tree: Tree, chunks: ChunkTable) -> None:
    directories = {tree.root.id: tree.root}
    for _ in range(count):
        record: _File | _Directory = decode(next(records), _File | _Directory)
        if isinstance(record, _Directory):
            node: Node = Directory(record.id, record.modified_ms, record.owner, record.fence)
            if isinstance(node, Directory):
                directories[node.id] = node
        else:
            node = File(
                record.id,
                record.size,
                record.modified_ms,
                record.chunk_bytes,
                record.handles,
                record.creator,
            )
            chunks.used.update(record.handles)
        tree.attach(directories[record.parent], record.name, node)
