"""The disks of the nodes, and how one is full.

*Own file systems*: an image of a fixed size for each node, mounted over a loop device.  A ballast
file takes what is free, so everybody there meets ENOSPC; when it is removed there is room again.
It needs root, ``mount`` and ``mkfs.ext4``.

*Limits*: plain folders.  A full disk is a limit on the size of a file for that process, which makes
each write beyond it fail; the disk port takes it for the same.
"""

import os
import resource
from abc import ABC, abstractmethod
from pathlib import Path

from quorate.base.errors import NotJudged
from quorate.torture.system import command, missing, mount_folder

_PIECES_BYTES = (64 << 20, 1 << 20, 64 << 10, 4 << 10)


class Disks(ABC):
    """Nodes 1, 2, … each have one."""

    kind: str
    """What they are, for the report."""

    def __init__(self, folder: Path, nodes: int) -> None:
        self._folder = folder
        for node in range(1, nodes + 1):
            self.directory(node).mkdir(parents=True, exist_ok=True)

    def directory(self, node: int) -> Path:
        """Where the node keeps what must survive."""
        return self._folder / f"n{node}" / "data"

    @abstractmethod
    def fill(self, node: int, pid: int | None) -> None:
        """Let there be no space, for the process ``pid`` if there is one."""

    @abstractmethod
    def free(self, node: int, pid: int | None) -> None:
        """Let there be space again."""


class LoopDisks(Disks):
    """A file system for each."""

    def __init__(self, mark: str, nodes: int, image_bytes: int) -> None:
        folder = mount_folder(mark)
        for node in range(1, nodes + 1):
            image, mounted = folder / f"n{node}.ext4", folder / f"n{node}"
            mounted.mkdir(parents=True)
            with image.open("xb") as file:
                file.truncate(image_bytes)
            command("mkfs.ext4", "-q", "-m", "0", str(image))
            command("mount", "-o", "loop", str(image), str(mounted))
        super().__init__(folder, nodes)
        self.kind = f"real: a file system of {image_bytes >> 20} MiB for each node, filled up"

    def _ballast(self, node: int) -> Path:
        return self._folder / f"n{node}" / "ballast"

    def fill(self, node: int, pid: int | None) -> None:
        with self._ballast(node).open("ab") as ballast:
            end = ballast.tell()
            for piece_bytes in _PIECES_BYTES:
                while True:
                    try:
                        os.posix_fallocate(ballast.fileno(), end, piece_bytes)
                    except OSError:
                        break
                    end += piece_bytes

    def free(self, node: int, pid: int | None) -> None:
        self._ballast(node).unlink(missing_ok=True)


class LimitedFiles(Disks):
    """Folders, and limits on processes."""

    def __init__(self, folder: Path, nodes: int, why: str) -> None:
        super().__init__(folder, nodes)
        self.kind = f"a limit on the size of each node's files: {why}"

    def fill(self, node: int, pid: int | None) -> None:
        if pid is not None:
            _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (1, hard))

    def free(self, node: int, pid: int | None) -> None:
        if pid is not None:
            _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (hard, hard))


def make_disks(mark: str, folder: Path, nodes: int, image_bytes: int) -> Disks:
    """File systems of ``image_bytes`` if this machine allows it."""
    why = missing("mount", "umount", "mkfs.ext4")
    if not why:
        try:
            return LoopDisks(mark, nodes, image_bytes)
        except NotJudged as error:
            why = error.message.rstrip(".")
    return LimitedFiles(folder, nodes, why)
