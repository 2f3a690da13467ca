"""The longest gap in acknowledged writes when the leader of three real nodes fails; etcd beside it.

    .venv/bin/python bench/failover.py [--trials 20] [--faults kill,stop,unplug]
    .venv/bin/python bench/failover.py --soak 10

Every 20 ms one write goes out through each of three clients; etcd's are bound to one server each,
ours follow redirects to the leader.  A gap is the time between two consecutive acknowledgements, by
whomever they came; "one client" is the worst of the three clients, each for itself.  In each trial
the leader is
  kill    killed with SIGKILL, and started again afterwards,
  stop    stopped with SIGSTOP, and continued afterwards,
  unplug  cut off without a word: its cable leaves the switch (see wires.py; ours then talk TLS).
"before" is the longest gap while nothing had failed: what the machine itself costs.

With ``--soak MINUTES``: writes without a pause, 64 in flight, and how often the term changed
although nothing failed.  Timeouts are good only if it never did.
"""

import argparse
import asyncio
import random
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import ClassVar, Protocol, Self

from etcd_processes import EtcdProcesses, installed
from key_values import Put
from raft_processes import RaftProcesses, until
from wires import Wires, missing

from quorate.base.errors import QuorateError
from quorate.base.ids import Address, GroupId
from quorate.raft.client import GroupClient
from quorate.raft.core.settings import Timing
from quorate.rpc.client import RpcClient
from quorate.runtime.real.world import close_world, real_world, run
from quorate.torture.hosts import make_certificate

FAULTS = ("kill", "stop", "unplug")
ETCD_TIMINGS = {"etcd, default": (100, 1000), "etcd, tuned": (20, 200)}
WRITE_EVERY_S = 0.02
WRITE_TIMEOUT_S = 5.0
MAX_UNDER_WAY = 256
"""Writes of one client: more than it begins before the first of them gives up."""
QUIET_S = 1.2
SETTLE_S = 0.8
PATIENCE_S = 20.0
SOAK_IN_FLIGHT = 64
RPC_PORT = 7400


class System(Protocol):
    """Three servers, and a client for each."""

    clients_turn: ClassVar[bool]
    """Whether a client whose server fails goes on with another."""

    @property
    def numbers(self) -> Sequence[int]: ...
    async def __aenter__(self) -> Self: ...
    async def __aexit__(self, *error: object) -> None: ...
    async def leader(self) -> int: ...
    async def settled(self) -> bool: ...
    async def write(self, number: int) -> None: ...
    def start(self, number: int) -> None: ...
    def kill(self, number: int) -> None: ...
    def pause(self, number: int) -> None: ...
    def resume(self, number: int) -> None: ...


class Quorate(RaftProcesses):
    """With three ``GroupClient``s that begin at different nodes, on connections of their own."""

    clients_turn: ClassVar[bool] = True

    async def __aenter__(self) -> Self:
        self._rpcs: list[RpcClient] = []
        self._clients: dict[int, GroupClient] = {}
        await super().__aenter__()
        for number in self.numbers:
            rpc = self.client()
            turned = [*self.addresses[number - 1 :], *self.addresses[: number - 1]]
            self._rpcs.append(rpc)
            self._clients[number] = GroupClient(self.world, rpc, turned, GroupId(1))
        return self

    async def __aexit__(self, *error: object) -> None:
        await super().__aexit__(*error)
        for rpc in self._rpcs:
            await rpc.close()

    async def settled(self) -> bool:
        """Whether all nodes are of one mind."""
        try:
            seen = [(await self.statuses(number))[0] for number in self.numbers]
        except QuorateError:
            return False
        return len({(own.term, own.leader, own.commit_index) for own in seen}) == 1

    async def write(self, number: int) -> None:
        await self._clients[number].execute(
            Put(b"key", bytes(200)), timeout_ms=WRITE_TIMEOUT_S * 1000
        )


