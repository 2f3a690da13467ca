"""Changing which machines belong to a cluster: all of its groups, one after the other.

A plan says what a group's members are to be, given what they are; it is made anew from what is
committed each time, so a command that broke off is repeated, and goes on.  Each request names what
it was planned for (``ChangeMembers.expected``): two commands at a time cannot undo each other.
"""

from collections.abc import Callable, Collection, Mapping, Sequence

from quorate.base.errors import (
    AlreadyExists,
    BadConfiguration,
    BadInput,
    DeadlineExceeded,
    Fenced,
    Maybe,
    NotFound,
    Unavailable,
)
from quorate.base.ids import GROUP_NAMES, Address, GroupId, NodeId, ReplicaId, node_of
from quorate.node.identity import founding_replica
from quorate.node.messages import NodeEntry
from quorate.raft.client import GroupClient
from quorate.raft.core.configuration import Configuration
from quorate.raft.messages import AskMembers, ChangeMembers, Members, TransferLeadership
from quorate.rpc.client import RpcClient
from quorate.runtime.ports import World

ASK_MS = 5_000.0
LOOK_MS = 1_000.0
"""Between two words of how far a change has come."""
PAUSE_MS = 100.0
LOSES_MAJORITY = "a majority of the new voters would be lost"
"""How a leader begins to say that (raft/core/membership.py).  It stays so while it repeats it for
most of ``LOOK_MS``, longer than its own election brings such silence."""

Plan = Callable[[GroupId, Configuration], Members]


def with_learner(machine: NodeEntry) -> Plan:
    """The machine gets the log, and counts for nothing yet."""

    def plan(group: GroupId, now: Configuration) -> Members:
        replica = founding_replica(group, machine.node)
        learners = now.learners if replica in now.members else (*now.learners, replica)
        return _members(now, now.voters, learners, replica, machine)

    return plan


def with_voter(machine: NodeEntry) -> Plan:
    """The machine votes."""

    def plan(group: GroupId, now: Configuration) -> Members:
        replica = founding_replica(group, machine.node)
        voters = now.voters if replica in now.voters else (*now.voters, replica)
        learners = tuple(learner for learner in now.learners if learner != replica)
        return _members(now, voters, learners, replica, machine)

    return plan


def in_place_of(earlier: Collection[NodeId], machine: NodeEntry) -> Plan:
    """The machine is in each group what those with ``earlier`` ids, its own or another's, were."""

    def plan(group: GroupId, now: Configuration) -> Members:
        replica = founding_replica(group, machine.node)
        old = {founding_replica(group, node) for node in earlier}
        kept = [member for member in now.members if member not in old]
        voters = tuple(voter for voter in now.voters if voter in kept)
        learners = tuple(learner for learner in now.learners if learner in kept)
        if voters != now.voters and replica not in voters:
            voters, learners = (*voters, replica), tuple(x for x in learners if x != replica)
        elif learners != now.learners and replica not in kept:
            learners = (*learners, replica)
        elif replica not in kept:
            return _members(now, now.voters, now.learners)
        return _members(now, voters, learners, replica, machine)

    return plan


def without(node: NodeId) -> Plan:
    """The machine belongs to the group no more."""

    def plan(group: GroupId, now: Configuration) -> Members:
        replica = founding_replica(group, node)
        voters = tuple(voter for voter in now.voters if voter != replica)
        if not voters:
            raise BadInput(
                f"{now.names.get(replica, f'node {node}')} is the last voter of the group"
                f" {GROUP_NAMES[group]}, which would be lost with it: add another machine first,"
                " or stop the cluster."
            )
        learners = tuple(learner for learner in now.learners if learner != replica)
        return _members(now, voters, learners)

    return plan


def moved(machine: NodeEntry) -> Plan:
    """The machine has another address."""

    def plan(group: GroupId, now: Configuration) -> Members:
        replica = founding_replica(group, machine.node)
        known = replica in now.members
        return _members(now, now.voters, now.learners, *((replica, machine) if known else ()))

    return plan


