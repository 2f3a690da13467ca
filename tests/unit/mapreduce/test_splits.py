"""Splits: each line of each file is read exactly once, in order."""

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quorate.base.codec import encode
from quorate.base.errors import JobFailed
from quorate.mapreduce.core.commands import Range
from quorate.mapreduce.splits import (
    MAXIMUM_SPLIT_MESSAGE_BYTES,
    plan_splits,
    read_lines,
)

CONTENTS = st.lists(
    st.sampled_from([b"\n", b"a", b"bb", b"\r\n", b"ccccccc", b"\xff", b"", b"\n\n"]), max_size=40
).map(b"".join)


async def read_all(contents: dict[str, bytes], splits: list[list[Range]]) -> list[tuple[str, int]]:
    """(path, offset) and data of all that the splits' readers get, in order."""
    got = []
    for split in splits:
        for wanted in split:

            async def read(offset: int, length: int, path: str = wanted.path) -> bytes:
                return contents[path][offset : offset + length]

            lines = await read_lines(wanted, read)
            got.append((wanted.path, lines.offset, lines.data))
    return got


@settings(deadline=None)
@given(st.lists(CONTENTS, max_size=5), st.integers(1, 20))
def test_all_ranges_together_are_the_files_line_by_line(files: list[bytes], target: int) -> None:
    contents = {f"/f{number}": data for number, data in enumerate(files)}
    splits = plan_splits(((path, len(data)) for path, data in contents.items()), target, target)
    together: dict[str, bytes] = dict.fromkeys(contents, b"")
    for path, offset, data in asyncio.run(read_all(contents, splits)):
        if data:
            assert offset == len(together[path])  # in order, and nothing twice
            assert offset == 0 or together[path].endswith(b"\n")  # at the start of a line
        together[path] += data
    assert together == contents


@settings(deadline=None)
@given(st.lists(st.integers(0, 5000), max_size=50), st.integers(1, 1000))
def test_splits_cover_every_byte_once_in_order_and_stay_near_their_size(
    sizes: list[int], target: int
) -> None:
    files = [(f"/f{number}", size) for number, size in enumerate(sizes)]
    splits = plan_splits(files, target, target)
    position: dict[str, int] = {}
    for split in splits:
        assert split
        assert sum(piece.length for piece in split) <= target
        for piece in split:
            assert piece.offset == position.get(piece.path, 0)
            assert piece.length > 0
            position[piece.path] = piece.offset + piece.length
    assert list(position.items()) == [(path, size) for path, size in files if size]


def test_the_number_of_splits_follows_the_size_of_the_input() -> None:
    mib = 1 << 20
    assert len(plan_splits([("/small", 100)])) == 1
    assert len(plan_splits([("/f", 32 * mib)])) == 32
    assert len(plan_splits([("/f", 640 * mib)])) == 64
    assert len(plan_splits([("/f", 64 * 1024 * mib)])) == 2048


def test_no_split_of_many_small_files_outgrows_its_share_of_a_frame() -> None:
    splits = plan_splits(
        [(f"/a/rather/long/folder/{number:06d}.txt", 10) for number in range(9999)]
    )
    assert len(splits) > 1
    assert all(len(encode(split)) <= MAXIMUM_SPLIT_MESSAGE_BYTES + 8 for split in splits)


def test_a_line_of_many_pieces_is_read_whole_by_the_range_in_which_it_begins() -> None:
    data = b"x\n" + b"y" * 300_000 + b"\nz\n"
    contents = {"/f": data}
    splits = plan_splits([("/f", len(data))], 1000, 1000)
    got = [data for _, _, data in asyncio.run(read_all(contents, splits)) if data]
    assert got == [data[:-2], b"z\n"]


def test_a_file_that_has_become_shorter_fails_the_job() -> None:
    async def read(offset: int, length: int) -> bytes:
        return b"abc"[offset : offset + length]

    with pytest.raises(JobFailed, match=r"/f has become shorter than the 10 bytes"):
        asyncio.run(read_lines(Range("/f", 0, 10, 10), read))
    with pytest.raises(JobFailed, match="shorter"):
        asyncio.run(read_lines(Range("/f", 0, 3, 10), read))


def test_a_line_without_end_is_read_in_ever_larger_pieces() -> None:
    size = 50 << 20
    reads: list[int] = []

    async def read(offset: int, length: int) -> bytes:
        reads.append(length)
        return bytes(min(length, size - offset))

    lines = asyncio.run(read_lines(Range("/f", 0, 1 << 20, size), read))
    assert len(lines.data) == size
    assert len(reads) < 20
    assert max(reads) <= 8 << 20
