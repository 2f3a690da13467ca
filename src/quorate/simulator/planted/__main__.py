"""``python -m quorate.simulator.planted``: how many seeds each planted bug survives.

Twice: with all eyes on, and by what clients saw alone, when nobody looks into the replicas.  A run
that one of the product's own checks has stopped counts for the first only.  The same seeds, without
the bugs, must break nothing.
"""

import os
import sys
from concurrent.futures import ProcessPoolExecutor
from typing import Annotated, NamedTuple

import typer
from rich.console import Console
from rich.table import Table

from quorate.simulator.planted.bugs import BUGS, PlantedBug
from quorate.simulator.run import run_seed


class Catch(NamedTuple):
    """The first seed that a bug did not survive."""

    seeds: int
    """How many it took."""
    broken: str


class Outcome(NamedTuple):
    """``None``: it has escaped."""

    caught: Catch | None
    by_histories: Catch | None
    tried: int
    """So many seeds."""


def hunt(number: int, start: int, limit: int, histories: int) -> Outcome:
    """Look for the first of ``limit`` seeds that catches ``BUGS[number]``, and for the first of
    ``histories`` that does so by what clients saw alone."""
    bug = BUGS[number]
    with bug.planted():
        caught = first_catch(bug, start, range(limit), histories_only=False)
        if caught is None:
            return Outcome(None, None, limit)
        # What broke nothing under all eyes has broken nothing for clients either.
        tried = max(histories, caught.seeds)
        left = range(caught.seeds - 1, tried)
        seen = first_catch(bug, start, left, histories_only=True)
        return Outcome(caught, seen, seen.seeds if seen else tried)


def first_catch(
    bug: PlantedBug, start: int, numbers: range, *, histories_only: bool
) -> Catch | None:
    """How the product is caught, with ``bug`` in it; ``numbers`` are those of seeds, from 0."""
    for number in numbers:
        report = run_seed(start + number, bug.workload, histories_only=histories_only)
        if report.broken is not None and (report.seen_by_clients or not histories_only):
            return Catch(number + 1, report.broken)
    return None


def healthy(seed: int, workload: str) -> str | None:
    """What ``seed`` breaks without any planted bug: nothing."""
    return run_seed(seed, workload).broken


def main(
    start: Annotated[int, typer.Option(help="The first seed.")] = 1,
    limit: Annotated[int, typer.Option(help="Seeds after which a bug has escaped.")] = 300,
    histories: Annotated[int, typer.Option(help="The same, for histories alone.")] = 20,
    only: Annotated[str, typer.Option(help="Bugs whose names contain this.")] = "",
    jobs: Annotated[int, typer.Option(help="Processes; default: one a core.")] = 0,
) -> None:
    """Plant each bug, count the seeds until it is caught, and run these seeds without it."""
    chosen = [number for number, bug in enumerate(BUGS) if only in bug.name]
    table = Table(
        "planted bug", "workload", "seeds", "property broken", "by clients", "what they saw"
    )
    wrong: list[str] = []
    most: dict[str, int] = {}
    by_histories = 0
    with ProcessPoolExecutor(jobs or os.cpu_count()) as pool:
        hunts = [pool.submit(hunt, number, start, limit, histories) for number in chosen]
        for number, hunted in zip(chosen, hunts, strict=True):
            bug, outcome = BUGS[number], hunted.result()
            if outcome.caught is None:
                wrong.append(f"{bug.name}: escaped {limit} seeds")
            row = [bug.name, bug.workload]
            row += [*_cells(outcome.caught, limit), *_cells(outcome.by_histories, outcome.tried)]
            table.add_row(*row)
            typer.echo("; ".join(row), err=True)
            by_histories += outcome.by_histories is not None
            most[bug.workload] = max(most.get(bug.workload, 0), outcome.tried)
        used = [
            (seed, name) for name, count in most.items() for seed in range(start, start + count)
        ]
        unharmed = [(seed, name, pool.submit(healthy, seed, name)) for seed, name in used]
        for seed, name, run in unharmed:
            if (broken := run.result()) is not None:
                wrong.append(f"{name} seed {seed} is broken without any bug: {broken}")
    console = Console(width=160)
    console.print(table)
    console.print(f"{by_histories} of {len(chosen)} are caught by what clients saw alone.")
    if 2 * by_histories < len(chosen) and not only:
        wrong.append("fewer than half are caught by what clients saw alone")
    if not wrong:
        console.print(f"The same {len(used)} seeds without the bugs: no violation.")
    for sentence in wrong:
        typer.echo(sentence, err=True)
    sys.exit(1 if wrong else 0)


def _cells(caught: Catch | None, tried: int) -> tuple[str, str]:
    if caught is None:
        return f"> {tried}", "-"
    return str(caught.seeds), caught.broken.partition("\n")[0][:60]


if __name__ == "__main__":
    typer.run(main)
