"""The key/value store's speed beside etcd, ZooKeeper and the floor, all durable on three nodes.

    .venv/bin/python bench/kv.py [--rounds 3] [--requests 20000] [--quick] [--peers etcd ...]

Values of 200 bytes, fsync on; C×W is C connections with W requests in flight on each.  All stores
run all the time, and each load goes to one after the other before the next load does, so that what
else happens on the machine meets all alike.  ``kv_systems.py`` says who sends what to whom.

CPU is user and system time, threads included, in microseconds an operation; *servers* are all
processes of all three nodes, *client* is the load's, and *others* what the rest of the machine used
meanwhile, in cores: also what the kernel's own threads do where they sync our log, 0.1 to 0.2
(runtime/real/kernel_syncs.py).  Figures are medians of the rounds; ratios are medians of each
round's ratio.  A ratio with a bar says whether it is met.  Exit status 0 says only that everything
was measured: on a machine that others use, speed is nobody's fault.
"""

import argparse
import asyncio
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path
from statistics import median
from typing import NamedTuple

from appends import floor_script, measure_floor
from kv_systems import Case, Etcd, Quorate, Row, System, ZooKeeper, missing, redis_benchmark

from quorate.runtime.real.world import run

ONE = Case("set", 1, 1)
WRITES_64 = Case("set", 4, 16)
WRITES_256 = Case("set", 8, 32)
FOLLOWER_64 = Case("set", 4, 16, follower=True)
READS_64 = Case("get", 4, 16)
PIPELINED = Case("set", 50, 16, pipelined=True)
CASES = (ONE, WRITES_64, WRITES_256, FOLLOWER_64, READS_64, PIPELINED)

PEERS = ("etcd", "zookeeper", "floor")
LINES = ((50, 1), (50, 16))
"""Of redis-benchmark: clients, and what they pipeline."""
FLOOR_CASES = {(1, 1): ONE, (64, 1): WRITES_64, (256, 1): WRITES_256, (50, 16): PIPELINED}
"""It has a connection for each request in flight, but for the last."""

Rounds = dict[tuple[Case, str], list[Row]]


class Bar(NamedTuple):
    """What a figure of ours must be beside a peer's."""

    case: Case
    peer: str
    figure: str
    at_most: float | None = None
    at_least: float | None = None

    def line(self, rounds: Rounds) -> str:
        """Empty if the peer was not measured."""
        ours, theirs = rounds.get((self.case, "quorate")), rounds.get((self.case, self.peer))
        if not ours or not theirs:
            return ""
        ratio = median(
            getattr(own, self.figure) / getattr(other, self.figure)
            for own, other in zip(ours, theirs, strict=True)
        )
        if self.at_most is not None:
            bar, is_met = f"at most  {self.at_most:g}", ratio <= self.at_most
        else:
            least = self.at_least or 0.0
            bar, is_met = f"at least {least:g}", ratio >= least
        what = f"{named(self.case)}: {FIGURES[self.figure]} / {self.peer}'s"
        return f"{what:58} {ratio:6.2f}   {bar:12} {'met' if is_met else 'NOT MET'}"


FIGURES = {"servers_us": "CPU of the servers", "per_s": "operations/s", "p50_ms": "median latency"}
BARS = (
    Bar(WRITES_64, "etcd", "servers_us", at_most=0.5),
    Bar(WRITES_64, "zookeeper", "servers_us", at_most=0.5),
    Bar(WRITES_256, "etcd", "servers_us", at_most=0.5),
    Bar(WRITES_256, "zookeeper", "servers_us", at_most=0.5),
    Bar(WRITES_64, "etcd", "per_s", at_least=1.5),
    Bar(WRITES_256, "etcd", "per_s", at_least=2),
    Bar(PIPELINED, "floor", "per_s", at_least=0.5),
    Bar(READS_64, "etcd", "per_s", at_least=4),
    Bar(ONE, "etcd", "p50_ms", at_most=1),
)


def named(case: Case) -> str:
    what = "writes" if case.operation == "set" else "reads"
    if case.pipelined:
        return f"{what} {case.connections}×{case.window} pipelined"
    where = " at a follower" if case.follower else ""
    many = f" {case.connections}×{case.window}" if case.connections > 1 else " one client"
    return f"{what}{many}{where}"


