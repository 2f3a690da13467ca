"""What a run makes outside its own processes, where anybody may have made names beforehand."""

import os
import tempfile
from pathlib import Path

import pytest

from quorate.base.errors import NotJudged
from quorate.torture import disks, system


@pytest.fixture
def shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory for everybody's temporary files."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("trap", ["link", "writable", "of another"])
def test_a_folder_that_is_not_this_users_alone_is_not_used(
    shared: Path, monkeypatch: pytest.MonkeyPatch, trap: str
) -> None:
    user = os.geteuid()
    if trap == "of another":
        user += 1
        monkeypatch.setattr(os, "geteuid", lambda: user)
    folder, elsewhere = shared / f"quorate-torture-{user}", shared / "elsewhere"
    elsewhere.mkdir(mode=0o700)
    if trap == "link":
        folder.symlink_to(elsewhere)
    else:
        folder.mkdir(mode=0o700)
    if trap == "writable":
        folder.chmod(0o777)
    for use in (system.Mark, system.remove_leftovers):
        with pytest.raises(NotJudged, match=f"{folder} is not a folder of this user's alone"):
            use()
    assert list(elsewhere.iterdir()) == []


def test_no_image_is_written_through_a_link_that_somebody_laid(
    shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    victim = shared / "victim"
    victim.write_text("precious")
    mark = system.Mark()
    trap = shared / f"quorate-{mark.name}-disks"
    trap.mkdir()
    (trap / "n1.ext4").symlink_to(victim)
    monkeypatch.setattr(disks, "missing", lambda *programs: "")
    monkeypatch.setattr(disks, "command", lambda *arguments: "")
    made = disks.make_disks(mark.name, shared / "run", 1, 8 << 20)
    assert isinstance(made, disks.LoopDisks)
    assert victim.read_text() == "precious"
    assert system.mount_folder(mark.name).parent.stat().st_mode & 0o077 == 0
    mark.release()
    assert not system.mount_folder(mark.name).exists()


def test_a_mount_that_only_bears_a_name_like_a_mark_is_left_alone(
    shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = str(system.mount_folder("qt5") / "n1")
    said: list[tuple[str, ...]] = []
    monkeypatch.setattr(system, "_mounts", lambda: ["/mnt/qt5/data", own])
    monkeypatch.setattr(system, "_quietly", lambda *arguments: said.append(arguments))
    monkeypatch.setattr(system.shutil, "which", lambda program: None)
    monkeypatch.setattr(system, "_own_folder", lambda: Path(own).parents[1])
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    system.remove_all("qt5")
    assert said == [("umount", "-l", own)]