def _members(
    now: Configuration,
    voters: tuple[ReplicaId, ...],
    learners: tuple[ReplicaId, ...],
    replica: ReplicaId | None = None,
    machine: NodeEntry | None = None,
) -> Members:
    addresses, names = dict(now.addresses), dict(now.names)
    if replica is not None and machine is not None:
        addresses[replica], names[replica] = machine.rpc, machine.name
    members = (*voters, *learners)
    return Members(
        voters,
        {member: addresses[member] for member in members},
        learners,
        {member: names[member] for member in members if member in names},
    )


def is_so(now: Configuration, wanted: Members) -> bool:
    """Whether the group has these members already."""
    return now == wanted.instead_of(now)


def machines_in(configurations: Sequence[Configuration]) -> list[NodeEntry]:
    """Each machine that belongs to one of the groups, in order."""
    found = {
        node_of(replica): NodeEntry(
            node_of(replica),
            configuration.names.get(replica, f"node {node_of(replica)}"),
            configuration.addresses[replica],
        )
        for configuration in configurations
        for replica in configuration.members
    }
    return [found[node] for node in sorted(found)]


def refuse_taken(machines: Sequence[NodeEntry], new: NodeEntry) -> None:
    """Raise ``AlreadyExists`` if the name or the address of ``new`` belongs to another machine."""
    for machine in machines:
        if machine.node != new.node and machine.name == new.name:
            raise AlreadyExists(
                f"a machine called {new.name} belongs to the cluster already, at {machine.rpc}:"
                f" choose another name, or remove that one first ('quorate cluster remove"
                f" {new.name}')."
            )
        if machine.node != new.node and machine.rpc == new.rpc:
            raise AlreadyExists(
                f"{new.rpc} is the address of {machine.name}: each machine needs its own."
            )


def require_member(machines: Sequence[NodeEntry], name: str, nodes: Collection[NodeId]) -> None:
    """Raise ``BadConfiguration`` if no one of ``nodes``, all ids of the machine, is a member."""
    if not any(machine.node in nodes for machine in machines):
        raise BadConfiguration(
            f"{name} was removed from the cluster and belongs to none of its groups any more, so it"
            " is not rebuilt: leave it stopped, or have this machine join as a new one, with an"
            " empty directory and a token of 'quorate cluster token'."
        )


def named(machines: Sequence[NodeEntry], name: str) -> NodeEntry:
    """The machine that is called so; raises ``NotFound``."""
    for machine in machines:
        if machine.name == name:
            return machine
    known = ", ".join(machine.name for machine in machines)
    raise NotFound(f"no machine of the cluster is called {name!r}: it has {known}.")


