"""``quorate cluster``: which machines a cluster has, and how that is changed while it works.

Each command is repeated safely: what is done already is not done again.  What the groups refuse,
and what they wait for, is shown in their own words (``raft/core/membership.py``).
"""

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from quorate.base.errors import BadConfiguration, BadInput
from quorate.base.ids import GROUP_NAMES, Address, GroupId, NodeId, ReplicaId, node_of
from quorate.cli.connection import Cluster, with_cluster
from quorate.cli.output import JsonOption, print_json, print_line, print_note, print_table
from quorate.gfs.messages import Copies
from quorate.library.connection import DESCRIBE_MS
from quorate.node.config import NAME_RULE
from quorate.node.join_token import VERSION, JoinToken, text_of
from quorate.node.members import (
    MemberChanges,
    moved,
    named,
    refuse_taken,
    without,
)
from quorate.node.messages import DescribeNode, NodeDescription, NodeEntry
from quorate.raft.core.configuration import NAME, Configuration
from quorate.raft.messages import GroupStatus
from quorate.runtime.real.network import is_loopback, split_address

TimeoutOption = Annotated[float, typer.Option(min=1, help="Seconds for the whole change.")]
Name = Annotated[str, typer.Argument(help="Of the machine.")]
Door = Annotated[str, typer.Argument(metavar="HOST:PORT", help="Its address 'rpc'.")]
LoseFilesOption = Annotated[
    bool, typer.Option("--lose-files", help="Even if nobody else has some chunks of files.")
]

TIMEOUT_S = 120.0
UNIT_S = {"s": 1, "m": 60, "h": 3600, "d": 86400}

app = typer.Typer(help="The machines of the cluster.", no_args_is_help=True)


@app.command("members")
@with_cluster
async def members(cluster: Cluster, as_json: JsonOption = False) -> None:
    """Who belongs to each group, who votes, who leads, and how many entries each one lacks."""
    descriptions = list((await cluster.describe()).values())
    found = [_members(group, descriptions) for group in sorted(GROUP_NAMES)]
    if as_json:
        print_json({"cluster": cluster.id, "groups": found})
        return
    rows = [
        (
            group["group"],
            member["name"],
            member["address"],
            member["member"],
            "leader" if member["leads"] else "",
            "?" if member["lag_entries"] is None else str(member["lag_entries"]),
        )
        for group in found
        for member in group["members"]
    ]
    print_table(("GROUP", "NODE", "ADDRESS", "MEMBER", "LEADS", "LACKS"), rows)
    for group in found:
        if group["leader"] is None:
            print_line(f"{group['group']} has no leader: this is what a replica without one knows")


def _members(group: GroupId, nodes: list[NodeDescription]) -> dict[str, Any]:
    """As the leader of the latest term says, else as the replica with the longest log does."""
    seen = [status for node in nodes for status in node.groups if status.group == group]
    leaders = [status for status in seen if status.role == "leader"]
    best = max(leaders or seen, key=lambda s: (s.term, s.last_index), default=None)
    if best is None or best.configuration is None:
        return {"group": GROUP_NAMES[group], "leader": None, "joint": False, "members": []}
    now = best.configuration
    return {
        "group": GROUP_NAMES[group],
        "leader": _name(now, best.replica) if leaders else None,
        "joint": now.is_joint,
        "members": [
            {
                "name": _name(now, replica),
                "node": node_of(replica),
                "replica": replica,
                "address": now.addresses[replica],
                "member": _kind(now, replica),
                "leads": bool(leaders) and replica == best.replica,
                "lag_entries": _lag(best, replica) if leaders else None,
            }
            for replica in now.members
        ],
    }


def _name(configuration: Configuration, replica: ReplicaId) -> str:
    return configuration.names.get(replica, f"node {node_of(replica)}")


def _kind(configuration: Configuration, replica: ReplicaId) -> str:
    if replica in configuration.voters:
        return "voter"
    return "learner" if replica in configuration.learners else "leaving"


def _lag(leader: GroupStatus, replica: ReplicaId) -> int | None:
    if replica == leader.replica:
        return 0
    match_index = leader.match_indexes.get(replica)
    return None if match_index is None else leader.last_index - match_index


