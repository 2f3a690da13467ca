"""``quorate check``: is this history one that a single correct copy could have shown?

The exit code is the verdict: 0 Ok, 1 Illegal, 2 Unknown.  So whatever else goes wrong here, wrong
usage included, ends with a code of its own (``NotJudged``).
"""

import os
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from quorate.base.errors import NotJudged
from quorate.cli.output import JsonOption, print_json, print_line
from quorate.linearizability.history import Verdict
from quorate.linearizability.jepsen import read_history
from quorate.linearizability.judge import Judgement, check_history
from quorate.linearizability.models import MODELS, text_of
from quorate.linearizability.page import page

EXIT_CODES = {Verdict.OK: 0, Verdict.ILLEGAL: 1, Verdict.UNKNOWN: 2}
_USAGE_ERROR: Any = typer.BadParameter.__base__
"""What each kind of wrong usage is; typer gives it no name of its own."""


class CheckCommand(TyperCommand):
    """A command whose wrong usage is ``NotJudged``."""

    def make_context(self, *arguments: Any, **options: Any) -> Any:
        try:
            return super().make_context(*arguments, **options)
        except _USAGE_ERROR as error:
            raise NotJudged(error.format_message()) from None


def check(
    file: Annotated[str, typer.Argument(metavar="FILE", help="JSON lines; - is standard input.")],
    model: Annotated[
        str, typer.Option("--model", metavar="|".join(MODELS), help="What the history is of.")
    ],
    html: Annotated[
        Path | None, typer.Option("--html", metavar="OUT", help="Write a page that shows it.")
    ] = None,
    timeout: Annotated[
        float, typer.Option("--timeout", metavar="SECONDS", help="Then the verdict is Unknown.")
    ] = 60.0,
    as_json: JsonOption = False,
) -> None:
    """Judge a history of operations: Ok (0), Illegal (1) or Unknown (2)."""
    chosen = MODELS.get(model)
    if chosen is None:
        raise NotJudged(f"There is no model {model!r}: use --model {', '.join(MODELS)}.")
    if not timeout >= 0:
        raise NotJudged("--timeout must be 0 or more seconds.")
    lines = _lines(file)
    deadline = time.monotonic() + timeout
    history = read_history(chosen, lines)
    judgement = check_history(chosen, history, lambda steps: time.monotonic() > deadline)
    if html is not None:
        try:
            html.write_text(page(chosen, judgement, file), encoding="utf-8")
        except OSError as error:
            raise NotJudged(f"{html} cannot be written: {error.strerror}.") from error
    try:
        if as_json:
            print_json(_as_json(model, judgement))
        else:
            _show(judgement)
    except BrokenPipeError:  # nobody reads on; the verdict is the exit code all the same
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    raise typer.Exit(EXIT_CODES[judgement.verdict])


def _lines(file: str) -> list[bytes]:
    if file == "-":
        return sys.stdin.buffer.read().split(b"\n")
    try:
        return Path(file).read_bytes().split(b"\n")
    except OSError as error:
        raise NotJudged(f"{file} cannot be read: {error.strerror}.") from error


def _show(judgement: Judgement) -> None:
    print_line(judgement.verdict.value)
    if judgement.detail:
        print_line(judgement.detail)
    others = [
        text_of(key.key)
        for key in judgement.keys
        if key.verdict is judgement.verdict and key.key != judgement.key
    ]
    if others and judgement.verdict is not Verdict.OK:
        more = f" and {len(others) - 10} more" if len(others) > 10 else ""
        print_line(f"The same is said of keys {', '.join(others[:10])}{more}.")


def _as_json(model: str, judgement: Judgement) -> dict[str, Any]:
    return {
        "verdict": judgement.verdict.value,
        "model": model,
        "detail": judgement.detail,
        "operations": sum(len(key.operations) for key in judgement.keys),
        "keys": [
            {
                "key": key.key,
                "verdict": key.verdict.value,
                "operations": len(key.operations),
                "placed": len(key.order),
                "stuck": [
                    {"process": o.process, "f": o.f, "where": o.where, "reason": reason}
                    for o, reason in key.stuck
                ],
            }
            for key in judgement.keys
        ],
    }
