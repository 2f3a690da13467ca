"""The table of the course labs' tests: bound and figure, calls and bytes.

    python tests/labs/table.py [more arguments for pytest]

runs the tests and prints one row for each, the worst of its seeds in every column.  Times are
virtual.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from rich.console import Console
from rich.table import Table

from quorate.simulator.lab.results import Measure, Result, worst_measures


class Results:
    """A plugin of pytest that collects what tests have recorded."""

    def __init__(self) -> None:
        self.of_test: dict[str, list[Result]] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call":
            for key, value in report.user_properties:
                if key == "lab" and isinstance(value, Result):
                    self.of_test.setdefault(value.test, []).append(value)

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
    title = f"{name.replace('_', ' ')} ({len(results)})"
    totals = [
        _seconds(max(r.leader_ms for r in results)),
        _seconds(max(r.agreement_ms for r in results)),
        _seconds(max(r.time_ms for r in results)),
        f"{max(r.requests for r in results):,}",
        f"{max(r.answers for r in results):,}",
        f"{max(r.bytes for r in results):,}",
        str(max(r.elections for r in results)),
    ]
    rows = list(map(_cells, worst_measures(results))) or [["agreement, in order", "", ""]]
    for row in rows:
        table.add_row(title, *row, *totals)
        title, totals = "", []


def _cells(worst: Measure) -> list[str]:
    unit = f" {worst.unit}" if worst.unit else ""
    return [worst.what, f"{worst.sign} {worst.bound:,}{unit}", f"{worst.figure:,}"]


def _seconds(time_ms: float) -> str:
    return f"{time_ms / 1000:.2f}" if time_ms else "-"


def main() -> int:
    results = Results()
    course = Path(__file__).parent / "test_course.py"
    code = pytest.main([str(course), *sys.argv[1:]], plugins=[results])
    Console(width=190).print(results.table())
    return int(code)


if __name__ == "__main__":
    sys.exit(main())
