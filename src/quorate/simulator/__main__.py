"""``python -m quorate.simulator SEED`` replays one seed; ``--seeds N`` runs many, on all cores."""

import os
import sys
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from time import perf_counter
from typing import Annotated

import typer

from quorate.simulator.run import WORKLOADS, Report, run_seed

MIN_CRASHES, MIN_PARTITIONS, MIN_ACKNOWLEDGED = 3, 3, 100
"""What every seed must at least have seen, or it has tested nothing."""


def main(
    seed: Annotated[int | None, typer.Argument(help="One seed to replay.")] = None,
    seeds: Annotated[int, typer.Option(help="How many seeds to run.")] = 0,
    start: Annotated[int, typer.Option(help="The first of them.")] = 1,
    workload: Annotated[str, typer.Option(help=f"One of {', '.join(WORKLOADS)}.")] = "lists",
    jobs: Annotated[int, typer.Option(help="Processes; default: one a core.")] = 0,
) -> None:
    """Simulate clusters under crashes and partitions and check what they promise.

    Workload lists: groups of a small state machine; words: whole nodes, with files and jobs.
    """
    if workload not in WORKLOADS:
        raise typer.BadParameter(f"there is no workload {workload}: {', '.join(WORKLOADS)}")
    if seed is not None:
        report = run_seed(seed, workload)
        typer.echo(f"{report.options}\n{report.line()}\nevents: {report.digest}\n{report.where}")
        _finish([report], 0.0)
        return
    began = perf_counter()
    reports = []
    with ProcessPoolExecutor(jobs or os.cpu_count()) as pool:
        for report in pool.map(run_seed, range(start, start + seeds), [workload] * seeds):
            reports.append(report)
            typer.echo(report.line())
            if (fault := verdict(report)) is not None:
                typer.echo(f"  {fault}\n  replay: {report.replay}")
    _finish(reports, perf_counter() - began)


def verdict(report: Report) -> str | None:
    """What is wrong with a run; ``None`` if nothing is."""
    if report.broken is not None:
        return f"BROKEN: {report.broken}"
    seen = (report.faults.crashes, report.faults.partitions, report.acknowledged)
    if any(
        a < b for a, b in zip(seen, (MIN_CRASHES, MIN_PARTITIONS, MIN_ACKNOWLEDGED), strict=True)
    ):
        return f"IDLE: crashes, partitions, acknowledged operations are only {seen}"
    return None


def _finish(reports: list[Report], seconds: float) -> None:
    failed = [report for report in reports if verdict(report) is not None]
    if seconds:
        simulated = sum(report.simulated_ms for report in reports) / 1000
        notes: Counter[str] = Counter()
        for report in reports:
            notes.update(report.notes)
        typer.echo(
            f"{len(reports)} seeds, {simulated:.0f} simulated seconds in {seconds:.0f} s;"
            f" {sum(r.acknowledged for r in reports)} acknowledged operations,"
            f" {sum(r.unknown for r in reports)} unknown,"
            f" {sum(r.elections for r in reports)} elections,"
            f" {sum(r.faults.crashes for r in reports)} crashes,"
            f" {sum(r.faults.partitions for r in reports)} partitions"
            f"{''.join(f', {count} {what}' for what, count in notes.items())};"
            f" {len(failed)} violations"
        )
    for report in failed:
        typer.echo(f"seed {report.seed}: {verdict(report)}")
        typer.echo(f"  replay: {report.replay}")
    if failed:
        sys.exit(1)


if __name__ == "__main__":
    typer.run(main)