def requests_of(case: Case, requests: int) -> int:
    if case.connections == 1:
        return max(requests // 10, 10)
    return requests * 3 if case.pipelined else requests


async def measure_round(systems: list[System], requests: int, rounds: Rounds) -> None:
    """Every load, of every store."""
    for case in CASES:
        for system in systems:
            if case.pipelined and (system.name != "quorate" or missing("redis-benchmark")):
                continue  # the floor alone is compared there
            row = await system.measure(case, requests_of(case, requests))
            rounds.setdefault((case, system.name), []).append(row)


async def measure_floor_round(script: Path, requests: int, rounds: Rounds) -> None:
    found = await asyncio.to_thread(measure_floor, script, requests)
    for clients, case in FLOOR_CASES.items():
        row = Row(**{name: found[clients][name] for name in Row._fields})
        rounds.setdefault((case, "floor"), []).append(row)


async def warm_up(systems: list[System], requests: int) -> None:
    """ZooKeeper's servers compile while they run; all have caches."""
    for system in systems:
        for case in (WRITES_64, FOLLOWER_64, READS_64):
            await system.measure(case, requests)


def show(rounds: Rounds) -> None:
    print(
        f"{'load':26} {'store':10} {'per s':>9} {'p50 ms':>8} {'p99 ms':>8} {'servers µs':>11}"
        f" {'client µs':>10} {'others':>7}"
    )
    for case in CASES:
        for (measured, name), rows in rounds.items():
            if measured == case:
                figures = Row(*map(median, zip(*rows, strict=True)))
                print(line(named(case), name, figures))
    print("ZooKeeper's reads are local: they may be stale, all others are linearizable.\n")
    for bar in BARS:
        if found := bar.line(rounds):
            print(found)


def line(load: str, name: str, row: Row) -> str:
    return (
        f"{load:26} {name:10} {row.per_s:9,.0f} {row.p50_ms:8.2f} {row.p99_ms:8.2f}"
        f" {row.servers_us:11.1f} {row.client_us:10.1f} {row.others:7.2f}"
    )


async def show_redis_benchmark(quorate: Quorate, requests: int) -> None:
    print("\nredis-benchmark -t set,get -d 200 -r 100000, against the three nodes:")
    for follower in (False, True):
        port = await quorate.port(follower=follower)
        for clients, pipeline in LINES:
            for operation in ("set", "get"):
                case = Case(operation, clients, pipeline, follower, pipelined=True)
                row = await redis_benchmark(quorate.pids, port, case, requests)
                load = f"{operation} -c {clients} -P {pipeline}"
                print(line(load, "follower" if follower else "leader", row), flush=True)


async def measure(folder: Path, names: list[str], rounds: int, requests: int) -> None:
    made = {"quorate": Quorate, "etcd": Etcd, "zookeeper": ZooKeeper}
    found: Rounds = {}
    async with AsyncExitStack() as stack:
        systems: list[System] = []
        for name in names:
            if name in made:
                (folder / name).mkdir()
                systems.append(await stack.enter_async_context(made[name](folder / name)))
        if len(systems) > 1:
            await warm_up(systems, requests)
        script = floor_script()
        for _ in range(rounds):
            await measure_round(systems, requests, found)
            if "floor" in names and isinstance(script, Path):
                await measure_floor_round(script, requests, found)
        show(found)
        for system in systems:
            if isinstance(system, Quorate) and not missing("redis-benchmark"):
                await show_redis_benchmark(system, requests)


def left_out(name: str) -> str:
    """Why a system cannot be measured here; empty if it can."""
    if name != "floor":
        return missing(name)
    script = floor_script()
    return script if isinstance(script, str) else ""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--peers", nargs="*", choices=PEERS, default=PEERS)
    parser.add_argument("--quick", action="store_true", help="one short round: does it work?")
    told = parser.parse_args()
    names = ["quorate"]
    for name in told.peers:
        if why := left_out(name):
            print(f"{name} is left out: {why}")
        else:
            names.append(name)
    if why := missing("redis-benchmark"):
        print(f"pipelined loads are left out: {why}")
    rounds, requests = (1, 400) if told.quick else (told.rounds, told.requests)
    with tempfile.TemporaryDirectory(prefix="quorate-bench-") as folder:
        run(lambda: measure(Path(folder), names, rounds, requests))


if __name__ == "__main__":
    main()
