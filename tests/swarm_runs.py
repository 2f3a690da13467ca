"""Runs that cost nothing, for the swarm: other processes must be able to import them."""

import os

from quorate.simulator.plan import Plan
from quorate.simulator.run import Report


def report_of(plan: Plan, **changes: object) -> Report:
    report = Report(
        plan,
        acknowledged=100,
        under_faults=60,
        unknown=2,
        elections=3,
        steps=1_000,
        faults={"kill": 4, "pause": 1},
        simulated_ms=30_000.0,
        digest=f"digest of {plan.seed}",
        marks={"rare": 1},
        cpu_s=0.5,
    )
    for name, value in changes.items():
        setattr(report, name, value)
    return report


def all_is_well(plan: Plan) -> Report:
    return report_of(plan)


def breaks_seed_3(plan: Plan) -> Report:
    return report_of(plan, broken="Exactly once: no" if plan.seed == 3 else None)


def depends_on_hashes(plan: Plan) -> Report:
    """As a run would that iterates over a set of strings: seed 11 alone."""
    order = " ".join({f"n{number}" for number in range(50)}) if plan.seed == 11 else ""
    return report_of(plan, digest=f"{plan.seed} {order}")


def says_its_hash_seed(plan: Plan) -> Report:
    return report_of(plan, notes={os.environ["PYTHONHASHSEED"]: 1})


def has_no_faults(plan: Plan) -> Report:
    return report_of(plan, faults={})
