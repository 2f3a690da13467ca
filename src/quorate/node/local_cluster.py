"""``quorate up``: a cluster of real nodes on one machine, for a laptop, tests and the demo.

Each node is what ``quorate node`` would be: its own directory ``DIR/n1``, configuration,
supervisor, processes and disks.  Node ``k`` listens from port ``base + 10 * (k - 1)``.  Nothing
here repairs a node: a supervisor that is killed stands for a machine that died, and stays dead
until ``start_node``.

``DIR/cluster.json`` is written before the first bootstrap and again, with ``bootstrapped`` set,
after the last, and no node is started in between.  So while it is not set, no node has promised
anything, and a half-made one may be made anew; once it is, a node without identity has lost its
disk and is left alone: the others go on if they are a majority.
"""

import asyncio
import os
import secrets
import shutil
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

import msgspec

from quorate.base.errors import BadConfiguration, QuorateError, Unavailable
from quorate.base.ids import GROUP_NAMES, NAMESPACE_GROUP, Address, ClusterId, GroupId, NodeId
from quorate.gfs.messages import ListServers
from quorate.node.bootstrap import bootstrap, new_cluster_id
from quorate.node.child import Child
from quorate.node.config import load
from quorate.node.identity import identity_in
from quorate.node.lock import FileLock
from quorate.node.logfile import LogFile
from quorate.node.messages import DescribeNode, NodeDescription
from quorate.node.reports import Ready, RunningProcess
from quorate.node.sizes import store_share
from quorate.raft.messages import GroupStatus
from quorate.rpc.client import RpcClient
from quorate.rpc.handshake import Identity
from quorate.runtime.ports import World
from quorate.runtime.real.disk import RealDisk
from quorate.runtime.record import read_record, write_record

CLUSTER_FILE = "cluster.json"
LOCK_FILE = "lock"
DEFAULT_PORT = 7400
PORTS_A_NODE = 10
MAX_NODES = 30
START_MS = 900_000.0
"""A store of many GB is read back first; a node that dies meanwhile is noticed at once."""
STOP_MS = 10_000.0
SETTLE_MS = 30_000.0
POLL_MS = 50.0
ASK_MS = 1_000.0
LOCK_PATIENCE_MS = 3_000.0

_NODE_TOML = """\
# Written by 'quorate up' at each start.
name = "{name}"
data_dir = "data"

[addresses]
rpc = "127.0.0.1:{port}"
chunkserver = "127.0.0.1:{chunkserver_port}"
worker = "127.0.0.1:{worker_port}"
metrics = "127.0.0.1:{metrics_port}"
resp = "127.0.0.1:{resp_port}"

[worker]
tasks = {tasks}

[kv]
store = "{store}"
{max_bytes}"""
_MEMBER_TOML = """
[[nodes]]
name = "{name}"
rpc = "127.0.0.1:{port}"
"""


class ClusterRecord(msgspec.Struct, frozen=True):
    """What ``DIR/cluster.json`` holds."""

    cluster: ClusterId
    names: tuple[str, ...]
    port: int
    bootstrapped: bool
    store: str = "memory"
    """Where the nodes keep their keys."""
    max_bytes: int | None = None
    """Of the store; ``None``: the usual."""


class LocalNode:
    """One node as ``quorate up`` sees it."""

    def __init__(self, name: str, directory: Path, port: int) -> None:
        self.name = name
        self.directory = directory
        self.port = port
        self.child: Child | None = None
        self.processes: tuple[RunningProcess, ...] = ()

    @property
    def config_file(self) -> Path:
        return self.directory / "node.toml"

    @property
    def data_dir(self) -> Path:
        return self.directory / "data"

    @property
    def addresses(self) -> dict[str, str]:
        return {
            "rpc": f"127.0.0.1:{self.port}",
            "chunkserver": f"127.0.0.1:{self.port + 1}",
            "worker": f"127.0.0.1:{self.port + 2}",
            "metrics": f"127.0.0.1:{self.port + 3}",
            "resp": f"127.0.0.1:{self.port + 4}",
        }

    @property
    def alive(self) -> bool:
        return self.child is not None and self.child.alive


