"""Bytes that are kept on the disk rather than in memory, for as long as somebody refers to them.

Rules:
* Nothing here survives the process: the files have no names.  What must, is durable elsewhere.
* What is kept is a view of a file that is mapped.  Its pages are the system's, which takes them
  back as it needs them; the file goes when the last view of it does.
* Where there is no room for a file, what was to be kept stays in memory; after so many bytes as a
  file would take another is tried.
* What comes back is what the file system gives: no checksum is looked at again, and a disk that
  cannot read a page ends the process (SIGBUS).  Replicas compare their states (raft/digests.py).
"""

import mmap
import os
import tempfile
from pathlib import Path

FILE_BYTES = 64 << 20
"""Each takes a descriptor for as long as it is mapped."""
SMALL_BYTES = 2048
"""Below this the view, 200 bytes, is no gain that counts."""


class Spill:
    """Files in one directory; calling it keeps some bytes."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._file: mmap.mmap | None = None
        self._end = 0
        self._refused_bytes = 0
        """Of what is to be kept in memory before another file is tried."""

    def __call__(self, data: bytes) -> bytes | memoryview:
        """The same bytes, by what is to be referred to from now on."""
        size = len(data)
        if size < SMALL_BYTES:
            return data
        if self._refused_bytes > 0:
            self._refused_bytes -= size
            return data
        if self._file is None or self._end + size > len(self._file):
            self._file, self._end = self._new_file(max(size, FILE_BYTES)), 0
        file = self._file
        if file is None:
            self._refused_bytes = FILE_BYTES
            return data
        start, self._end = self._end, self._end + size
        file[start : self._end] = data
        return memoryview(file)[start : self._end].toreadonly()

    def _new_file(self, size: int) -> mmap.mmap | None:
        try:
            with tempfile.TemporaryFile(dir=self._directory, prefix="spill-") as file:
                os.posix_fallocate(file.fileno(), 0, size)  # or a full disk would be a signal
                return mmap.mmap(file.fileno(), size)
        except OSError:
            return None
