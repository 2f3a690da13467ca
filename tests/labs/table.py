"""The table of the course labs' tests: bound and figure, calls and bytes.

    python tests/labs/table.py [more arguments for pytest]

runs the tests and prints one row for each, the worst of its seeds in every column.  Times are
virtual.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from rich.console import Console
from rich.table import Table


@dataclass(slots=True)
class Measure:
    """A figure and its bound."""

    what: str
    sign: str
    """``≤``, ``≥`` or ``=``: how the figure stands to the bound."""
    bound: float
    figure: float
    unit: str = ""


@dataclass(slots=True)
class Result:
    """What one test showed with one seed.  Times in virtual ms; the rest is of all servers."""

    measures: list[Measure]
    time_ms: float
    leader_ms: float
    """The longest wait for a leader; 0 if there was none."""
    agreement_ms: float
    """The longest wait for an agreement."""
    requests: int
    answers: int
    bytes: int
    elections: int


class Results:
    """A plugin of pytest that collects what tests have recorded."""

    def __init__(self) -> None:
        self.of_test: dict[str, list[Result]] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call":
            name = report.nodeid.rpartition("::")[2].partition("[")[0]
            results = [value for key, value in report.user_properties if key == "lab"]
            self.of_test.setdefault(name, []).extend(results)  # type: ignore[arg-type]

    def table(self) -> Table:
        table = Table(title="Course labs, Raft: the worst of each test's seeds, in virtual time")
        table.add_column("test", no_wrap=True)
        table.add_column("demands")
        for column in (
            "bound",
            "figure",
            "leader\n≤ 5 s",
            "agreement\n≤ 10 s",
            "whole\n≤ 120 s",
            "requests",
            "answers",
            "bytes",
            "elections",
        ):
            table.add_column(column, justify="right")
        for name, results in self.of_test.items():
            if results:
                _add_rows(table, name, results)
        return table


def _add_rows(table: Table, name: str, results: Sequence[Result]) -> None:
    title = f"{name.removeprefix('test_').replace('_', ' ')} ({len(results)})"
    totals = [
        _seconds(max(r.leader_ms for r in results)),
        _seconds(max(r.agreement_ms for r in results)),
        _seconds(max(r.time_ms for r in results)),
        f"{max(r.requests for r in results):,}",
        f"{max(r.answers for r in results):,}",
        f"{max(r.bytes for r in results):,}",
        str(max(r.elections for r in results)),
    ]
    measures: dict[str, list[Measure]] = {}
    for result in results:
        for measure in result.measures:
            measures.setdefault(measure.what, []).append(measure)
    rows = [_worst(same) for same in measures.values()] or [["agreement, in order", "", ""]]
    for row in rows:
        table.add_row(title, *row, *totals)
        title, totals = "", []


def _worst(same: Sequence[Measure]) -> list[str]:
    figures = sorted(same, key=lambda measure: measure.figure)
    worst = figures[0] if same[0].sign == "≥" else figures[-1]
    unit = f" {worst.unit}" if worst.unit else ""
    return [worst.what, f"{worst.sign} {worst.bound:,}{unit}", f"{worst.figure:,}"]


def _seconds(time_ms: float) -> str:
    return f"{time_ms / 1000:.2f}" if time_ms else "-"


def main() -> int:
    results = Results()
    folder = Path(__file__).parent
    code = pytest.main([str(folder), *sys.argv[1:]], plugins=[results])
    Console(width=190).print(results.table())
    return int(code)


if __name__ == "__main__":
    sys.exit(main())