@dataclass
class Gaps:
    """Of one trial, seconds."""

    before: float
    anyone: float
    one_client: float


async def write_on(system: System, number: int, acknowledged: list[float]) -> None:
    """A write every ``WRITE_EVERY_S``, until cancelled; when each was acknowledged."""
    under_way: set[asyncio.Task[None]] = set()

    async def one() -> None:
        try:
            async with asyncio.timeout(WRITE_TIMEOUT_S):
                await system.write(number)
        except (QuorateError, OSError, TimeoutError, asyncio.IncompleteReadError):
            return
        acknowledged.append(time.perf_counter())

    try:
        while True:
            if len(under_way) < MAX_UNDER_WAY:
                task = asyncio.create_task(one())
                under_way.add(task)
                task.add_done_callback(under_way.discard)
            await asyncio.sleep(WRITE_EVERY_S)
    finally:
        for task in under_way:
            task.cancel()


def longest(times: Sequence[float], since: float, until: float) -> float:
    """The longest time without any of ``times`` between ``since`` and ``until``."""
    within = [since, *(moment for moment in sorted(times) if since < moment < until), until]
    return max(after - before for before, after in pairwise(within))


async def trial(system: System, fail: Callable[[int], None], mend: Callable[[int], None]) -> Gaps:
    leader = await system.leader()
    began = time.perf_counter()
    times: dict[int, list[float]] = {number: [] for number in system.numbers}
    writers = [
        asyncio.create_task(write_on(system, number, times[number])) for number in system.numbers
    ]
    await asyncio.sleep(QUIET_S + random.random() * 0.3)
    failed = time.perf_counter()
    fail(leader)
    served = [number for number in times if system.clients_turn or number != leader]

    async def recovered() -> bool:
        late = failed + 0.3
        return all(sum(moment > late for moment in times[number]) >= 10 for number in served)

    try:
        await until(recovered, PATIENCE_S)
    finally:
        ended = time.perf_counter()
        for writer in writers:
            writer.cancel()
        await asyncio.gather(*writers, return_exceptions=True)
        mend(leader)
    everybody = [moment for own in times.values() for moment in own]
    gaps = Gaps(
        longest(everybody, began + 0.3, failed),
        longest(everybody, failed - 0.3, ended),
        max(longest(times[number], failed - 0.3, ended) for number in served),
    )
    await until(system.settled, PATIENCE_S)
    await asyncio.sleep(SETTLE_S)
    return gaps


def row(name: str, fault: str, gaps: Sequence[Gaps]) -> str:
    anyone = [gap.anyone for gap in gaps]
    one = [gap.one_client for gap in gaps]
    before = max(gap.before for gap in gaps)
    return (
        f"{name:24} {fault:7} {len(gaps):6} {median(anyone):8.2f} {max(anyone):7.2f}"
        f" {median(one):11.2f} {max(one):7.2f} {before:8.2f}"
    )


async def measure(folder: Path, name: str, fault: str, trials: int, timing: Timing) -> list[Gaps]:
    with ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=folder)))
        wires = stack.enter_context(Wires(3)) if fault == "unplug" else None
        tls = make_certificate(place) if wires and name == "quorate" else None
        world = real_world(place / "client", tls=tls)
        system: System
        if name == "quorate":
            system = Quorate(
                world,
                place,
                timing=timing,
                tls=tls,
                addresses=[Address(f"{host}:{RPC_PORT}") for host in wires.hosts] if wires else (),
                prefixes=wires.prefixes if wires else (),
            )
        else:
            heartbeat_ms, election_ms = ETCD_TIMINGS[name]
            system = EtcdProcesses(
                place,
                heartbeat_ms=heartbeat_ms,
                election_ms=election_ms,
                hosts=wires.hosts if wires else (),
                prefixes=wires.prefixes if wires else (),
            )
        gaps = []
        async with system:
            await asyncio.sleep(SETTLE_S)
            for _ in range(trials):
                match fault:
                    case "kill":
                        fail, mend = system.kill, system.start
                    case "stop":
                        fail, mend = system.pause, system.resume
                    case _ if wires:
                        fail, mend = wires.unplug, wires.plug
                gaps.append(await trial(system, fail, mend))
        await close_world(world)
        return gaps


