"""The one table of roles: what each process of a node is made of.

A role is started in a world, real or simulated, and knows nothing of which.  Only the
composition roots read this table: ``node/process.py``, ``simulator/cluster.py`` and
``torture/kv_node.py``.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Protocol, TypeAlias

import quorate
from quorate.base.codec import Notice, Request
from quorate.base.histogram import Histogram
from quorate.base.ids import JOBS_GROUP, KV_GROUP, NAMESPACE_GROUP, Address, GroupId, NodeId
from quorate.gfs.client import FileSystem
from quorate.gfs.core.namespace import Namespace
from quorate.gfs.master import Master
from quorate.gfs.messages import ChunkserverFigures
from quorate.gfs.server import Chunkserver
from quorate.kv.core.items import Table
from quorate.kv.core.store import Store
from quorate.kv.figures import DoorFigures, KvFigures
from quorate.kv.keeper import LOG_SHARE, Keeper, Machine
from quorate.kv.server import KvServer
from quorate.kv.service import KvService
from quorate.mapreduce.coordinator import Coordinator
from quorate.mapreduce.core.job_table import JobTable
from quorate.mapreduce.messages import WorkerFigures
from quorate.mapreduce.worker import Worker
from quorate.node.examination import examiner
from quorate.node.identity import NodeIdentity
from quorate.node.known import Known
from quorate.node.messages import (
    AskFigures,
    DescribeNode,
    Examine,
    NodeDescription,
    NodeEntry,
    ProcessFigures,
)
from quorate.node.peers import (
    keep_known,
    machines_of,
    names_of,
    refuse_removed,
    refuse_wrong_cluster,
    without_strangers,
)
from quorate.node.reports import RunningProcess
from quorate.raft.client import GroupClient
from quorate.raft.core.settings import Limits, Timing
from quorate.raft.figures import RaftFigures
from quorate.raft.node import Membership, RaftNode
from quorate.raft.observer import Observer
from quorate.raft.wal import SEGMENT_BYTES, Spill
from quorate.rpc.client import RpcClient
from quorate.rpc.handshake import Identity
from quorate.rpc.server import Call, Handler, NoticeHandler, RpcServer
from quorate.runtime.ports import World

HAND_OVER_MS = 500
"""How long a process that is to stop tries to let another lead."""


def _no_processes() -> list[RunningProcess]:
    return []


@dataclass(frozen=True, slots=True)
class Setting:
    """What a role is started with."""

    world: World
    machine: NodeIdentity
    address: Address
    """Where this process listens."""
    doors: Mapping[str, Address]
    """The ``rpc`` addresses of the machines that the configuration names, this one included."""
    timing: Timing
    limits: Limits | None = None
    """Of what a replica keeps; ``None``: the usual."""
    tasks: int = 1
    """Map and reduce tasks that a worker runs at once."""
    processes: Callable[[], list[RunningProcess]] = _no_processes
    """The pids of this node's processes, for those who ask."""
    known: Known = field(default_factory=Known)
    """The machines that this one knew when it ended last."""
    remember: Callable[[Known], Awaitable[None]] | None = None
    """Writes those down that it knows now."""
    observer: Observer | None = None
    """Who watches each step of each replica."""
    segment_bytes: int = SEGMENT_BYTES
    """Of the write-ahead log."""
    life: str = ""
    """Of this process (rpc/handshake.py)."""
    max_store_bytes: int = 0
    """The key/value store may take here; 0: no bound."""
    make_table: Callable[[], Table] | None = None
    """Where it keeps its keys; the default is in memory."""
    spill: Spill | None = None
    """Where the log's entries are kept; the default is in memory."""
    gateway: "Callable[[KvService], Awaitable[Gateway]] | None" = None
    """What opens the doors for other protocols."""
    loop_lag_ms: Histogram = field(default_factory=Histogram.of_durations)
    """Where this process counts how late its event loop is, if it does."""

    @property
    def addresses(self) -> list[Address]:
        """The doors, in the order of the names."""
        return [self.doors[name] for name in sorted(self.doors)]

    @property
    def seeds(self) -> list[Address]:
        """The doors, and others where machines were: for those who may have to find the cluster
        while no replica here runs, which would name them."""
        known = (entry.rpc for entry in self.known.machines)
        return list(dict.fromkeys((*self.addresses, *known)))

    @property
    def founders(self) -> dict[NodeId, Address]:
        """Where the founding machines are or were."""
        return self.machine.founders(self.known.doors | dict(self.doors))

    def identity(self, role: str) -> Identity:
        """Who this process is to others."""
        return Identity(self.machine.cluster, self.machine.node, role, self.life)


