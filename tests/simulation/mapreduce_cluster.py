"""Whole simulated nodes (Raft, files, jobs), and a client that runs jobs on them."""

from collections.abc import Awaitable, Callable
from typing import Any

from quorate.base.ids import GROUP_NAMES, JOBS_GROUP, Address, GroupId, NodeId
from quorate.gfs.client import FileSystem
from quorate.mapreduce.client import JobClient
from quorate.node.bootstrap import founding_identity, new_cluster_id
from quorate.node.roles import ROLES, Setting
from quorate.raft.core.settings import Timing
from quorate.raft.wal import Wal
from quorate.rpc.client import RpcClient
from quorate.rpc.handshake import Identity
from quorate.runtime.ports import World
from quorate.runtime.simulated.process import SimulatedProcess
from quorate.runtime.simulated.world import Simulation

NAMES = ("n1", "n2", "n3")
CLUSTER = new_cluster_id(NAMES, "5" * 24)
DOORS = {NodeId(number): Address(f"{name}:raft") for number, name in enumerate(NAMES, 1)}


class Nodes:
    """Three machines with all their roles."""

    def __init__(self, seed: int, tasks: int = 2) -> None:
        self.simulation = Simulation(seed)
        self.tasks = tasks
        for name in NAMES:
            founding = self.simulation.machine(name).start_process("raft", self._found(name))
            while founding.alive:
                self.simulation.run_for(1)
        for name in NAMES:
            self.start(name)

    def _found(self, name: str) -> Callable[[World], Any]:
        identity = founding_identity(name, NAMES, CLUSTER)

        async def main(world: World) -> None:
            await Wal.create(world.disk, CLUSTER, identity.node)

        return main

    def start(self, name: str) -> None:
        for role in ROLES:
            self.start_role(name, role)

    def start_role(self, name: str, role: str) -> None:
        async def main(world: World) -> None:
            setting = Setting(
                world,
                founding_identity(name, NAMES, CLUSTER),
                Address(f"{name}:{role}"),
                DOORS,
                Timing(),
                self.tasks,
            )
            await ROLES[role](setting)
            await world.clock.sleep(float("inf"))

        self.simulation.machine(name).start_process(role, main)

    def kill_role(self, name: str, role: str) -> None:
        self.simulation.machine(name).processes[role].kill()

    def kill(self, name: str) -> None:
        """SIGKILL of all processes; the page cache lives on."""
        for role in ROLES:
            self.kill_role(name, role)

    def power_loss(self, name: str) -> None:
        self.simulation.machine(name).power_loss()

    def leader(self, group: GroupId = JOBS_GROUP) -> str:
        """The machine that announced leadership of ``group`` last."""
        mark = f"leadership group={GROUP_NAMES[group]} leads=True"
        return [line for line in self.simulation.trace.recent if mark in line][-1].split()[1][:2]

    def client(self, name: str, work: Callable[["Client"], Awaitable[Any]]) -> SimulatedProcess:
        """A client process on a machine of its own."""

        async def main(world: World) -> Any:
            return await work(Client(world))

        return self.simulation.machine(name).start_process("client", main)


class Client:
    """What a user has."""

    def __init__(self, world: World) -> None:
        rpc = RpcClient(world, Identity(CLUSTER, NodeId(0), "client"))
        addresses = list(DOORS.values())
        self.world = world
        self.rpc = rpc
        self.files = FileSystem(world, rpc, addresses)
        self.jobs = JobClient(world, rpc, addresses)

    async def put(self, files: list[tuple[str, bytes]]) -> None:
        for path, data in files:
            writer = await self.files.create(path)
            await writer.write(data)
            await writer.close()

    async def output(self, folder: str) -> list[bytes]:
        return [await self.files.read(status.path) for status in await self.files.list(folder)]
