"""``python -m quorate.simulator SEED`` replays one seed; ``--seeds N`` runs many, on all cores."""

import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer

from quorate.simulator.marks import marks_in, marks_report, missed
from quorate.simulator.plan import Plan, Reduction, draw_plan
from quorate.simulator.planted.bugs import BUGS
from quorate.simulator.run import Report, run_plan
from quorate.simulator.shrink import shrink
from quorate.simulator.swarm import run_swarm, verdict
from quorate.simulator.timeline.drawing import record_plan
from quorate.simulator.timeline.page import write_page
from quorate.simulator.workloads.table import WORKLOADS, workload_of

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def main(
    seed: Annotated[int | None, typer.Argument(help="One seed to replay.")] = None,
    seeds: Annotated[int, typer.Option(help="How many seeds to run.")] = 0,
    start: Annotated[int, typer.Option(help="The first of them.")] = 1,
    workload: Annotated[
        str, typer.Option(help=f"One of {', '.join(WORKLOADS)}; default: the seed decides.")
    ] = "",
    jobs: Annotated[int, typer.Option(help="Processes; default: one a core.")] = 0,
    require_marks: Annotated[bool, typer.Option(help="An error if a mark was not hit.")] = False,
    histories_only: Annotated[bool, typer.Option(help="Judge by client histories alone.")] = False,
    shrinking: Annotated[bool, typer.Option("--shrink", help="Find a smaller case.")] = False,
    planted: Annotated[str, typer.Option(help="With this planted bug in the product.")] = "",
    only: Annotated[str, typer.Option(help="Only these faults, like 3,7,9.")] = "all",
    nodes: Annotated[int | None, typer.Option(help="Fewer nodes.")] = None,
    groups: Annotated[int | None, typer.Option(help="Fewer groups.")] = None,
    clients: Annotated[int | None, typer.Option(help="Fewer clients.")] = None,
    operations: Annotated[int | None, typer.Option(help="Of each client, at most.")] = None,
    faults_ms: Annotated[int | None, typer.Option(help="When the faults end.")] = None,
    dice: Annotated[int | None, typer.Option(help="Other chances on wires and disks.")] = None,
    timeline: Annotated[
        Path | None, typer.Option(help="Draw the run (or the shrunk one) as this HTML file.")
    ] = None,
) -> None:
    """Simulate clusters under faults and check what they promise.

    Each seed draws sizes, speeds, faults and what is off.  A seed can be replayed with less than it
    drew, which is what --shrink looks for.
    """
    if workload and workload not in WORKLOADS:
        raise typer.BadParameter(f"there is no workload {workload}: {', '.join(WORKLOADS)}")
    bugs = {bug.name: bug for bug in BUGS}
    if planted and planted not in bugs:
        raise typer.BadParameter(f"there is no planted bug {planted!r}: {', '.join(bugs)}")
    if seed is None and seeds < 1:
        raise typer.BadParameter("name a seed to replay, or say how many: --seeds 200")
    if seed is None and (planted or shrinking or timeline):
        raise typer.BadParameter("--planted, --shrink and --timeline are for one seed")
    chosen = None if only == "all" else tuple(int(number) for number in only.split(",") if number)
    reduction = Reduction(chosen, nodes, groups, clients, operations, faults_ms, dice)

    def plan(number: int) -> Plan:
        return draw_plan(number, workload or workload_of(number), reduction, histories_only)

    if seed is None:
        _run_many([plan(number) for number in range(start, start + seeds)], jobs, require_marks)
        return
    with bugs[planted].planted() if planted else nullcontext():
        if shrinking:
            _shrink(plan(seed), planted, timeline)
        else:
            _run_one(plan(seed), planted, timeline)


def _run_one(plan: Plan, planted: str, timeline: Path | None) -> None:
    for line in plan.lines():
        typer.echo(line)
    report = run_plan(plan) if timeline is None else _draw(plan, planted, timeline)
    for line in report.timeline:
        typer.echo(f"  {line}")
    typer.echo(f"{report.line()}\nevents: {report.digest}")
    if report.where:
        typer.echo(report.where)
    _say_what_is_wrong(report, verdict(report), planted)
    if verdict(report) is not None:
        sys.exit(1)


def _run_many(plans: list[Plan], jobs: int, require_marks: bool) -> None:
    def each(report: Report, fault: str | None) -> None:
        typer.echo(report.line())
        _say_what_is_wrong(report, fault)

    totals = run_swarm(plans, jobs, each=each)
    known = marks_in()
    for line in [*totals.lines(), "marks:", *marks_report(totals.marks, known)]:
        typer.echo(line)
    for plan, fault in totals.violations + totals.idle:
        typer.echo(f"seed {plan.seed}: {fault}\n{_again(plan)}")
    unhit = missed(totals.marks, known) if require_marks else []
    if unhit:
        typer.echo(f"{len(unhit)} marks were not hit, and --require-marks demands all")
    if totals.too_little:
        typer.echo(f"{totals.too_little}: the run proves too little")
    if totals.violations or unhit or totals.too_little:
        sys.exit(1)


def _say_what_is_wrong(report: Report, fault: str | None, planted: str = "") -> None:
    if fault is not None:
        typer.echo(f"  {fault}\n{_again(report.plan, planted)}")


def _again(plan: Plan, planted: str = "") -> str:
    """The commands that run it again, and that draw it."""
    command = _command(plan, planted)
    return f"  replay: {command}\n  draw:   {command} --timeline seed-{plan.seed}.html"


def _draw(plan: Plan, planted: str, timeline: Path) -> Report:
    report, run = record_plan(plan, _command(plan, planted))
    write_page(run, timeline)
    typer.echo(f"timeline: {timeline}, {len(run.events)} events")
    return report


def _shrink(plan: Plan, planted: str, timeline: Path | None) -> None:
    found = shrink(plan, say=typer.echo)
    if found is None:
        typer.echo(f"seed {plan.seed} breaks nothing: there is nothing to shrink")
        return
    for line in found.plan.lines():
        typer.echo(line)
    typer.echo(f"{found.broken}\n{_again(found.plan, planted)}")
    if timeline is not None:
        _draw(found.plan, planted, timeline)
    sys.exit(1)


def _command(plan: Plan, planted: str) -> str:
    return plan.command + (f' --planted "{planted}"' if planted else "")


if __name__ == "__main__":
    app()
