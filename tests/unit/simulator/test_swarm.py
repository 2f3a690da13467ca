"""Many seeds: what is summed, what is a violation, and that a run which differs is noticed."""

import os

import msgspec
import pytest
from swarm_runs import (
    all_is_well,
    breaks_seed_3,
    depends_on_hashes,
    has_no_faults,
    report_of,
    says_its_hash_seed,
)

from quorate.simulator.plan import Reduction, draw_plan
from quorate.simulator.run import run_plan
from quorate.simulator.swarm import _twice, run_swarm, verdict

PLANS = [draw_plan(seed, "lists") for seed in range(1, 13)]


def test_figures_are_summed_over_all_processes() -> None:
    heard: list[int] = []
    totals = run_swarm(PLANS, 2, run=all_is_well, each=lambda r, fault: heard.append(r.seed))
    assert heard == list(range(1, 13))
    assert (totals.seeds, totals.twice) == (12, 2)
    assert (totals.acknowledged, totals.unknown, totals.elections) == (1200, 24, 36)
    assert totals.faults == {"kill": 48, "pause": 12}
    assert totals.marks == {"rare": 12}
    assert totals.violations == []
    first, faults, ratio = totals.lines()
    assert first == (
        "12 seeds (2 of them twice): 1200 acknowledged operations, 24 unknown, 36 elections;"
        " 0 violations, 0 seeds idle"
    )
    assert faults == "60 faults: 48 kill, 12 pause"
    assert ratio == "360 simulated seconds in 6 CPU seconds: ratio 60.0"


def test_a_violation_is_named_with_the_plan_that_replays_it() -> None:
    totals = run_swarm(PLANS, 1, run=breaks_seed_3)
    assert totals.violations == [(PLANS[2], "BROKEN: Exactly once: no")]


def test_a_run_that_depends_on_the_hashes_of_strings_is_a_violation() -> None:
    [(plan, sentence)] = run_swarm(PLANS, 1, run=depends_on_hashes).violations
    assert plan.seed == 11
    assert sentence.startswith("NOT REPEATABLE: a second run, in another process")


def test_of_each_workload_every_tenth_run_happens_twice() -> None:
    """Also of one that comes once in as many seeds as divide by ten."""
    plans = [draw_plan(seed, "words" if seed % 20 == 19 else "lists") for seed in range(1, 41)]
    assert [plans[place].seed for place in _twice(plans)] == [1, 11, 19, 22, 32]


def test_all_runs_but_the_second_ones_share_a_hash_seed_and_ours_stays(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PYTHONHASHSEED", "17")
    totals = run_swarm(PLANS[:2], 1, run=says_its_hash_seed)
    assert totals.notes == {"1": 2}
    assert os.environ["PYTHONHASHSEED"] == "17"


def test_a_real_run_gives_the_same_digest_in_both_processes() -> None:
    short = [draw_plan(2, "lists", Reduction(faults_ms=3_000, clients=1))]
    totals = run_swarm(short, 1)
    assert totals.twice == 1
    assert not [fault for _, fault in totals.violations if "REPEATABLE" in fault]


def test_a_run_that_has_met_nothing_is_idle() -> None:
    plan = PLANS[0]
    assert verdict(report_of(plan)) is None
    assert verdict(report_of(plan, faults={"kill": 2})) == (
        "IDLE: faults, and operations acknowledged among them, are only (2, 60)"
    )
    assert verdict(report_of(plan, under_faults=4)) is not None
    assert verdict(report_of(plan, broken="Progress: none")) == "BROKEN: Progress: none"


def test_idle_seeds_are_counted_and_too_many_of_them_prove_too_little() -> None:
    totals = run_swarm(PLANS[:2], 1, run=has_no_faults)
    assert (len(totals.idle), totals.violations) == (2, [])
    assert totals.too_little == "2 seeds have tested nothing"
    assert run_swarm(PLANS[:1], 1, run=has_no_faults).too_little is None


def test_a_report_is_compared_by_what_happened_and_not_by_what_it_cost() -> None:
    assert report_of(PLANS[0], cpu_s=1.0) == report_of(PLANS[0], cpu_s=2.0)
    assert report_of(PLANS[0]) != report_of(PLANS[0], digest="another")


def test_the_line_of_a_seed_counts_operations_elections_and_faults() -> None:
    assert report_of(PLANS[3]).line() == (
        "seed 4 lists: 100 acknowledged, 2 unknown, 3 elections, 5 faults (4 kill, 1 pause),"
        " 1000 steps"
    )


def test_without_its_checkers_a_run_is_the_same_run() -> None:
    plan = draw_plan(5, "lists", Reduction(faults_ms=3_000))
    judged, unjudged = run_plan(plan), run_plan(msgspec.structs.replace(plan, histories_only=True))
    assert judged.digest == unjudged.digest
    assert judged.elections == unjudged.elections > 0
    assert judged.acknowledged == unjudged.acknowledged
