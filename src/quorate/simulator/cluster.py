"""Clusters in the simulated world: the composition root of simulations.

A cluster is some machines, each with a process of every role, and clients on machines of their own.
``RaftCluster`` has one role, which hosts replicas of any groups of one state machine;
``NodeCluster`` has the nodes of the product, with all roles of ``node/roles.py``.  Everything above
the ports is the product's code, and a ``SafetyChecker`` watches each replica.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from typing import Any, TypeAlias

import msgspec

from quorate.base.codec import Request
from quorate.base.errors import AlreadyExists, QuorateError, ReplicaDamaged
from quorate.base.ids import GROUP_NAMES, Address, ClusterId, GroupId, NodeId, ReplicaId, node_of
from quorate.base.machine import StateMachine
from quorate.base.sometimes import sometimes
from quorate.gfs.client import DEFAULT_TIMEOUT_MS, FileSystem
from quorate.kv.client import KvClient
from quorate.mapreduce.client import JobClient
from quorate.node.bootstrap import founding_identity, new_cluster_id
from quorate.node.identity import founding_replica
from quorate.node.roles import ROLES, Setting
from quorate.raft.changes import change_members
from quorate.raft.client import GroupClient
from quorate.raft.core.configuration import founding
from quorate.raft.core.settings import Limits, Timing
from quorate.raft.messages import Members
from quorate.raft.node import Membership, RaftNode
from quorate.raft.observer import Observer
from quorate.raft.wal import Wal
from quorate.rpc.client import RpcClient
from quorate.rpc.handshake import Identity
from quorate.rpc.server import Handler, RpcServer
from quorate.runtime.ports import World
from quorate.runtime.simulated.process import SimulatedProcess
from quorate.runtime.simulated.processes import SimulatedProcesses, TaskCost
from quorate.runtime.simulated.world import Main, Simulation
from quorate.simulator.checkers.safety import SafetyChecker
from quorate.simulator.workloads.lists import Lists

CLUSTER = ClusterId("5" * 32)
NODES_A_LIFE = 100
"""What a node's number grows by when its machine has lost its disk."""
REPAIR_MS = 5_000.0
TRANSFER_MS = 1_000
"""Within this time a leader must have handed over, or it goes on."""
SEGMENT_BYTES = 128 * 1024
"""Small, so that segments are begun and removed in a short run."""


