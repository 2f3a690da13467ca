"""An idle cluster costs next to nothing to simulate, all invariants checked.

The bound is in CPU time and far below what ``bench/idle.py`` measures on a quiet core, so that it
fails for a regression and not for a busy machine.
"""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

BENCH = Path(__file__).parents[2] / "bench" / "idle.py"
AT_LEAST = 40
SIMULATED_S = 10


def bench() -> ModuleType:
    spec = importlib.util.spec_from_file_location("bench_idle", BENCH)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_five_idle_nodes_with_three_groups_run_many_times_faster_than_time() -> None:
    idle = bench()
    assert (idle.NODES, idle.GROUPS, idle.HEARTBEAT_MS) == (5, 3, 100)
    ratios = []
    for seed in idle.SEEDS:
        ratio, steps = idle.measure(seed, SIMULATED_S)
        ratios.append(ratio)
        # Each group: a heartbeat, four requests, four answers, ten times a second.
        assert steps >= idle.GROUPS * 9 * 10 * SIMULATED_S * 0.95
        if ratio >= AT_LEAST:
            return
    raise AssertionError(f"only {ratios} simulated seconds a CPU second")
