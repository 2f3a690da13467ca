"""``quorate torture``: real processes under faults, and a verdict on what their clients saw.

As of ``quorate check``, the exit code is the verdict: 0 Ok, 1 Illegal, 2 Unknown.
"""

import secrets
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from quorate.base.errors import NotJudged
from quorate.cli.output import JsonOption, can_write, print_json, print_line, print_note


def torture(
    minutes: Annotated[float, typer.Option(help="How long there are faults.")] = 1.0,
    nodes: Annotated[int, typer.Option(help="3 to 9.")] = 3,
    target: Annotated[
        str, typer.Option(metavar="registers|kv", help="kv: the store, by its Redis gateways.")
    ] = "registers",
    clients: Annotated[int, typer.Option(help="Who collide on few keys.")] = 8,
    seed: Annotated[
        int | None, typer.Option(help="Draws the faults; default: another each time.")
    ] = None,
    faults: Annotated[
        str, typer.Option(metavar="KIND,...", help="These alone; default: all.")
    ] = "",
    partitions: Annotated[
        str,
        typer.Option(metavar="auto|namespaces|transport", help="How links are cut."),
    ] = "auto",
    directory: Annotated[
        Path | None, typer.Option("--dir", metavar="DIR", help="Where logs and histories stay.")
    ] = None,
    timeline: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Also draw the run: one HTML file that needs no server."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Torture real processes and judge what clients saw: Ok (0), Illegal (1) or Unknown (2)."""
    # Here and not above: no other command loads what is not part of the product.
    from quorate.torture.faults import KINDS
    from quorate.torture.kv import KvTarget
    from quorate.torture.registers import RegistersTarget
    from quorate.torture.run import PARTITIONS, Settings
    from quorate.torture.run import torture as run_torture
    from quorate.torture.target import Target

    targets: dict[str, Callable[[], Target]] = {"registers": RegistersTarget, "kv": KvTarget}
    if target not in targets:
        raise NotJudged(f"--target is one of {', '.join(targets)}.")
    kinds = [kind.strip() for kind in faults.split(",") if kind.strip()] or list(KINDS)
    for kind in kinds:
        if kind not in KINDS:
            raise NotJudged(f"There is no fault {kind!r}: use --faults {','.join(KINDS)}.")
    if partitions not in PARTITIONS:
        raise NotJudged(f"--partitions is one of {', '.join(PARTITIONS)}.")
    if not 0 < minutes <= 24 * 60:
        raise NotJudged("--minutes must be more than 0, and a day at most.")
    if not 3 <= nodes <= 9 or not 1 <= clients <= 64:
        raise NotJudged("It takes 3 to 9 --nodes and 1 to 64 --clients.")
    if directory is not None and directory.exists() and any(directory.iterdir()):
        raise NotJudged(f"{directory} is not empty: name a new directory with --dir.")
    if timeline is not None and not can_write(timeline):  # now, not after the run
        raise NotJudged(f"No timeline can be written to {timeline}: name a file with --timeline.")
    folder = directory or Path(tempfile.mkdtemp(prefix="quorate-torture-"))
    drawn = secrets.randbelow(1_000_000) if seed is None else seed
    settings = Settings(
        minutes, nodes, clients, drawn, partitions, kinds, folder.absolute(), timeline
    )
    print_note(f"seed {drawn}; logs and histories in {settings.folder}")
    report = run_torture(settings, targets[target](), print_note)
    if timeline is not None:
        print_note(f"timeline: {timeline}; open it in a browser")
    if as_json:
        print_json(report.as_json())
    else:
        for line in report.lines():
            print_line(line)
    raise typer.Exit(report.exit_code)
