"""One seed, from its plan to its verdict.

Safety first: for most of the time faults happen, and after every step the properties of figure 3
are checked.  Then all faults end that ever do (a minority may stay out of order), and the workload
demands progress and judges what its clients saw.
"""

import random
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias

from quorate.base import sometimes
from quorate.base.check import Bug, check
from quorate.runtime.simulated.faults import Link
from quorate.runtime.simulated.world import Simulation
from quorate.simulator.cluster import Cluster
from quorate.simulator.nemeses.nemesis import Nemesis
from quorate.simulator.nemeses.options import Options
from quorate.simulator.plan import Plan, Reduction, draw_plan
from quorate.simulator.workloads.table import WORKLOADS
from quorate.simulator.workloads.workload import Workload

CALM_MS = 10_000
"""A run goes on for at least so long after the faults."""
TIMELINE = 40
"""So many of the last events are kept of a run that broke something."""


@dataclass(slots=True)
class Report:
    """What one seed did, and what it broke (``None``: nothing)."""

    plan: Plan
    acknowledged: int
    under_faults: int
    """Of these, before the faults ended."""
    unknown: int
    elections: int
    steps: int
    faults: dict[str, int]
    """That had an effect, by kind."""
    simulated_ms: float
    digest: str
    notes: dict[str, int] = field(default_factory=dict)
    marks: dict[str, int] = field(default_factory=dict)
    """How often each rare path was taken (base/sometimes.py)."""
    broken: str | None = None
    where: str = ""
    """The traceback, if something was raised that is no verdict."""
    judge: str = ""
    """The module that raised the verdict: a workload's, a checker's, or one of the product."""
    timeline: list[str] = field(default_factory=list)
    """The last events of a run that broke something."""
    cpu_s: float = field(default=0.0, compare=False)

    @property
    def seed(self) -> int:
        return self.plan.seed

    @property
    def property_broken(self) -> str | None:
        """The name of what was broken, the same for each way to break it."""
        return self.broken if self.broken is None else self.broken.partition(":")[0]

    @property
    def seen_by_clients(self) -> bool:
        """Whether it was broken for those who see answers only."""
        return self.judge.startswith(("quorate.simulator.workloads", "quorate.linearizability"))

    def line(self) -> str:
        notes = "".join(f", {count} {what}" for what, count in self.notes.items())
        return (
            f"seed {self.seed} {self.plan.workload}: {self.acknowledged} acknowledged,"
            f" {self.unknown} unknown, {self.elections} elections, {sum(self.faults.values())}"
            f" faults ({counted(self.faults)}), {self.steps} steps{notes}"
        )


def counted(counts: dict[str, int]) -> str:
    """``2 kill, 1 pause``: most frequent first."""
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{count} {what}" for what, count in ordered) or "none"


def run_seed(
    seed: int,
    workload: str = "lists",
    reduction: Reduction | None = None,
    *,
    histories_only: bool = False,
) -> Report:
    """Run ``seed``; see ``run_plan``."""
    return run_plan(draw_plan(seed, workload, reduction, histories_only))


Watch: TypeAlias = Callable[[Simulation, Cluster, Nemesis], None]
"""Is shown a run before anything of it has begun."""


def run_plan(plan: Plan, watch: Watch | None = None) -> Report:
    """Run it for about 30 simulated seconds.  Never raises for what the run broke: see
    ``Report.broken``."""
    began = time.process_time()
    sometimes.forget()
    dice = plan.reduction.dice
    with Simulation(plan.seed if dice is None else dice) as simulation:
        source = random.Random(f"{plan.seed}/{plan.workload}/workload")
        load = WORKLOADS[plan.workload].make(simulation, plan.options, source)
        checker = load.cluster.checker
        checker.judges = not plan.histories_only
        link = Link(delay_ms=plan.options.delay_ms)
        nemesis = Nemesis(simulation, load.cluster, plan.schedule, link)
        if watch is not None:
            watch(simulation, load.cluster, nemesis)
        broken, where, judge = None, "", ""
        under_faults = 0
        try:
            _run_faults(simulation, load, nemesis, plan.options)
            under_faults = load.acknowledged
            _run_calm(simulation, load, nemesis, plan.options)
        except Bug as bug:
            broken, judge = str(bug), _raised_in(bug)
        except Exception as error:
            broken = f"{type(error).__name__}: {error}"
            where = traceback.format_exc()
        return Report(
            plan,
            load.acknowledged,
            under_faults,
            load.unknown,
            checker.elections,
            checker.steps,
            dict(nemesis.counts),
            simulation.now_ms(),
            simulation.digest(),
            load.notes,
            sometimes.seen(),
            broken,
            where,
            judge,
            list(simulation.trace.recent)[-TIMELINE:] if broken is not None else [],
            time.process_time() - began,
        )


def _raised_in(bug: Bug) -> str:
    walked = traceback.walk_tb(bug.__traceback__)
    modules: list[str] = [frame.f_globals["__name__"] for frame, _ in walked]
    return next(name for name in reversed(modules) if name != check.__module__)


def _run_faults(simulation: Simulation, load: Workload, nemesis: Nemesis, options: Options) -> None:
    for name in load.cluster.names:
        simulation.machine(name).disk.faults.sync_ms = options.sync_ms
    load.cluster.found()
    load.begin()
    nemesis.begin()
    simulation.run_for(max(0.0, options.faults_ms - simulation.now_ms()))


def _run_calm(simulation: Simulation, load: Workload, nemesis: Nemesis, options: Options) -> None:
    nemesis.heal()
    load.finish()
    simulation.run_for(max(0.0, options.faults_ms + CALM_MS - simulation.now_ms()))
