"""Splits: how input files are cut for map tasks, and which lines belong to which.

A split is a list of ranges of files, in the order of the input.  Files smaller than the target
size are combined, larger ones are cut at multiples of it; so a job has about 64 map tasks, or one
per 32 MiB, but none below 1 MiB (MapReduce §3.5: many more tasks than workers).

A line belongs to the range in which its first byte lies.  So a range that begins inside a file
starts after the first newline at or behind the byte before it, and its reader goes on past its end
until its last line is whole: each line of a file is read exactly once.
"""

from collections.abc import Awaitable, Callable, Iterable
from typing import NamedTuple

from quorate.base.codec import encode
from quorate.base.errors import BadInput, JobFailed
from quorate.mapreduce.core.commands import Range

MINIMUM_BYTES = 1 << 20
MAXIMUM_BYTES = 32 << 20
_WANTED_SPLITS = 64
MAXIMUM_SPLIT_MESSAGE_BYTES = 64 << 10
"""A split is cut short when its list of ranges, encoded, would be longer: it must fit into a
control frame together with others."""
_READ_AHEAD_BYTES = 64 << 10
"""At first; twice as much each time, up to ``_MAX_READ_AHEAD_BYTES``, for a line without end."""
_MAX_READ_AHEAD_BYTES = 8 << 20


def plan_splits(
    files: Iterable[tuple[str, int]],
    minimum_bytes: int = MINIMUM_BYTES,
    maximum_bytes: int = MAXIMUM_BYTES,
) -> list[list[Range]]:
    """Cut ``files`` (path and size in bytes, in input order) into splits.  Empty files vanish."""
    wanted = [(path, size) for path, size in files if size > 0]
    total = sum(size for _, size in wanted)
    target = min(max(total // _WANTED_SPLITS, minimum_bytes), maximum_bytes)
    splits: list[list[Range]] = []
    split: list[Range] = []
    split_bytes = message_bytes = 0
    for path, size in wanted:
        for offset in range(0, size, target):
            piece = Range(path, offset, min(target, size - offset), size)
            piece_message_bytes = len(encode(piece))
            if piece_message_bytes > MAXIMUM_SPLIT_MESSAGE_BYTES:
                raise BadInput(f"the path of an input file is too long: {path[:200]}…")
            if split and (
                split_bytes + piece.length > target
                or message_bytes + piece_message_bytes > MAXIMUM_SPLIT_MESSAGE_BYTES
            ):
                splits.append(split)
                split, split_bytes, message_bytes = [], 0, 0
            split.append(piece)
            split_bytes += piece.length
            message_bytes += piece_message_bytes
    if split:
        splits.append(split)
    return splits


class Lines(NamedTuple):
    """Whole lines of one file: those that belong to a range."""

    offset: int
    """Of the first byte, in the file."""
    data: bytes


async def read_lines(wanted: Range, read: Callable[[int, int], Awaitable[bytes]]) -> Lines:
    """The lines that belong to ``wanted``.

    ``read(offset, length)`` gives up to ``length`` bytes of the file, fewer at its end.  Raises
    ``JobFailed`` if the file is no longer as long as when the job was planned.
    """
    start = max(wanted.offset - 1, 0)
    end = wanted.offset + wanted.length
    data = await read(start, end - start)
    _check_length(wanted, data, end - start)
    if wanted.offset > 0:
        skipped = data.find(b"\n") + 1
        if skipped in (0, len(data)):
            return Lines(end, b"")  # no line starts in this range
        start += skipped
        data = data[skipped:]
    pieces = [data]
    ahead = _READ_AHEAD_BYTES
    while end < wanted.file_bytes and b"\n" not in data[-1:]:
        length = min(ahead, wanted.file_bytes - end)
        ahead = min(2 * ahead, _MAX_READ_AHEAD_BYTES)
        data = await read(end, length)
        _check_length(wanted, data, length)
        end += len(data)
        newline = data.find(b"\n")
        if newline >= 0:
            data = data[: newline + 1]
        pieces.append(data)
    return Lines(start, b"".join(pieces) if len(pieces) > 1 else pieces[0])


def _check_length(wanted: Range, data: bytes, length: int) -> None:
    if len(data) != length:
        raise JobFailed(
            f"{wanted.path} has become shorter than the {wanted.file_bytes} bytes it had when the "
            "job was submitted; submit the job again"
        )
