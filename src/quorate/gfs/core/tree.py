"""The tree of folders and files, and its digest.

Rules:
* Each folder and file has an id, given out once; a digest item is (id of the folder, name, what
  stands there), so that a rename of a whole tree changes one item.
* Files never change: a ``File`` may be shared with a snapshot that is being written.
* A folder with a fence is the temporary folder of a job (core/output.py).  Only commands that carry
  the job's fence change what lies below it.
* No recursion: a tree may be 2,048 folders deep.
"""

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

from quorate.base.check import check
from quorate.base.checksum import SetDigest
from quorate.base.codec import encode
from quorate.base.errors import BadInput, NotFound
from quorate.gfs.core.paths import Parts, join

ROOT_ID = 1


@dataclass(slots=True, frozen=True)
class File:
    """An immutable file; all its chunks but the last are ``chunk_bytes`` long."""

    id: int
    size: int
    modified_ms: int
    chunk_bytes: int
    handles: tuple[int, ...]
    creator: str


@dataclass(slots=True)
class Directory:
    """A folder.  ``owner`` is the job it belongs to, or that published it; ``fence`` is above 0
    while it is that job's temporary folder."""

    id: int
    modified_ms: int
    owner: str = ""
    fence: int = 0
    children: dict[str, "Node"] = field(default_factory=dict)
    _names: list[str] | None = None

    def names(self) -> list[str]:
        """The names in order; sorted again only after a change."""
        if self._names is None:
            self._names = sorted(self.children)
        return self._names

    def changed(self) -> None:
        self._names = None


Node: TypeAlias = File | Directory


def _item(parent: Directory, name: str, node: Node) -> bytes:
    if isinstance(node, File):
        file = (node.size, node.modified_ms, node.chunk_bytes, node.handles, node.creator)
        return encode((parent.id, name, node.id, file))
    return encode((parent.id, name, node.id, node.modified_ms, node.owner, node.fence))


class Tree:
    """Folders and files below a root; every change keeps the digest."""

    def __init__(self) -> None:
        self.root = Directory(ROOT_ID, 0)
        self.next_id = ROOT_ID + 1
        self.digest = SetDigest()

    def new_id(self) -> int:
        self.next_id += 1
        return self.next_id - 1

    # Looking.

    def reach(self, parts: Parts) -> tuple[Directory, Parts]:
        """The deepest folder there is on the way to the folder ``parts``, and the names missing.

        Raises ``BadInput`` if a file is in the way.
        """
        directory = self.root
        for depth, name in enumerate(parts):
            child = directory.children.get(name)
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
            node = node.children.get(name)
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
            node = node.children.get(name)
            if isinstance(node, Directory) and node.fence:
                return node, parts[: depth + 1]
        return None

    # Changing.

    def attach(self, parent: Directory, name: str, node: Node) -> None:
        check(name not in parent.children, f"{name} is attached twice")
        parent.children[name] = node
        parent.changed()
        self.digest.add(_item(parent, name, node))

    def detach(self, parent: Directory, name: str) -> Node:
        node = parent.children.pop(name)
        parent.changed()
        self.digest.remove(_item(parent, name, node))
        return node

    def make_directories(self, parent: Directory, names: Parts, time_ms: int) -> Directory:
        """The folders ``names`` below each other, below ``parent``; gives the last."""
        for name in names:
            directory = Directory(self.new_id(), time_ms)
            self.attach(parent, name, directory)
            parent = directory
        return parent

    def set_fence(self, parts: Parts, fence: int) -> None:
        """Give the temporary folder at ``parts`` another fence."""
        parent = self.directory(parts[:-1])
        folder = self.detach(parent, parts[-1])
        check(isinstance(folder, Directory), "a fence is on a folder")
        if isinstance(folder, Directory):
            folder.fence = fence
        self.attach(parent, parts[-1], folder)

    def remove(self, parts: Parts) -> list[int]:
        """Take away what stands at ``parts`` with all below; gives the chunk handles let go."""
        parent = self.directory(parts[:-1])
        handles: list[int] = []
        waiting = [self.detach(parent, parts[-1])]
        while waiting:
            node = waiting.pop()
            if isinstance(node, File):
                handles += node.handles
                continue
            for name, child in node.children.items():
                self.digest.remove(_item(node, name, child))
                waiting.append(child)
        return handles

    # Going through.

    def items(self) -> Iterator[tuple[Directory, str, Node]]:
        """Everything below the root: (folder, name, what stands there), folders before what they
        hold."""
        waiting = [self.root]
        while waiting:
            directory = waiting.pop()
            for name, child in directory.children.items():
                yield directory, name, child
                if isinstance(child, Directory):
                    waiting.append(child)

    def below(self, parts: Parts, after: Parts, recursive: bool) -> Iterator[tuple[Parts, Node]]:
        """What lies below the folder ``parts``, in the order of the names, folders before what
        they hold; only what comes after the path ``after`` (relative to the folder)."""
        directory = self.directory(parts)
        frames: list[tuple[Directory, Parts, int]] = []
        node: Node | None = directory
        path = parts
        for name in after:
            if not isinstance(node, Directory):
                break
            frames.append((node, path, bisect_right(node.names(), name)))
            node, path = node.children.get(name) if recursive else None, (*path, name)
        if isinstance(node, Directory):
            frames.append((node, path, 0))
        while frames:
            directory, path, position = frames.pop()
            names = directory.names()
            if position == len(names):
                continue
            frames.append((directory, path, position + 1))
            name = names[position]
            child = directory.children[name]
            yield (*path, name), child
            if recursive and isinstance(child, Directory):
                frames.append((child, (*path, name), 0))
