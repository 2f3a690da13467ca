"""``quorate status``: the machines of a cluster, their groups and what they do."""

from typing import Any

from rich.filesize import decimal

from quorate.base.ids import GROUP_NAMES, NodeId
from quorate.cli.connection import Cluster, with_cluster
from quorate.cli.output import JsonOption, print_json, print_line, print_table
from quorate.gfs.messages import ServerStatus
from quorate.node.messages import NodeDescription


@with_cluster
async def status(cluster: Cluster, as_json: JsonOption = False) -> None:
    """The nodes of the cluster, who leads, and how far each replica is."""
    found = await cluster.describe()
    servers = await cluster.chunkservers()
    if as_json:
        print_json(_facts(cluster, found, servers))
        return
    print_line(f"cluster {cluster.id}")
    rows = []
    for entry in cluster.nodes:
        description = found.get(entry.node)
        if description is None:
            rows.append((entry.name, entry.rpc, "does not answer", ""))
            continue
        groups = ", ".join(
            f"{GROUP_NAMES.get(group.group, str(group.group))} {group.role}"
            f" (term {group.term}, applied {group.last_applied} of {group.last_index})"
            for group in description.groups
        )
        pids = " ".join(f"{process.role}:{process.pid}" for process in description.processes)
        rows.append((entry.name, entry.rpc, groups, pids))
    print_table(("NODE", "ADDRESS", "GROUPS", "PROCESSES"), rows)
    print_table(
        ("CHUNKSERVER", "ADDRESS", "STATE", "CHUNKS", "FREE"),
        [
            (
                s.name,
                s.address,
                "live" if s.live else "silent",
                str(s.chunks),
                decimal(s.free_bytes),
            )
            for s in servers
        ],
    )


def _facts(
    cluster: Cluster, found: dict[NodeId, NodeDescription], servers: list[ServerStatus]
) -> dict[str, Any]:
    nodes = []
    for entry in cluster.nodes:
        description = found.get(entry.node)
        fact: dict[str, Any] = {"name": entry.name, "id": entry.node, "rpc": entry.rpc}
        fact["answers"] = description is not None
        if description is not None:
            fact["version"] = description.version
            fact["groups"] = [
                {
                    "group": GROUP_NAMES.get(group.group, str(group.group)),
                    "role": group.role,
                    "term": group.term,
                    "leader": group.leader,
                    "commit_index": group.commit_index,
                    "last_applied": group.last_applied,
                    "last_index": group.last_index,
                }
                for group in description.groups
            ]
            fact["processes"] = [
                {"role": process.role, "pid": process.pid} for process in description.processes
            ]
        nodes.append(fact)
    chunkservers = [
        {
            "name": server.name,
            "address": server.address,
            "live": server.live,
            "chunks": server.chunks,
            "free_bytes": server.free_bytes,
        }
        for server in servers
    ]
    return {"cluster": cluster.id, "nodes": nodes, "chunkservers": chunkservers}