class MemberChanges:
    """Asks the leaders of a cluster's groups for changes, and says how far they are."""

    def __init__(
        self,
        world: World,
        rpc: RpcClient,
        seeds: Sequence[Address],
        say: Callable[[str], None],
        timeout_ms: float,
    ) -> None:
        """``timeout_ms`` is for all that is asked for."""
        self._world = world
        self._rpc = rpc
        self._clients = {
            group: GroupClient(world, rpc, seeds, group) for group in sorted(GROUP_NAMES)
        }
        self._say = say
        self._timeout_ms = timeout_ms
        self._end_ms = world.clock.monotonic_ms() + timeout_ms

    async def configurations(self) -> dict[GroupId, Configuration]:
        """Of all groups, committed."""
        return {group: await self._ask(group) for group in self._clients}

    async def machines(self) -> list[NodeEntry]:
        """All that belong to a group."""
        return machines_in(list((await self.configurations()).values()))

    async def add(self, machine: NodeEntry, *, learner: bool) -> None:
        """Take a machine that runs into all groups; as a voter, unless ``learner``."""
        refuse_taken(await self.machines(), machine)
        await self.all_groups(with_learner(machine), f"{machine.name} gets the log")
        if not learner:
            await self.all_groups(with_voter(machine), f"{machine.name} votes")

    async def replace(self, old: NodeEntry, new: NodeEntry) -> None:
        """The new machine gets the log, and is then what the old one was: with a vote if that had
        one, by one joint change a group."""
        refuse_taken(await self.machines(), new)
        await self.all_groups(with_learner(new), f"{new.name} gets the log")
        plan = in_place_of([old.node], new)
        await self.all_groups(plan, f"{new.name} is in the place of {old.name}")

    async def rebuild(self, machine: NodeEntry, earlier: Collection[NodeId]) -> None:
        """Give the machine the place that it had under ``earlier`` ids: in each group it gets the
        log, and then the vote in one joint change.

        Raises ``BadConfiguration`` if it has none: it was removed meanwhile.
        """
        others = [known for known in await self.machines() if known.node not in earlier]
        refuse_taken(others, machine)
        await self.all_groups(in_place_of(earlier, machine), f"{machine.name} is rebuilt")
        require_member(await self.machines(), machine.name, [machine.node])

    async def all_groups(self, plan: Plan, done: str) -> None:
        """Bring all groups where ``plan`` wants them."""
        for group in self._clients:
            await self._change(group, plan)
            self._say(f"group {GROUP_NAMES[group]}: {done}")

    async def transfer(self, group: GroupId, name: str | None) -> str:
        """Have the machine called ``name``, or the fittest, lead ``group``; who leads then."""
        now = await self._ask(group)
        machines = machines_in([now])
        target = None if name is None else founding_replica(group, named(machines, name).node)
        client = self._clients[group]
        if target is not None and target not in now.voters:
            voters = ", ".join(now.names.get(v, f"node {node_of(v)}") for v in now.voters)
            raise BadInput(
                f"{name} has no vote in the group {GROUP_NAMES[group]}, so it cannot lead it: name"
                f" one that has ({voters})."
            )
        if target is None or now.addresses[target] != client.leader:
            request = TransferLeadership(group, target)
            timeout_ms = min(ASK_MS, self._left_ms())
            try:
                await self._rpc.call(client.leader, request, timeout_ms=timeout_ms)
            except Unavailable as error:
                raise Unavailable(_in_words(error.message, now.names)) from error
        now = await self._ask(group)
        leads = [entry.name for entry in machines_in([now]) if entry.rpc == client.leader]
        return leads[0] if leads else client.leader

    async def _ask(self, group: GroupId) -> Configuration:
        return await self._clients[group].call_leader(AskMembers(group), timeout_ms=self._left_ms())

    async def _change(self, group: GroupId, plan: Plan) -> None:
        said = waits_for = ""
        while True:
            now = await self._ask(group)
            wanted = plan(group, now)
            if not now.is_joint and is_so(now, wanted):
                return
            try:
                request = ChangeMembers(group, wanted, now)
                timeout_ms = min(LOOK_MS, self._left_ms())
                await self._rpc.call(self._clients[group].leader, request, timeout_ms=timeout_ms)
                continue
            except (Unavailable, Maybe, Fenced) as error:
                waits_for = str(error.details.get("waits_for", error.message))
            waits_for = _in_words(waits_for, wanted.names)
            if waits_for.startswith(LOSES_MAJORITY):
                raise Unavailable(
                    f"group {GROUP_NAMES[group]} is left as it is: {waits_for}; start those first,"
                    " or remove them first, and repeat the command."
                )
            if waits_for != said:
                said = waits_for
                self._say(f"group {GROUP_NAMES[group]} waits: {waits_for}")
            if self._world.clock.monotonic_ms() + PAUSE_MS >= self._end_ms:
                raise DeadlineExceeded(
                    f"group {GROUP_NAMES[group]} did not change its members within"
                    f" {self._timeout_ms / 1000:.0f} s: {waits_for}; the same command goes on from"
                    " where this one came to."
                )
            await self._world.clock.sleep(PAUSE_MS)

    def _left_ms(self) -> float:
        return max(1.0, self._end_ms - self._world.clock.monotonic_ms())


def _in_words(sentence: str, names: Mapping[ReplicaId, str]) -> str:
    """With names for the ids of replicas."""
    for replica, name in names.items():
        sentence = sentence.replace(f"replica {replica}", name).replace(str(replica), name)
    return sentence
