"""What a machine asks the others, and what its replicas know of them.

A machine that starts may be one that should not: its data may belong to another cluster, or it was
removed while it was down.  Both end it with a sentence.  Whoever founded the cluster, and finds
itself in no group's committed configuration, was removed: ids are never used again.  Who joined may
not have been taken in yet; that it once was, it writes down (``member.json``) when its own log
says so.  A machine that was rebuilt is one that joined, under another id.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from functools import partial

import msgspec

from quorate.base.errors import BadConfiguration, QuorateError
from quorate.base.ids import Address, GroupId, NodeId, node_of
from quorate.base.together import together
from quorate.node.identity import NodeIdentity
from quorate.node.known import Known, KnownGroup
from quorate.node.members import machines_in
from quorate.node.messages import DescribeNode, NodeEntry
from quorate.raft.client import GroupClient
from quorate.raft.core.configuration import Configuration
from quorate.raft.group import Group
from quorate.raft.messages import AskMembers
from quorate.rpc.client import RpcClient
from quorate.runtime.ports import World
from quorate.runtime.record import read_record, write_record

PEER_TIMEOUT_MS = 1_000
PEER_PAUSE_MS = 1_000
MEMBER_FILE = "member.json"


class MemberRecord(msgspec.Struct, frozen=True):
    """That a machine which joined was taken in."""

    node: NodeId


def machines_of(groups: Iterable[Group]) -> list[NodeEntry]:
    """The machines in the latest configurations of ``groups``, as known here, in order."""
    found: dict[NodeId, NodeEntry] = {}
    for group in groups:
        configuration = group.configuration
        for replica in configuration.members:
            node = node_of(replica)
            name = configuration.names.get(replica, f"node {node}")
            found[node] = NodeEntry(node, name, configuration.addresses[replica])
    return [found[node] for node in sorted(found)]


def names_of(groups: Iterable[Group]) -> dict[NodeId, str]:
    """What these machines are called."""
    return {entry.node: entry.name for entry in machines_of(groups)}


async def refuse_wrong_cluster(
    world: World, rpc: RpcClient, own: Address, addresses: Sequence[Address]
) -> None:
    """End with a sentence if this machine's data belong to another cluster than most of its peers'.

    One that accepts us is enough to know that the odd ones are the others.
    """
    silent = [address for address in addresses if address != own]
    peers, refused = len(silent), 0
    while silent:
        for address in list(silent):
            try:
                await rpc.call(address, DescribeNode(), timeout_ms=PEER_TIMEOUT_MS)
                return
            except BadConfiguration as error:
                silent.remove(address)
                refused += 1
                if 2 * refused > peers:
                    raise BadConfiguration(
                        f"{refused} of the {peers} other machines refuse this one: {error.message}"
                    ) from error
            except QuorateError:
                continue  # it does not run yet
        await world.clock.sleep(PEER_PAUSE_MS)


async def without_strangers(
    rpc: RpcClient, seeds: Sequence[Address], named: Sequence[Address]
) -> list[Address]:
    """``seeds`` but those where another cluster is by now; ``named`` by a user stay: that another
    cluster is there is for that user to hear."""

    async def is_stranger(seed: Address) -> bool:
        try:
            await rpc.call(seed, DescribeNode(), timeout_ms=PEER_TIMEOUT_MS)
        except BadConfiguration:
            return True
        except QuorateError:
            return False  # it does not run now
        return False

    asked = [seed for seed in seeds if seed not in named]
    found = await together(is_stranger(seed) for seed in asked)
    strangers = {seed for seed, stranger in zip(asked, found, strict=True) if stranger}
    return [seed for seed in seeds if seed not in strangers]


async def refuse_removed(
    world: World,
    rpc: RpcClient,
    machine: NodeIdentity,
    groups: Mapping[GroupId, Group],
    addresses: Sequence[Address],
) -> None:
    """End with a sentence if this machine was removed from the cluster while it was down."""
    if not machine.is_founder:
        record = read_record(world.disk, MEMBER_FILE, MemberRecord, MEMBER_FILE, of_replica=True)
        if record is None:
            await _taken_in(world, machine, groups)
            return
    for number, group in groups.items():
        seeds = dict.fromkeys((*addresses, *group.configuration.addresses.values()))
        if await _is_member(world, GroupClient(world, rpc, list(seeds), number), machine, number):
            return
    raise BadConfiguration(
        f"{machine.name} was removed from the cluster {machine.cluster} and belongs to none of its"
        " groups any more: leave it stopped, or have this machine join as a new one, with an empty"
        " directory and a token of 'quorate cluster token'."
    )


async def _is_member(
    world: World, client: GroupClient, machine: NodeIdentity, group: GroupId
) -> bool:
    while True:
        try:
            found = await client.call_leader(AskMembers(group), timeout_ms=5 * PEER_TIMEOUT_MS)
            return machine.replica(group) in found.members
        except QuorateError:
            await world.clock.sleep(PEER_PAUSE_MS)  # nobody leads yet


async def _taken_in(world: World, machine: NodeIdentity, groups: Mapping[GroupId, Group]) -> None:
    """Wait until a group has taken this machine in, and write that down."""
    taken_in = asyncio.Event()

    def look() -> None:
        if not taken_in.is_set() and any(group.was_member for group in groups.values()):
            taken_in.set()

    for group in groups.values():
        group.on_applied(look)
    look()
    await taken_in.wait()
    await write_record(world.disk, MEMBER_FILE, MemberRecord(machine.node))


async def keep_known(
    world: World,
    groups: Mapping[GroupId, Group],
    known: Known,
    founders: Sequence[NodeEntry],
    write: Callable[[Known], Awaitable[None]],
) -> None:
    """Have the members of each committed configuration written down; ``known`` was before."""
    seen: dict[GroupId, Configuration] = {}
    changed = asyncio.Event()

    def look(number: GroupId, group: Group) -> None:
        committed = group.committed_configuration
        if committed is not seen.get(number):
            seen[number] = committed
            changed.set()

    for number, group in groups.items():
        group.on_applied(partial(look, number, group))
        look(number, group)
    while True:
        await changed.wait()
        changed.clear()
        now = known
        for number, group in groups.items():
            machines = tuple(machines_in([group.committed_configuration]))
            now = now.with_group(number, KnownGroup(group.last_applied, machines), founders)
        if now is known:
            continue
        try:
            await write(now)
        except QuorateError as error:  # they are seeds: the next change writes them again
            world.trace.error(f"Who belongs to the cluster is not written down.  {error.message}")
        else:
            known = now
