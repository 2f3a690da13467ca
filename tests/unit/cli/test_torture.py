"""``quorate torture``: what it refuses, with a code that is no verdict."""

import sys

import pytest

from quorate.cli import main


@pytest.mark.parametrize(
    "options",
    [
        ("--minutes", "0"),
        ("--minutes", "soon"),
        ("--faults", "rain"),
        ("--partitions", "walls"),
        ("--nodes", "2"),
        ("--target", "redis"),
        ("--clients", "0"),
        ("--dir", "."),
        ("--timeline", "."),
        ("--timeline", "no/such/folder/run.html"),
    ],
)
def test_a_run_that_cannot_be_has_no_verdict(
    options: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", ["quorate", "torture", *options])
    assert main.run() == 14
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("quorate: ") and err.count("\n") == 1
