"""One seed, from its options to its verdict.

Safety first: for most of the time faults happen, and after every step the properties of figure 3
are checked.  Then the faults end, and the workload demands progress and judges what its clients
saw.  There are two: lists (groups of a small machine, workloads/lists.py) and words (whole nodes,
files and jobs, workloads/words.py).
"""

import random
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from quorate.base.check import Bug
from quorate.raft.client import GroupClient
from quorate.runtime.ports import World
from quorate.runtime.simulated.process import SimulatedProcess
from quorate.runtime.simulated.processes import TaskCost
from quorate.runtime.simulated.world import Simulation
from quorate.simulator.cluster import ClientWork, Cluster, NodeCluster, RaftCluster
from quorate.simulator.nemeses import FaultCounts, Nemesis, Options, draw, draw_for_nodes
from quorate.simulator.workloads.lists import History, judge, read_all, run_client
from quorate.simulator.workloads.words import Words

RUN_MS = 30_000
FAULTS_MS = 20_000
CALM_MS = 6_000
"""How long the clients of lists go on after the last fault."""
PROGRESS_MS = 8_000
"""Within this time after they have ended, every list must be readable."""
TASK_COST = TaskCost(request_ms=(20.0, 500.0))
"""So that a job of small tasks takes seconds, in which something can happen to it."""


@dataclass(slots=True)
class Report:
    """What one seed did, and what it broke (``None``: nothing)."""

    seed: int
    workload: str
    options: Options
    acknowledged: int
    unknown: int
    elections: int
    steps: int
    faults: FaultCounts
    simulated_ms: float
    digest: str
    notes: dict[str, int] = field(default_factory=dict)
    broken: str | None = None
    where: str = ""
    """The traceback, if something was raised that is no verdict."""

    @property
    def replay(self) -> str:
        """The command that does it again."""
        workload = "" if self.workload == "lists" else f" --workload {self.workload}"
        return f"python -m quorate.simulator {self.seed}{workload}"

    def line(self) -> str:
        faults = self.faults
        notes = "".join(f", {count} {what}" for what, count in self.notes.items())
        return (
            f"seed {self.seed}: {self.acknowledged} acknowledged, {self.unknown} unknown,"
            f" {self.elections} elections, {faults.crashes} crashes"
            f" ({faults.power_losses} power losses), {faults.partitions} partitions,"
            f" {faults.flipped_bits} flipped bits, {self.steps} steps{notes}"
        )


class Workload(Protocol):
    """What clients do to a cluster, and what must come of it."""

    @property
    def cluster(self) -> Cluster: ...

    @property
    def acknowledged(self) -> int: ...

    @property
    def unknown(self) -> int: ...

    @property
    def notes(self) -> dict[str, int]: ...

    def begin(self) -> list[str]:
        """Start the clients; gives their machines."""

    def finish(self) -> None:
        """After the last fault: demand progress, and judge.  Raises ``Bug``."""


class ListsWorkload:
    """Clients of Raft groups that append to lists (workloads/lists.py)."""

    def __init__(self, cluster: RaftCluster, clients: int, rng: random.Random) -> None:
        self.cluster = cluster
        self.notes: dict[str, int] = {}
        self._histories = [History() for _ in cluster.groups]
        self._count = clients
        self._rng = rng
        self._clients: list[SimulatedProcess] = []

    @property
    def acknowledged(self) -> int:
        return sum(history.count("ok") for history in self._histories)

    @property
    def unknown(self) -> int:
        return sum(history.count("maybe") for history in self._histories)

    def begin(self) -> list[str]:
        names = [f"c{number}" for number in range(1, self._count + 1)]
        self._clients = [self.cluster.start_client(name, self._client(name)) for name in names]
        return names

    def finish(self) -> None:
        simulation = self.cluster.simulation
        simulation.run_for(CALM_MS)
        for client in self._clients:
            client.kill()
        final: list[dict[str, list[str]]] = []
        reader = self.cluster.start_client("reader", self._reader(final))
        try:
            simulation.run_until(lambda: not reader.alive, PROGRESS_MS)
        except TimeoutError:
            raise Bug(f"Progress: no answer {PROGRESS_MS} ms after the last fault") from None
        for history, lists in zip(self._histories, final, strict=True):
            judge(history, lists)

    def _client(self, name: str) -> ClientWork:
        rng = random.Random(self._rng.getrandbits(64))

        async def work(world: World, clients: list[GroupClient]) -> None:
            group = rng.randrange(len(clients))
            await run_client(world, clients[group], name, self._histories[group], rng)

        return work

    def _reader(self, final: list[dict[str, list[str]]]) -> ClientWork:
        async def work(world: World, clients: list[GroupClient]) -> None:
            for client in clients:
                final.append(await read_all(client, PROGRESS_MS))

        return work


def _lists(simulation: Simulation, options: Options, rng: random.Random) -> Workload:
    cluster = RaftCluster(simulation, options.nodes, options.groups, timing=options.timing)
    return ListsWorkload(cluster, options.clients, rng)


def _words(simulation: Simulation, options: Options, rng: random.Random) -> Workload:
    cluster = NodeCluster(simulation, options.nodes, timing=options.timing, cost=TASK_COST)
    return Words(cluster, options.clients, rng)


Drawing = Callable[[random.Random], Options]
Making = Callable[[Simulation, Options, random.Random], Workload]
WORKLOADS: dict[str, tuple[Drawing, Making]] = {
    "lists": (draw, _lists),
    "words": (draw_for_nodes, _words),
}


def run_seed(seed: int, workload: str = "lists") -> Report:
    """Run ``seed`` for at least 30 simulated seconds.  Never raises for what the run broke: see
    ``Report.broken``."""
    draw_options, make = WORKLOADS[workload]
    rng = random.Random(seed)
    options = draw_options(rng)
    with Simulation(seed) as simulation:
        load = make(simulation, options, rng)
        nemesis = Nemesis(simulation, load.cluster, options, rng, FAULTS_MS)
        broken, where = None, ""
        try:
            _run(simulation, load, nemesis)
        except Bug as bug:
            broken = str(bug)
        except Exception as error:
            broken = f"{type(error).__name__}: {error}"
            where = traceback.format_exc()
        return Report(
            seed,
            workload,
            options,
            load.acknowledged,
            load.unknown,
            load.cluster.checker.elections,
            load.cluster.checker.steps,
            nemesis.counts,
            simulation.now_ms(),
            simulation.digest(),
            load.notes,
            broken,
            where,
        )


def _run(simulation: Simulation, load: Workload, nemesis: Nemesis) -> None:
    simulation.faults.default = nemesis.options.link
    for name in load.cluster.names:
        simulation.machine(name).disk.faults.sync_ms = nemesis.options.sync_ms
    load.cluster.found()
    nemesis.clients = load.begin()
    nemesis.schedule()
    simulation.run_for(FAULTS_MS)
    nemesis.heal()
    load.finish()
    simulation.run_for(max(0, RUN_MS - simulation.now_ms()))
