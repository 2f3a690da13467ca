"""The bench of the key/value store, made small: it runs, and says what it is for."""

import shutil
import subprocess
import sys
from pathlib import Path

BENCH = Path(__file__).parents[2] / "bench" / "kv.py"
LOADS = ["writes one client", "writes 4×16", "writes 8×32", "writes 4×16 at a follower"]
LOADS += ["reads 4×16"]


def test_it_measures_every_load_of_the_table() -> None:
    command = [sys.executable, str(BENCH), "--quick", "--peers"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    pipelines = shutil.which("redis-benchmark") is not None
    assert [line.partition(" quorate")[0].rstrip() for line in lines if " quorate " in line] == (
        [*LOADS, "writes 50×16 pipelined"] if pipelines else LOADS
    )
    assert sum(" -c 50 -P " in line for line in lines) == (8 if pipelines else 0)
