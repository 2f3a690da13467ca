"""Tasks: what they write is what a sequential run writes, and what goes wrong is shown."""

import asyncio
import gc
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from unit.mapreduce.support import POSITIONS, WORDCOUNT, run, run_tasks

from quorate.base.errors import JobFailed
from quorate.mapreduce.core.job import part_name
from quorate.mapreduce.sequential import run_sequential
from quorate.mapreduce.tasks import Damaged, Mapped, MapTask, Piece, Raised, ReduceTask, Region
from quorate.runtime.real.disk import RealDisk

TEXTS = st.lists(
    st.sampled_from([b"the", b" ", b" ", b"\n", b"\n", "é".encode(), b"\xff", b"b\r\n", b"cc"]),
    max_size=60,
).map(b"".join)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(TEXTS, max_size=4),
    st.integers(1, 4),
    st.integers(1, 50),
    st.sampled_from([WORDCOUNT, POSITIONS]),
)
def test_tasks_give_the_same_bytes_as_a_sequential_run(
    texts: list[bytes], reduces: int, split_bytes: int, source: bytes
) -> None:
    files = [(f"/f{number}", text) for number, text in enumerate(texts)]
    with TemporaryDirectory() as folder:
        parts = asyncio.run(run_tasks(Path(folder), source, files, reduces, split_bytes))
    assert parts == run_sequential("job.py", source, files, reduces)


def test_a_sequential_word_count_is_a_counter() -> None:
    text = b"a b a\nc \xff a\r\n\n b"
    [part] = run_sequential("job.py", WORDCOUNT, [("/f", text)], 1)
    counts = Counter(text.decode("utf-8", "replace").split())
    assert part.decode() == "".join(f"{word}\t{counts[word]}\n" for word in sorted(counts))


def test_lines_keep_their_carriage_return_and_know_where_they_begin() -> None:
    source = (
        b"def map(key, value):\n    yield key.offset, [key.path, value]\n"
        b"def reduce(key, values):\n    yield key, list(values)\n"
    )
    [part] = run_sequential("job.py", source, [("/f", "é\r\n\nb".encode())], 1)
    assert part.decode() == "0\t[['/f', 'é\\r']]\n4\t[['/f', '']]\n5\t[['/f', 'b']]\n"


def test_part_files_have_five_digits() -> None:
    assert [part_name(0), part_name(123)] == ["part-00000", "part-00123"]


def job(map_body: str = "yield value, 1", reduce_body: str = "yield key, 1") -> bytes:
    text = f"def map(key, value):\n    {map_body}\ndef reduce(key, values):\n    {reduce_body}\n"
    return text.encode()


def failure(tmp_path: Path, source: bytes, data: bytes = b"good\nbad line\n") -> str:
    """The message of the task that fails; the sequential run must fail, too."""
    with pytest.raises(JobFailed):
        run_sequential("job.py", source, [("/in/f", data)], 2)
    result = asyncio.run(run_tasks(tmp_path, source, [("/in/f", data)], 2, 1 << 20))
    if isinstance(result, list):
        disk = RealDisk(tmp_path)
        mapped = run(
            disk, MapTask("job.py", source, "in0", [Piece("/in/f", 0, 0, len(data))], 1, "m")
        )
        assert isinstance(mapped, Mapped)
        region = Region(0, "m", 0, mapped.region_bytes[0])
        result = run(disk, ReduceTask("job.py", source, [region], "o"))
    assert isinstance(result, Raised)
    return result.message


RECORD = "in the record at byte 5 of /in/f: 'bad line'"


def test_a_map_that_raises_shows_the_users_traceback_and_the_record(tmp_path: Path) -> None:
    source = job("if value != 'good': helper(value)\n    yield value, 1") + (
        b"def helper(value):\n    raise ValueError('no good: ' + value)\n"
    )
    assert failure(tmp_path, source) == (
        "Traceback (most recent call last):\n"
        '  File "job.py", line 2, in map\n'
        "    if value != 'good': helper(value)\n"
        "                        ^^^^^^^^^^^^^\n"
        '  File "job.py", line 7, in helper\n'
        "    raise ValueError('no good: ' + value)\n"
        "ValueError: no good: bad line\n"
        f"  {RECORD}"
    )


def test_the_record_is_known_behind_lines_that_are_not_ascii(tmp_path: Path) -> None:
    source = job("yield 1 / (value != 'bad'), 1")
    message = failure(tmp_path, source, "é€\n\nbad\n".encode() + b"x" * 100)
    assert "in the record at byte 7 of /in/f: 'bad'" in message


