"""Files while machines crash, networks part and bits flip: what was acknowledged is whole."""

import random
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from gfs_cluster import GfsCluster

from quorate.base.errors import AlreadyExists, Maybe, NotFound, QuorateError
from quorate.gfs.client import FileSystem
from quorate.gfs.core.invariants import check_state
from quorate.runtime.simulated.world import Simulation

CHUNK = 256 * 1024
RUN_MS = 20_000
CLIENTS = 3


class Workload:
    """Clients that write, read, rename and delete, and remember what they were promised."""

    def __init__(self, source: random.Random) -> None:
        self.random = source
        self.acknowledged: dict[str, bytes] = {}
        self.unknown: dict[str, bytes] = {}
        """May or may not be there; if they are, then whole."""
        self.absent: list[str] = []
        self.reads = 0

    def client(self, number: int) -> Callable[[FileSystem], Coroutine[Any, Any, None]]:
        async def work(fs: FileSystem) -> None:
            clock = fs._access.world.clock
            end_ms = clock.monotonic_ms() + RUN_MS
            count = 0
            while clock.monotonic_ms() < end_ms:
                count += 1
                await clock.sleep(self.random.uniform(0, 500))
                mine = [path for path in self.acknowledged if path.startswith(f"/c{number}/")]
                doing = self.random.random()
                if doing < 0.5 or not mine:
                    await self.put(fs, f"/c{number}/{count}")
                elif doing < 0.8:
                    await self.get(fs, self.random.choice(mine))
                elif doing < 0.9:
                    await self.delete(fs, self.random.choice(mine))
                else:
                    await self.rename(fs, self.random.choice(mine), f"/c{number}/{count}")

        return work

    async def put(self, fs: FileSystem, path: str) -> None:
        data = self.random.randbytes(self.random.choice([0, 10, CHUNK, 400_000]))
        try:
            writer = await fs.create(path)
            await writer.write(data)
            await writer.close()
        except Maybe:
            self.unknown[path] = data
        except QuorateError:
            self.absent.append(path)
        else:
            self.acknowledged[path] = data

    async def get(self, fs: FileSystem, path: str) -> None:
        data = self.acknowledged[path]
        offset = self.random.randrange(len(data) + 1)
        try:
            found = await fs.read(path, offset, 300_000)
        except NotFound:
            raise AssertionError(f"{path} was acknowledged and is not there") from None
        except QuorateError:
            return  # unavailable while machines are down; a wrong byte never is an answer
        assert found == data[offset : offset + 300_000]
        self.reads += 1

    async def delete(self, fs: FileSystem, path: str) -> None:
        data = self.acknowledged.pop(path)
        try:
            await fs.delete(path)
        except Maybe:
            self.unknown[path] = data
        except QuorateError:
            self.acknowledged[path] = data
        else:
            self.absent.append(path)

    async def rename(self, fs: FileSystem, source: str, target: str) -> None:
        data = self.acknowledged.pop(source)
        try:
            await fs.rename(source, target)
        except Maybe:
            self.unknown[source] = self.unknown[target] = data
        except AlreadyExists:
            raise AssertionError(f"{target} exists and nobody made it") from None
        except QuorateError:
            self.acknowledged[source] = data
        else:
            self.acknowledged[target] = data
            self.absent.append(source)

    async def verify(self, fs: FileSystem) -> None:
        there = {status.path: status for status in await fs.walk("/")}
        for path, data in self.acknowledged.items():
            assert await fs.read(path) == data
        for path, data in self.unknown.items():
            if path in there and path not in self.acknowledged:
                assert await fs.read(path) == data
        assert not [path for path in self.absent if path in there]
        known = {*self.acknowledged, *self.unknown}
        assert [path for path in there if path not in known] == []


class Nemesis:
    """One machine at a time has trouble, so that files stay writable."""

    def __init__(self, cluster: GfsCluster) -> None:
        self.cluster = cluster
        self.simulation = cluster.simulation
        self.random = cluster.simulation.random
        self.damaged = self.random.choice(cluster.names)
        self.faults = 0

    def strike(self) -> None:
        self.faults += 1
        name = self.random.choice(self.cluster.names)
        others = [other for other in [*self.cluster.names, "c2", "c3"] if other != name]
        doing = self.random.choice(["chunkserver", "raft", "power", "partition", "mute", "flip"])
        lasts_ms = self.random.uniform(200, 4_000)
        if doing == "chunkserver":
            self.cluster.kill_chunkserver(name)
            self.simulation.run_for(lasts_ms)
            self.cluster.start_chunkserver(name)
        elif doing == "raft":
            self.cluster.kill_raft(name)
            self.simulation.run_for(lasts_ms)
            self.cluster.start_raft(name)
        elif doing == "power":
            self.cluster.power_loss(name)
            self.simulation.run_for(lasts_ms)
            self.cluster.start_machine(name)
        elif doing == "partition":
            self.simulation.faults.partition([name], others)
            self.simulation.run_for(lasts_ms)
            self.simulation.faults.heal()
        elif doing == "mute":
            for other in others:
                self.simulation.faults.block(name, other)
            self.simulation.run_for(lasts_ms)
            self.simulation.faults.heal()
        else:
            self.cluster.damage(self.damaged)


@pytest.mark.parametrize("seed", range(100, 106))
def test_what_was_acknowledged_survives_whatever_happens_to_one_machine_at_a_time(
    seed: int,
) -> None:
    with Simulation(seed) as simulation:
        cluster = GfsCluster(simulation).start()
        workload = Workload(simulation.stream("workload"))
        nemesis = Nemesis(cluster)
        clients = [
            cluster.begin(workload.client(number), chunk_bytes=CHUNK, timeout_ms=10_000)
            for number in range(CLIENTS)
        ]
        while any(client.alive for client in clients):
            simulation.run_for(simulation.random.uniform(500, 3_000))
            nemesis.strike()
        assert [client.error for client in clients] == [None] * CLIENTS
        simulation.run_for(5_000)
        cluster.run(workload.verify, timeout_ms=60_000)
        assert nemesis.faults >= 5
        assert len(workload.acknowledged) >= 10
        assert workload.reads >= 10

        simulation.run_for(15_000)
        digests = {namespace.digest() for namespace in cluster.namespaces.values()}
        assert len(digests) == 1
        for name in cluster.names:
            namespace = cluster.namespaces[name]
            check_state(namespace)
            whole = [path for path in cluster.chunk_files(name) if not path.endswith(".part")]
            handles = [int(path.rpartition("/")[2], 16) for path in whole]
            assert not [handle for handle in handles if namespace.is_garbage(handle)]