@app.command("add")
@with_cluster
async def add(
    cluster: Cluster,
    name: Name,
    address: Door,
    learner: Annotated[bool, typer.Option("--learner", help="It gets no vote.")] = False,
    timeout: TimeoutOption = TIMEOUT_S,
) -> None:
    """Take in a machine that runs: it gets the log, and a vote when it has caught up."""
    machine = await _machine_at(cluster, name, address)
    await _changes(cluster, timeout).add(machine, learner=learner)


@app.command("remove")
@with_cluster
async def remove(
    cluster: Cluster,
    name: Name,
    lose_files: LoseFilesOption = False,
    timeout: TimeoutOption = TIMEOUT_S,
) -> None:
    """Remove a machine from all groups; the leader, too, which then hands over."""
    changes = _changes(cluster, timeout)
    machines = await changes.machines()
    named(machines, name)
    nodes = [machine.node for machine in machines if machine.name == name]
    await _look_at_files(cluster, name, nodes, lose_files)
    for node in nodes:  # two while it is being rebuilt under another id
        await changes.all_groups(without(node), f"{name} belongs to it no more")
    await _say_whether_it_may_be_stopped(cluster, name, nodes)


async def _look_at_files(
    cluster: Cluster, name: str, nodes: list[NodeId], lose_files: bool
) -> None:
    """Say what the machine's going means for files; refuse it if it would be the end of some."""
    copies = await cluster.files.copies_without(nodes)
    if copies.last and not lose_files:
        raise BadInput(
            f"{_only_there(name, copies)}, and all of it would be lost with that machine: store"
            " these files again while it runs ('quorate fs get', then 'quorate fs put' under"
            " another name), or give them up with --lose-files; nothing was changed."
        )
    if copies.fewer:
        print_line(
            f"without {name} there is one copy less of {_fewer(copies)}; no new ones are made yet"
        )


async def _say_whether_it_may_be_stopped(cluster: Cluster, name: str, nodes: list[NodeId]) -> None:
    """Of a machine that belongs to no group any more."""
    copies = await cluster.files.copies_without(nodes)
    if copies.last:
        print_line(f"{_only_there(name, copies)}: it must not be stopped while these are wanted")
        return
    what = f"; then there is one copy less of {_fewer(copies)}" if copies.fewer else ""
    print_line(f"{name} may be stopped now{what}")


def _only_there(name: str, copies: Copies) -> str:
    more = ", ..." if copies.last > len(copies.files) else ""
    return (
        f"no machine that answers but, at most, {name} has {_chunks(copies.last)}"
        f" ({', '.join(copies.files)}{more})"
    )


def _fewer(copies: Copies) -> str:
    only = f", and of {copies.single} of them only one is left" if copies.single else ""
    return f"{_chunks(copies.fewer)}{only}"


def _chunks(number: int) -> str:
    return f"{number} chunk{'s' if number != 1 else ''} of files"


@app.command("replace")
@with_cluster
async def replace(
    cluster: Cluster,
    old: Annotated[str, typer.Argument(help="The machine that goes.")],
    new: Annotated[str, typer.Argument(help="The one that comes.")],
    address: Door,
    lose_files: LoseFilesOption = False,
    timeout: TimeoutOption = TIMEOUT_S,
) -> None:
    """Put a machine that runs in the place of another, in one change of each group."""
    machine = await _machine_at(cluster, new, address)
    changes = _changes(cluster, timeout)
    machines = await changes.machines()
    if all(known.name != old for known in machines) and machine in machines:
        print_line(f"{new} has taken the place of {old}")  # by an earlier command
        return
    leaving = named(machines, old)
    await _look_at_files(cluster, old, [leaving.node], lose_files)
    await changes.replace(leaving, machine)
    print_line(f"{new} has taken the place of {old}")
    await _say_whether_it_may_be_stopped(cluster, old, [leaving.node])