class LocalCluster:
    """Nodes of one machine; an object of one event loop of the real world."""

    def __init__(
        self,
        world: World,
        directory: Path,
        nodes: int | None = None,
        port: int | None = None,
        say: Callable[[str], None] = lambda sentence: None,
        tasks: int | None = None,
        store: str | None = None,
        max_bytes: int | None = None,
    ) -> None:
        """``nodes``, ``port``, ``store`` and ``max_bytes`` default to what the directory holds, or
        3, 7400, "memory", and each node's share of the memory.

        ``say`` hears what a person should; ``tasks`` is how many map and reduce tasks a node runs
        at once, by default its share of the cores.
        """
        self._world = world
        self._rpc = RpcClient(world, Identity(ClusterId(""), NodeId(0), "client"))
        self.directory = directory.absolute()
        self._wanted = nodes
        self._port = port
        self._say = say
        self._tasks = tasks
        self._store = store
        self._max_bytes = max_bytes
        self._lock: FileLock | None = None
        self._watchers: list[asyncio.Task[None]] = []
        self.nodes: dict[str, LocalNode] = {}
        self.lost: list[str] = []
        """Nodes that were bootstrapped once and whose identity is gone."""

    async def start(self) -> None:
        """Prepare the directory and start all nodes; returns when they listen, all groups have
        leaders, and the master has heard of all chunkservers.

        Raises one ``QuorateError`` and leaves nothing running if that cannot be.
        """
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            self._lock = FileLock(self.directory / LOCK_FILE, LOCK_PATIENCE_MS)
            await self._prepare()
            await self._start_all([name for name in self.nodes if name not in self.lost])
            await self.settled()
        except OSError as error:
            await self.stop()
            raise BadConfiguration(f"{self.directory} cannot be used: {error.strerror}.") from error
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Stop all nodes in order."""
        await asyncio.gather(*(self.stop_node(name) for name in self.nodes))
        await asyncio.gather(*self._watchers)
        await self._rpc.close()
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    async def start_node(self, name: str) -> None:
        """Start one node that does not run; returns when it listens, raises why it cannot."""
        node = self.nodes[name]
        child = await Child.start(
            f"node {name}",
            "quorate.node.supervisor",
            (str(node.config_file),),
            LogFile(node.directory / "node.log"),
            lambda ready: self._listening(node, ready),
        )
        node.child = child
        try:
            await self._ready(node, child)
        except BaseException:
            await child.stop(STOP_MS)
            raise
        self._watchers.append(asyncio.create_task(self._watch(node, child)))

    async def stop_node(self, name: str) -> None:
        """Stop one node in order, as a shutdown of its machine would."""
        node = self.nodes[name]
        if node.child is not None:
            child, node.child = node.child, None
            await child.stop(STOP_MS)

    async def settled(self, timeout_ms: float = SETTLE_MS) -> None:
        """Wait until all groups have leaders and the master of the files has heard of the
        chunkserver of every node that runs; ``Unavailable`` after ``timeout_ms``."""
        try:
            async with asyncio.timeout(timeout_ms / 1000):
                while not await self._is_settled():
                    await self._world.clock.sleep(POLL_MS)
        except TimeoutError:
            raise Unavailable(
                f"The nodes of {self.directory} listen, but did not find their leaders within"
                f" {timeout_ms / 1000:.0f} s: see the logs there."
            ) from None

    async def _is_settled(self) -> bool:
        running = [node for node in self.nodes.values() if node.alive]
        replies = await asyncio.gather(*(self._describe(node) for node in running))
        statuses = [status for reply in replies if reply for status in reply.groups]
        majority = 1 + len(running) // 2
        leaders = {group: _leader(group, statuses, majority) for group in GROUP_NAMES}
        master = leaders[NAMESPACE_GROUP]
        # A leader may be a machine that joined, but none of ours that is dead.
        dead = {node.addresses["rpc"] for node in self.nodes.values() if not node.alive}
        if master is None or not dead.union([None]).isdisjoint(leaders.values()):
            return False
        try:
            servers = await self._rpc.call(master, ListServers(), timeout_ms=ASK_MS)
        except QuorateError:
            return False
        return sum(server.live for server in servers.servers) >= len(running)

    async def _describe(self, node: LocalNode) -> NodeDescription | None:
        try:
            door = Address(node.addresses["rpc"])
            return await self._rpc.call(door, DescribeNode(), timeout_ms=ASK_MS)
        except QuorateError:
            return None

    async def all_dead(self) -> None:
        """Return when no node runs any more."""
        while watching := [watcher for watcher in self._watchers if not watcher.done()]:
            await asyncio.wait(watching)

    @property
    def addresses(self) -> list[Address]:
        """The doors of all nodes."""
        return [Address(node.addresses["rpc"]) for node in self.nodes.values()]

    def pids(self, name: str) -> list[int]:
        """The supervisor of a running node and its processes."""
        node = self.nodes[name]
        if node.child is None:
            return []
        return [node.child.pid, *(process.pid for process in node.processes)]

    def describe(self) -> dict[str, object]:
        """What ``quorate up --json`` prints: each running node, its addresses and its pids."""
        return {
            "nodes": [
                {
                    "name": node.name,
                    "pid": node.child.pid,
                    "roles": [process.role for process in node.processes],
                    "addresses": node.addresses,
                    "processes": [
                        {"role": process.role, "pid": process.pid} for process in node.processes
                    ],
                }
                for node in self.nodes.values()
                if node.child is not None and node.child.alive
            ]
        }

    # Starting.

    async def _start_all(self, names: Sequence[str]) -> None:
        results = await asyncio.gather(
            *(self.start_node(name) for name in names), return_exceptions=True
        )
        for result in results:
            if isinstance(result, BaseException):
                raise result

    async def _ready(self, node: LocalNode, child: Child) -> None:
        try:
            async with asyncio.timeout(START_MS / 1000):
                await child.ready()
        except TimeoutError:
            raise Unavailable(
                f"{node.name} did not listen within {START_MS / 1000:.0f} s: see"
                f" {node.directory}/*.log."
            ) from None

    def _listening(self, node: LocalNode, ready: Ready) -> None:
        node.processes = ready.processes

    async def _watch(self, node: LocalNode, child: Child) -> None:
        error = await child.ended()
        if node.child is child:  # nobody asked it to stop
            node.child = None
            self._say(f"{node.name} is gone: {error.message}")

    # The directory.

    async def _prepare(self) -> None:
        with closing(RealDisk(self.directory)) as disk:
            await self._prepare_nodes(disk, await self._record(disk))

    async def _prepare_nodes(self, disk: RealDisk, record: ClusterRecord) -> None:
        for number, name in enumerate(record.names):
            port = record.port + number * PORTS_A_NODE
            self.nodes[name] = LocalNode(name, self.directory / name, port)
        for node in self.nodes.values():
            await self._prepare_node(node, record)
        if not record.bootstrapped:
            await write_record(
                disk, CLUSTER_FILE, msgspec.structs.replace(record, bootstrapped=True)
            )
        if 2 * len(self.lost) >= len(self.nodes):
            raise BadConfiguration(
                f"{self.directory}: {', '.join(self.lost)} lost their identity, and the rest is"
                " no majority: restore their directories from a copy; nothing was changed."
            )
        for name in self.lost:
            self._say(
                f"{name} has lost its identity ({self.nodes[name].data_dir}) and is left out: it"
                " cannot know what it promised, and a node never bootstraps again by itself."
            )

    async def _record(self, disk: RealDisk) -> ClusterRecord:
        """The directory's record, made if the directory is empty."""
        record = read_record(disk, CLUSTER_FILE, ClusterRecord, f"{self.directory}/{CLUSTER_FILE}")
        if record is None:
            others = [name for name in disk.list("") if name != LOCK_FILE]
            if others:
                raise BadConfiguration(
                    f"{self.directory} is not empty and holds no cluster ({others[0]}, …):"
                    " name an empty or new directory with --dir."
                )
            names = tuple(f"n{number}" for number in range(1, (self._wanted or 3) + 1))
            cluster = new_cluster_id(names, secrets.token_hex(12))
            record = ClusterRecord(cluster, names, self._port or DEFAULT_PORT, False)
            await write_record(disk, CLUSTER_FILE, record)
        elif self._wanted not in (None, len(record.names)):
            raise BadConfiguration(
                f"{self.directory} holds a cluster of {len(record.names)} nodes, not of"
                f" {self._wanted}: leave --nodes out, or name another directory with --dir."
            )
        chosen = {"port": self._port, "store": self._store, "max_bytes": self._max_bytes}
        given = {name: value for name, value in chosen.items() if value is not None}
        changed: ClusterRecord = msgspec.structs.replace(record, **given)
        if changed != record:
            await write_record(disk, CLUSTER_FILE, changed)
        return changed

    async def _prepare_node(self, node: LocalNode, record: ClusterRecord) -> None:
        if not record.bootstrapped:
            await asyncio.to_thread(shutil.rmtree, node.data_dir, ignore_errors=True)
        node.directory.mkdir(exist_ok=True)
        self._write_config(node, record)
        if not record.bootstrapped:
            await bootstrap(load(node.config_file), record.cluster)
            return
        identity = identity_in(node.data_dir)
        if identity is None:
            self.lost.append(node.name)
        elif identity.cluster != record.cluster:
            raise BadConfiguration(
                f"{node.data_dir} belongs to the cluster {identity.cluster}, and"
                f" {self.directory} to {record.cluster}: one of them was copied or mistaken."
            )

    def _write_config(self, node: LocalNode, record: ClusterRecord) -> None:
        max_bytes = record.max_bytes
        if max_bytes is None and record.store == "memory":
            max_bytes = store_share(len(self.nodes))
        text = _NODE_TOML.format(
            name=node.name,
            port=node.port,
            chunkserver_port=node.port + 1,
            worker_port=node.port + 2,
            metrics_port=node.port + 3,
            resp_port=node.port + 4,
            tasks=self._tasks or max(1, (os.cpu_count() or 1) // len(self.nodes)),
            store=record.store,
            max_bytes="" if max_bytes is None else f"max_bytes = {max_bytes}\n",
        )
        for member in self.nodes.values():
            text += _MEMBER_TOML.format(name=member.name, port=member.port)
        node.config_file.write_text(text)


def _leader(group: GroupId, statuses: Sequence[GroupStatus], majority: int) -> Address | None:
    """The address that a majority of the replicas of ``group`` takes for the leader's."""
    seen = [(s.term, s.leader) for s in statuses if s.group == group and s.leader is not None]
    for term, leader in seen:
        if seen.count((term, leader)) >= majority:
            return leader
    return None
