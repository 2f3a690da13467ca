"""``quorate status``: the machines of a cluster, their groups and what they do.

What ``--json`` prints is the whole answer; the tables for people are made from it.
"""

from collections.abc import Sequence
from typing import Any

from rich.filesize import decimal

from quorate.base.ids import GROUP_NAMES, GroupId, node_of
from quorate.cli.connection import Cluster, with_cluster
from quorate.cli.output import JsonOption, print_json, print_line, print_table
from quorate.kv.core.commands import Statistics
from quorate.node.messages import NodeDescription
from quorate.raft.messages import GroupStatus


@with_cluster
async def status(cluster: Cluster, as_json: JsonOption = False) -> None:
    """The nodes of the cluster, who leads, and how far each replica is."""
    found = await _ask(cluster)
    if as_json:
        print_json(found)
    else:
        _show(found)


async def _ask(cluster: Cluster) -> dict[str, Any]:
    descriptions = await cluster.describe()
    return {
        "cluster": cluster.id,
        "nodes": [
            {
                "name": entry.name,
                "id": entry.node,
                "rpc": entry.rpc,
                "answers": entry.node in descriptions,
                **_node(descriptions.get(entry.node)),
            }
            for entry in cluster.nodes
        ],
        "groups": [_members(group, list(descriptions.values())) for group in sorted(GROUP_NAMES)],
        "chunkservers": [
            {
                "name": server.name,
                "address": server.address,
                "live": server.live,
                "chunks": server.chunks,
                "free_bytes": server.free_bytes,
            }
            for server in await cluster.chunkservers()
        ],
        "workers": [
            {
                "node": worker.node,
                "address": worker.address,
                "slots": worker.slots,
                "running": worker.running,
            }
            for worker in await cluster.workers()
        ],
    }


def _members(group: GroupId, nodes: list[NodeDescription]) -> dict[str, Any]:
    """Whose votes count, as the replica with the newest log says; machines by their ids."""
    seen = [status for node in nodes for status in node.groups if status.group == group]
    newest = max(seen, key=lambda status: (status.last_term, status.last_index), default=None)
    now = newest.configuration if newest is not None else None
    return {
        "group": GROUP_NAMES[group],
        "voters": [node_of(voter) for voter in now.voters] if now is not None else [],
        "old_voters": [node_of(voter) for voter in now.old_voters] if now is not None else [],
    }


def _node(description: NodeDescription | None) -> dict[str, Any]:
    if description is None:
        return {"version": None, "groups": [], "store": None, "processes": []}
    return {
        "version": description.version,
        "groups": [_group(group) for group in description.groups],
        "store": _store(description.store),
        "processes": [
            {
                "role": process.role,
                "pid": process.pid,
                "resident_bytes": process.resident_bytes,
            }
            for process in description.processes
        ],
    }


def _group(group: GroupStatus) -> dict[str, Any]:
    return {
        "group": GROUP_NAMES.get(group.group, str(group.group)),
        "role": group.role,
        "term": group.term,
        "leader": group.leader,
        "commit_index": group.commit_index,
        "last_applied": group.last_applied,
        "last_index": group.last_index,
    }


def _store(store: Statistics | None) -> dict[str, Any] | None:
    if store is None:
        return None
    return {
        "keys": store.keys,
        "bytes": store.bytes,
        "max_bytes": store.max_bytes,
        "restricted": store.restricted,
    }


def _show(found: dict[str, Any]) -> None:
    print_line(f"cluster {found['cluster']}")
    for sentence in _troubles(found):
        print_line(sentence)
    tables = (_nodes, _memory, _replicas, _stores, _chunkservers, _workers)
    for head, rows in (table(found) for table in tables):
        print_line("")
        print_table(head, rows)


def _troubles(found: dict[str, Any]) -> list[str]:
    """A sentence for each group that cannot serve anybody now."""
    nodes = found["nodes"]
    replicas = [group for node in nodes for group in node["groups"]]
    leading = {group["group"] for group in replicas if group["role"] == "leader"}
    answering = {node["id"] for node in nodes if node["answers"]}
    troubles = []
    for group in found["groups"]:
        if group["group"] not in leading:
            sets = [(" new", group["voters"]), (" old", group["old_voters"])]
            if not group["old_voters"]:  # no change is under way
                sets = [("", group["voters"])]
            counts = [
                f"{len(answering.intersection(voters))} of {len(voters)}{kind} voters answer, a"
                f" majority is {len(voters) // 2 + 1}"
                for kind, voters in sets
                if voters
            ]
            why = "; ".join(counts) or "nobody who answers knows its voters"
            troubles.append(f"{group['group']} has no leader: {why}")
    return sorted(troubles)


Shown = tuple[Sequence[str], list[tuple[str, ...]]]
"""The headings of a table and its rows."""


def _nodes(found: dict[str, Any]) -> Shown:
    rows: list[tuple[str, ...]] = []
    for node in found["nodes"]:
        pids = " ".join(f"{process['role']}:{process['pid']}" for process in node["processes"])
        rows.append((node["name"], node["rpc"], pids if node["answers"] else "does not answer"))
    return ("NODE", "ADDRESS", "PROCESSES"), rows


def _memory(found: dict[str, Any]) -> Shown:
    """Resident, in powers of ten, as ``decimal`` says; ``-`` for a process that has just ended."""
    roles = list(dict.fromkeys(p["role"] for node in found["nodes"] for p in node["processes"]))
    rows: list[tuple[str, ...]] = []
    for node in found["nodes"]:
        held = {process["role"]: process["resident_bytes"] for process in node["processes"]}
        shown = [decimal(held[role]) if held.get(role) else "-" for role in roles]
        rows.append((node["name"], *shown))
    return ("MEMORY", *map(str.upper, roles)), rows


def _replicas(found: dict[str, Any]) -> Shown:
    rows: list[tuple[str, ...]] = []
    for node in found["nodes"]:
        for group in node["groups"]:
            applied = f"{group['last_applied']} of {group['last_index']}"
            term = str(group["term"])
            rows.append((group["group"], node["name"], group["role"], term, applied))
    return ("GROUP", "NODE", "ROLE", "TERM", "APPLIED"), sorted(rows)


def _stores(found: dict[str, Any]) -> Shown:
    """The keys and values, as each replica has them."""
    rows: list[tuple[str, ...]] = []
    for node in found["nodes"]:
        store = node["store"]
        if store is not None:
            bound = decimal(store["max_bytes"]) if store["max_bytes"] else "none"
            state = store["restricted"] or "open"
            rows.append((node["name"], str(store["keys"]), decimal(store["bytes"]), bound, state))
    return ("STORE", "KEYS", "SIZE", "BOUND", "STATE"), rows


def _chunkservers(found: dict[str, Any]) -> Shown:
    rows: list[tuple[str, ...]] = []
    for server in found["chunkservers"]:
        state = "live" if server["live"] else "silent"
        free = decimal(server["free_bytes"])
        rows.append((server["name"], server["address"], state, str(server["chunks"]), free))
    return ("CHUNKSERVER", "ADDRESS", "STATE", "CHUNKS", "FREE"), rows


def _workers(found: dict[str, Any]) -> Shown:
    names = {node["id"]: node["name"] for node in found["nodes"]}
    rows: list[tuple[str, ...]] = []
    for worker in found["workers"]:
        slots, running = str(worker["slots"]), str(worker["running"])
        rows.append(
            (names.get(worker["node"], f"node {worker['node']}"), worker["address"], slots, running)
        )
    return ("WORKER", "ADDRESS", "SLOTS", "RUNNING"), rows
