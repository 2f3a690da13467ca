"""``quorate join TOKEN``: this machine enters a running cluster, and is a node of it then."""

import asyncio
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from quorate.base.errors import BadInput
from quorate.cli.output import print_error, print_line
from quorate.node.join_token import MAX_CHARACTERS, token_of
from quorate.node.joining import Join, addresses_of
from quorate.node.reports import Ready
from quorate.node.supervisor import run_node
from quorate.runtime.real.loop import run
from quorate.runtime.real.trace import QuietTrace

TIMEOUT_S = 120.0


def join(
    token: Annotated[
        str,
        typer.Argument(help="What 'quorate cluster token' printed; '-': on standard input; @FILE."),
    ],
    rpc: Annotated[str, typer.Option(metavar="HOST:PORT", help="Where the others reach this one.")],
    directory: Annotated[
        Path, typer.Option("--dir", metavar="DIR", help="Where the machine keeps all it has.")
    ],
    chunkserver: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="Default: the next port.")
    ] = None,
    worker: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="Default: the one after that.")
    ] = None,
    metrics: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="Default: on loopback, the next.")
    ] = None,
    resp: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="Default: on loopback, the next.")
    ] = None,
    learner: Annotated[
        bool, typer.Option("--learner", help="Get the log, but no vote; 'cluster add' promotes.")
    ] = False,
    timeout: Annotated[
        float, typer.Option(min=1, help="Seconds within which the cluster must take it in.")
    ] = TIMEOUT_S,
) -> None:
    """Enter a running cluster with a new machine, and be that machine until SIGTERM or Ctrl-C.

    Repeated after an interruption, it goes on; later, 'quorate node --config DIR/node.toml' starts
    the machine again.
    """
    addresses = addresses_of(rpc, chunkserver, worker, metrics, resp)
    entering = Join(token_of(_text(token)), directory, addresses, QuietTrace(), print_line)

    async def main() -> None:
        await entering.prepare(int(time.time() * 1000))
        listens = asyncio.Event()

        def ready(message: Ready) -> None:
            print_line("ready: " + " ".join(f"{p.role}:{p.pid}" for p in message.processes))
            listens.set()

        async def enter() -> None:
            await listens.wait()
            await entering.enter(learner=learner, timeout_ms=timeout * 1000)

        await run_node(entering.config_file, ready, print_error, enter)

    run(main)


def _text(token: str) -> str:
    """The token itself: as an argument, others here may see it in the list of processes."""
    if token == "-":
        return sys.stdin.read(MAX_CHARACTERS + 1)
    if not token.startswith("@"):
        return token
    path = Path(token[1:])
    try:
        with path.open(encoding="ascii") as file:
            return file.read(MAX_CHARACTERS + 1)
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError:
        raise BadInput(f"{path} holds no join token.") from None
