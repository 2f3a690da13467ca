"""``python -m quorate.simulator.timeline NAME -o FILE``: draws a shipped story or a kept run."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from quorate.base.errors import QuorateError
from quorate.simulator.timeline.drawing import drawable, record
from quorate.simulator.timeline.events import read_lines, write_lines
from quorate.simulator.timeline.page import write_page

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def main(
    name: Annotated[
        str, typer.Argument(help=f"One of {', '.join(drawable())}; or a run as JSON lines.")
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="The HTML file to write.")],
    events: Annotated[
        Path | None, typer.Option(help="Also write the run here, as JSON lines.")
    ] = None,
) -> None:
    """Draw a run as one HTML file that opens without a server."""
    try:
        if name in drawable():
            run = record(name)
        elif Path(name).is_file():
            run = read_lines(Path(name).read_bytes().splitlines(), name)
        else:
            raise typer.BadParameter(f"there is no story {name}: {', '.join(drawable())}")
    except QuorateError as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)
    if events is not None:
        events.write_bytes(write_lines(run))
    write_page(run, output)
    typer.echo(f"{output}: {len(run.events)} events; open it in a browser")


if __name__ == "__main__":
    app()
