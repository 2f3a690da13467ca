"""A file system in the simulated world: masters beside Raft replicas, chunkservers, and clients."""

from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from quorate.base.ids import NAMESPACE_GROUP, Address, NodeId
from quorate.gfs.client import FileSystem
from quorate.gfs.core.namespace import Namespace
from quorate.gfs.master import Master
from quorate.gfs.server import Chunkserver
from quorate.raft.core.configuration import founding
from quorate.raft.node import Membership, RaftNode
from quorate.raft.wal import Wal
from quorate.rpc.client import RpcClient
from quorate.rpc.handshake import Identity
from quorate.rpc.server import RpcServer
from quorate.runtime.ports import World
from quorate.runtime.simulated.inodes import DirectoryInode
from quorate.runtime.simulated.process import SimulatedProcess
from quorate.runtime.simulated.world import Simulation
from quorate.simulator.cluster import CLUSTER, address, node_id, replica_id

T = TypeVar("T")

SEGMENT_BYTES = 128 * 1024


class GfsCluster:
    """``nodes`` machines ``n1``, ``n2``, …, each with a ``raft`` and a ``chunkserver`` process."""

    def __init__(self, simulation: Simulation, nodes: int = 3) -> None:
        self.simulation = simulation
        self.names = [f"n{number}" for number in range(1, nodes + 1)]
        self.raft: dict[str, RaftNode] = {}
        self.namespaces: dict[str, Namespace] = {}
        self._clients = 0

    def start(self) -> "GfsCluster":
        """Bootstrap, start everything, and wait until files can be written."""
        for name in self.names:
            founding = self.simulation.machine(name).start_process("raft", self._create(name))
            self.simulation.run_until(lambda p=founding: not p.alive, 10_000)
        for name in self.names:
            self.start_machine(name)
        self.run(lambda fs: fs.stat("/"))
        self.simulation.run_for(1_000)
        return self

    def start_machine(self, name: str) -> None:
        self.start_raft(name)
        self.start_chunkserver(name)

    def start_raft(self, name: str) -> None:
        self.simulation.machine(name).start_process("raft", self._serve_raft(name))

    def start_chunkserver(self, name: str) -> None:
        self.simulation.machine(name).start_process("chunkserver", self._serve_chunks(name))

    def kill_chunkserver(self, name: str) -> None:
        self.simulation.machine(name).processes["chunkserver"].kill()

    def kill_raft(self, name: str) -> None:
        self.simulation.machine(name).processes["raft"].kill()
        self.raft.pop(name, None)

    def power_loss(self, name: str) -> None:
        self.simulation.machine(name).power_loss()
        self.raft.pop(name, None)

    def leader(self) -> str | None:
        leading = [
            (node.groups[NAMESPACE_GROUP].term, name)
            for name, node in self.raft.items()
            if node.groups[NAMESPACE_GROUP].is_leader
        ]
        return max(leading)[1] if leading else None

    # Clients.

    def begin(
        self, work: Callable[[FileSystem], Coroutine[Any, Any, Any]], **options: Any
    ) -> SimulatedProcess:
        """Start ``work`` in a client process on a machine of its own."""

        async def main(world: World) -> Any:
            rpc = RpcClient(world, Identity(CLUSTER, NodeId(0), "client"))
            doors = [address(name) for name in self.names]
            return await work(FileSystem(world, rpc, doors, **options))

        self._clients += 1
        return self.simulation.machine(f"c{self._clients}").start_process("client", main)

    def finish(self, process: SimulatedProcess, timeout_ms: float = 300_000) -> Any:
        """Wait for a client; its result, or the error that ended it."""
        self.simulation.run_until(lambda: not process.alive, timeout_ms)
        if process.error is not None:
            raise process.error
        return process.result

    def run(self, work: Callable[[FileSystem], Coroutine[Any, Any, T]], **options: Any) -> T:
        result: T = self.finish(self.begin(work, **options))
        return result

    # The chunks on the disks.

    def chunk_files(self, name: str) -> list[str]:
        """Paths of all chunk files of a machine, those under construction included."""
        folders = self.simulation.machine(name).disk.directory(("chunkserver", "chunks")).entries
        return [
            f"chunkserver/chunks/{folder}/{file}"
            for folder, inode in folders.items()
            if isinstance(inode, DirectoryInode)
            for file in inode.entries
        ]

    def damage(self, name: str) -> None:
        """Flip one bit in the data of every chunk of a machine."""
        for path in self.chunk_files(name):
            self.simulation.machine(name).disk.flip_bit(path, 8192 + 5, 3)

    # The processes.

    def _create(self, name: str) -> Callable[[World], Coroutine[Any, Any, None]]:
        async def main(world: World) -> None:
            await Wal.create(world.disk, CLUSTER, node_id(name), segment_bytes=SEGMENT_BYTES)

        return main

    def _serve_raft(self, name: str) -> Callable[[World], Coroutine[Any, Any, None]]:
        async def main(world: World) -> None:
            identity = Identity(CLUSTER, node_id(name), "raft")
            rpc = RpcClient(world, identity)
            namespace = Namespace()
            members = {replica_id(NAMESPACE_GROUP, n): address(n) for n in self.names}
            membership = Membership(replica_id(NAMESPACE_GROUP, name), founding(members))
            node = await RaftNode.start(
                world,
                CLUSTER,
                node_id(name),
                {NAMESPACE_GROUP: (namespace, membership)},
                rpc,
                segment_bytes=SEGMENT_BYTES,
            )
            names = {node_id(n): n for n in self.names}
            master = Master(world, node.groups[NAMESPACE_GROUP], namespace, lambda: names)
            requests = {**node.server.requests, **master.requests}
            server = RpcServer(world, identity, requests, node.server.notices)
            await server.start(address(name))
            self.raft[name], self.namespaces[name] = node, namespace
            await world.clock.sleep(float("inf"))

        return main

    def _serve_chunks(self, name: str) -> Callable[[World], Coroutine[Any, Any, None]]:
        async def main(world: World) -> None:
            identity = Identity(CLUSTER, node_id(name), "chunkserver")
            rpc = RpcClient(world, identity)
            doors = [address(n) for n in self.names]
            chunkserver = Chunkserver(world, rpc, CLUSTER, node_id(name), name, doors)
            await chunkserver.open()
            server = RpcServer(world, identity, chunkserver.requests)
            listener = await server.start(Address(f"{name}:chunkserver"))
            chunkserver.start(listener.address)
            await world.clock.sleep(float("inf"))

        return main