def test_a_long_record_is_cut(tmp_path: Path) -> None:
    message = failure(tmp_path, job("yield 1 / 0, 1"), b"z" * 10_000)
    assert len(message) < 1000
    assert "zzz…" in message


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ("yield 3 if value != 'good' else (1, 1)", "map must yield pairs"),
        ("yield (1, 2, 3) if value != 'good' else (1, 1)", "the last it yielded: (1, 2, 3)"),
        ("yield [[value], 1] if value != 'good' else (1, 1)", "unhashable type: 'list'"),
        ("return None if value != 'good' else []", "'NoneType' object is not iterable"),
        ("yield None if value != 'good' else 'a', 1", "the key None is a NoneType"),
        (
            "for key in (range(8) if value != 'good' else 'abcdefgh'): yield key, 1",
            "do not compare with each other",
        ),
        ("yield 1, print if value != 'good' else 1", "the value <built-in function print>"),
        ("yield 2 ** 70 if value != 'good' else 1, 1", "the key 1180591620717411303424 cannot"),
        ("yield value, (value != 'good') * 2 ** 70", "the value 1180591620717411303424 cannot"),
        ("yield 1, (1 if value == 'good' else exit(5))", "SystemExit: 5"),
    ],
)
def test_what_a_map_may_not_yield_is_shown_with_its_record(
    tmp_path: Path, body: str, sentence: str
) -> None:
    message = failure(tmp_path, job(body))
    assert sentence in message
    assert RECORD in message


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ("yield 1 / 0, 1", "ZeroDivisionError"),
        ("yield 3", "reduce must yield pairs"),
        ("return 3", "reduce must yield pairs"),
        ("yield key + '\\t', 1", "would break the line of output"),
        ("yield key, 'a\\nb'", "would break the line of output"),
    ],
)
def test_a_reduce_that_fails_shows_what_and_for_which_key(
    tmp_path: Path, body: str, sentence: str
) -> None:
    message = failure(tmp_path, job(reduce_body=body), b"bad line\n")
    assert sentence in message
    assert "'bad line" in message


def test_keys_of_two_maps_that_do_not_compare_fail_the_reduce(tmp_path: Path) -> None:
    source = job("yield (int(value) if value.isdigit() else value), 1")
    files = [("/1", b"12"), ("/2", b"ab")]
    result = asyncio.run(run_tasks(tmp_path, source, files, 1, 2))
    assert isinstance(result, list)
    disk = RealDisk(tmp_path)
    regions = [
        Region(number, f"map{number}", 0, disk.open(f"map{number}").size()) for number in (0, 1)
    ]
    failed = run(disk, ReduceTask("job.py", source, regions, "o"))
    assert isinstance(failed, Raised)
    assert "the keys 12 and 'ab' of this job do not compare" in failed.message


def test_a_damaged_region_names_its_map(tmp_path: Path) -> None:
    disk = RealDisk(tmp_path)
    parts = asyncio.run(run_tasks(tmp_path, WORDCOUNT, [("/f", b"a b\nc d\n")], 1, 4))
    assert isinstance(parts, list)
    data = bytearray((tmp_path / "map1").read_bytes())
    data[-1] ^= 1
    (tmp_path / "map1").write_bytes(data)
    regions = [
        Region(number, f"map{number}", 0, (tmp_path / f"map{number}").stat().st_size)
        for number in (0, 1)
    ]
    assert run(disk, ReduceTask("job.py", WORDCOUNT, regions, "o")) == Damaged(1)


def test_a_line_longer_than_a_block_is_one_record(tmp_path: Path) -> None:
    data = b"a\n" + b"b" * (3 << 20) + b"\nc\n"
    source = job("yield len(value), 1", "yield key, sum(values)")
    parts = asyncio.run(run_tasks(tmp_path, source, [("/f", data)], 1, 1 << 20))
    assert parts == [f"1\t2\n{3 << 20}\t1\n".encode()]


def test_globals_of_one_task_are_not_seen_by_the_next(tmp_path: Path) -> None:
    source = b"seen = []\n" + job(
        "seen.append(1)\n    yield len(seen), 1", "yield key, sum(values)"
    )
    parts = asyncio.run(run_tasks(tmp_path, source, [("/f", b"a\nb\n")], 1, 2))
    assert parts == [b"1\t2\n"]


def test_a_reduce_may_yield_more_than_fits_in_memory_at_once(tmp_path: Path) -> None:
    source = job(reduce_body="for n in range(100_000): yield key, n")
    parts = asyncio.run(run_tasks(tmp_path, source, [("/f", b"a\n")], 1, 2))
    assert parts == ["".join(f"a\t{n}\n" for n in range(100_000)).encode()]


def test_the_collector_is_left_as_it_was(tmp_path: Path) -> None:
    assert gc.isenabled()
    failure(tmp_path, job("yield 1 / 0, 1"))
    assert gc.isenabled()
