"""Values on their way in pieces, until an operation uses them.

Rules:
* Pieces come in order.  One that is there already changes nothing; one that does not fit on what is
  there is refused: then the value is sent again from its beginning.
* What an operation uses is used up, and what nobody uses within ``UPLOAD_MS`` is dropped.  That is
  nobody's mistake (a clock that jumps is enough): who comes too late finds it ``Unavailable``.
* A piece costs ``PIECE_BYTES`` beside its data, so that many small ones cannot fill the memory.
"""

from collections.abc import Iterable, Iterator

import msgspec

from quorate.base.errors import BadInput, Overloaded, Unavailable
from quorate.base.sometimes import sometimes
from quorate.kv.core.commands import MAX_STAGED_BYTES, MAX_VALUE_BYTES

UPLOAD_MS = 60_000
PIECE_BYTES = 512
_GONE = "the pieces of this value are not there any more: send it again"


class Upload(msgspec.Struct, array_like=True, forbid_unknown_fields=True, gc=False):
    """A value that comes in pieces."""

    number: int
    until_ms: int
    length: int
    """Of all pieces, in bytes."""
    pieces: list[bytes]

    @property
    def bytes(self) -> int:
        """What it takes."""
        return self.length + PIECE_BYTES * len(self.pieces)


class Uploads:
    """Those of one store."""

    kept_ms = UPLOAD_MS

    def __init__(self) -> None:
        self._uploads: dict[int, Upload] = {}  # the oldest first
        self.bytes = 0
        """What all of them take."""

    def __iter__(self) -> Iterator[Upload]:
        return iter(self._uploads.values())

    def __len__(self) -> int:
        return len(self._uploads)

    def growth(self, number: int, offset: int, length: int) -> int:
        """What the piece would add to ``bytes``: 0 if it is there.  Raises what refuses it."""
        upload = self._uploads.get(number)
        there = upload.length if upload is not None else 0
        if offset + length <= there:
            return 0
        if offset != there:
            raise Unavailable(_GONE)
        if there + length > MAX_VALUE_BYTES:
            raise BadInput(f"a value of more than {MAX_VALUE_BYTES} bytes")
        if self.bytes + length + PIECE_BYTES > MAX_STAGED_BYTES:
            raise Overloaded("too many large values are on their way; try again later")
        return length + PIECE_BYTES

    def add(self, number: int, data: bytes, time_ms: int) -> None:
        """A piece that ``growth`` found to be new."""
        upload = self._uploads.get(number)
        if upload is None:
            upload = self._uploads[number] = Upload(number, time_ms + self.kept_ms, 0, [])
        upload.pieces.append(data)
        upload.length += len(data)
        self.bytes += len(data) + PIECE_BYTES

    def length(self, number: int) -> int:
        """How many bytes of it are there."""
        upload = self._uploads.get(number)
        return upload.length if upload is not None else 0

    def use(self, number: int) -> bytes:
        """The value; it is not there any more then.  Raises ``Unavailable``."""
        upload = self._uploads.pop(number, None)
        if upload is None:
            raise Unavailable(_GONE)
        self.bytes -= upload.bytes
        return b"".join(upload.pieces)

    def expire(self, time_ms: int) -> None:
        """Drop those whose time has come."""
        while (until_ms := self.next_end_ms()) is not None and until_ms <= time_ms:
            sometimes("upload dropped")
            self.bytes -= self._uploads.pop(next(iter(self._uploads))).bytes

    def next_end_ms(self) -> int | None:
        """When there is something to drop."""
        for upload in self._uploads.values():
            return upload.until_ms
        return None

    def records(self) -> list[Upload]:
        """As they are now, whatever is added to them later."""
        return [
            Upload(it.number, it.until_ms, it.length, it.pieces.copy())
            for it in self._uploads.values()
        ]

    def restore(self, uploads: Iterable[Upload]) -> None:
        """Begin with these."""
        self._uploads = {upload.number: upload for upload in uploads}
        self.bytes = sum(upload.bytes for upload in self._uploads.values())