class Gateway(Protocol):
    """An open door for another protocol."""

    async def close(self) -> None: ...

    def figures(self) -> DoorFigures: ...


class Role:
    """A started role: what listens, and what ends with it."""

    def __init__(
        self,
        server: RpcServer,
        rpc: RpcClient,
        node: RaftNode | None = None,
        gateway: Gateway | None = None,
    ) -> None:
        self._server = server
        self._rpc = rpc
        self._node = node
        self._gateway = gateway

    async def close(self) -> None:
        """Stop in order: let others lead, refuse what comes, then take no further step."""
        if self._node is not None:
            await self._node.hand_over(timeout_ms=HAND_OVER_MS)
        if self._gateway is not None:
            await self._gateway.close()
        await self._server.close()
        if self._node is not None:
            self._node.stop()
        await self._rpc.close()


async def start_raft(setting: Setting) -> Role:
    """The replicas of all groups, the master of the files, the job coordinator, and the keys."""
    world, machine = setting.world, setting.machine
    rpc = RpcClient(world, setting.identity("raft"))
    namespace, jobs, store = Namespace(), JobTable(), Store(setting.make_table)
    node = await RaftNode.start(
        world,
        machine.cluster,
        machine.node,
        {
            NAMESPACE_GROUP: (namespace, _membership(setting, NAMESPACE_GROUP)),
            JOBS_GROUP: (jobs, _membership(setting, JOBS_GROUP)),
            KV_GROUP: (store, _membership(setting, KV_GROUP)),
        },
        rpc,
        timing=setting.timing,
        limits=setting.limits,
        segment_bytes=setting.segment_bytes,
        observer=setting.observer,
        door=setting.doors[machine.name],
        spill=setting.spill,
    )
    group = node.groups[NAMESPACE_GROUP]
    master = Master(world, group, namespace, lambda: names_of([group]))
    files = FileSystem(world, rpc, setting.addresses, creator=machine.name)
    coordinator = Coordinator(world, node.groups[JOBS_GROUP], jobs, files)
    kv_group, gateway = node.groups[KV_GROUP], None
    kv = KvServer(world, kv_group, store)
    log_share = LOG_SHARE if setting.spill is not None else 0.0
    place = Machine(machine.name, machine.replica(KV_GROUP), setting.max_store_bytes, log_share)

    def kv_figures() -> KvFigures:
        door = gateway.figures() if gateway is not None else None
        return KvFigures(store.statistics(), kv.watches, door)

    requests: dict[type[Request[Any]], Handler] = {
        **node.server.requests,
        **master.requests,
        **coordinator.requests,
        **kv.requests,
        **Keeper(world, rpc, kv_group, store, place).requests,
        DescribeNode: _describer(setting, node, store),
        Examine: examiner(world, node, setting.timing, setting.life),
    }
    server = _server(
        setting, "raft", rpc, requests, node.figures, node.server.notices, kv=kv_figures
    )
    await server.start(setting.address)
    own, groups = setting.doors[machine.name], node.groups
    others = setting.addresses
    world.spawn(refuse_wrong_cluster(world, rpc, own, others), "comparison of clusters")
    world.spawn(refuse_removed(world, rpc, machine, groups, others), "look for own name")
    if setting.remember is not None:
        founders = _founders(setting)
        keeping = keep_known(world, groups, setting.known, founders, setting.remember)
        world.spawn(keeping, "record of the machines")
    if setting.gateway is not None:
        gateway = await setting.gateway(KvService(world, rpc, kv_group, store))
    return Role(server, rpc, node, gateway)


