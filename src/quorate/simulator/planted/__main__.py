"""``python -m quorate.simulator.planted``: how many seeds each planted bug survives."""

import os
import sys
from concurrent.futures import ProcessPoolExecutor
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from quorate.simulator.planted.bugs import BUGS
from quorate.simulator.run import run_seed


def first_seed(bug: int, start: int, limit: int) -> tuple[int, str] | None:
    """How many seeds it took to catch ``BUGS[bug]``, and what was broken; ``None``: it escaped."""
    with BUGS[bug].planted():
        for count in range(1, limit + 1):
            broken = run_seed(start + count - 1, BUGS[bug].workload).broken
            if broken is not None:
                return count, broken
    return None


def healthy(seed: int, workload: str) -> str | None:
    """What ``seed`` breaks without any planted bug: nothing."""
    return run_seed(seed, workload).broken


def main(
    start: Annotated[int, typer.Option(help="The first seed.")] = 1,
    limit: Annotated[int, typer.Option(help="Seeds after which a bug has escaped.")] = 300,
) -> None:
    """Plant each bug, count the seeds until it is caught, and run these seeds without it."""
    table = Table("planted bug", "workload", "seeds", "property broken", title="Planted bugs")
    escaped = []
    used: dict[tuple[int, str], None] = {}
    """Seeds with their workloads."""
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        caught = list(
            pool.map(first_seed, range(len(BUGS)), [start] * len(BUGS), [limit] * len(BUGS))
        )
        for bug, result in zip(BUGS, caught, strict=True):
            if result is None:
                escaped.append(f"{bug.name}: escaped {limit} seeds")
                table.add_row(bug.name, bug.workload, f"> {limit}", "none: ESCAPED")
            else:
                table.add_row(bug.name, bug.workload, str(result[0]), result[1])
                for seed in range(start, start + result[0]):
                    used[seed, bug.workload] = None
        runs = zip(used, pool.map(healthy, *zip(*used, strict=True)), strict=True)
        for (seed, workload), broken in runs:
            if broken is not None:
                escaped.append(f"{workload} seed {seed} is broken without any bug: {broken}")
    Console(width=120).print(table)
    if not escaped:
        Console().print(f"The same {len(used)} seeds without the bugs: no violation.")
    for sentence in escaped:
        Console(stderr=True).print(sentence)
    sys.exit(1 if escaped else 0)


if __name__ == "__main__":
    typer.run(main)
