"""The one table of roles: what each process of a node is made of.

A role is started in a world, real or simulated, and knows nothing of which.  Only the two
composition roots, ``node/process.py`` and ``simulator/cluster.py``, read this table.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import quorate
from quorate.base.codec import Notice, Request
from quorate.base.ids import JOBS_GROUP, NAMESPACE_GROUP, Address, GroupId, NodeId
from quorate.gfs.core.namespace import Namespace
from quorate.gfs.master import Master
from quorate.node.config import RaftTimes
from quorate.node.identity import NodeIdentity
from quorate.node.messages import DescribeNode, NodeDescription, NodeEntry
from quorate.node.reports import RunningProcess
from quorate.raft.core.settings import Timing
from quorate.raft.node import Membership, RaftNode
from quorate.raft.observer import Observer
from quorate.rpc.client import RpcClient
from quorate.rpc.handshake import Identity
from quorate.rpc.server import Call, Handler, NoticeHandler, RpcServer
from quorate.runtime.ports import World


def _no_processes() -> list[RunningProcess]:
    return []


@dataclass(frozen=True, slots=True)
class Setting:
    """What a role is started with."""

    world: World
    machine: NodeIdentity
    address: Address
    """Where this process listens."""
    doors: Mapping[NodeId, Address]
    """The ``rpc`` addresses of all machines."""
    times: RaftTimes = RaftTimes()
    tasks: int = 1
    """Map and reduce tasks that a worker runs at once."""
    processes: Callable[[], list[RunningProcess]] = _no_processes
    """The pids of this node's processes, for those who ask."""
    observer: Observer | None = None
    """Who watches each step of each replica."""

    def identity(self, role: str) -> Identity:
        """Who this process is to others."""
        return Identity(self.machine.cluster, self.machine.node, role)


class Role(Protocol):
    """A started role."""

    async def close(self) -> None:
        """Stop in order: refuse what comes, end what runs."""


async def start_raft(setting: Setting) -> Role:
    """The replicas of all groups, the master of the files and the job coordinator."""
    world, machine = setting.world, setting.machine
    rpc = RpcClient(world, setting.identity("raft"))
    namespace = Namespace()
    jobs = JobTable()
    node = await RaftNode.start(
        world,
        machine.cluster,
        machine.node,
        {
            NAMESPACE_GROUP: (namespace, _membership(setting, NAMESPACE_GROUP)),
            JOBS_GROUP: (jobs, _membership(setting, JOBS_GROUP)),
        },
        rpc.notify,
        timing=Timing(setting.times.heartbeat_interval_ms, setting.times.election_timeout_ms),
        observer=setting.observer,
    )
    names = {NodeId(number): name for number, name in enumerate(machine.names, 1)}
    master = Master(world, node.groups[NAMESPACE_GROUP], namespace, names)
    requests: dict[type[Request[Any]], Handler] = {
        **node.server.requests,
        **master.requests,
        DescribeNode: _describer(setting, node),
    }
    server = RpcServer(world, setting.identity("raft"), requests, node.server.notices)
    await server.start(setting.address)
    return RaftRole(...)


def _membership(setting: Setting, group: GroupId) -> Membership:
    founding = next(found for found in setting.machine.groups if found.group == group)
    addresses = {member.replica: setting.doors[member.node] for member in founding.members}
    return Membership(setting.machine.replica(group), addresses)


def _describer(setting: Setting, node: RaftNode) -> Handler:
    machine = setting.machine
    entries = [
        NodeEntry(NodeId(number), name, setting.doors[NodeId(number)])
        for number, name in enumerate(machine.names, 1)
    ]

    def describe(request: DescribeNode, call: Call) -> NodeDescription:
        return NodeDescription(
            machine.cluster,
            machine.node,
            machine.name,
            quorate.__version__,
            entries,
            [group.status() for group in node.groups.values()],
            setting.processes(),
        )

    return describe