async def soak(folder: Path, minutes: float, timing: Timing) -> int:
    """Writes without a pause; how often the term changed."""
    world = real_world(folder / "client")
    latencies: list[float] = []
    failed = 0
    async with Quorate(world, folder, timing=timing) as cluster:
        end = time.perf_counter() + minutes * 60

        async def load(number: int) -> None:
            nonlocal failed
            while (began := time.perf_counter()) < end:
                try:
                    await cluster.write(number)
                except QuorateError:
                    failed += 1
                latencies.append(time.perf_counter() - began)

        await asyncio.sleep(SETTLE_S)
        first = await term(cluster)
        for number in cluster.numbers:
            await cluster.usage(number)  # forget the stalls of starting
        await asyncio.gather(*(load(number % 3 + 1) for number in range(SOAK_IN_FLIGHT)))
        changes = await term(cluster) - first
        stalls = [(await cluster.usage(number)).worst_stall_ms for number in cluster.numbers]
    await close_world(world)
    worst = ", ".join(f"{stall:.0f}" for stall in stalls)
    print(
        f"soak: {minutes:g} minutes, {SOAK_IN_FLIGHT} in flight, {len(latencies):,} writes,"
        f" {len(latencies) / minutes / 60:,.0f}/s, worst {max(latencies) * 1000:.0f} ms,"
        f" failed {failed}; loops held up by at most {worst} ms; term changes: {changes}",
        flush=True,
    )
    return changes


async def term(cluster: RaftProcesses) -> int:
    return max([(await cluster.statuses(number))[0].term for number in cluster.numbers])


def main() -> None:
    default = Timing()
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--trials", type=int, default=4)
    parser.add_argument("--faults", default=",".join(FAULTS))
    parser.add_argument("--systems", default=",".join(("quorate", *map(_short, ETCD_TIMINGS))))
    parser.add_argument("--heartbeat-ms", type=int, default=default.heartbeat_interval_ms)
    parser.add_argument("--election-ms", type=int, default=default.election_timeout_ms)
    parser.add_argument("--soak", type=float, default=0.0, metavar="MINUTES")
    parser.add_argument("--directory", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--each", action="store_true", help="print the gap of each trial")
    told = parser.parse_args()
    timing = Timing(heartbeat_interval_ms=told.heartbeat_ms, election_timeout_ms=told.election_ms)
    print(f"quorate: heartbeat {told.heartbeat_ms} ms, election {told.election_ms} ms or more")
    if told.soak:
        with tempfile.TemporaryDirectory(dir=told.directory) as name:
            sys.exit(1 if run(lambda: soak(Path(name), told.soak, timing)) else 0)
    print("longest gap, s           fault   trials   median   worst  one client   worst   before")
    wanted = told.systems.split(",")
    names = ["quorate", *ETCD_TIMINGS]
    for fault in told.faults.split(","):
        why = missing() if fault == "unplug" else ""
        if why:
            print(f"unplug left out: {why}")
            continue
        for name in (name for name in names if _short(name) in wanted):
            if name != "quorate" and not installed():
                print(f"{name} left out: there is no etcd here")
                continue
            gaps = run(partial(measure, told.directory, name, fault, told.trials, timing))
            print(row(name, fault, gaps), flush=True)
            if told.each:
                print("   ", " ".join(f"{gap.anyone:.2f}" for gap in gaps), flush=True)


def _short(name: str) -> str:
    """``etcd, tuned`` as it stands on the command line."""
    return name.replace(", ", "-")


if __name__ == "__main__":
    main()
