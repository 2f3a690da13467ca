"""What a run makes outside its own processes, and how it is found again after a crash.

Namespaces, links and mounts outlive who made them.  All of a run bear its *mark*, ``qt`` and the
process id, and the run holds a lock file of that name for as long as it lives, however it ends.
So a mark whose lock can be taken is left over from a run that was killed: ``remove_leftovers``.

Locks and disks lie in one folder of this user's alone, below a directory where anybody may make
names beforehand.  So nothing is taken from, or written below, a folder that is not ours.
"""

import os
import re
import shutil
import stat
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path

from quorate.base.errors import BadConfiguration, NotJudged
from quorate.node.lock import FileLock

COMMAND_SECONDS = 20.0
_MARK = re.compile(r"qt\d+")


def command(*arguments: str, told: str = "") -> str:
    """Run a command of the system with ``told`` as its input; what it printed.  Raises
    ``NotJudged`` if it fails."""
    shown = " ".join(arguments)
    try:
        done = subprocess.run(
            arguments,
            input=told,
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NotJudged(f"'{shown}' cannot be run: {error}.") from error
    if done.returncode:
        raise NotJudged(f"'{shown}' failed: {done.stderr.strip() or done.returncode}.")
    return done.stdout


def missing(*programs: str) -> str:
    """Why these cannot be used; empty if they can."""
    if os.geteuid() != 0:
        return "it takes root"
    absent = [program for program in programs if shutil.which(program) is None]
    return f"there is no command {', '.join(absent)}" if absent else ""


class Mark:
    """The mark of this run, until ``release``."""

    def __init__(self) -> None:
        self.name = f"qt{os.getpid()}"
        self._path = _own_folder() / f"{self.name}.lock"
        self._lock = FileLock(self._path, 0)

    def release(self) -> None:
        remove_all(self.name)
        self._path.unlink(missing_ok=True)
        self._lock.release()


def remove_leftovers() -> list[str]:
    """Remove what earlier runs left that did not come to clean up; their marks."""
    removed = []
    for path in sorted(_own_folder().glob("*.lock")):
        if not _MARK.fullmatch(path.stem):
            continue
        try:
            lock = FileLock(path, 0)
        except BadConfiguration:
            continue  # that run lives
        remove_all(path.stem)
        path.unlink(missing_ok=True)
        lock.release()
        removed.append(path.stem)
    return removed


def remove_all(mark: str) -> None:
    """Namespaces, links, mounts and images of ``mark``, whatever of them is there."""
    folder = mount_folder(mark)
    if os.geteuid() == 0:
        own = re.compile(rf"{mark}(?!\d)\w*")
        for mounted in _mounts():
            if Path(mounted).is_relative_to(folder):
                _quietly("umount", "-l", mounted)
        if shutil.which("ip") is not None:
            spaces = {line.split()[0] for line in _lines("ip", "netns", "list")}
            for space in sorted(filter(own.fullmatch, spaces)):
                _quietly("ip", "netns", "del", space)
            names = [line.split(":")[1].strip() for line in _lines("ip", "-o", "link", "show")]
            for link in (name.partition("@")[0] for name in names):
                if own.fullmatch(link):
                    _quietly("ip", "link", "del", link)
    shutil.rmtree(folder, ignore_errors=True)


def mount_folder(mark: str) -> Path:
    """Where the disks of ``mark`` are mounted, and their images lie."""
    return _own_folder() / f"{mark}-disks"


def _own_folder() -> Path:
    """Raises ``NotJudged`` if somebody else has made it, or may write to it."""
    user = os.geteuid()
    folder = Path(tempfile.gettempdir()).resolve() / f"quorate-torture-{user}"
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != user or found.st_mode & 0o077:
        raise NotJudged(
            f"{folder} is not a folder of this user's alone, so it may lead anywhere: remove it, or"
            " name another place with TMPDIR."
        )
    return folder


def _mounts() -> list[str]:
    lines = Path("/proc/self/mounts").read_text().splitlines()
    return [line.split()[1] for line in lines]


def _lines(*arguments: str) -> list[str]:
    return [line for line in command(*arguments).splitlines() if line.strip()]


def _quietly(*arguments: str) -> None:
    subprocess.run(arguments, capture_output=True, timeout=COMMAND_SECONDS, check=False)
