"""``quorate``: the one command.  Errors are one sentence on standard error and an exit code.

A ``QuorateError`` never shows a traceback: it is written for its reader, and its class decides the
exit code (docs/COMMANDS.md has the table).  Anything else is a bug of ours, which shows its
traceback and ends with 70.
"""

import sys
import traceback

import typer

from quorate.base.check import Bug
from quorate.base.errors import QuorateError
from quorate.cli import (
    authority,
    check,
    cluster,
    doctor,
    files,
    jobs,
    join,
    kv,
    lab,
    recover,
    status,
    torture,
    up,
)
from quorate.cli.output import print_error

EXIT_BUG = 70
EXIT_INTERRUPTED = 130

app = typer.Typer(
    name="quorate",
    help="A handful of ordinary machines that behave like one that does not fail.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.command()(up.up)
app.command()(up.node)
app.command()(up.bootstrap)
app.command("status")(status.status)
app.command(cls=check.CheckCommand)(doctor.doctor)
app.command()(recover.recover)
app.command()(jobs.run)
app.command(cls=check.CheckCommand)(check.check)
app.command(cls=check.CheckCommand)(torture.torture)
app.command()(join.join)
app.add_typer(files.app, name="fs")
app.add_typer(kv.app, name="kv")
app.add_typer(lab.app, name="lab")
app.add_typer(cluster.app, name="cluster")
app.add_typer(authority.app, name="ca")


def main() -> None:
    """Run the command line of this process and exit with its code."""
    sys.exit(run())


def run() -> int:
    """The exit code of the command in ``sys.argv``."""
    try:
        app()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 1
    except QuorateError as error:
        print_error(error.message)
        return error.exit_code
    except BrokenPipeError:
        sys.stderr.close()  # the reader of our output has gone; nobody waits for the rest
        return 1
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except (Exception, Bug):
        traceback.print_exc()
        return EXIT_BUG
    return 0


if __name__ == "__main__":
    main()