class Cluster(ABC):
    """Machines ``n1``, ``n2``, …, on each a process of every role; ``raft`` is always one."""

    def __init__(
        self,
        simulation: Simulation,
        cluster: ClusterId,
        names: Sequence[str],
        groups: Sequence[GroupId],
        roles: Sequence[str],
    ) -> None:
        self.simulation = simulation
        self.cluster = cluster
        self.names = list(names)
        self.groups = list(groups)
        self.roles = list(roles)
        self.checker = SafetyChecker(
            lambda replica: simulation.machine(name_of(replica)).clock.monotonic_ms()
        )
        self.observer: Observer = self.checker
        """Who watches each replica; whoever puts itself here passes on to who was before."""

    @property
    def addresses(self) -> list[Address]:
        """The doors of the machines."""
        return [address(name) for name in self.names]

    def found(self) -> None:
        """Bootstrap: an empty, synced log on each machine's disk; then start everything."""
        for name in self.names:
            founding = self.simulation.machine(name).start_process("raft", self._create(name))
            while founding.alive:
                self.simulation.run_for(1)
        for name in self.names:
            self.start(name)

    def start(self, name: str, *roles: str) -> None:
        """Start those of ``roles`` (default: all) that do not run."""
        machine = self.simulation.machine(name)
        for role in roles or self.roles:
            process = machine.processes.get(role)
            if process is None or not process.alive:
                machine.start_process(role, self._main(name, role))

    def is_up(self, name: str) -> bool:
        """Whether all processes of the machine run."""
        return all(process.alive for process in self.processes(name))

    def processes(self, name: str) -> list[SimulatedProcess]:
        """The latest of each role."""
        machine = self.simulation.machine(name)
        return [machine.processes[role] for role in self.roles]

    def kill(self, name: str, *roles: str) -> None:
        """SIGKILL of the processes of ``roles`` (default: all): what was written, synced or not, is
        still in the page cache."""
        for role in roles or self.roles:
            self.simulation.machine(name).processes[role].kill()

    def power_loss(self, name: str) -> None:
        """The machine goes dark: any part of what was not synced is lost."""
        self.simulation.machine(name).power_loss()

    def leader(self, group: GroupId) -> str | None:
        """The machine that leads ``group`` in its latest term, if it runs and still leads."""
        replica = self.checker.leader(group)
        if replica is None:
            return None
        process = self.simulation.machine(name_of(replica)).processes["raft"]
        return name_of(replica) if process.alive else None

    def transfer(self, group: GroupId) -> bool:
        """Have the leader of ``group`` hand over to another; whether there is one to be told."""
        return False

    def change_members(
        self, group: GroupId, voters: Sequence[str], learners: Sequence[str], timeout_ms: float
    ) -> bool:
        """Have the members of ``group`` changed; whether there is anybody to be told."""
        return False

    def voters(self, group: GroupId) -> list[str]:
        """The nodes whose replicas vote in ``group``, as its leader knows them; none if nobody
        leads, or they are just changing."""
        return []

    def healthy(self) -> list[str]:
        """The nodes to which nothing happens for ever."""
        return self.names

    def lose_disk(self, name: str) -> bool:
        """Replace the disk of a machine that is down by an empty one, if the cluster can bear that;
        whether that was done."""
        return False

    def repair(self) -> list[str]:
        """From time to time: what nodes do about damaged replicas, and operators about lost ones;
        gives the machines that are to be started again."""
        return []

    def rpc(self, world: World) -> RpcClient:
        """What a client process calls with."""
        return RpcClient(world, Identity(self.cluster, NodeId(0), "client"))

    def _create(self, name: str) -> Main:
        """Found the log of a machine."""

        async def main(world: World) -> None:
            cluster, node = self.cluster, node_id(name)
            await Wal.create(world.disk, cluster, node, segment_bytes=SEGMENT_BYTES)

        return main

    @abstractmethod
    def _main(self, name: str, role: str) -> Main:
        """What a process of ``role`` does, for ever."""


ClientWork: TypeAlias = Callable[[World, list[GroupClient]], Coroutine[Any, Any, None]]
"""What a client process does; it has a client for each group."""


