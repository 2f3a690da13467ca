"""Records in a stream of bytes: how snapshots are cut and put together again.

A record is four bytes of length, big-endian, and that many bytes.  The pieces that travel may be
cut anywhere; ``unpack_records`` finds the records again and refuses a stream that ends inside one.
"""

from collections.abc import Iterable, Iterator
from typing import Any

from quorate.base.codec import UNREADABLE, decode
from quorate.base.errors import CorruptData

_LENGTH_BYTES = 4
PIECE_BYTES = 256 << 10
"""The largest piece that ``pack_records`` makes: who hands it on is not held up."""


def pack_records(records: Iterable[bytes]) -> Iterator[bytes]:
    """Each record with its length in front; a large one comes in several pieces."""
    for record in records:
        length = len(record).to_bytes(_LENGTH_BYTES, "big")
        if len(record) < PIECE_BYTES:
            yield length + record
        else:
            yield length
            for start in range(0, len(record), PIECE_BYTES):
                yield record[start : start + PIECE_BYTES]


def unpack_records(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The records of a stream that was cut into ``pieces``; raises ``CorruptData`` if it is cut
    short.  A record's pieces are put together once, when all of them are there."""
    parts: list[bytes] = []
    there, wanted = 0, _LENGTH_BYTES
    for piece in pieces:
        parts.append(piece)
        there += len(piece)
        if there < wanted:
            continue
        buffer = b"".join(parts)
        start = 0
        while (body := start + _LENGTH_BYTES) <= there:
            end = body + int.from_bytes(buffer[start:body], "big")
            if end > there:
                break
            yield buffer[body:end]
            start = end
        wanted = end - start if body <= there else _LENGTH_BYTES
        parts = [buffer[start:]]
        there -= start
    if there:
        raise CorruptData("a snapshot ends in the middle of a record; fetch it again")


def next_record(records: Iterator[bytes], kind: Any) -> Any:
    """The next record as a ``kind``; raises ``CorruptData`` if it is none, or there is none."""
    try:
        return decode(next(records, b""), kind)
    except UNREADABLE:
        raise CorruptData("a snapshot is cut short or damaged; fetch it again") from None
