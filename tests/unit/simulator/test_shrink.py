"""A smaller case that breaks the same, and nothing else."""

from collections.abc import Callable

import pytest

from quorate.simulator.plan import Plan, draw_plan
from quorate.simulator.planted.bugs import BUGS
from quorate.simulator.run import Report, run_plan, run_seed
from quorate.simulator.shrink import shrink

PLAN = next(
    plan
    for plan in (draw_plan(seed, "lists") for seed in range(1, 100))
    if len(plan.schedule) >= 12
    and (plan.options.nodes, plan.options.groups) == (5, 3)
    and plan.options.clients >= 3
)
NEEDED = (PLAN.schedule[2].number, PLAN.schedule[6].number)


def broken_when(condition: Callable[[Plan], str | None]) -> Callable[[Plan], Report]:
    def run(plan: Plan) -> Report:
        return Report(plan, 200, 100, 0, 1, 1, {}, 30_000.0, "", broken=condition(plan))

    return run


def numbers(plan: Plan) -> set[int]:
    return {fault.number for fault in plan.schedule}


def both_faults(plan: Plan) -> str | None:
    return "Lost: a value" if set(NEEDED) <= numbers(plan) else None


def test_all_goes_that_is_not_needed() -> None:
    found = shrink(PLAN, run=broken_when(both_faults), runs=400)
    assert found is not None
    assert numbers(found.plan) == set(NEEDED)
    options = found.plan.options
    assert (options.nodes, options.groups, options.clients) == (3, 1, 1)
    assert options.faults_ms < PLAN.options.faults_ms
    assert options.operations is not None
    assert found.plan.command.startswith(f"python -m quorate.simulator {PLAN.seed} ")
    assert f"--only {NEEDED[0]},{NEEDED[1]} --nodes 3" in found.plan.command


def test_what_is_needed_stays() -> None:
    def needs_five_nodes(plan: Plan) -> str | None:
        return "Lost: a value" if plan.options.nodes == 5 and plan.options.clients >= 2 else None

    found = shrink(PLAN, run=broken_when(needs_five_nodes), runs=400)
    assert found is not None
    assert found.plan.schedule == ()
    assert (found.plan.options.nodes, found.plan.options.clients) == (5, 2)


def test_another_property_is_another_finding() -> None:
    def other_below_five(plan: Plan) -> str | None:
        return "Lost: a value" if plan.options.nodes == 5 else "Progress: none"

    found = shrink(PLAN, run=broken_when(other_below_five))
    assert found is not None
    assert found.plan.options.nodes == 5
    assert found.broken == "Lost: a value"


def test_where_nothing_breaks_there_is_nothing_to_shrink() -> None:
    assert shrink(PLAN, run=broken_when(lambda plan: None)) is None


@pytest.mark.parametrize("runs", [0, 1, 10])
def test_it_runs_no_more_often_than_it_may(runs: int) -> None:
    count = 0

    def counted(plan: Plan) -> Report:
        nonlocal count
        count += 1
        return broken_when(both_faults)(plan)

    shrink(PLAN, run=counted, runs=runs)
    assert count == 1 + runs


def test_a_planted_bug_is_shrunk_to_a_case_that_can_be_read() -> None:
    [bug] = [bug for bug in BUGS if bug.name == "commit of an old term's entry by counting"]
    with bug.planted():
        first = next(report for seed in range(2, 12) if (report := run_seed(seed)).broken)
        found = shrink(first.plan, runs=30)
        assert found is not None
        again = run_plan(found.plan)
    assert found.property_broken == first.property_broken
    assert again.broken == found.broken
    assert len(found.plan.schedule) <= len(first.plan.schedule) // 2
    assert found.simulated_ms <= first.simulated_ms
    assert run_plan(found.plan).broken is None
