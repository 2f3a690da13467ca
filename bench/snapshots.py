"""A gigabyte of state: what snapshots cost those who work meanwhile, and what a start takes.

    .venv/bin/python bench/snapshots.py [MEGABYTES] [--directory DIR]

Three real processes, keys of 16 bytes with values of 1000.  In this order:
  load      two nodes take the state in; the third does not run, and the log it needs is cut;
  fetch     the third, with an empty disk, starts: until it has fetched the leader's snapshot,
            restored it and applied all that is committed;
  snapshot  all three take one of the whole state at about the same time, after overwriting
            enough of it to make one due;
  start     a follower is killed and started: until it has restored its snapshot and applied all.
In each, a client writes 500 values a second.  "held up" is the longest that a loop could not serve
a timer of 1 ms: of the leader, and of the worst of the others but the one that starts; "latency" is
that of the client's writes.  "quiet" is the same while nothing else goes on.  All three share the
machine's cores and disk.
"""

import argparse
import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

from key_values import Put, PutMany
from raft_processes import RaftProcesses, until

from quorate.base.errors import QuorateError
from quorate.base.ids import GroupId
from quorate.raft.client import GroupClient
from quorate.runtime.real.world import close_world, real_world, run

VALUE_BYTES = 1000
KEYS_PER_COMMAND = 64
LOADERS = 8
WRITE_EVERY_S = 0.002
MAX_UNDER_WAY = 250
TIMEOUT_MS = 60_000
QUIET_S = 10.0
PATIENCE_S = 600.0
LAG = 100
"""Entries that a replica which keeps up may be behind when it is asked."""


def key(number: int) -> bytes:
    return b"key-%012d" % number


class Writer:
    """A client that writes at a pace of its own, whatever is answered."""

    def __init__(self, client: GroupClient, keys: int) -> None:
        self._client = client
        self._keys = keys
        self.latencies_ms: list[float] = []
        self.failed = 0

    async def run(self) -> None:
        under_way: set[asyncio.Task[None]] = set()
        number = 0
        due = time.perf_counter()
        while True:
            due += WRITE_EVERY_S
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            if len(under_way) < MAX_UNDER_WAY:
                number += 1
                # A stride that is no divisor: all over the map.
                task = asyncio.create_task(self._write(key(number * 7919 % self._keys)))
                under_way.add(task)
                task.add_done_callback(under_way.discard)

    async def _write(self, at: bytes) -> None:
        began = time.perf_counter()
        try:
            await self._client.execute(Put(at, bytes(VALUE_BYTES)), timeout_ms=TIMEOUT_MS)
        except QuorateError:
            self.failed += 1
        self.latencies_ms.append((time.perf_counter() - began) * 1000)


