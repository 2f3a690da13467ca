"""Clusters in the simulated world: the composition root of simulations.

A ``RaftCluster`` is some machines, each with a ``raft`` process that hosts a replica of every
group, and clients on machines of their own.  Everything above the ports is the product's code.
"""

from collections.abc import Callable, Coroutine
from typing import Any, TypeAlias

from quorate.base.ids import Address, ClusterId, GroupId, NodeId, ReplicaId
from quorate.base.machine import StateMachine
from quorate.raft.client import GroupClient
from quorate.raft.core.settings import Timing
from quorate.raft.node import Membership, RaftNode
from quorate.raft.wal import Wal
from quorate.rpc.client import RpcClient
from quorate.rpc.handshake import Identity
from quorate.rpc.server import RpcServer
from quorate.runtime.ports import World
from quorate.runtime.simulated.process import SimulatedProcess
from quorate.runtime.simulated.world import Simulation
from quorate.simulator.checkers.safety import SafetyChecker
from quorate.simulator.workloads.lists import Lists

CLUSTER = ClusterId("5" * 32)
SEGMENT_BYTES = 128 * 1024
"""Small, so that segments are begun and removed in a short run."""


ClientWork: TypeAlias = Callable[[World, list[GroupClient]], Coroutine[Any, Any, None]]
"""What a client process does; it has a client for each group."""


class RaftCluster:
    """``nodes`` machines ``n1``, ``n2``, …, and ``groups`` groups."""

    def __init__(
        self,
        simulation: Simulation,
        nodes: int,
        groups: int = 1,
        *,
        timing: Timing | None = None,
        machine: Callable[[], StateMachine] = Lists,
    ) -> None:
        self.simulation = simulation
        self.names = [f"n{number}" for number in range(1, nodes + 1)]
        self.groups = [GroupId(number) for number in range(1, groups + 1)]
        self.checker = SafetyChecker()
        self.raft: dict[str, RaftNode] = {}
        """The running nodes, by name."""
        self._processes: dict[str, SimulatedProcess] = {}
        self._timing = timing
        self._machine = machine

    @property
    def addresses(self) -> list[Address]:
        return [address(name) for name in self.names]

    def found(self) -> None:
        """Bootstrap: an empty, synced log on each machine's disk; then start all nodes."""
        for name in self.names:
            founding = self.simulation.machine(name).start_process("raft", self._create(name))
            while founding.alive:
                self.simulation.run_for(1)
        for name in self.names:
            self.start(name)

    def start(self, name: str) -> None:
        machine = self.simulation.machine(name)
        self._processes[name] = machine.start_process("raft", self._serve(name))

    def is_up(self, name: str) -> bool:
        return self._processes[name].alive

    def kill_process(self, name: str) -> None:
        """SIGKILL: what was written, synced or not, is still in the page cache."""
        self._processes[name].kill()
        self.raft.pop(name, None)

    def power_loss(self, name: str) -> None:
        """The machine goes dark: any part of what was not synced is lost."""
        self.simulation.machine(name).power_loss()
        self.raft.pop(name, None)

    def leader(self, group: GroupId) -> str | None:
        """The node that leads ``group`` in the highest term, if one does."""
        leading = [
            (node.groups[group].term, name)
            for name, node in self.raft.items()
            if node.groups[group].is_leader
        ]
        return max(leading)[1] if leading else None

    def start_client(self, name: str, work: ClientWork) -> SimulatedProcess:
        """A process on a machine of its own, with a client for each group."""

        async def main(world: World) -> None:
            rpc = RpcClient(world, Identity(CLUSTER, NodeId(0), "client"))
            await work(world, [GroupClient(world, rpc, self.addresses, g) for g in self.groups])

        return self.simulation.machine(name).start_process("client", main)

    def _create(self, name: str) -> Callable[[World], Coroutine[Any, Any, None]]:
        async def main(world: World) -> None:
            await Wal.create(world.disk, CLUSTER, node_id(name), segment_bytes=SEGMENT_BYTES)

        return main

    def _serve(self, name: str) -> Callable[[World], Coroutine[Any, Any, None]]:
        async def main(world: World) -> None:
            identity = Identity(CLUSTER, node_id(name), "raft")
            rpc = RpcClient(world, identity)
            node = await RaftNode.start(
                world,
                CLUSTER,
                node_id(name),
                {group: (self._machine(), self._membership(group, name)) for group in self.groups},
                self.checker.watch(rpc.notify),
                timing=self._timing,
                segment_bytes=SEGMENT_BYTES,
                observer=self.checker,
            )
            server = RpcServer(world, identity, node.server.requests, node.server.notices)
            await server.start(address(name))
            self.raft[name] = node
            await world.clock.sleep(float("inf"))

        return main

    def _membership(self, group: GroupId, name: str) -> Membership:
        addresses = {replica_id(group, other): address(other) for other in self.names}
        return Membership(replica_id(group, name), addresses)


def address(name: str) -> Address:
    return Address(f"{name}:raft")


def node_id(name: str) -> NodeId:
    return NodeId(int(name[1:]))


def replica_id(group: GroupId, name: str) -> ReplicaId:
    return ReplicaId(group * 1000 + node_id(name))


def name_of(replica: ReplicaId) -> str:
    """The node that holds ``replica``."""
    return f"n{replica % 1000}"
