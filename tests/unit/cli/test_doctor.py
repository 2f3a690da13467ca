"""The exit code of ``quorate doctor`` is its verdict, and what is none has another."""

from pathlib import Path

import pytest

from quorate.cli.main import run
from quorate.library.local import free_port


def doctor(monkeypatch: pytest.MonkeyPatch, *options: str) -> int:
    monkeypatch.setattr("sys.argv", ["quorate", "doctor", *options])
    return run()


def test_nobody_who_answers_is_a_cluster_that_has_stopped(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    door = f"127.0.0.1:{free_port(1)}"
    assert doctor(monkeypatch, "--cluster", door) == 2
    assert f"no node of the cluster answers: a node ({door}: nobody" in capsys.readouterr().out


def test_what_is_no_verdict_has_a_code_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = (("--nonsense",), ("--config", str(tmp_path / "none")), ("--cluster", "nowhere"))
    for options in wrong:
        assert doctor(monkeypatch, *options) == 14
        assert capsys.readouterr().err.count("\n") == 1
