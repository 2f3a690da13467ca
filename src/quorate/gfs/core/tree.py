"""The tree of folders and files, and its digest.

Rules:
* The tree is one table in the order of its keys: (id of the folder, name) → what stands there.  So
  a folder's entries lie together in the order of their names, however many they are, and a rename
  of a whole tree changes one entry.  Each entry is one item of the digest.
* Folders and files never change, but are replaced: a snapshot that is being written may show them.
* A folder that was taken away with all below it is *unlinked*: nobody finds it any more, and
  ``sweep`` removes its entries, so many at a time that nobody waits for it.
* A folder with a fence is the temporary folder of a job (core/output.py).  Only commands that carry
  the job's fence change what lies below it.
* No recursion: a tree may be 2,048 folders deep.
"""

from collections.abc import Iterator
from typing import TypeAlias

import msgspec

from quorate.base.check import check
from quorate.base.checksum import SetDigest
from quorate.base.codec import encode
from quorate.base.errors import BadInput, NotFound
from quorate.base.frozen import FreezableMap
from quorate.gfs.core.paths import MAX_PATH_BYTES, Parts, join

ROOT_ID = 1
MAX_SWEPT = 500
"""Entries, and chunks of files, that one ``sweep`` removes."""

_ID_BYTES = 8


class File(msgspec.Struct, frozen=True, gc=False):
    """An immutable file; all its chunks but the last are ``chunk_bytes`` long."""

    id: int
    size: int
    modified_ms: int
    chunk_bytes: int
    handles: tuple[int, ...]
    creator: str


class Directory(msgspec.Struct, frozen=True, gc=False):
    """A folder.  ``owner`` is the job it belongs to, or that published it; ``fence`` is above 0
    while it is that job's temporary folder."""

    id: int
    modified_ms: int
    owner: str = ""
    fence: int = 0


Node: TypeAlias = File | Directory


def _key(parent: int, name: str) -> bytes:
    return parent.to_bytes(_ID_BYTES, "big") + name.encode()


def split_key(key: bytes) -> tuple[int, str]:
    """The folder's id and the name."""
    return int.from_bytes(key[:_ID_BYTES], "big"), key[_ID_BYTES:].decode()


def _item(parent: int, name: str, node: Node) -> bytes:
    if isinstance(node, File):
        file = (node.size, node.modified_ms, node.chunk_bytes, node.handles, node.creator)
        return encode((parent, name, node.id, file))
    return encode((parent, name, node.id, node.modified_ms, node.owner, node.fence))


def _unlinked_item(directory: int) -> bytes:
    return encode(("unlinked", directory))


