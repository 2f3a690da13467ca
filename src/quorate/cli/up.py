"""``quorate up``, ``quorate node``, ``quorate bootstrap``: what starts a cluster."""

import asyncio
import secrets
import signal
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from quorate.base.errors import QuorateError
from quorate.base.ids import ClusterId
from quorate.cli.connection import run_in_world
from quorate.cli.output import JsonOption, print_error, print_json, print_line, print_table
from quorate.node.bootstrap import bootstrap as bootstrap_node
from quorate.node.bootstrap import new_cluster_id
from quorate.node.config import load
from quorate.node.local_cluster import MAX_NODES, LocalCluster
from quorate.node.reports import Ready, RunningProcess
from quorate.node.sizes import size_of
from quorate.node.supervisor import run_node
from quorate.runtime.ports import World
from quorate.runtime.real.loop import run

ConfigFile = Annotated[
    Path, typer.Option("--config", metavar="FILE", help="The machine's configuration (TOML).")
]


class Store(StrEnum):
    """Where the keys are kept."""

    MEMORY = "memory"
    DISK = "disk"


def up(
    nodes: Annotated[
        int | None, typer.Option(min=1, max=MAX_NODES, help="Nodes of a new cluster; default 3.")
    ] = None,
    directory: Annotated[
        Path, typer.Option("--dir", metavar="DIR", help="Where the cluster keeps its data.")
    ] = Path(".quorate"),
    port: Annotated[
        int | None, typer.Option(min=1, max=65000, help="First port; default 7400.")
    ] = None,
    store: Annotated[
        Store | None, typer.Option(help="Where keys are kept; disk: more than fits into memory.")
    ] = None,
    max_bytes: Annotated[
        str, typer.Option(metavar="SIZE", help="Of the key/value store, such as 2GB.")
    ] = "",
    as_json: JsonOption = False,
) -> None:
    """Run a local cluster of real nodes until Ctrl-C."""

    where = store.value if store is not None else None
    bound = size_of(max_bytes) if max_bytes else None

    async def main(world: World) -> None:
        cluster = LocalCluster(
            world, directory, nodes, port, print_error, store=where, max_bytes=bound
        )
        await _up(cluster, as_json)

    run_in_world(main)


async def _up(cluster: LocalCluster, as_json: bool) -> None:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopping.set)
    stop = asyncio.create_task(stopping.wait())
    start = asyncio.create_task(cluster.start())
    await asyncio.wait((start, stop), return_when=asyncio.FIRST_COMPLETED)
    if not start.done():
        start.cancel()
        await asyncio.gather(start, return_exceptions=True)
        return
    try:
        await start
        _announce(cluster, as_json)
        dead = asyncio.create_task(cluster.all_dead())
        await asyncio.wait((stop, dead), return_when=asyncio.FIRST_COMPLETED)
        if not stopping.is_set():
            raise QuorateError(f"All nodes of {cluster.directory} are gone; see their logs.")
        dead.cancel()
    finally:
        stop.cancel()
        await cluster.stop()


def _announce(cluster: LocalCluster, as_json: bool) -> None:
    if as_json:
        print_json(cluster.describe())
        return
    rows = [
        (node.name, node.addresses["rpc"], f"supervisor:{node.child.pid} {_pids(node.processes)}")
        for node in cluster.nodes.values()
        if node.child is not None and node.alive
    ]
    print_table(("NODE", "ADDRESS", "PROCESSES"), rows)
    print_line(f"Ready; the data is in {cluster.directory}.  Ctrl-C stops the cluster.")


def _pids(processes: Sequence[RunningProcess]) -> str:
    return " ".join(f"{process.role}:{process.pid}" for process in processes)


def node(config: ConfigFile, as_json: JsonOption = False) -> None:
    """Run one machine of a cluster until SIGTERM or Ctrl-C."""

    def ready(message: Ready) -> None:
        if as_json:
            processes = [{"role": p.role, "pid": p.pid} for p in message.processes]
            print_json({"processes": processes})
        else:
            print_line(f"ready: {_pids(message.processes)}")

    run(lambda: run_node(config, ready, print_error))


def bootstrap(
    config: ConfigFile,
    cluster_id: Annotated[
        str, typer.Option(metavar="ID", help="What the first machine's bootstrap printed.")
    ] = "",
    as_json: JsonOption = False,
) -> None:
    """Make this machine's empty data directory part of a new cluster, once."""
    settings = load(config)
    names = [member.name for member in settings.nodes]
    cluster = ClusterId(cluster_id) or new_cluster_id(names, secrets.token_hex(12))
    run(lambda: bootstrap_node(settings, cluster))
    if as_json:
        print_json({"cluster": cluster})
    elif cluster_id:
        print_line(f"{settings.name} is a machine of the cluster {cluster}.")
    else:
        print_line(
            f"{settings.name} is the first machine of the cluster {cluster}.  On each of the"
            f" others: quorate bootstrap --config FILE --cluster-id {cluster}"
        )
