"""The job file: what is refused before anything runs, and how its errors are shown."""

from pathlib import Path

import pytest

from quorate.base.errors import BadInput, JobFailed
from quorate.mapreduce.job_file import check_source, load, read_job_file

GOOD = b"def map(key, value):\n    yield value, 1\ndef reduce(key, values):\n    yield key, 1\n"


@pytest.mark.parametrize(
    "source",
    [
        GOOD,
        b"from operator import add as map, sub as reduce\n",
        b"map = lambda k, v: []\nif True:\n    reduce = map\n",
    ],
)
def test_a_file_that_binds_map_and_reduce_is_accepted(source: bytes) -> None:
    check_source("job.py", source)
    load("job.py", source)


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        (b"def map(key, value:\n", r"job.py, line 1: .*"),
        (b"x = 1\n\n  y = 2\n", r"job.py, line 3: unexpected indent"),
        (b"def map(key, value): yield 1, 2\n", "has no function reduce; it must define"),
        (b"def reduce(key, values): yield 1, 2\n", "has no function map; it must define"),
        (b"print(map, reduce)\n", "has no function map"),
        (b"class A:\n    def map(self): pass\n", "has no function map"),
        (b"\xff\xfe", "job.py"),
        (b"a\0b", "job.py"),
        (b"#" * (256 * 1024 + 1), "larger than 262144 bytes"),
    ],
)
def test_a_file_that_cannot_be_a_job_is_refused_in_a_sentence(source: bytes, sentence: str) -> None:
    with pytest.raises(BadInput, match=sentence):
        check_source("job.py", source)


def test_a_job_file_is_read_by_its_path(tmp_path: Path) -> None:
    path = tmp_path / "count.py"
    path.write_bytes(GOOD)
    assert read_job_file(str(path)) == ("count.py", GOOD)
    with pytest.raises(BadInput, match=r"missing\.py cannot be read: No such file"):
        read_job_file(str(tmp_path / "missing.py"))


def test_an_error_at_import_shows_the_users_frames_only() -> None:
    with pytest.raises(JobFailed) as caught:
        load("broken.py", GOOD + b"\nimport no_such_module_anywhere\n")
    assert caught.value.message == (
        "broken.py cannot be imported:\n"
        "Traceback (most recent call last):\n"
        '  File "broken.py", line 6, in <module>\n'
        "    import no_such_module_anywhere\n"
        "ModuleNotFoundError: No module named 'no_such_module_anywhere'"
    )


def test_a_job_file_that_exits_at_import_fails_the_job() -> None:
    with pytest.raises(JobFailed, match="SystemExit: 3"):
        load("exits.py", GOOD + b"raise SystemExit(3)\n")


def test_a_map_that_is_no_function_fails_the_job() -> None:
    with pytest.raises(JobFailed, match="has no function map"):
        load("job.py", b"map = 3\ndef reduce(key, values): yield 1, 2\n")


def test_each_load_is_a_fresh_module() -> None:
    source = b"seen = []\n" + GOOD
    first, second = load("job.py", source), load("job.py", source)
    first.map.__globals__["seen"].append(1)  # type: ignore[attr-defined]
    assert second.map.__globals__["seen"] == []  # type: ignore[attr-defined]


def test_a_job_file_may_define_dataclasses() -> None:
    load(
        "job.py",
        b"from __future__ import annotations\nfrom dataclasses import dataclass\n"
        b"@dataclass\nclass P:\n    x: int\n" + GOOD,
    )
