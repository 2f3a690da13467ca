"""One seed, from its options to its verdict.

Safety first: for most of the time faults happen, and after every step the properties of figure 3
are checked.  Then the faults end, and progress is demanded: a final read of every list within a
bound.  At last the clients' histories are judged.
"""

import random
from dataclasses import dataclass

from quorate.base.check import Bug
from quorate.raft.client import GroupClient
from quorate.runtime.ports import World
from quorate.runtime.simulated.world import Simulation
from quorate.simulator.cluster import ClientWork, RaftCluster
from quorate.simulator.nemeses import FaultCounts, Nemesis, Options, draw
from quorate.simulator.workloads.lists import History, judge, read_all, run_client

RUN_MS = 30_000
FAULTS_MS = 20_000
PROGRESS_MS = 8_000
"""Within this time after the last fault every list must be readable."""


class Stuck(Exception):
    """No progress although the faults have ended."""


@dataclass(slots=True)
class Report:
    """What one seed did, and what it broke (``None``: nothing)."""

    seed: int
    options: Options
    acknowledged: int
    unknown: int
    elections: int
    steps: int
    faults: FaultCounts
    digest: str
    broken: str | None = None

    def line(self) -> str:
        faults = self.faults
        return (
            f"seed {self.seed}: {self.acknowledged} acknowledged, {self.unknown} unknown,"
            f" {self.elections} elections, {faults.crashes} crashes"
            f" ({faults.power_losses} power losses), {faults.partitions} partitions,"
            f" {faults.flipped_bits} flipped bits, {self.steps} steps"
        )


def run_seed(seed: int) -> Report:
    """Run ``seed`` for 30 simulated seconds.  Never raises for what the run broke: see
    ``Report.broken``."""
    rng = random.Random(seed)
    options = draw(rng)
    simulation = Simulation(seed)
    try:
        return _Run(simulation, options, rng, seed).run()
    finally:
        simulation.close()


class _Run:
    def __init__(
        self, simulation: Simulation, options: Options, rng: random.Random, seed: int
    ) -> None:
        self.simulation = simulation
        self.options = options
        self.rng = rng
        self.seed = seed
        self.cluster = RaftCluster(simulation, options.nodes, options.groups, timing=options.timing)
        self.nemesis = Nemesis(simulation, self.cluster, options, rng, FAULTS_MS)
        self.histories = [History() for _ in self.cluster.groups]

    def run(self) -> Report:
        broken = None
        try:
            self._run()
        except (Bug, Stuck) as failure:
            broken = str(failure)
        return Report(
            self.seed,
            self.options,
            sum(history.count("ok") for history in self.histories),
            sum(history.count("maybe") for history in self.histories),
            self.cluster.checker.elections,
            self.cluster.checker.steps,
            self.nemesis.counts,
            self.simulation.digest(),
            broken,
        )

    def _run(self) -> None:
        simulation = self.simulation
        simulation.faults.default = self.options.link
        for name in self.cluster.names:
            simulation.machine(name).disk.faults.sync_ms = self.options.sync_ms
        self.cluster.found()
        clients = [
            self.cluster.start_client(f"c{number}", self._client(f"c{number}"))
            for number in range(1, self.options.clients + 1)
        ]
        self.nemesis.schedule()
        simulation.run_for(FAULTS_MS)
        self.nemesis.heal()
        simulation.run_for(1_000)
        for client in clients:
            client.kill()
        final: list[dict[str, list[str]]] = []
        reader = self.cluster.start_client("reader", self._reader(final))
        try:
            simulation.run_until(lambda: not reader.alive, PROGRESS_MS)
        except TimeoutError:
            raise Stuck(f"Progress: no answer {PROGRESS_MS} ms after the last fault") from None
        for history, lists in zip(self.histories, final, strict=True):
            judge(history, lists)
        simulation.run_for(max(0, RUN_MS - simulation.now_ms()))

    def _client(self, name: str) -> ClientWork:
        rng = random.Random(self.rng.getrandbits(64))

        async def work(world: World, clients: list[GroupClient]) -> None:
            group = rng.randrange(len(clients))
            await run_client(world, clients[group], name, self.histories[group], rng)

        return work

    def _reader(self, final: list[dict[str, list[str]]]) -> ClientWork:
        async def work(world: World, clients: list[GroupClient]) -> None:
            for client in clients:
                final.append(await read_all(client, PROGRESS_MS))

        return work
