"""Marks on rare paths: listed from the source, counted, and missed where no run has hit them."""

from pathlib import Path

import pytest

from quorate.base.check import Bug
from quorate.simulator.marks import marks_in, marks_report, missed

SOURCE = """
from quorate.base import sometimes as marks
from quorate.base.sometimes import sometimes

def rare(deep):
    sometimes("in a function")
    if deep:
        marks.sometimes("by its module")
        sometimes("twice")
    # sometimes("in a comment")
    print('sometimes("in a string")')
"""


def tree(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        path = folder / "inner" / f"{name}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    return folder


def test_every_literal_mark_is_found_with_its_files_and_nothing_else(tmp_path: Path) -> None:
    found = marks_in(tree(tmp_path, a=SOURCE, b='sometimes("twice")\n'))
    assert found == {
        "by its module": ["inner/a.py"],
        "in a function": ["inner/a.py"],
        "twice": ["inner/a.py", "inner/b.py"],
    }


@pytest.mark.parametrize("call", ["sometimes(name)", "sometimes()", 'sometimes(f"a{1}")'])
def test_a_mark_that_cannot_be_listed_is_refused(tmp_path: Path, call: str) -> None:
    with pytest.raises(Bug, match=r"inner/a\.py:1: a mark is one literal string"):
        marks_in(tree(tmp_path, a=call))


def test_hit_marks_are_listed_with_their_counts_and_then_those_never_hit() -> None:
    known = {"a": ["x.py"], "b": ["y.py", "z.py"], "c": ["z.py"]}
    seen = {"a": 3, "c": 12}
    assert missed(seen, known) == ["b"]
    assert [line.split() for line in marks_report(seen, known)] == [
        ["3", "a"],
        ["12", "c"],
        ["never", "b", "(y.py)"],
    ]


def test_the_package_has_marks_in_the_log_the_sessions_and_the_calls() -> None:
    files = {file.split("/")[0] for places in marks_in().values() for file in places}
    assert {"raft", "rpc"} <= files
    assert {"torn tail dropped", "expired session", "connection given up"} <= set(marks_in())
