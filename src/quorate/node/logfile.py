"""The log of a process: what it writes to standard error, in at most two files of bounded size."""

from pathlib import Path
from typing import BinaryIO

MAX_LOG_BYTES = 4 << 20


class LogFile:
    """Appends to ``path``; a full file becomes ``path`` + ``.1`` in place of an older one."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: BinaryIO | None = None

    def write(self, data: bytes) -> None:
        """Append ``data``.  A log that cannot be written is no reason to stop what it tells of."""
        try:
            if self._file is None:
                self._file = self._path.open("ab", buffering=0)
            if self._file.tell() + len(data) > MAX_LOG_BYTES:
                self._file.close()
                self._path.replace(self._path.with_name(self._path.name + ".1"))
                self._file = self._path.open("ab", buffering=0)
            self._file.write(data)
        except OSError:
            self.close()

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