class RaftCluster(Cluster):
    """``nodes`` machines with a ``raft`` process, and ``groups`` groups of ``machine``."""

    def __init__(
        self,
        simulation: Simulation,
        nodes: int,
        groups: int = 1,
        *,
        founders: int | None = None,
        lost: Sequence[str] = (),
        timing: Timing | None = None,
        limits: Limits | None = None,
        machine: Callable[[], StateMachine] = Lists,
    ) -> None:
        """The first ``founders`` of the nodes (default: all) are voters of all groups from the
        beginning; the others hold replicas that nobody knows yet.  ``lost`` may be out of order for
        good."""
        numbers = [GroupId(number) for number in range(1, groups + 1)]
        super().__init__(simulation, CLUSTER, names_of(nodes), numbers, ["raft"])
        self._founders = self.names[:founders]
        self.lost = tuple(lost)
        self._timing = timing
        self._limits = limits
        self._machine = machine
        self.raft_nodes: dict[str, RaftNode] = {}
        """What the latest ``raft`` process of each machine runs, once it has opened its log."""
        self._worlds: dict[str, World] = {}
        self._lives = dict.fromkeys(self.names, 0)
        """How many disks a machine has lost: with each it comes back as another node."""
        self.client: Callable[[str, World, RpcClient, GroupId], GroupClient] = self._client
        """Makes a client, for the machine of this name."""

    def start_client(self, name: str, work: ClientWork) -> SimulatedProcess:
        """A process on a machine of its own, with a client for each group."""

        async def main(world: World) -> None:
            rpc = self.rpc(world)
            await work(world, [self.client(name, world, rpc, group) for group in self.groups])

        return self.simulation.machine(name).start_process("client", main)

    def _client(self, name: str, world: World, rpc: RpcClient, group: GroupId) -> GroupClient:
        return GroupClient(world, rpc, self.addresses, group)

    def _raft_rpc(self, world: World, identity: Identity) -> RpcClient:
        """What a replica speaks with."""
        return RpcClient(world, identity)

    def transfer(self, group: GroupId) -> bool:
        name = self.leader(group)
        if name is None:
            return False
        leader = self.raft_nodes[name].groups[group]

        async def hand_over() -> None:
            with suppress(QuorateError):  # it does not lead, or nobody could take over
                await leader.transfer(timeout_ms=TRANSFER_MS)

        self.processes(name)[0].run(self.simulation.loop.create_task, hand_over())
        return True

    def change_members(
        self, group: GroupId, voters: Sequence[str], learners: Sequence[str], timeout_ms: float
    ) -> bool:
        """Have the leader of ``group`` change its members to those on these nodes; whether there is
        one to be told."""
        name = self.leader(group)
        if name is None:
            return False
        leader = self.raft_nodes[name].groups[group]
        world = self._worlds[name]
        wanted = Members(
            tuple(self._replica(group, voter) for voter in voters),
            {self._replica(group, other): address(other) for other in (*voters, *learners)},
            tuple(self._replica(group, learner) for learner in learners),
        )

        async def change() -> None:
            with suppress(QuorateError):  # it does not lead any more, or there was no time
                await change_members(world, leader, wanted, timeout_ms=timeout_ms)

        self.processes(name)[0].run(self.simulation.loop.create_task, change())
        return True

    def lose_disk(self, name: str) -> bool:
        if not all(self._can_lose(name, group) for group in self.groups):
            return False
        self.simulation.machine(name).disk.wipe()
        self._lives[name] += 1
        return True

    def voters(self, group: GroupId) -> list[str]:
        name = self.leader(group)
        if name is None or name not in self.raft_nodes:
            return []
        members = self.raft_nodes[name].groups[group].configuration
        return [] if members.is_joint else [name_of(voter) for voter in members.voters]

    def healthy(self) -> list[str]:
        return [name for name in self.names if name not in self.lost]

    def _can_lose(self, name: str, group: GroupId) -> bool:
        """Whether in every configuration that anybody obeys a majority keeps its disks."""
        known = [node.groups[group].configuration for node in self.raft_nodes.values()]
        for voters in [c.voters for c in known] + [c.old_voters for c in known if c.is_joint]:
            kept = [v for v in voters if self._is_current(group, v) and name_of(v) != name]
            if 2 * len(set(kept) - self._out_of_order(group)) <= len(voters):
                return False
        return True

    def _out_of_order(self, group: GroupId) -> set[ReplicaId]:
        return {self._replica(group, name) for name in self.lost}

    def _is_current(self, group: GroupId, replica: ReplicaId) -> bool:
        return replica == self._replica(group, name_of(replica))

    def repair(self) -> list[str]:
        rebuilt = [name for name in self.names if self._rebuild(name)]
        for group in self.groups:
            name = self.leader(group)
            if name is None or name not in self.raft_nodes:
                continue
            members = self.raft_nodes[name].groups[group].configuration
            stale = [r for r in members.members if not self._is_current(group, r)]
            if stale and not members.is_joint:
                voters, learners = map(name_of, members.voters), map(name_of, members.learners)
                # One that was made a learner in the old one's place already goes on from there.
                chosen = list(dict.fromkeys(voters))
                rest = [other for other in dict.fromkeys(learners) if other not in chosen]
                self.change_members(group, chosen, rest, REPAIR_MS)
        return rebuilt

    def _rebuild(self, name: str) -> bool:
        """As node/rebuilding.py does: a damaged machine comes back under another id."""
        [process] = self.processes(name)
        damaged = not process.alive and isinstance(process.error, ReplicaDamaged)
        if damaged and self.lose_disk(name):
            sometimes("damaged replica rebuilt")
            return True
        return False

    def _node(self, name: str) -> NodeId:
        return NodeId(node_id(name) + self._lives[name] * NODES_A_LIFE)

    def _replica(self, group: GroupId, name: str) -> ReplicaId:
        return founding_replica(group, self._node(name))

    def _main(self, name: str, role: str) -> Main:
        node_number = self._node(name)

        async def main(world: World) -> None:
            self._worlds[name] = world
            if self._lives[name]:
                with suppress(AlreadyExists):
                    await Wal.create(world.disk, CLUSTER, node_number, segment_bytes=SEGMENT_BYTES)
            identity = Identity(CLUSTER, node_number, role)
            rpc = self._raft_rpc(world, identity)
            node = self.raft_nodes[name] = await RaftNode.start(
                world,
                CLUSTER,
                node_number,
                {group: (self._machine(), self._membership(group, name)) for group in self.groups},
                rpc,
                timing=self._timing,
                limits=self._limits,
                segment_bytes=SEGMENT_BYTES,
                observer=self.observer,
                spill=_elsewhere if node_number % 2 else None,
            )
            requests = await self._requests(name, world, rpc, node)
            server = RpcServer(world, identity, requests, node.server.notices)
            await server.start(address(name))
            await world.clock.sleep(float("inf"))

        return main

    async def _requests(
        self, name: str, world: World, rpc: RpcClient, node: RaftNode
    ) -> Mapping[type[Request[Any]], Handler]:
        """What the process on the machine of this name answers."""
        return node.server.requests

    def _membership(self, group: GroupId, name: str) -> Membership:
        founders = founding({replica_id(group, other): address(other) for other in self._founders})
        if self._lives[name]:  # who joins has asked whom to answer
            now = {self._replica(group, other): address(other) for other in self.names}
            founders = msgspec.structs.replace(founders, addresses=founders.addresses | now)
        return Membership(self._replica(group, name), founders)


