"""``python -m quorate.simulator``: a report's command replays it; no runs are an error."""

import shlex

import pytest
from swarm_runs import report_of
from typer.testing import CliRunner

from quorate.simulator import __main__ as command
from quorate.simulator.plan import Plan, Reduction, draw_plan
from quorate.simulator.run import Report

PLANS = [
    draw_plan(4, "lists"),
    draw_plan(19, "words", None, True),
    draw_plan(4, "lists", Reduction(only=())),
    draw_plan(5, "registers", Reduction((2, 5), 3, 1, 2, 20, 9_000, 3)),
]


@pytest.mark.parametrize("plan", PLANS)
def test_the_command_of_a_plan_runs_that_plan(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[Plan] = []

    def run(plan: Plan) -> Report:
        ran.append(plan)
        return report_of(plan)

    monkeypatch.setattr(command, "run_plan", run)
    result = CliRunner().invoke(command.app, shlex.split(plan.command)[3:])
    assert result.exit_code == 0, result.output
    assert ran == [plan]


@pytest.mark.parametrize(
    "words",
    ["", "--seeds 0", "--seeds 5 --shrink", "1 --workload none", "1 --planted none"],
)
def test_what_would_run_nothing_is_refused(words: str) -> None:
    assert CliRunner().invoke(command.app, words.split()).exit_code == 2
