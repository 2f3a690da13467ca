"""Small files that must be whole or absent, and are refused when a newer version wrote them.

A record is one JSON object ``{"format": n, "crc32c": "…", "content": {…}}``.  It is written beside
its name, synced, renamed over it, and the folder synced: a crash leaves the old one or the new one.
"""

from typing import TypeVar

import msgspec

from quorate.base.checksum import crc32c
from quorate.base.codec import UNREADABLE
from quorate.base.errors import BadConfiguration, CorruptData, NotFound, ReplicaDamaged
from quorate.runtime.ports import Disk

FORMAT = 1
"""What this version writes; it refuses a larger one, whatever it holds."""

T = TypeVar("T")


class _Envelope(msgspec.Struct):
    format: int
    crc32c: str
    content: msgspec.Raw


class _Format(msgspec.Struct):
    format: int


async def write_record(disk: Disk, path: str, content: msgspec.Struct) -> None:
    """Replace the record at ``path`` (relative, with ``/``) durably and at once."""
    raw = msgspec.json.encode(content)
    data = msgspec.json.encode(_Envelope(FORMAT, f"{crc32c(raw):08x}", msgspec.Raw(raw)))
    disk.remove(path + ".new")
    file = disk.open(path + ".new", create=True)
    try:
        await file.write_and_sync(0, data + b"\n")
    finally:
        file.close()
    disk.rename(path + ".new", path)
    await disk.sync_directory(path.rpartition("/")[0])


def read_record(
    disk: Disk, path: str, kind: type[T], where: str, *, of_replica: bool = False
) -> T | None:
    """The record at ``path``, or ``None`` if there is none.

    ``where`` names the file in the sentence of a ``BadConfiguration`` (a newer version wrote it)
    or ``CorruptData``; of what belongs to a replica (``of_replica``) that is ``ReplicaDamaged``.
    """
    try:
        file = disk.open(path)
    except NotFound:
        return None
    try:
        data = file.read(0, file.size())
    finally:
        file.close()
    try:
        version = msgspec.json.decode(data, type=_Format).format
        if version > FORMAT:
            raise BadConfiguration(
                f"{where} has format {version} and this quorate reads formats up to {FORMAT}:"
                " a newer version wrote it; use that version, or another directory."
            )
        envelope = msgspec.json.decode(data, type=_Envelope)
        if envelope.crc32c == f"{crc32c(bytes(envelope.content)):08x}":
            return msgspec.json.decode(envelope.content, type=kind)
    except UNREADABLE as error:
        raise _damaged(where, str(error), of_replica) from error
    raise _damaged(where, "its checksum does not fit", of_replica)


def _damaged(where: str, why: str, of_replica: bool) -> CorruptData:
    if of_replica:
        return ReplicaDamaged(f"{where} is damaged ({why}); {ReplicaDamaged.ADVICE}.")
    return CorruptData(f"{where} is damaged ({why}); {_ADVICE}")


_ADVICE = "this directory cannot be trusted, so restore the file or replace the machine."
