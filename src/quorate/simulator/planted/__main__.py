"""``python -m quorate.simulator.planted``: how many seeds each planted bug survives.

Twice: with all eyes on, and by what clients saw alone, when nobody looks into the replicas.  A run
that one of the product's own checks has stopped counts for the first only.  The same seeds, without
the bugs, must break nothing.
"""

import os
import sys
from concurrent.futures import Future, ProcessPoolExecutor
from typing import Annotated, NamedTuple, TypeAlias

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


Search: TypeAlias = "Future[Catch | None]"


def first_catch(bug: int, start: int, limit: int, histories_only: bool) -> Catch | None:
    """How ``BUGS[bug]`` was caught; ``None``: it has survived ``limit`` seeds."""
    with BUGS[bug].planted():
        for count in range(1, limit + 1):
            report = run_seed(start + count - 1, BUGS[bug].workload, histories_only=histories_only)
            if report.broken is not None and (not histories_only or report.seen_by_clients):
                return Catch(count, report.broken)
    return None


def healthy(seed: int, workload: str) -> str | None:
    """What ``seed`` breaks without any planted bug: nothing."""
    return run_seed(seed, workload).broken


def main(
    start: Annotated[int, typer.Option(help="The first seed.")] = 1,
    limit: Annotated[int, typer.Option(help="Seeds after which a bug has escaped.")] = 300,
    histories: Annotated[int, typer.Option(help="The same, for histories alone.")] = 30,
    only: Annotated[str, typer.Option(help="Bugs whose names contain this.")] = "",
) -> None:
    """Plant each bug, count the seeds until it is caught, and run these seeds without it."""
    chosen = [number for number, bug in enumerate(BUGS) if only in bug.name]
    table = Table(
        *("planted bug", "workload", "seeds", "property broken", "histories alone", "by them"),
        title="Planted bugs: seeds until each is caught",
    )
    wrong: list[str] = []
    most: dict[str, int] = {}
    by_histories = 0
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        searches: list[tuple[PlantedBug, Search, Search]] = [
            (
                BUGS[number],
                pool.submit(first_catch, number, start, limit, False),
                pool.submit(first_catch, number, start, histories, True),
            )
            for number in chosen
        ]
        for bug, with_checks, alone in searches:
            caught, seen = with_checks.result(), alone.result()
            if caught is None:
                wrong.append(f"{bug.name}: escaped {limit} seeds")
            table.add_row(bug.name, bug.workload, *_cells(caught, limit), *_cells(seen, histories))
            by_histories += seen is not None
            seeds = max(found.seeds if found else 0 for found in (caught, seen))
            most[bug.workload] = max(most.get(bug.workload, 0), seeds)
        used = [
            (seed, name) for name, count in most.items() for seed in range(start, start + count)
        ]
        unharmed = [(seed, name, pool.submit(healthy, seed, name)) for seed, name in used]
        for seed, name, run in unharmed:
            if (broken := run.result()) is not None:
                wrong.append(f"{name} seed {seed} is broken without any bug: {broken}")
    console = Console(width=150)
    console.print(table)
    console.print(f"{by_histories} of {len(chosen)} are caught by what clients saw alone.")
    if 2 * by_histories < len(chosen) and not only:
        wrong.append("fewer than half are caught by what clients saw alone")
    if not wrong:
        console.print(f"The same {len(used)} seeds without the bugs: no violation.")
    for sentence in wrong:
        Console(stderr=True).print(sentence)
    sys.exit(1 if wrong else 0)


def _cells(caught: Catch | None, limit: int) -> tuple[str, str]:
    if caught is None:
        return f"> {limit}", "-"
    return str(caught.seeds), caught.broken.partition("\n")[0][:70]


if __name__ == "__main__":
    typer.run(main)
