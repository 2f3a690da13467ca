"""A large store on real nodes: loading, pauses, restart, backup and restore.

    .venv/bin/python bench/kv_big.py [--memory-mb 1000] [--disk-mb 10000] [--limit-mb 1000]
                                     [--nodes N] [--value-bytes 1000] [--directory DIR]

A store in memory, then one on the disk whose nodes may take ``--limit-mb`` of memory each, so that
it is ten times as large as what they have; 0 leaves one of the two out.  The limit is that of a
control group, page cache included; where none can be made it is one on the private memory of each
process (RLIMIT_DATA).  3 nodes, or 1 where the disk has no room for three.

  load     puts of 200 keys each, eight at a time
  again    some keys from all over the store get new values
  restart  a node is killed and started: until it is ready to answer reads from all of its state
  backup   quorate's backup to a file, and its size; restore replaces everything by it

In each, a client puts one key every 20 ms, and its worst latency is printed ("-" while the only
node is down).  "lag" is the worst of all raft processes' event loops, looked at once a second: the
upper bound of the histogram's bucket, as /metrics has it.  "private" is the largest of their own
memory (RssAnon).
"""

import argparse
import asyncio
import os
import random
import resource
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from quorate.base.errors import QuorateError
from quorate.base.ids import Address
from quorate.kv.client import KvClient
from quorate.library.connection import Quorate, opened_world
from quorate.library.local import free_port
from quorate.node.local_cluster import LocalCluster
from quorate.node.messages import AskFigures
from quorate.raft.messages import AskReady
from quorate.rpc.client import RpcClient
from quorate.runtime.ports import World
from quorate.runtime.real.world import run

KEYS_PER_COMMAND = 200
LOADERS = 8
AGAIN = 50_000
"""Keys."""
PROBE_S = 0.02
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
        group = self._groups.get(name)
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

    def __init__(
        self, world: World, rpc: RpcClient, cluster: LocalCluster, limiter: Limiter, keys: int
    ) -> None:
        self._world = world
        self._rpc = rpc
        self._cluster = cluster
        self._limiter = limiter
        self._keys = keys
        self._kv = KvClient(world, rpc, cluster.addresses, timeout_s=TIMEOUT_S)
        self._source = random.Random(1)
        self._noise = self._source.randbytes(1 << 20)

    async def load(self, value_bytes: int) -> None:
        """All keys, not in order, as a hash would have them: a stride that is no divisor."""
        await self._put([number * 7_368_787 % 10**15 for number in range(self._keys)], value_bytes)

    async def again(self, value_bytes: int) -> None:
        """Some of them, from all over the store: what was there is read first."""
        some = self._source.sample(range(self._keys), min(self._keys, AGAIN))
        await self._put([number * 7_368_787 % 10**15 for number in some], value_bytes)

    async def _put(self, numbers: list[int], value_bytes: int) -> None:
        starts = iter(range(0, len(numbers), KEYS_PER_COMMAND))

        def value() -> bytes:
            at = self._source.randrange(len(self._noise) - value_bytes)
            return self._noise[at : at + value_bytes]

        async def loader() -> None:
            for start in starts:
                part = numbers[start : start + KEYS_PER_COMMAND]
                await self._kv.put_many([(b"%016d" % number, value()) for number in part])

        await asyncio.gather(*(loader() for _ in range(LOADERS)))

    async def restart(self) -> None:
        name = list(self._cluster.nodes)[-1]
        node = self._cluster.nodes[name]
        pids = self._cluster.pids(name)
        child = node.child
        if child is None:
            raise RuntimeError(f"{name} does not run")
        for pid in reversed(pids):
            os.kill(pid, 9)
        await child.ended()
        with self._limiter.joined(name):
            await self._cluster.start_node(name)
        self._limiter.bound(name, self._cluster.pids(name))
        while not await self._is_ready(Address(node.addresses["rpc"])):
            await self._world.clock.sleep(100)

    async def _is_ready(self, door: Address) -> bool:
        try:
            return not (await self._rpc.call(door, AskReady(), timeout_ms=2_000)).problems
        except QuorateError:
            return False

    async def phase(self, name: str, work: Awaitable[object], size_bytes: int = 0) -> None:
        before = await self._lags()
        latencies: list[float] = []
        probe = asyncio.create_task(self._probe(latencies))
        began = time.perf_counter()
        async with asyncio.timeout(PATIENCE_S):
            await work
        seconds = time.perf_counter() - began
        probe.cancel()
        after = await self._lags()
        lag_ms = max(_worst(before.get(door, []), after[door]) for door in after)
        rate = f"{size_bytes / seconds / 1e6:.0f} MB/s" if size_bytes else ""
        worst = f"{max(latencies):.0f}" if latencies else "-"
        print(
            f"{name:9s} {seconds:8.1f} {rate:>10s} {lag_ms:8.0f} {worst:>10s}"
            f" {self._private_mb():9.0f}",
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

    async def _lags(self) -> dict[Address, list[tuple[float, int]]]:
        """By process: upper bounds and counts."""
        found = {}
        for door in self._cluster.addresses:
            lag = (await self._rpc.call(door, AskFigures(), timeout_ms=30_000)).loop_lag_ms
            found[door] = list(zip([*lag.bounds, float("inf")], lag.counts, strict=True))
        return found

    def _private_mb(self) -> float:
        found = [0.0]
        for node in self._cluster.nodes.values():
            for process in node.processes:
                if process.role == "raft":
                    status = Path(f"/proc/{process.pid}/status").read_text()
                    found.append(int(status.split("RssAnon:")[1].split()[0]) / 1000)
        return max(found)


def _worst(before: list[tuple[float, int]], after: list[tuple[float, int]]) -> float:
    known = dict(before)
    if any(count < known.get(bound, 0) for bound, count in after):
        known = {}  # it began again
    return max((bound for bound, count in after if count > known.get(bound, 0)), default=0.0)


@asynccontextmanager
async def running(
    folder: Path, nodes: int, store: str, limiter: Limiter, keys: int
) -> AsyncIterator[tuple[Bench, Quorate]]:
    async with opened_world() as (world, rpc):
        cluster = LocalCluster(
            world, folder, nodes, free_port(nodes), tasks=1, store=store, max_bytes=0
        )
        await cluster.start()
        try:
            for name in cluster.nodes:
                limiter.bound(name, cluster.pids(name))
            yield (
                Bench(world, rpc, cluster, limiter, keys),
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
            print(f"\n{store}: {megabytes} MB, {keys:,d} keys, {nodes} nodes; memory: {bound}")
            print("           seconds       rate   lag ms   worst ms  private MB")
            await bench.phase("load", bench.load(options.value_bytes), size)
            await bench.phase("again", bench.again(options.value_bytes))
            await bench.phase("quiet", asyncio.sleep(5))
            await bench.phase("restart", bench.restart(), size)
            await bench.phase("backup", q.backup(str(backup)), size)
            print(f"          the backup has {backup.stat().st_size / 1e6:.0f} MB", flush=True)
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
    options = parser.parse_args()
    if options.memory_mb:
        run(lambda: measure("memory", options.memory_mb, 0, options))
    if options.disk_mb:
        run(lambda: measure("disk", options.disk_mb, options.limit_mb, options))


if __name__ == "__main__":
    main()
