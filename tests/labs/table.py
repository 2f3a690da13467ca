"""The table of the course labs' tests: bound and figure, calls and bytes.

    python tests/labs/table.py [more arguments for pytest]

runs the tests and prints one row for each, the worst of its seeds in every column: one table of
Raft's labs, one of the key/value labs.  Times are virtual.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from msgspec import convert
from rich.console import Console
from rich.table import Table

from quorate.simulator.lab.results import Measure, Result, worst_measures

TITLES = {
    "lab": "Course labs, Raft: the worst of each test's seeds, in virtual time",
    "kv lab": "Course labs, key/value store: the worst of each test's seeds, in virtual time",
}
SLOWEST = {"lab": "agreement\n≤ 10 s", "kv lab": "slowest\noperation"}
FILES = ("test_course.py", "test_kv_course.py", "test_kv_memory.py")


class Results:
    """A plugin of pytest that collects what tests have recorded."""

    def __init__(self) -> None:
        self.of_test: dict[str, dict[str, list[Result]]] = {lab: {} for lab in TITLES}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call":
            for key, value in report.user_properties:
                if key in TITLES:
                    result = convert(value, Result)
                    self.of_test[key].setdefault(result.test, []).append(result)

    def table(self, lab: str) -> Table:
        table = Table(title=TITLES[lab])
        table.add_column("test", no_wrap=lab == "lab", max_width=48)
        table.add_column("demands", min_width=36)
        for column in (
            "bound",
            "figure",
            "leader\n≤ 5 s",
            SLOWEST[lab],
            "whole\n≤ 120 s",
            "requests",
            "answers",
            "bytes",
            "elections",
        ):
            table.add_column(column, justify="right")
        for name, results in self.of_test[lab].items():
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
    files = [str(Path(__file__).parent / file) for file in FILES]
    code = pytest.main([*files, "--long-labs", *sys.argv[1:]], plugins=[results])
    for lab, of_test in results.of_test.items():
        if of_test:
            Console(width=190).print(results.table(lab))
    return int(code)


if __name__ == "__main__":
    sys.exit(main())
