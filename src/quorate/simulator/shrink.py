"""A smaller case that breaks the same property: fewer faults, nodes, clients, operations, time.

Delta debugging (Zeller and Hildebrandt, 2002): faults are left out in halves, quarters, and so on
to single ones; each other limit is lowered as far as it goes; and all of it again until nothing
more can go.  A run that breaks something else is not taken: it is another finding.

What is left out changes every chance that comes after it, on each wire and disk, so what breaks in
one run in three may just have been unlucky: a smaller case gets some throws of the dice.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any

from quorate.simulator.plan import Plan
from quorate.simulator.run import Report, run_plan

MAX_RUNS = 250
THROWS = 3
"""How often a smaller case is tried, each time with other dice."""


class _Shrinking:
    def __init__(self, report: Report, run: Callable[[Plan], Report], runs: int) -> None:
        self.best = report
        self.runs_left = runs
        self._run = run

    def try_out(self, **changes: Any) -> bool:
        """Whether the same breaks with less; if so, that is the best now."""
        own = self.best.plan.reduction.dice
        if self.best.plan.reduced(**changes) == self.best.plan:
            return False
        for dice in [own, *(dice for dice in range(1, THROWS + 1) if dice != own)][:THROWS]:
            if self.runs_left <= 0:
                return False
            self.runs_left -= 1
            report = self._run(self.best.plan.reduced(**changes, dice=dice))
            if report.property_broken == self.best.property_broken:
                self.best = report
                return True
        return False


def shrink(
    plan: Plan,
    *,
    run: Callable[[Plan], Report] = run_plan,
    say: Callable[[str], object] = lambda line: None,
    runs: int = MAX_RUNS,
) -> Report | None:
    """The report of a smaller run than ``plan`` that breaks the same property; ``None`` if it
    breaks none.  Runs it ``runs`` times at most."""
    report = run(plan)
    if report.broken is None:
        return None
    state = _Shrinking(report, run, runs)
    size = None
    while size != (size := _size(state.best.plan)) and state.runs_left > 0:
        _shorten(state)
        _drop_faults(state)
        _lower(state)
        say(
            f"{len(state.best.plan.schedule)} faults, {state.best.plan.options.nodes} nodes,"
            f" {state.best.plan.options.clients} clients, {state.best.simulated_ms / 1000:.1f} s;"
            f" {state.runs_left} runs left"
        )
    return state.best


def _size(plan: Plan) -> tuple[Any, ...]:
    options = plan.options
    return (
        len(plan.schedule),
        options.nodes,
        options.groups,
        options.clients,
        options.operations,
        options.faults_ms,
    )


def _drop_faults(state: _Shrinking) -> None:
    """Leave out a part of the faults, as large as it can be."""
    numbers = [fault.number for fault in state.best.plan.schedule]
    if state.try_out(only=()):
        return
    parts = 2
    while len(numbers) > 1 and parts <= len(numbers):
        for kept in _without_a_part(numbers, parts):
            if state.try_out(only=kept):
                numbers, parts = list(kept), max(2, parts - 1)
                break
        else:
            if parts == len(numbers):
                return
            parts = min(len(numbers), 2 * parts)


def _without_a_part(numbers: Sequence[int], parts: int) -> Iterator[tuple[int, ...]]:
    bounds = [len(numbers) * part // parts for part in range(parts + 1)]
    for begin, end in pairwise(bounds):
        yield (*numbers[:begin], *numbers[end:])


def _shorten(state: _Shrinking) -> None:
    """End the faults earlier: at once after the last that begins, or in the middle."""
    options = state.best.plan.options
    end_ms = min(options.faults_ms, int(state.best.simulated_ms) + 1)
    for faults_ms in (end_ms // 4, end_ms // 2, end_ms * 3 // 4, end_ms):
        if faults_ms < options.faults_ms and state.try_out(faults_ms=faults_ms):
            return


def _lower(state: _Shrinking) -> None:
    options = state.best.plan.options
    for name, lowest in (("groups", 1), ("clients", 1), ("nodes", 3)):
        for value in range(lowest, getattr(options, name)):
            if state.try_out(**{name: value}):
                break
    most = options.operations or max(1, state.best.acknowledged)
    for operations in (most // 16, most // 4, most // 2, most * 3 // 4):
        if 0 < operations < (options.operations or most + 1) and state.try_out(
            operations=operations
        ):
            return
