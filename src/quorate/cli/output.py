"""How commands show what they found: JSON for programs, tables and bars for people.

Progress goes to standard error, and only to a terminal, so that a pipe carries results alone.
"""

import json
import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    TextColumn,
    TimeElapsedColumn,
)
from rich.progress import Progress as Bars

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, for a program to read.")]


def print_json(value: object) -> None:
    """One line of JSON on standard output."""
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


def print_line(text: str) -> None:
    """One line on standard output."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def print_note(text: str) -> None:
    """One line on standard error."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def print_error(sentence: str) -> None:
    """One sentence on standard error, with the name of the program before it."""
    print_note(f"quorate: {sentence}")


def print_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Aligned columns, with a line of headings if there are any."""
    lines = [head, *rows] if head else list(rows)
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        print_line("  ".join(map(str.ljust, line, widths)).rstrip())


def can_write(file: Path) -> bool:
    """Whether a file can be made there, or be replaced."""
    place = file if file.exists() else file.absolute().parent
    return not file.is_dir() and os.access(place, os.W_OK)


class Progress:
    """A bar of what is done, on a terminal; nothing elsewhere."""

    def __init__(self, label: str, total: int, *, unit_bytes: bool = False) -> None:
        console = Console(stderr=True)
        self._bars = Bars(
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn() if unit_bytes else MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._bars.add_task(label, total=total)

    def advance(self, amount: int) -> None:
        """``amount`` more is done."""
        self._bars.advance(self._task, amount)

    def __enter__(self) -> "Progress":
        self._bars.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._bars.stop()