class User:
    """What a user of nodes has, on a machine of its own."""

    def __init__(self, world: World, cluster: "NodeCluster", timeout_ms: float) -> None:
        self.world = world
        self.rpc = cluster.rpc(world)
        doors = cluster.addresses
        self.files = FileSystem(world, self.rpc, doors, timeout_ms=timeout_ms)
        self.jobs = JobClient(world, self.rpc, doors, timeout_ms=timeout_ms)
        self.kv = KvClient(world, self.rpc, doors, timeout_s=timeout_ms / 1000)


class NodeCluster(Cluster):
    """``nodes`` machines with all roles of a node.

    ``tasks`` is what a worker runs at once; ``cost`` what its task processes cost.
    """

    def __init__(
        self,
        simulation: Simulation,
        nodes: int = 3,
        *,
        timing: Timing | None = None,
        limits: Limits | None = None,
        tasks: int = 2,
        cost: TaskCost | None = None,
    ) -> None:
        names = names_of(nodes)
        cluster = new_cluster_id(names, "5" * 24)
        super().__init__(simulation, cluster, names, sorted(GROUP_NAMES), list(ROLES))
        self._timing = timing or Timing()
        self._limits = limits
        self._tasks = tasks
        self._cost = cost or TaskCost()

    def start_user(
        self,
        name: str,
        work: Callable[[User], Coroutine[Any, Any, Any]],
        *,
        timeout_ms: float = DEFAULT_TIMEOUT_MS,
    ) -> SimulatedProcess:
        """A client process on a machine of its own."""

        async def main(world: World) -> Any:
            return await work(User(world, self, timeout_ms))

        return self.simulation.machine(name).start_process("client", main)

    def _main(self, name: str, role: str) -> Main:
        async def main(world: World) -> None:
            if isinstance(world.processes, SimulatedProcesses):
                world.processes.cost = self._cost
            setting = Setting(
                world,
                founding_identity(name, self.names, self.cluster),
                address(name, role),
                {other: address(other) for other in self.names},
                self._timing,
                self._limits,
                self._tasks,
                observer=self.observer,
                segment_bytes=SEGMENT_BYTES,
            )
            await ROLES[role](setting)
            await world.clock.sleep(float("inf"))

        return main


def _elsewhere(data: bytes) -> memoryview:
    """As a node with a store on its disk keeps its log: half of the nodes do."""
    return memoryview(data)


def names_of(nodes: int) -> list[str]:
    return [f"n{number}" for number in range(1, nodes + 1)]


def address(name: str, role: str = "raft") -> Address:
    return Address(f"{name}:{role}")


def node_id(name: str) -> NodeId:
    return NodeId(int(name[1:]))


def replica_id(group: GroupId, name: str) -> ReplicaId:
    return founding_replica(group, node_id(name))


def name_of(replica: ReplicaId) -> str:
    """The node that holds ``replica``."""
    return f"n{node_of(replica) % NODES_A_LIFE}"
