"""A large store on real nodes: loading, pauses, restart, backup and restore.

    .venv/bin/python bench/kv_big.py [--memory-mb 1000] [--disk-mb 10000] [--limit-mb 1000]
                                     [--nodes N] [--value-bytes 1000] [--directory DIR]

A store in memory, then one on the disk whose nodes may take ``--limit-mb`` of memory each, so that
it is ten times as large as what they have; 0 leaves one of the two out.  The limit is that of a
control group: all processes of a node from their first moment, page cache included, no swap; where
none can be made it is one on the private memory of each process (RLIMIT_DATA).  3 nodes, or 1 where
the disk has no room for three.

  load      puts of 200 KB each, eight at a time
  again     some keys from all over the store get new values
  get       some keys from all over the store are read, linearizable, eight at a time
  quiet     nothing
  snapshot  of the store in memory: keys are written again until each replica has begun and ended
            another snapshot (on the disk, "load" has many)
  restart   a node is killed and started: until it is ready to answer reads from all of its state
  backup    quorate's backup to a file, and its size; restore replaces everything by it

In each, a client puts one key every 20 ms, and its worst latency is printed ("-" while the only
node is down).  "held up" is of each node's raft process, n1, n2, …: the longest that it, asked for
its status every 10 ms, took to answer.  The client's own loop and its share of the cores are in
both: what "quiet" shows is theirs.  "private" is the largest of the raft processes' own memory
(RssAnon); log, snapshots and tables are what is on the last node's disk at the end.
"""

import argparse
import asyncio
import os
import random
import resource
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

from quorate.base.errors import QuorateError
from quorate.base.ids import KV_GROUP, Address
from quorate.kv.client import KvClient
from quorate.library.connection import Quorate, opened_world
from quorate.library.local import free_port
from quorate.node.local_cluster import LocalCluster
from quorate.node.messages import AskFigures
from quorate.raft.figures import RaftFigures
from quorate.raft.messages import AskReady, AskStatus
from quorate.rpc.client import RpcClient
from quorate.runtime.ports import World
from quorate.runtime.real.world import run

