"""``quorate ca``: what cannot be is one sentence."""

from pathlib import Path

import pytest

from quorate.base.errors import BadConfiguration
from quorate.cli.main import run
from quorate.node.authority import create_authority


@pytest.mark.parametrize("below", ["", "/folder"])
def test_a_file_where_certificates_are_to_go_is_one_sentence(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    below: str,
) -> None:
    create_authority(tmp_path / "ca")
    (tmp_path / "file").write_text("precious")
    out = f"{tmp_path}/file{below}"
    words = ["quorate", "ca", "issue", "n1", "--ca", f"{tmp_path}/ca", "--out", out]
    monkeypatch.setattr("sys.argv", words)
    assert run() == BadConfiguration.exit_code
    errors = capsys.readouterr().err
    assert f"{out} cannot be made" in errors and errors.count("\n") == 1
    assert (tmp_path / "file").read_text() == "precious"
