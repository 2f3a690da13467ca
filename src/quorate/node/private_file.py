"""Files that are made once, and those that only their owner may read."""

import os
from pathlib import Path

from quorate.base.errors import AlreadyExists, BadConfiguration

PRIVATE = 0o600
PUBLIC = 0o644


def make_folder(path: Path) -> None:
    """With its parents; raises ``BadConfiguration`` if it is not there and cannot be made."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadConfiguration(f"{path} cannot be made: {error.strerror}.") from error


def make_file(path: Path, data: bytes, mode: int) -> None:
    """Make ``path`` with ``data``, synced; it never has another mode, and is never replaced.

    Raises ``AlreadyExists``, or ``BadConfiguration`` if it cannot be written.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    except FileExistsError:
        raise AlreadyExists(f"{path} is there already, and is not overwritten.") from None
    except OSError as error:
        raise BadConfiguration(f"{path} cannot be made: {error.strerror}.") from error
    with os.fdopen(descriptor, "wb") as file:
        try:
            file.write(data)
            file.flush()
            os.fsync(descriptor)
        except OSError as error:
            raise BadConfiguration(f"{path} cannot be written: {error.strerror}.") from error