COMMAND_BYTES = 200_000
LOADERS = 8
AGAIN, GETS = 20_000, 20_000
"""Keys."""
PROBE_S = 0.02
PING_S = 0.01
PING_TIMEOUT_MS = 30_000
TIMEOUT_S = 60.0
PATIENCE_S = 3_600.0
GROUPS = (Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup"))
LIMITS = ("memory.limit_in_bytes", "memory.max")
ROOM = 4
"""Times the store's size that a node takes on its disk: two snapshots, the log, and tables."""


class Limiter:
    """Bounds the memory of each node, by whatever this machine has for that."""

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.how = "none"
        self._groups: dict[str, Path] = {}

    def bound(self, name: str, pids: list[int]) -> None:
        """All processes of one node."""
        if not self.limit_bytes:
            return
        group = self._groups.get(name) or self._made(name)
        if group is not None:
            self.how = f"control group {group.parent}"
            for pid in pids:
                (group / "cgroup.procs").write_text(str(pid))
        else:
            self.how = "RLIMIT_DATA"
            for pid in pids:
                resource.prlimit(pid, resource.RLIMIT_DATA, (self.limit_bytes, self.limit_bytes))

    @contextmanager
    def joined(self, name: str) -> Iterator[None]:
        """What this process starts meanwhile is bounded from its first moment."""
        group = (self._groups.get(name) or self._made(name)) if self.limit_bytes else None
        if group is None:
            yield
            return
        (group / "cgroup.procs").write_text(str(os.getpid()))
        try:
            yield
        finally:
            (group.parent / "cgroup.procs").write_text(str(os.getpid()))

    def _made(self, name: str) -> Path | None:
        for root, limit in zip(GROUPS, LIMITS, strict=True):
            group = root / f"kv-big-{os.getpid()}-{name}"
            try:
                group.mkdir()
                (group / limit).write_text(str(self.limit_bytes))
            except OSError:
                with_suppressed(group.rmdir)
                continue
            self._groups[name] = group
            return group
        return None

    def seen(self) -> str:
        """Of what the control groups have counted: memory with page cache, and refusals."""
        found = []
        for name, group in self._groups.items():
            text = (group / "memory.stat").read_text().split()
            stat = dict(zip(text[::2], map(int, text[1::2]), strict=True))
            own = (stat.get("rss", 0) or stat.get("anon", 0)) / 1e6
            cache = (stat.get("cache", 0) or stat.get("file", 0)) / 1e6
            found.append(f"{name}: {own:.0f} MB of its processes, {cache:.0f} MB of page cache")
        return "; ".join(found)

    def close(self) -> None:
        """After the nodes have ended."""
        for group in self._groups.values():
            with_suppressed(group.rmdir)


def with_suppressed(work: Callable[[], object]) -> None:
    try:
        work()
    except OSError:
        return


class Bench:
    """One store on one cluster."""

    def __init__(self, world: World, rpc: RpcClient, cluster: LocalCluster, keys: int) -> None:
        self._world = world
        self._rpc = rpc
        self._cluster = cluster
        self._keys = keys
        self._kv = KvClient(world, rpc, cluster.addresses, timeout_s=TIMEOUT_S)
        self._restarting = ""
        self._source = random.Random(1)
        self._noise = self._source.randbytes(1 << 20)

    def _key(self, number: int) -> int:
        return number * 7_368_787 % 10**15

    async def load(self, value_bytes: int) -> None:
        """All keys, not in order, as a hash would have them: a stride that is no divisor."""
        await self._put(range(self._keys), value_bytes)

    async def again(self, value_bytes: int) -> None:
        """Some of them, from all over the store: what was there is read first."""
        await self._put(self._some(), value_bytes)

    def _some(self) -> list[int]:
        return self._source.sample(range(self._keys), min(self._keys, AGAIN))

    async def get(self) -> None:
        numbers = iter(self._some()[:GETS])

        async def reader() -> None:
            for number in numbers:
                if await self._kv.get(b"%016d" % self._key(number)) is None:
                    raise RuntimeError(f"key {number} is not there")

        await asyncio.gather(*(reader() for _ in range(LOADERS)))

    async def snapshot(self, value_bytes: int) -> None:
        """One after the one that may be under way, on each replica."""
        wanted = {door: count + 2 for door, count in (await self._snapshots()).items()}

        while any(count < wanted[door] for door, count in (await self._snapshots()).items()):
            await self._put(self._some()[: COMMAND_BYTES * LOADERS // value_bytes], value_bytes)

    async def _snapshots(self) -> dict[Address, int]:
        """How many each replica has written."""
        found = {}
        for door in self._cluster.addresses:
            system = (await self._rpc.call(door, AskFigures(), timeout_ms=30_000)).system
            if not isinstance(system, RaftFigures):
                raise RuntimeError(f"{door} runs no replicas")
            for group in system.groups:
                if group.status.group == KV_GROUP:
                    found[door] = group.snapshots.written
        return found

    async def _put(self, numbers: Sequence[int], value_bytes: int) -> None:
        many = max(1, COMMAND_BYTES // value_bytes)
        starts = iter(range(0, len(numbers), many))

        def value() -> bytes:
            at = self._source.randrange(len(self._noise) - value_bytes)
            return self._noise[at : at + value_bytes]

        async def loader() -> None:
            for start in starts:
                part = numbers[start : start + many]
                pairs = [(b"%016d" % self._key(number), value()) for number in part]
                await self._kv.put_many(pairs)

        await asyncio.gather(*(loader() for _ in range(LOADERS)))

    async def restart(self) -> None:
        name = list(self._cluster.nodes)[-1]
        node = self._cluster.nodes[name]
        pids = self._cluster.pids(name)
        child = node.child
        if child is None:
            raise RuntimeError(f"{name} does not run")
        self._restarting = name
        for pid in reversed(pids):
            os.kill(pid, 9)
        await child.ended()
        await self._cluster.start_node(name)
        while not await self._is_ready(Address(node.addresses["rpc"])):
            await self._world.clock.sleep(100)
        self._restarting = ""

    async def _is_ready(self, door: Address) -> bool:
        try:
            return not (await self._rpc.call(door, AskReady(), timeout_ms=2_000)).problems
        except QuorateError:
            return False

    async def phase(self, name: str, work: Awaitable[object], size_bytes: int = 0) -> None:
        latencies: list[float] = []
        pings: dict[str, list[float]] = {name: [0.0] for name in self._cluster.nodes}
        watching = [
            asyncio.create_task(self._probe(latencies)),
            asyncio.create_task(self._alive()),
            *(asyncio.create_task(self._ping(node, pings[node])) for node in pings),
        ]
        working = asyncio.ensure_future(work)
        began = time.perf_counter()
        async with asyncio.timeout(PATIENCE_S):
            await asyncio.wait({working, *watching}, return_when=asyncio.FIRST_COMPLETED)
        seconds = time.perf_counter() - began
        for task in watching:
            if task.done():
                await task
            task.cancel()
        await working
        rate = f"{size_bytes / seconds / 1e6:.0f} MB/s" if size_bytes else ""
        worst = f"{max(latencies):.0f}" if latencies else "-"
        held = "/".join(f"{max(found):.0f}" for found in pings.values())
        print(
            f"{name:9s} {seconds:8.1f} {rate:>9s} {worst:>9s} {held:>15s} {self._private_mb():8.0f}"
            f" {self._disk_mb()}",
            flush=True,
        )

    async def _probe(self, latencies: list[float]) -> None:
        while True:
            await asyncio.sleep(PROBE_S)
            began = time.perf_counter()
            try:
                await self._kv.put("probe", "x")
            except QuorateError:
                continue
            latencies.append((time.perf_counter() - began) * 1000)

    async def _ping(self, name: str, latencies: list[float]) -> None:
        door = Address(self._cluster.nodes[name].addresses["rpc"])
        while True:
            await asyncio.sleep(PING_S)
            began = time.perf_counter()
            try:
                await self._rpc.call(door, AskStatus(), timeout_ms=PING_TIMEOUT_MS)
            except QuorateError:
                continue  # it is being restarted, or ``_alive`` says why
            latencies.append((time.perf_counter() - began) * 1000)

    async def _alive(self) -> None:
        """Raises if a node has ended that nobody restarts, or one of its processes has."""
        while True:
            for name in self._cluster.nodes:
                if name != self._restarting and not _all_run(self._cluster.pids(name)):
                    raise RuntimeError(f"{name} has lost a process: was its memory too small?")
            await asyncio.sleep(0.5)

    def _disk_mb(self) -> str:
        data = list(self._cluster.nodes.values())[-1].data_dir
        places = (data / "raft" / "log", data / "raft" / "snapshots", data / "tables")
        return " ".join(f"{_size_mb(place):9.0f}" for place in places)

    def _private_mb(self) -> float:
        found = [0.0]
        for node in self._cluster.nodes.values():
            for process in node.processes:
                if process.role == "raft":
                    status = Path(f"/proc/{process.pid}/status").read_text()
                    found.append(int(status.split("RssAnon:")[1].split()[0]) / 1000)
        return max(found)


def _all_run(pids: list[int]) -> bool:
    return bool(pids) and all(Path(f"/proc/{pid}").exists() for pid in pids)


def _size_mb(folder: Path) -> float:
    size = 0
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):  # merged, or cut, meanwhile
            size += path.stat().st_blocks * 512
    return size / 1e6


class LimitedCluster(LocalCluster):
    """Whose nodes are bounded from their first moment."""

    limiter: Limiter
    _starting = asyncio.Lock()

    async def start_node(self, name: str) -> None:
        async with self._starting:
            with self.limiter.joined(name):
                await super().start_node(name)
        self.limiter.bound(name, self.pids(name))


@asynccontextmanager
async def running(
    folder: Path, nodes: int, store: str, limiter: Limiter, keys: int
) -> AsyncIterator[tuple[Bench, Quorate]]:
    async with opened_world() as (world, rpc):
        cluster = LimitedCluster(
            world, folder, nodes, free_port(nodes), tasks=1, store=store, max_bytes=0
        )
        cluster.limiter = limiter
        await cluster.start()
        try:
            yield (
                Bench(world, rpc, cluster, keys),
                Quorate(world, rpc, cluster.addresses),
            )
        finally:
            await cluster.stop()
            limiter.close()


async def measure(store: str, megabytes: int, limit_mb: int, options: argparse.Namespace) -> None:
    keys = megabytes * 1_000_000 // (options.value_bytes + 16)
    with tempfile.TemporaryDirectory(prefix="kv-big-", dir=options.directory) as folder:
        free = shutil.disk_usage(folder).free
        nodes = options.nodes or (3 if free > 3 * ROOM * megabytes * 1_000_000 else 1)
        limiter = Limiter(limit_mb * 1_000_000)
        size = megabytes * 1_000_000
        backup = Path(folder) / "backup"
        async with running(Path(folder) / "cluster", nodes, store, limiter, keys) as (bench, q):
            q.kv = q.kv.within(TIMEOUT_S)
            bound = f"{limit_mb} MB a node ({limiter.how})" if limit_mb else "no limit"
            print(
                f"\n{store}: {megabytes} MB, {keys:,d} keys with values of {options.value_bytes}"
                f" bytes, nodes: {nodes}; memory: {bound}"
            )
            print("           seconds      rate  worst ms      held up ms  private", end="")
            print("       log snapshots    tables  (MB)", flush=True)
            await bench.phase("load", bench.load(options.value_bytes), size)
            if limit_mb:
                print(f"          {limiter.seen()}")
            await bench.phase("again", bench.again(options.value_bytes))
            await bench.phase("get", bench.get())
            await bench.phase("quiet", asyncio.sleep(5))
            if store == "memory":
                await bench.phase("snapshot", bench.snapshot(options.value_bytes))
            await bench.phase("restart", bench.restart(), size)
            await bench.phase("backup", q.backup(str(backup)), size)
            print(f"          the backup has {backup.stat().st_size / 1e6:.0f} MB", flush=True)
            if options.no_restore:
                return
            await bench.phase("restore", q.restore(str(backup), replace=True), size)
            found = await q.kv.statistics()
            if found.keys < keys:
                raise RuntimeError(f"{found.keys} of {keys} keys came back")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--memory-mb", type=int, default=1000)
    parser.add_argument("--disk-mb", type=int, default=10_000)
    parser.add_argument("--limit-mb", type=int, default=1000)
    parser.add_argument("--nodes", type=int, default=0)
    parser.add_argument("--value-bytes", type=int, default=1000)
    parser.add_argument("--directory", default=".")
    parser.add_argument("--no-restore", action="store_true", help="end with the backup")
    options = parser.parse_args()
    if options.memory_mb:
        run(lambda: measure("memory", options.memory_mb, 0, options))
    if options.disk_mb:
        run(lambda: measure("disk", options.disk_mb, options.limit_mb, options))


if __name__ == "__main__":
    main()
