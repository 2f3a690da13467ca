"""Many seeds, on all cores; a tenth of them twice.

A run must be a function of its seed, or it cannot be replayed.  So of each workload every tenth run
happens a second time, in another Python process whose strings hash differently, and must give the
same digest of all its events.  What differs is named as a violation like any other.
"""

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing import get_context

from quorate.simulator.plan import Plan
from quorate.simulator.run import Report, counted, run_plan
from quorate.simulator.workloads.register_clients import NOT_JUDGED

MIN_FAULTS, MIN_ACKNOWLEDGED = 3, 5
"""What a seed must at least have seen, and done while there were faults, or it has tested
nothing."""
MAX_IDLE = 0.01
"""So large a share of the seeds may have tested nothing: some draws leave no quiet moment, or no
fault that finds its target.  After the last fault each of them must go on all the same."""
MAX_NOT_JUDGED = 0.01
"""And so large a share may have a history that is too hard to judge."""
TWICE = 10
"""Of each workload every tenth run happens twice."""


def verdict(report: Report) -> str | None:
    """What is wrong with a run; ``None`` if nothing is."""
    return broken(report) or idle(report)


def broken(report: Report) -> str | None:
    """What the product did wrong."""
    return None if report.broken is None else f"BROKEN: {report.broken}"


def idle(report: Report) -> str | None:
    """Why a run has tested nothing."""
    seen = (sum(report.faults.values()), report.under_faults)
    if seen[0] < MIN_FAULTS or seen[1] < MIN_ACKNOWLEDGED:
        return f"IDLE: faults, and operations acknowledged among them, are only {seen}"
    return None


@dataclass(slots=True)
class Totals:
    """What many seeds have done together."""

    seeds: int = 0
    acknowledged: int = 0
    unknown: int = 0
    elections: int = 0
    twice: int = 0
    simulated_s: float = 0.0
    cpu_s: float = 0.0
    faults: Counter[str] = field(default_factory=Counter)
    notes: Counter[str] = field(default_factory=Counter)
    marks: Counter[str] = field(default_factory=Counter)
    violations: list[tuple[Plan, str]] = field(default_factory=list)
    idle: list[tuple[Plan, str]] = field(default_factory=list)

    def add(self, report: Report) -> None:
        self.seeds += 1
        self.acknowledged += report.acknowledged
        self.unknown += report.unknown
        self.elections += report.elections
        self.simulated_s += report.simulated_ms / 1000
        self.cpu_s += report.cpu_s
        self.faults.update(report.faults)
        self.notes.update(report.notes)
        self.marks.update(report.marks)

    @property
    def too_little(self) -> str | None:
        """Why the run proves too little, whatever it found."""
        if len(self.idle) > 1 + MAX_IDLE * self.seeds:
            return f"{len(self.idle)} seeds have tested nothing"
        if self.notes[NOT_JUDGED] > 1 + MAX_NOT_JUDGED * self.seeds:
            return f"{self.notes[NOT_JUDGED]} histories were too hard to judge"
        return None

    def lines(self) -> list[str]:
        ratio = self.simulated_s / self.cpu_s if self.cpu_s else 0.0
        notes = "".join(f", {count} {what}" for what, count in self.notes.items())
        return [
            f"{self.seeds} seeds ({self.twice} of them twice): {self.acknowledged} acknowledged"
            f" operations, {self.unknown} unknown, {self.elections} elections{notes};"
            f" {len(self.violations)} violations, {len(self.idle)} seeds idle",
            f"{self.faults.total()} faults: {counted(self.faults)}",
            f"{self.simulated_s:.0f} simulated seconds in {self.cpu_s:.0f} CPU seconds: ratio"
            f" {ratio:.1f}",
        ]


def run_swarm(
    plans: Sequence[Plan],
    jobs: int = 0,
    *,
    run: Callable[[Plan], Report] = run_plan,
    each: Callable[[Report, str | None], None] = lambda report, fault: None,
) -> Totals:
    """Run them all; ``each`` hears of every run, in order, and of what is wrong with it."""
    totals = Totals()
    workers = jobs or os.cpu_count() or 1
    with _pool(workers) as first, _pool(1) as second:
        with _hash_seed("1"):
            runs = [first.submit(run, plan) for plan in plans]
        with _hash_seed("2"):
            again = {number: second.submit(run, plans[number]) for number in _twice(plans)}
        for number, (plan, future) in enumerate(zip(plans, runs, strict=True)):
            report = future.result()
            totals.add(report)
            fault = broken(report)
            if number in again:
                totals.twice += 1
                fault = fault or _differs(report, again[number])
            if fault is not None:
                totals.violations.append((plan, fault))
            elif (fault := idle(report)) is not None:
                totals.idle.append((plan, fault))
            each(report, fault)
    return totals


def _twice(plans: Sequence[Plan]) -> list[int]:
    """The places of those that run twice.  Workloads are given out in a row of their own, so every
    tenth place alone would never be one of the rarest."""
    before: Counter[str] = Counter()
    places = []
    for place, plan in enumerate(plans):
        if before[plan.workload] % TWICE == 0:
            places.append(place)
        before[plan.workload] += 1
    return places


def _differs(report: Report, again: "Future[Report]") -> str | None:
    other = again.result()
    if report.digest == other.digest:
        return None
    return (
        "NOT REPEATABLE: a second run, in another process, gave other events:"
        f" {report.steps} and {other.steps} steps, digests {report.digest} and {other.digest}"
    )


def _pool(workers: int) -> ProcessPoolExecutor:
    # Each a fresh interpreter, which reads its own PYTHONHASHSEED; started by ``submit``.
    return ProcessPoolExecutor(workers, mp_context=get_context("spawn"))


@contextmanager
def _hash_seed(value: str) -> Iterator[None]:
    """Processes that are started now hash strings with this seed."""
    name = "PYTHONHASHSEED"
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
