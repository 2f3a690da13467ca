"""One process to a directory: an advisory lock that ends with its holder, however that ends."""

import fcntl
import time
from pathlib import Path

from quorate.base.errors import BadConfiguration

_ATTEMPT_SECONDS = 0.02


class FileLock:
    """Holds the file ``path`` until ``release`` or the end of this process."""

    def __init__(self, path: Path, patience_ms: float) -> None:
        """Take the lock, waiting up to ``patience_ms`` for a holder that is about to end.

        Raises ``BadConfiguration`` if somebody holds it still, or it cannot be made.
        """
        deadline = time.monotonic() + patience_ms / 1000
        try:
            self._file = path.open("ab")
        except OSError as error:
            raise BadConfiguration(f"{path} cannot be made: {error.strerror}.") from error
        while not self._taken():
            if time.monotonic() >= deadline:
                self._file.close()
                raise BadConfiguration(
                    f"{path.parent} is in use by another process of quorate: stop that one, or"
                    " give this one a directory of its own."
                )
            time.sleep(_ATTEMPT_SECONDS)

    def _taken(self) -> bool:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True

    def release(self) -> None:
        self._file.close()


def is_held(path: Path) -> bool:
    """Whether some process holds the lock at ``path``; changes nothing."""
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False
