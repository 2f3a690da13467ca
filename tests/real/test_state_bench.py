"""The bench of a large state, made small: it runs, and says what it is for."""

import subprocess
import sys
from pathlib import Path

BENCH = Path(__file__).parents[2] / "bench" / "state.py"


def test_it_prints_the_structures_and_the_pauses(tmp_path: Path) -> None:
    command = [sys.executable, str(BENCH), "2000", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    rows = {line.split("  ")[0].strip() for line in done.stdout.splitlines()}
    assert {"dict", "FreezableMap", "writes and a snapshot", "writes and a restore"} <= rows
    assert "frozen in" in done.stdout