async def start_chunkserver(setting: Setting) -> Role:
    """The chunks on this machine's disk."""
    world, machine = setting.world, setting.machine
    rpc = RpcClient(world, setting.identity("chunkserver"))
    chunkserver = Chunkserver(
        world,
        rpc,
        machine.cluster,
        machine.node,
        machine.name,
        setting.seeds,
        machine.earlier,
    )
    await chunkserver.open()
    server = _server(setting, "chunkserver", rpc, chunkserver.requests, chunkserver.figures)
    await server.start(setting.address)
    chunkserver.start(setting.address)
    return Role(server, rpc)


async def start_worker(setting: Setting) -> Role:
    """Map and reduce tasks, each in a process of its own."""
    world, machine = setting.world, setting.machine
    rpc = RpcClient(world, setting.identity("worker"))
    seeds = await without_strangers(rpc, setting.seeds, setting.addresses)
    files = FileSystem(world, rpc, seeds, local_node=machine.node, creator=machine.name)
    worker = Worker(
        world,
        rpc,
        GroupClient(world, rpc, seeds, JOBS_GROUP),
        files,
        node=machine.node,
        address=setting.address,
        slots=setting.tasks,
    )
    server = _server(setting, "worker", rpc, worker.requests, worker.figures)
    await server.start(setting.address)
    await worker.start()
    return Role(server, rpc)


ROLES: Mapping[str, Callable[[Setting], Awaitable[Role]]] = {
    "raft": start_raft,
    "chunkserver": start_chunkserver,
    "worker": start_worker,
}
"""Role to what starts it, in the order of starting; ``NodeConfig.role_addresses`` has the same."""


_System: TypeAlias = RaftFigures | ChunkserverFigures | WorkerFigures


def _server(
    setting: Setting,
    role: str,
    rpc: RpcClient,
    requests: Mapping[type[Request[Any]], Handler],
    system: Callable[[], _System],
    notices: Mapping[type[Notice], NoticeHandler] = MappingProxyType({}),
    kv: Callable[[], KvFigures | None] = lambda: None,
) -> RpcServer:
    """The door of a process, which also tells its figures."""

    def figures(request: AskFigures, call: Call) -> ProcessFigures:
        return ProcessFigures(
            server.figures(), rpc.notices_dropped, setting.loop_lag_ms, system(), kv()
        )

    handlers: dict[type[Request[Any]], Handler] = {**requests, AskFigures: figures}
    server = RpcServer(setting.world, setting.identity(role), handlers, notices)
    return server


def _membership(setting: Setting, group: GroupId) -> Membership:
    machine = setting.machine
    doors = setting.known.doors | dict(setting.doors)
    return Membership(machine.replica(group), machine.founding(group, doors))


def _founders(setting: Setting) -> list[NodeEntry]:
    names = setting.machine.names
    return [
        NodeEntry(number, names[number - 1], door)
        for number, door in sorted(setting.founders.items())
    ]


def _describer(setting: Setting, node: RaftNode, store: Store) -> Handler:
    machine = setting.machine
    founders = _founders(setting)

    def describe(request: DescribeNode, call: Call) -> NodeDescription:
        return NodeDescription(
            machine.cluster,
            machine.node,
            machine.name,
            quorate.__version__,
            machines_of(node.groups.values()),
            [group.status_now() for group in node.groups.values()],
            setting.processes(),
            founders,
            store.statistics(),
        )

    return describe
