"""Records in a stream of bytes: how snapshots are cut and put together again.

A record is four bytes of length, big-endian, and that many bytes.  The pieces that travel may be
cut anywhere; ``unpack_records`` finds the records again and refuses a stream that ends inside one.
"""

from collections.abc import Iterable, Iterator
from typing import Any

from quorate.base.codec import UNREADABLE, decode
from quorate.base.errors import CorruptData

_LENGTH_BYTES = 4


def pack_records(records: Iterable[bytes]) -> Iterator[bytes]:
    """Each record with its length in front."""
    for record in records:
        yield len(record).to_bytes(_LENGTH_BYTES, "big") + record


def unpack_records(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The records of a stream that was cut into ``pieces``; raises ``CorruptData`` if it is cut
    short."""
    buffer = b""
    for piece in pieces:
        buffer = buffer + piece if buffer else piece
        start, size = 0, len(buffer)
        while (body := start + _LENGTH_BYTES) <= size:
            end = body + int.from_bytes(buffer[start:body], "big")
            if end > size:
                break
            yield buffer[body:end]
            start = end
        buffer = buffer[start:]
    if buffer:
        raise CorruptData("a snapshot ends in the middle of a record; fetch it again")


def next_record(records: Iterator[bytes], kind: Any) -> Any:
    """The next record as a ``kind``; raises ``CorruptData`` if it is none, or there is none."""
    try:
        return decode(next(records, b""), kind)
    except UNREADABLE:
        raise CorruptData("a snapshot is cut short or damaged; fetch it again") from None