class Bench:
    """The cluster and what is known of it."""

    def __init__(self, cluster: RaftProcesses, folder: Path, megabytes: int) -> None:
        self.cluster = cluster
        self._folder = folder
        self.keys = megabytes * 1_000_000 // VALUE_BYTES
        self._rpc = cluster.client()
        self.client = GroupClient(cluster.world, self._rpc, cluster.addresses, GroupId(1))

    async def close(self) -> None:
        await self._rpc.close()

    async def phase(self, name: str, work: Callable[[], Awaitable[str]]) -> None:
        """Do ``work`` beside a writer, and print what both saw; ``work`` says what it did."""
        await until(self._idle, PATIENCE_S)
        leader = await self.cluster.leader()
        for number in self.cluster.running():
            await self.cluster.usage(number)  # forget earlier stalls
        writer = Writer(self.client, self.keys)
        writing = asyncio.create_task(writer.run())
        began = time.perf_counter()
        try:
            said = await work()
            passed = time.perf_counter() - began
        finally:
            writing.cancel()
            await asyncio.gather(writing, return_exceptions=True)
        stalls = {n: (await self.cluster.usage(n)).worst_stall_ms for n in self.cluster.running()}
        latencies = sorted(writer.latencies_ms)
        changed = "" if await self.cluster.leader() == leader else "; the leader changed"
        failed = f"; {writer.failed} writes failed" if writer.failed else ""
        print(
            f"{name:9} {passed:7.1f} {stalls.pop(leader):15.0f} {max(stalls.values()):9.0f}"
            f" {latencies[len(latencies) // 2]:9.1f} {latencies[len(latencies) * 99 // 100]:7.0f}"
            f" {latencies[-1]:7.0f}   {said}{changed}{failed}",
            flush=True,
        )

    async def load(self) -> str:
        """Fill the map; a few commands under way."""
        numbers = iter(range(0, self.keys, KEYS_PER_COMMAND))
        began = time.perf_counter()
        await asyncio.gather(*(self._put_many(numbers) for _ in range(LOADERS)))
        passed = time.perf_counter() - began
        taken = ", ".join(str(self._snapshots(n)[0] > 0) for n in self.cluster.running())
        if "False" in taken:
            raise RuntimeError("nobody took a snapshot")
        return f"{self.keys * VALUE_BYTES / passed / 1e6:.0f} MB/s"

    async def _put_many(self, numbers: Iterator[int]) -> None:
        for first in numbers:
            # Each value is an object of its own when it is read from the log.
            pairs = [(key(n), bytes(VALUE_BYTES)) for n in range(first, first + KEYS_PER_COMMAND)]
            await self.client.execute(PutMany(pairs), timeout_ms=TIMEOUT_MS)

    async def _idle(self) -> bool:
        """Nobody writes or fetches a snapshot."""
        folders = [self._folder / f"n{number}" / "snapshots" for number in self.cluster.numbers]
        return all(path.suffix == ".snap" for folder in folders for path in folder.glob("*"))

    def _snapshots(self, number: int) -> tuple[int, int]:
        """Index and bytes of the newest whole one on a node's disk; zeros if there is none."""
        found = [
            (int(path.name[17:33], 16), path.stat().st_size)
            for path in (self._folder / f"n{number}" / "snapshots").glob("*.snap")
        ]
        return max(found, default=(0, 0))

    async def start(self, number: int) -> str:
        """Start a node; returns when it has applied what the leader had committed by then."""
        began = time.perf_counter()
        self.cluster.start(number)

        async def caught_up() -> bool:
            try:
                own = (await self.cluster.statuses(number))[0]
                leader = (await self.cluster.statuses(await self.cluster.leader()))[0]
            except QuorateError:
                return False
            return own.leader is not None and own.last_applied + LAG >= leader.commit_index

        await until(caught_up, PATIENCE_S)
        passed = time.perf_counter() - began
        size = self._snapshots(number)[1]
        stall_ms = (await self.cluster.usage(number)).worst_stall_ms
        return (
            f"{size / 1e6:.0f} MB of snapshot, {size / passed / 1e6:.0f} MB/s;"
            f" the starting one was held up by {stall_ms:.0f} ms"
        )

    async def snapshot(self) -> str:
        """Overwrite until one is begun; wait until every node has it."""
        before = {number: self._snapshots(number)[0] for number in self.cluster.running()}
        began = time.perf_counter()

        def until_begun() -> Iterator[int]:
            for first in range(0, self.keys, KEYS_PER_COMMAND):
                if any(self._folder.glob("n*/snapshots/*.writing")):
                    return
                yield first

        await self._put_many(until_begun())
        overwriting = time.perf_counter() - began

        async def taken() -> bool:
            return all(self._snapshots(number)[0] > index for number, index in before.items())

        await until(taken, PATIENCE_S)
        sizes = [self._snapshots(number)[1] / 1e6 for number in before]
        return f"{max(sizes):.0f} MB each; before that, {overwriting:.1f} s of overwriting"


async def quiet() -> str:
    await asyncio.sleep(QUIET_S)
    return ""


async def measure(folder: Path, megabytes: int) -> None:
    world = real_world(folder / "client")
    async with RaftProcesses(world, folder) as cluster:
        bench = Bench(cluster, folder, megabytes)
        leader = await cluster.leader()
        absent, other = (number for number in cluster.numbers if number != leader)
        cluster.kill(absent)
        await bench.phase("load", bench.load)
        await bench.phase("fetch", lambda: bench.start(absent))
        await bench.phase("quiet", quiet)
        await bench.phase("snapshot", bench.snapshot)
        cluster.kill(other)
        await bench.phase("start", lambda: bench.start(other))
        await bench.close()
    await close_world(world)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("megabytes", type=int, nargs="?", default=1000)
    parser.add_argument("--directory", type=Path, default=Path(tempfile.gettempdir()))
    told = parser.parse_args()
    print(f"{told.megabytes} MB of state in {told.directory}")
    print("                held up, ms: leader  another  latency, ms: median, 99 %, worst")
    with tempfile.TemporaryDirectory(dir=told.directory) as name:
        run(lambda: measure(Path(name), told.megabytes))


if __name__ == "__main__":
    main()
