"""One process to a directory: an advisory lock that ends with its holder, however that ends."""

import fcntl
import time
from pathlib import Path
from typing import BinaryIO

from quorate.base.errors import BadConfiguration

LOCK_FILE = "lock"


class DirectoryLock:
    """Holds ``directory`` until ``release`` or the end of this process."""

    def __init__(self, directory: Path, patience_ms: float = 0) -> None:
        """Take the lock, waiting up to ``patience_ms`` for a holder that is about to end.

        Raises ``BadConfiguration`` if somebody holds it still, or it cannot be made.
        """
        deadline = time.monotonic() + patience_ms / 1000
        try:
            self._file: BinaryIO = (directory / LOCK_FILE).open("ab")
        except OSError as error:
            raise BadConfiguration(f"{directory} cannot be used: {error.strerror}.") from error
        while True:
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except OSError as error:
                if time.monotonic() >= deadline:
                    self._file.close()
                    raise BadConfiguration(
                        f"{directory} is in use by another process of quorate: stop that one, or"
                        " give this one a directory of its own."
                    ) from error
            time.sleep(0.02)

    def release(self) -> None:
        self._file.close()
