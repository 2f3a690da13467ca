"""The namespace of files as a state machine: what the paper's master keeps in its operation log
(GFS §2.6): folders, files, and which chunks a file has.  Where chunks lie is not kept (§2.6.2);
the master service learns that from the chunkservers.

Rules:
* Each command is refused with a sentence and changes nothing, or is done whole (GFS §4.1).
* A file appears at once, complete, and never changes; it is replaced by deleting it first.
* Chunk handles: core/chunks.py.  Paths: core/paths.py.  The fenced publish: core/output.py.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from quorate.base.checksum import stable_hash
from quorate.base.codec import encode
from quorate.base.errors import AlreadyExists, BadInput, NotFound
from quorate.base.machine import Meta, TypedMachine
from quorate.gfs.core import output, snapshot
from quorate.gfs.core.blocks import check_chunk_bytes
from quorate.gfs.core.chunks import ChunkTable
from quorate.gfs.core.commands import (
    MAX_ALLOCATION,
    MAX_ENTRIES,
    MAX_FILE_CHUNKS,
    MAX_LOCATED,
    MAX_PAGE_BYTES,
    AllocateChunks,
    Allocated,
    Created,
    CreateFile,
    Delete,
    DropOutput,
    Entry,
    EntryPage,
    FileChunks,
    List,
    Locate,
    Mkdir,
    Prepared,
    PrepareOutput,
    Publish,
    ReleaseChunks,
    Rename,
    RenewChunks,
    Stat,
)
from quorate.gfs.core.paths import MAX_PATH_BYTES, Parts, join, split
from quorate.gfs.core.tree import Directory, File, Node, Tree

_MASK = (1 << 64) - 1


def _entry(parts: Parts, node: Node) -> Entry:
    path = join(parts)
    if isinstance(node, Directory):
        return Entry(path, "directory", 0, node.modified_ms, [])
    return Entry(path, "file", node.size, node.modified_ms, list(node.handles))


def _check_shape(command: CreateFile) -> None:
    """Raise ``BadInput`` unless size, chunk size and number of chunks fit each other."""
    chunk_bytes, chunks = command.chunk_bytes, len(command.handles)
    check_chunk_bytes(chunk_bytes)
    if chunks > MAX_FILE_CHUNKS:
        raise BadInput(
            f"{command.path} would have {chunks} chunks; a file takes {MAX_FILE_CHUNKS} at most:"
            " write it with larger chunks or as several files"
        )
    if command.size < 0 or chunks != -(-command.size // chunk_bytes):
        raise BadInput(
            f"{command.path}: {chunks} chunks of {chunk_bytes} bytes do not make"
            f" {command.size} bytes"
        )
    if len(set(command.handles)) != chunks:
        raise BadInput(f"{command.path}: a chunk is named twice")


class Namespace(TypedMachine):
    """The state machine of the group ``NAMESPACE_GROUP``."""

    commands = (
        AllocateChunks,
        RenewChunks,
        ReleaseChunks,
        CreateFile,
        Mkdir,
        Delete,
        Rename,
        PrepareOutput,
        Publish,
        DropOutput,
    )
    queries = (Stat, List, Locate)

    def __init__(self) -> None:
        super().__init__()
        self.tree = Tree()
        self.chunks = ChunkTable()
        self._methods: dict[type[Any], Callable[[Any, Meta], object]] = {
            AllocateChunks: self._allocate_chunks,
            RenewChunks: self._renew_chunks,
            ReleaseChunks: self._release_chunks,
            CreateFile: self._create_file,
            Mkdir: self._mkdir,
            Delete: self._delete,
            Rename: self._rename,
            PrepareOutput: self._prepare_output,
            Publish: self._publish,
            DropOutput: self._drop_output,
        }
        self._answers: dict[type[Any], Callable[[Any], object]] = {
            Stat: self._stat,
            List: self._list,
            Locate: self._locate,
        }

    # The contract of a state machine (base/machine.py).

    def execute(self, meta: Meta, command: Any) -> object:
        return self._methods[type(command)](command, meta)

    def answer(self, query: Any) -> object:
        return self._answers[type(query)](query)

    def expire(self, meta: Meta) -> None:
        self.chunks.expire(meta.time_ms)
        self.chunks.let_go(self.tree.sweep())

    def snapshot(self) -> Iterator[bytes]:
        return snapshot.write(self.tree, self.chunks, self.digest())

    def restore(self, stream: Iterable[bytes]) -> Iterator[None]:
        tree, chunks = yield from snapshot.read(stream, _digest)
        old_tree, old_chunks = self.tree, self.chunks
        self.tree, self.chunks = tree, chunks
        yield from old_tree.entries.clear()
        yield from old_chunks.clear()

    def digest(self) -> int:
        return _digest(self.tree, self.chunks)

    def next_deadline_ms(self) -> int | None:
        return 0 if self.tree.unlinked else self.chunks.next_deadline_ms()

    def is_garbage(self, handle: int) -> bool:
        """Whether no file has, or ever will have, the chunk ``handle``; right on any replica."""
        return self.chunks.is_garbage(handle)

    # Commands.

    def _allocate_chunks(self, command: AllocateChunks, meta: Meta) -> Allocated:
        if not 1 <= command.count <= MAX_ALLOCATION:
            raise BadInput(f"{command.count} chunks at once; ask for 1 to {MAX_ALLOCATION}")
        return Allocated(self.chunks.allocate(command.count, meta.time_ms))

    def _renew_chunks(self, command: RenewChunks, meta: Meta) -> None:
        self.chunks.require_pending(command.handles)
        self.chunks.renew(command.handles, meta.time_ms)

    def _release_chunks(self, command: ReleaseChunks, meta: Meta) -> None:
        self.chunks.release(command.handles)

    def _create_file(self, command: CreateFile, meta: Meta) -> Created:
        parts = split(command.path)
        _check_shape(command)
        output.check_fence(self.tree, parts, command.fence)
        if self.tree.find(parts) is not None:
            raise AlreadyExists(f"{command.path} exists; delete it or choose another name")
        above, missing = self._above(parts, command.make_parents)
        self.chunks.require_pending(command.handles)
        parent = self.tree.make_directories(above, missing, meta.time_ms)
        file = File(
            self.tree.new_id(),
            command.size,
            meta.time_ms,
            command.chunk_bytes,
            tuple(command.handles),
            command.creator,
        )
        self.tree.attach(parent.id, parts[-1], file)
        self.tree.note_path(len(command.path.encode()))
        self.chunks.use(file.handles)
        return Created(file.id, file.modified_ms)

    def _above(self, parts: Parts, make_parents: bool) -> tuple[Directory, Parts]:
        """Where ``parts`` would go, and the folders to make first; refuses if it may not."""
        above, missing = self.tree.reach(parts[:-1])
        if missing and not make_parents:
            raise NotFound(
                f"{join(parts[: len(parts) - len(missing)])} does not exist; make it first"
            )
        return above, missing

    def _mkdir(self, command: Mkdir, meta: Meta) -> None:
        parts = split(command.path)
        node = self.tree.find(parts)
        if isinstance(node, Directory) and command.parents:
            return
        if node is not None:
            raise AlreadyExists(f"{command.path} exists")
        output.refuse_fenced(self.tree, parts)
        above, missing = self._above(parts, command.parents)
        self.tree.make_directories(above, (*missing, parts[-1]), meta.time_ms)
        self.tree.note_path(len(command.path.encode()))

    def _delete(self, command: Delete, meta: Meta) -> None:
        parts = split(command.path)
        node = self.tree.get(parts)
        if not parts:
            raise BadInput("/ itself cannot be deleted; name what lies below it")
        if isinstance(node, Directory) and not (command.recursive or self.tree.is_empty(node)):
            raise BadInput(f"{command.path} is a folder and not empty; delete it recursively")
        self.chunks.let_go(self.tree.remove(parts))

    def _rename(self, command: Rename, meta: Meta) -> None:
        source, target = split(command.source), split(command.target)
        node = self.tree.get(source)
        if not source:
            raise BadInput("/ itself cannot be renamed; name what lies below it")
        if target[: len(source)] == source and target != source:
            raise BadInput(f"{command.target} lies under {command.source}: it cannot move there")
        if self.tree.find(target) is not None:
            raise AlreadyExists(f"{command.target} exists; delete it or choose another name")
        output.refuse_temporary(source, node)
        output.refuse_fenced(self.tree, source)
        output.refuse_fenced(self.tree, target)
        above, _ = self._above(target, False)
        self._check_depth(node, command)
        self.tree.detach(self.tree.directory(source[:-1]).id, source[-1])
        self.tree.attach(above.id, target[-1], node)

    def _check_depth(self, node: Node, command: Rename) -> None:
        """Refuse a move that would make a path below ``node`` too long to be written down."""
        growth = len(command.target.encode()) - len(command.source.encode())
        longest = self.tree.longest + growth
        if growth <= 0:
            return
        # Only where some path may be too long is each of them looked at.
        if isinstance(node, Directory) and longest > MAX_PATH_BYTES:
            self._check_paths(node, command.target)
        self.tree.note_path(longest)

    def _check_paths(self, node: Directory, target: str) -> None:
        waiting = [(node, len(target.encode()))]
        while waiting:
            directory, size = waiting.pop()
            for name, child in self.tree.children(directory):
                below = size + 1 + len(name.encode())
                if below > MAX_PATH_BYTES:
                    raise BadInput(
                        f"a path below {target} would have more than {MAX_PATH_BYTES} bytes;"
                        " choose a shorter name"
                    )
                if isinstance(child, Directory):
                    waiting.append((child, below))

    def _prepare_output(self, command: PrepareOutput, meta: Meta) -> Prepared:
        return Prepared(output.prepare_output(self.tree, command, meta.time_ms))

    def _publish(self, command: Publish, meta: Meta) -> None:
        self.chunks.let_go(output.publish(self.tree, command, meta.time_ms))

    def _drop_output(self, command: DropOutput, meta: Meta) -> None:
        self.chunks.let_go(output.drop_output(self.tree, command))

    # Queries.

    def _stat(self, query: Stat) -> Entry:
        parts = split(query.path)
        return _entry(parts, self.tree.get(parts))

    def _list(self, query: List) -> EntryPage:
        parts = split(query.path)
        if not 1 <= query.limit <= MAX_ENTRIES:
            raise BadInput(f"{query.limit} entries at once; ask for 1 to {MAX_ENTRIES}")
        node = self.tree.get(parts)
        if isinstance(node, File):
            return EntryPage([] if query.after else [_entry(parts, node)], False)
        after = split(query.after) if query.after else parts
        if after[: len(parts)] != parts:
            raise BadInput(f"{query.after} does not lie below {query.path}")
        page, size = EntryPage([], False), 0
        for path, child in self.tree.below(parts, after[len(parts) :], query.recursive):
            if len(page.entries) == query.limit or size >= MAX_PAGE_BYTES:
                page.more = True
                break
            entry = _entry(path, child)
            page.entries.append(entry)
            size += len(entry.path.encode()) + 9 * len(entry.handles)
        return page

    def _locate(self, query: Locate) -> FileChunks:
        node = self.tree.get(split(query.path))
        if isinstance(node, Directory):
            raise BadInput(f"{query.path} is a folder; name a file in it")
        if query.file not in (0, node.id):
            raise NotFound(f"{query.path} was replaced by another file while it was read")
        if not 1 <= query.count <= MAX_LOCATED or query.offset < 0:
            raise BadInput(f"{query.count} chunks from byte {query.offset}: out of range")
        first = query.offset // node.chunk_bytes
        handles = list(node.handles[first : first + query.count])
        return FileChunks(node.id, node.size, node.chunk_bytes, first, handles)


def _digest(tree: Tree, chunks: ChunkTable) -> int:
    counters: Sequence[int] = (tree.next_id, chunks.next_handle, tree.longest)
    return (tree.digest.value + chunks.digest.value + stable_hash(encode(counters))) & _MASK
