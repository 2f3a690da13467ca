"""What groups that have nothing to do cost: CPU and messages of three real processes.

    .venv/bin/python bench/idle_groups.py [GROUPS ...] [--seconds 10]

Every group has a replica in each process.  CPU is user and system time of a process, in percent of
a core; "wakeups" are voluntary context switches of all its threads, "envelopes" the Raft messages
of single groups that its notices carry.
"""

import argparse
import asyncio
import tempfile
import time
from collections import Counter
from functools import partial
from pathlib import Path

from raft_processes import RaftProcesses

from quorate.raft.core.settings import Timing
from quorate.runtime.real.world import close_world, real_world, run

GROUPS = (1, 10, 100)
SETTLE_S = 3.0


def wakeups(pid: int) -> int:
    """Voluntary context switches of all threads of a process."""
    total = 0
    for thread in Path(f"/proc/{pid}/task").iterdir():
        for line in (thread / "status").read_text().splitlines():
            if line.startswith("voluntary_ctxt_switches"):
                total += int(line.split()[1])
    return total


async def measure(folder: Path, groups: int, seconds: float, timing: Timing) -> list[str]:
    """A line for each process."""
    world = real_world(folder / "client")
    lines = []
    async with RaftProcesses(world, folder, groups=groups, timing=timing, probe=False) as cluster:
        await asyncio.sleep(SETTLE_S)
        leads = Counter([await cluster.leader(group) for group in cluster.groups])
        terms = await _terms(cluster)
        before = {n: (await cluster.usage(n), wakeups(cluster.pid(n))) for n in cluster.numbers}
        began = time.perf_counter()
        await asyncio.sleep(seconds)
        passed = time.perf_counter() - began
        for number in cluster.numbers:
            woken = wakeups(cluster.pid(number))
            usage = await cluster.usage(number)
            old, woken_before = before[number]
            lines.append(
                f"{groups:6} {number:5} {leads[number]:6}"
                f" {(usage.cpu_s - old.cpu_s) / passed * 100:7.2f}"
                f" {(usage.notices - old.notices) / passed:10.1f}"
                f" {(usage.envelopes - old.envelopes) / passed:12.1f}"
                f" {(woken - woken_before) / passed:10.0f}"
            )
        if await _terms(cluster) != terms:
            raise RuntimeError("the groups were not idle: a leader changed")
    await close_world(world)
    return lines


async def _terms(cluster: RaftProcesses) -> list[int]:
    return [status.term for status in await cluster.statuses(1)]


def main() -> None:
    default = Timing()
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("groups", type=int, nargs="*", default=GROUPS)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--heartbeat-ms", type=int, default=default.heartbeat_interval_ms)
    parser.add_argument("--election-ms", type=int, default=default.election_timeout_ms)
    told = parser.parse_args()
    timing = Timing(heartbeat_interval_ms=told.heartbeat_ms, election_timeout_ms=told.election_ms)
    print(f"heartbeats every {told.heartbeat_ms} ms")
    print("groups  node  leads   CPU %  notices/s  envelopes/s  wakeups/s")
    for groups in told.groups:
        with tempfile.TemporaryDirectory() as name:
            for line in run(partial(measure, Path(name), groups, told.seconds, timing)):
                print(line, flush=True)


if __name__ == "__main__":
    main()
