"""The table of exit codes in docs/COMMANDS.md is the one that commands end with."""

import re
import sys
from pathlib import Path

import pytest

from quorate.base import errors
from quorate.cli import main

ROOT = Path(__file__).resolve().parents[3]


def documented() -> set[int]:
    """The codes that the table names."""
    text = (ROOT / "docs/COMMANDS.md").read_text().partition("## Exit codes")[2]
    return {int(code) for code in re.findall(r"^\| (\d+) \|", text, re.MULTILINE)}


def test_each_error_ends_with_a_documented_code() -> None:
    kinds = [errors.QuorateError, *errors.QuorateError.__subclasses__()]
    assert {kind.exit_code for kind in kinds} | {0, 70, 130} == documented()


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """The exit code of ``quorate`` with these arguments."""
    monkeypatch.setattr(sys, "argv", ["quorate", *arguments])
    return main.run()


def test_help_ends_with_zero(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "--help") == 0
    assert "status" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments",
    [("brew",), ("fs", "cat"), ("up", "--nodes", "0"), ("up", "--nodes", "many"), ("node",)],
)
def test_wrong_usage_ends_with_two(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
) -> None:
    assert run(monkeypatch, *arguments) == 2
    assert capsys.readouterr().err


def test_an_error_is_one_sentence_without_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert run(monkeypatch, "node", "--config", str(tmp_path / "none.toml")) == 3
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("quorate: ") and err.count("\n") == 1


def test_a_bug_shows_its_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken() -> None:
        raise RuntimeError("planted")

    monkeypatch.setattr(main, "app", broken)
    assert run(monkeypatch) == 70
    assert "RuntimeError: planted" in capsys.readouterr().err
