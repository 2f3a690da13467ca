"""``quorate check``: the exit code is the verdict, and nothing else ends with 0, 1 or 2."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from quorate.cli import main

EVENTS = [
    (0, "invoke", "write", 1),
    (0, "ok", "write", 1),
    (1, "invoke", "read", None),
    (1, "ok", "read", 1),
]
STALE = [*EVENTS, (1, "invoke", "read", None), (1, "ok", "read", None)]


def written(events: list[tuple[int, str, str, object]]) -> str:
    return "".join(
        json.dumps(
            {"process": process, "type": kind, "f": f, "key": "x", "value": value, "time": at}
        )
        + "\n"
        for at, (process, kind, f, value) in enumerate(events)
    )


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "history.jsonl"


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    """The exit code of ``quorate check`` with these arguments."""
    monkeypatch.setattr(sys, "argv", ["quorate", "check", *map(str, arguments)])
    return main.run()


def test_ok_ends_with_0(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], file: Path
) -> None:
    file.write_text(written(EVENTS))
    assert run(monkeypatch, "--model", "register", file) == 0
    assert capsys.readouterr() == ("Ok\n", "")


def test_illegal_ends_with_1_and_names_the_operation(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], file: Path
) -> None:
    file.write_text(written(STALE))
    assert run(monkeypatch, "--model", "register", file) == 1
    out, err = capsys.readouterr()
    assert err == ""
    assert out.startswith('Illegal\nKey "x": read → null by process 1 (lines 5 and 6,')
    assert out.endswith("the register holds 1.\n")


def test_unknown_ends_with_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], file: Path
) -> None:
    file.write_text(written(STALE))
    assert run(monkeypatch, "--model", "register", file, "--timeout", "0") == 2
    assert capsys.readouterr().out.startswith("Unknown\n")


def test_standard_input_and_json(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stdin = io.TextIOWrapper(io.BytesIO(written(STALE).encode()))
    monkeypatch.setattr(sys, "stdin", stdin)
    assert run(monkeypatch, "--model", "register", "--json", "-") == 1
    found = json.loads(capsys.readouterr().out)
    assert (found["verdict"], found["model"], found["operations"]) == ("Illegal", "register", 3)
    [key] = found["keys"]
    assert (key["key"], key["verdict"], key["placed"]) == ("x", "Illegal", 2)
    assert key["stuck"][0]["reason"] == "the register holds 1"


def test_the_page_is_written(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], file: Path, tmp_path: Path
) -> None:
    file.write_text(written(STALE))
    out = tmp_path / "page.html"
    assert run(monkeypatch, "--model", "register", file, "--html", out) == 1
    assert "Cannot come next: the register holds 1." in out.read_text()


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("--model", "register"),
        ("FILE",),
        ("--model", "queue", "FILE"),
        ("--model", "register", "FILE", "--timeout", "soon"),
        ("--model", "register", "FILE", "--timeout", "-1"),
        ("--model", "register", "FILE", "--timeout", "nan"),
        ("--model", "register", "FILE", "--brew"),
        ("--model", "register", "FILE", "FILE"),
        ("--model", "register", "FILE.none"),
        ("--model", "register", "FILE", "--html", "FILE.none/page.html"),
        ("--model", "kv", "FILE"),
    ],
)
def test_whatever_has_no_verdict_ends_with_14(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    file: Path,
    arguments: tuple[str, ...],
) -> None:
    file.write_text(written(EVENTS))
    given = [argument.replace("FILE", str(file)) for argument in arguments]
    assert run(monkeypatch, *given) == 14
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("quorate: ") and err.count("\n") == 1


def test_bad_input_names_its_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], file: Path
) -> None:
    file.write_text(written(EVENTS) + "{\n")
    assert run(monkeypatch, "--model", "register", file) == 14
    assert capsys.readouterr().err.startswith("quorate: Line 5 is no JSON")


def test_the_verdict_is_the_same_when_nobody_reads_it(file: Path) -> None:
    file.write_text(written(EVENTS))
    reader, writer = os.pipe()
    os.close(reader)
    try:
        command = [sys.executable, "-m", "quorate.cli.main", "check", "--model", "register", file]
        done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, check=False)
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (0, b"")


def test_help_ends_with_0(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "--help") == 0
    assert "--html" in capsys.readouterr().out
