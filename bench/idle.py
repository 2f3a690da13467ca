"""How much faster than time an idle simulated cluster runs, on one core.

    .venv/bin/python bench/idle.py

Five nodes, three groups, heartbeats every 100 ms, the invariants of every replica and the
properties of figure 3 checked after every step.  Simulated seconds a CPU second, of three seeds.
"""

import time
from statistics import median

from quorate.raft.core.settings import Timing
from quorate.runtime.simulated.world import Simulation
from quorate.simulator.cluster import RaftCluster

NODES, GROUPS, HEARTBEAT_MS = 5, 3, 100
SEEDS = (1, 2, 3)
SIMULATED_S = 60
WANTED = 100


def measure(seed: int, simulated_s: float = SIMULATED_S) -> tuple[float, int]:
    """Simulated seconds a CPU second with all leaders elected, and Raft steps checked."""
    with Simulation(seed) as simulation:
        timing = Timing(heartbeat_interval_ms=HEARTBEAT_MS, election_timeout_ms=600)
        cluster = RaftCluster(simulation, NODES, GROUPS, timing=timing)
        cluster.found()

        def led() -> bool:
            return all(cluster.leader(group) is not None for group in cluster.groups)

        simulation.run_until(led, timeout_ms=30_000)
        simulation.run_for(1_000)
        elections, steps = cluster.checker.elections, cluster.checker.steps
        began = time.process_time()
        simulation.run_for(simulated_s * 1000)
        spent = time.process_time() - began
        if cluster.checker.elections != elections or not led():
            raise RuntimeError(f"seed {seed}: the cluster was not idle, a leader changed")
        return simulated_s / spent, cluster.checker.steps - steps


def main() -> None:
    ratios = []
    for seed in SEEDS:
        ratio, steps = measure(seed)
        ratios.append(ratio)
        print(
            f"seed {seed}: {SIMULATED_S} simulated seconds at {ratio:.0f} a CPU second,"
            f" {steps} steps checked"
        )
    print(
        f"median {median(ratios):.0f} simulated seconds a CPU second (wanted: {WANTED} on a core"
        " that nothing else uses)"
    )


if __name__ == "__main__":
    main()
