"""``quorate ca``: the private authority whose certificates machines and users of a cluster show.

Needs no cluster, and is best done on a machine that is no node.
"""

from pathlib import Path
from typing import Annotated

import typer

from quorate.base.errors import AlreadyExists
from quorate.cli.output import print_line
from quorate.node.private_file import PRIVATE, PUBLIC, make_file, make_folder

MAX_DAYS = 3650

app = typer.Typer(help="Certificates for machines and users.", no_args_is_help=True)


@app.command("init")
def init(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Where it is kept.")],
) -> None:
    """Make the authority of a new cluster: ca.pem, which is public, and ca.key, which is secret."""
    from quorate.node.authority import create_authority  # 0.2 s that other commands need not wait

    create_authority(directory)
    print_line(
        f"made {directory}/ca.pem, for every machine and user, and {directory}/ca.key, which stays"
        " here: whoever has it can let anybody in."
    )


@app.command("issue")
def issue(
    name: Annotated[str, typer.Argument(help="Of the machine or user.")],
    ca: Annotated[Path, typer.Option("--ca", metavar="DIR", help="What 'ca init' made.")],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where the files go.")],
    is_node: Annotated[
        bool, typer.Option("--node", help="For a machine of the cluster; without it, for a user.")
    ] = False,
    days: Annotated[
        int, typer.Option(min=1, max=MAX_DAYS, help="How long it lasts; no longer than the CA.")
    ] = MAX_DAYS,
) -> None:
    """Sign a certificate: writes NAME.pem and NAME.key, which is secret, and ca.pem beside them."""
    from quorate.node.authority import issue as issue_certificate

    issued = issue_certificate(ca, name, days, is_node=is_node)
    for file in (out / f"{name}.pem", out / f"{name}.key"):
        if file.exists():
            raise AlreadyExists(f"{file} is there already, and is not overwritten.")
    make_folder(out)
    make_file(out / f"{name}.key", issued.key.encode(), PRIVATE)
    make_file(out / f"{name}.pem", issued.cert.encode(), PUBLIC)
    if not (out / "ca.pem").exists():
        make_file(out / "ca.pem", issued.ca.encode(), PUBLIC)
    print_line(f"made {out}/{name}.pem and {out}/{name}.key, which is secret.")