@app.command("address")
@with_cluster
async def address(
    cluster: Cluster,
    name: Name,
    address: Door,
    timeout: TimeoutOption = TIMEOUT_S,
) -> None:
    """Tell the others that a machine has another address; its configuration must say so, too."""
    split_address(Address(address))
    changes = _changes(cluster, timeout)
    machines = await changes.machines()
    machine = NodeEntry(named(machines, name).node, name, Address(address))
    refuse_taken(machines, machine)
    await changes.all_groups(moved(machine), f"{name} is at {address}")


@app.command("transfer")
@with_cluster
async def transfer(
    cluster: Cluster,
    group: Annotated[str, typer.Argument(help="One of: " + ", ".join(GROUP_NAMES.values()))],
    name: Annotated[
        str | None, typer.Argument(help="Who is to lead; default: the fittest.")
    ] = None,
    timeout: TimeoutOption = 10.0,
) -> None:
    """Have another machine lead a group."""
    numbers = {known: number for number, known in GROUP_NAMES.items()}
    if group not in numbers:
        raise BadInput(f"there is no group {group!r}: {' and '.join(numbers)} are the groups.")
    leads = await _changes(cluster, timeout).transfer(numbers[group], name)
    print_line(f"{leads} leads the group {group}")


@app.command("token")
@with_cluster
async def token(
    cluster: Cluster,
    name: Annotated[str, typer.Argument(help="Of the machine that is to join.")],
    ca: Annotated[
        Path | None,
        typer.Option("--ca", metavar="DIR", help="What 'ca init' made; needed with TLS."),
    ] = None,
    expires: Annotated[str, typer.Option(help="When: a number of s, m, h or d.")] = "1h",
) -> None:
    """Print what 'quorate join' needs on a new machine: as secret as a key, for it holds one."""
    lasts_s = _seconds(expires)
    if not NAME.fullmatch(name):
        raise BadInput(f"{name!r} is not a name: {NAME_RULE}.")
    # The name is what matters here; a new machine has no address yet.
    refuse_taken(cluster.nodes, NodeEntry(node_of(ReplicaId(0)), name, Address("")))
    if ca is None and not all(is_loopback(split_address(door)[0]) for door in cluster.addresses):
        raise BadInput(
            "this cluster is not on loopback and speaks TLS: name the folder of its authority with"
            " --ca, so that the new machine gets a certificate."
        )
    pem = ("", "", "")
    if ca is not None:
        from quorate.node.authority import issue, require_same  # 0.2 s, not for other commands

        if cluster.tls is None:
            raise BadInput("this cluster speaks no TLS, and takes no certificate: leave --ca out.")
        require_same(ca, cluster.tls.ca)
        issued = issue(ca, name, is_node=True)
        pem = (issued.ca, issued.cert, issued.key)
    made = JoinToken(
        VERSION,
        cluster.id,
        name,
        tuple(cluster.addresses),
        {founder.name: founder.rpc for founder in cluster.founders},
        int((time.time() + lasts_s) * 1000),
        *pem,
    )
    if ca is not None:
        print_note("This token holds a private key: whoever sees it can enter the cluster.")
    print_line(text_of(made))


def _seconds(text: str) -> int:
    match = re.fullmatch(r"([1-9][0-9]{0,5})([smhd])", text)
    if match is None:
        raise BadInput(f"{text!r} is no time: write --expires 90s, 30m, 1h or 7d.")
    return int(match[1]) * UNIT_S[match[2]]


def _changes(
    cluster: Cluster, timeout_s: float, say: Callable[[str], None] = print_line
) -> MemberChanges:
    return MemberChanges(cluster.world, cluster.rpc, cluster.addresses, say, timeout_s * 1000)


async def _machine_at(cluster: Cluster, name: str, address: str) -> NodeEntry:
    """The node that runs there, if it is called so and is of this cluster."""
    split_address(Address(address))
    found = await cluster.rpc.call(Address(address), DescribeNode(), timeout_ms=DESCRIBE_MS)
    if found.cluster != cluster.id:
        raise BadConfiguration(
            f"the node at {address} belongs to the cluster {found.cluster}, not to {cluster.id}: a"
            " machine enters a cluster with 'quorate join'."
        )
    if found.name != name:
        raise BadInput(f"the node at {address} is called {found.name}, and not {name}.")
    return NodeEntry(found.node, found.name, Address(address))