class Tree:
    """Folders and files below a root; every change keeps the digest."""

    def __init__(self) -> None:
        self.root = Directory(ROOT_ID, 0)
        self.entries: FreezableMap[bytes, Node] = FreezableMap()
        self.unlinked: FreezableMap[int, None] = FreezableMap()
        self.next_id = ROOT_ID + 1
        self.longest = 0
        """No path in the tree has more bytes."""
        self.digest = SetDigest()

    def new_id(self) -> int:
        self.next_id += 1
        return self.next_id - 1

    # Looking.

    def child(self, directory: Directory, name: str) -> Node | None:
        """What stands in the folder under this name."""
        return self.entries.get(_key(directory.id, name))

    def children(self, directory: Directory, after: str = "") -> Iterator[tuple[str, Node]]:
        """What stands in the folder, in the order of the names; from the next after ``after`` on.

        The tree is not to be changed meanwhile.
        """
        start = _key(directory.id, after + "\0" if after else "")
        for key, node in self.entries.items(start):
            parent, name = split_key(key)
            if parent != directory.id:
                return
            yield name, node

    def is_empty(self, directory: Directory) -> bool:
        return next(self.children(directory), None) is None

    def reach(self, parts: Parts) -> tuple[Directory, Parts]:
        """The deepest folder there is on the way to the folder ``parts``, and the names missing.

        Raises ``BadInput`` if a file is in the way.
        """
        directory = self.root
        for depth, name in enumerate(parts):
            child = self.child(directory, name)
            if child is None:
                return directory, parts[depth:]
            if isinstance(child, File):
                raise BadInput(f"{join(parts[: depth + 1])} is a file, not a folder")
            directory = child
        return directory, ()

    def directory(self, parts: Parts) -> Directory:
        """The folder ``parts``; raises ``NotFound``, or ``BadInput`` if a file is in the way."""
        directory, missing = self.reach(parts)
        if missing:
            raise NotFound(f"{join(parts[: len(parts) - len(missing) + 1])} does not exist")
        return directory

    def find(self, parts: Parts) -> Node | None:
        """What stands at ``parts``, if anything does."""
        if not parts:
            return self.root
        node: Node | None = self.root
        for name in parts:
            if not isinstance(node, Directory):
                return None
            node = self.child(node, name)
        return node

    def get(self, parts: Parts) -> Node:
        """What stands at ``parts``; raises ``NotFound``."""
        node = self.find(parts)
        if node is None:
            raise NotFound(f"{join(parts)} does not exist")
        return node

    def fenced(self, parts: Parts) -> tuple[Directory, Parts] | None:
        """The temporary folder of a job that ``parts`` lies strictly below, and its path."""
        node: Node | None = self.root
        for depth, name in enumerate(parts[:-1]):
            if not isinstance(node, Directory):
                return None
            node = self.child(node, name)
            if isinstance(node, Directory) and node.fence:
                return node, parts[: depth + 1]
        return None

    # Changing.

    def attach(self, parent: int, name: str, node: Node) -> None:
        """Put ``node`` into the folder with the id ``parent``."""
        key = _key(parent, name)
        check(key not in self.entries, f"{name} is attached twice")
        self.entries[key] = node
        self.digest.add(_item(parent, name, node))

    def detach(self, parent: int, name: str) -> Node:
        """Take what stands there out of the folder, with all below it."""
        node = self.entries.pop(_key(parent, name))
        self.digest.remove(_item(parent, name, node))
        return node

    def make_directories(self, parent: Directory, names: Parts, time_ms: int) -> Directory:
        """The folders ``names`` below each other, below ``parent``; gives the last."""
        for name in names:
            directory = Directory(self.new_id(), time_ms)
            self.attach(parent.id, name, directory)
            parent = directory
        return parent

    def note_path(self, path_bytes: int) -> None:
        """Something has a path of so many bytes now."""
        self.longest = max(self.longest, min(path_bytes, MAX_PATH_BYTES))

    def set_fence(self, parts: Parts, fence: int) -> None:
        """Give the temporary folder at ``parts`` another fence."""
        parent = self.directory(parts[:-1]).id
        folder = self.detach(parent, parts[-1])
        check(isinstance(folder, Directory), "a fence is on a folder")
        self.attach(parent, parts[-1], msgspec.structs.replace(folder, fence=fence))

    def remove(self, parts: Parts) -> list[int]:
        """Take away what stands at ``parts`` with all below; gives the chunk handles let go so
        far.  What is more than a ``sweep`` waits for the next ones."""
        node = self.detach(self.directory(parts[:-1]).id, parts[-1])
        if isinstance(node, File):
            return list(node.handles)
        self.unlink(node.id)
        return self.sweep()

    def unlink(self, directory: int) -> None:
        """The folder with this id, which was detached, is to be swept."""
        self.unlinked[directory] = None
        self.digest.add(_unlinked_item(directory))

    def sweep(self) -> list[int]:
        """Remove entries of unlinked folders, up to a bound; gives the chunk handles let go."""
        handles: list[int] = []
        work = 0
        while work < MAX_SWEPT and (parent := self.unlinked.first()) is not None:
            name, node = next(self.children(Directory(parent, 0)), ("", None))
            if node is None:
                self.unlinked.pop(parent)
                self.digest.remove(_unlinked_item(parent))
            else:
                self.detach(parent, name)
            if isinstance(node, Directory):
                self.unlink(node.id)
            elif node is not None:
                handles += node.handles
                work += len(node.handles)
            work += 1
        return handles

    # Going through.

    def items(self) -> Iterator[tuple[int, str, Node]]:
        """All entries: (id of the folder, name, what stands there).  The tree is not to be changed
        meanwhile."""
        for key, node in self.entries.items():
            yield *split_key(key), node

    def below(self, parts: Parts, after: Parts, recursive: bool) -> Iterator[tuple[Parts, Node]]:
        """What lies below the folder ``parts``, in the order of the names, folders before what
        they hold; only what comes after the path ``after`` (relative to the folder)."""
        frames: list[tuple[Iterator[tuple[str, Node]], Parts]] = []
        node: Node | None = self.directory(parts)
        path = parts
        for name in after:
            if not isinstance(node, Directory):
                break
            frames.append((self.children(node, name), path))
            node, path = self.child(node, name) if recursive else None, (*path, name)
        if isinstance(node, Directory):
            frames.append((self.children(node), path))
        while frames:
            children, path = frames[-1]
            name, child = next(children, ("", None))
            if child is None:
                frames.pop()
                continue
            yield (*path, name), child
            if recursive and isinstance(child, Directory):
                frames.append((self.children(child), (*path, name)))
