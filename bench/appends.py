"""What a replicated append costs: three nodes, real disks, one group, clients over the network.

    python bench/appends.py [ROUNDS] [COMMANDS]

Three processes hold a replica each (``append_node.py``; fsync is on) and a fourth is the clients
(``append_load.py``): puts of 200 bytes under keys of 16, each in its client's session, so exactly
once.  C clients with one put outstanding each, or 50 clients that send 16 at a time.  At the end
the three states must be equal and hold each put that was answered, once.

Beside it, in the same run and one after the other, runs the *floor*: a script that does the data
path alone in three Python processes (no terms, sessions, checksums or elections) under
redis-benchmark with the same connections.  Where a client sends 16, they are pipelined there, and
one request here, as ``GroupClient`` makes it.  ``QUORATE_FLOOR`` names the script; it needs
redis-benchmark and the package hiredis, and without these three only our own figures are shown.

CPU is user and system time of the servers, threads included, in microseconds a command; "others" is
what the rest of the machine used meanwhile, in cores.  All figures are medians of the rounds.
"""

import asyncio
import importlib.util
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Any

from append_node import CLUSTER, GROUP, Applied

from quorate.base.codec import encode, result_of
from quorate.base.errors import QuorateError
from quorate.base.ids import Address, NodeId
from quorate.raft.messages import Ask, AskStatus, GroupStatus
from quorate.rpc.client import RpcClient
from quorate.rpc.handshake import Identity
from quorate.runtime.real.world import close_world, real_world, run

HERE = Path(__file__).parent
FLOOR = HERE.parent.parent / "shared" / "bench" / "micro" / "repl_floor.py"
TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")
NODES = 3

CASES = ((1, 1), (16, 1), (64, 1), (256, 1), (50, 16))
"""Connections, and puts that one sends at a time: those of the floor."""

Case = tuple[int, int]
Row = dict[str, float]


def commands_of(case: Case, commands: int) -> int:
    """As the floor scales them."""
    connections, pipeline = case
    if connections == 1:
        return commands // 20
    return commands * 3 if pipeline > 1 else commands // 2 if connections == 16 else commands


def used_s(pid: int) -> float:
    """CPU seconds of a process so far, all its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_A_SECOND


def machine_used_s() -> float:
    """CPU seconds of the whole machine so far: user, nice, system, interrupts."""
    fields = [int(field) for field in Path("/proc/stat").read_text().split("\n")[0].split()[1:8]]
    return (sum(fields) - fields[3] - fields[4]) / TICKS_A_SECOND


# The floor.


def floor_script() -> Path | str:
    """The script, or why there is none."""
    script = Path(os.environ.get("QUORATE_FLOOR", FLOOR))
    if not script.exists():
        return f"{script} is not here (QUORATE_FLOOR names another)"
    if shutil.which("redis-benchmark") is None:
        return "redis-benchmark is not installed"
    if importlib.util.find_spec("hiredis") is None:
        return "the package hiredis is not installed"
    return script


def measure_floor(script: Path, commands: int) -> dict[Case, Row]:
    done = subprocess.run(
        [sys.executable, str(script), str(commands)], check=True, capture_output=True, text=True
    )
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    return {
        (row["conc"], row["pipeline"]): {
            "per_s": row["rps"],
            "p50_ms": row["p50_ms"],
            "p99_ms": row["p99_ms"],
            "servers_us": row["server_us_per_op"],
            "leader_us": row["leader_us"],
            "follower_us": row["follower_us"],
            "client_us": row["client_us"],
            "others": row["other_cores"],
        }
        for row in rows
        if row["op"] == "set"
    }


# Ours.


class Cluster:
    """Three servers and what is asked of them."""

    def __init__(self, folder: Path) -> None:
        sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(NODES)]
        self.addresses = [Address(f"127.0.0.1:{own.getsockname()[1]}") for own in sockets]
        for own in sockets:
            own.close()
        self.children = [
            subprocess.Popen(
                [sys.executable, HERE / "append_node.py", str(node), folder / str(node)]
                + [str(address) for address in self.addresses],
                stdin=subprocess.PIPE,
            )
            for node in range(1, NODES + 1)
        ]
        self.world = real_world(folder / "client")
        self.rpc = RpcClient(self.world, Identity(CLUSTER, NodeId(0), "client"))

    async def status(self, address: Address) -> GroupStatus | None:
        try:
            reply = await self.rpc.call(address, AskStatus(), timeout_ms=1000)
        except QuorateError:
            return None
        return reply.groups[0]

    async def leader(self) -> int:
        """The position of the leader among the addresses."""
        for _ in range(100):
            for position, address in enumerate(self.addresses):
                status = await self.status(address)
                if status is not None and status.role == "leader" and status.last_applied:
                    return position
            await asyncio.sleep(0.1)
        raise SystemExit("no leader within 10 seconds")

    async def require_applied(self, puts: int) -> None:
        """All three states are the same and hold ``puts`` puts, or this is the end."""
        leader = self.addresses[await self.leader()]
        outcome = await self.rpc.call(leader, Ask(GROUP, encode(Applied())), timeout_ms=10_000)
        applied = result_of(outcome, int)
        if applied != puts:
            raise SystemExit(f"{puts} puts were answered and {applied} applied")
        for _ in range(100):
            statuses = [await self.status(address) for address in self.addresses]
            states = [(s.last_applied, s.digest) for s in statuses if s is not None]
            if len(states) == NODES and len(set(states)) == 1:
                return
            await asyncio.sleep(0.1)
        raise SystemExit(f"the states differ: {states}")

    async def close(self) -> None:
        await self.rpc.close()
        await close_world(self.world)
        for child in self.children:
            child.communicate(timeout=30)


async def measure_case(cluster: Cluster, case: Case, commands: int) -> Row:
    """One load; raises ``SystemExit`` unless every put was answered well."""
    leader = await cluster.leader()
    arguments = [cluster.addresses[leader], *map(str, (*case, commands))]
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        str(HERE / "append_load.py"),
        *arguments,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    if child.stdin is None or child.stdout is None or await child.stdout.readline() != b"ready\n":
        raise SystemExit("the load did not start")
    pids = [server.pid for server in cluster.children]
    before, machine_s, began_s = [used_s(pid) for pid in pids], machine_used_s(), time.monotonic()
    child.stdin.write(b"go\n")
    output = await child.stdout.readline()
    after = [used_s(pid) for pid in pids]
    machine_s, passed_s = machine_used_s() - machine_s, time.monotonic() - began_s
    await child.wait()
    if not output:
        raise SystemExit("the load broke off")
    load = json.loads(output)
    if load["errors"] or await cluster.leader() != leader:
        raise SystemExit(f"{load['errors']} puts of {commands} failed, or the leader changed")
    servers = [(end - begin) / commands * 1e6 for begin, end in zip(before, after, strict=True)]
    own_s = sum(after) - sum(before) + load["cpu_s"]
    return {
        "per_s": commands / load["seconds"],
        "p50_ms": load["p50_ms"],
        "p99_ms": load["p99_ms"],
        "servers_us": sum(servers),
        "leader_us": servers[leader],
        "follower_us": (sum(servers) - servers[leader]) / (NODES - 1),
        "client_us": load["cpu_s"] / commands * 1e6,
        "others": max(0.0, machine_s - own_s) / passed_s,
    }


async def measure_ours(commands: int) -> dict[Case, Row]:
    """All cases on one fresh cluster."""
    rows: dict[Case, Row] = {}
    with tempfile.TemporaryDirectory(prefix="appends-") as folder:
        cluster = Cluster(Path(folder))
        try:
            for case in CASES:
                rows[case] = await measure_case(cluster, case, commands_of(case, commands))
            await cluster.require_applied(sum(commands_of(case, commands) for case in CASES))
        finally:
            await cluster.close()
    return rows


# The table.


def medians(rounds: list[dict[Case, Row]], case: Case) -> Row:
    names = rounds[0][case]
    return {name: median(rows[case][name] for rows in rounds) for name in names}


def line(case: Case, what: str, row: Row) -> str:
    load = str(case[0]) if case[1] == 1 else f"{case[0]} x {case[1]}"
    return (
        f"{load:>7}  {what:5} {row['per_s']:10,.0f} {row['p50_ms']:7.2f} {row['p99_ms']:7.2f}"
        f" {row['servers_us']:9.1f} {row['leader_us']:8.1f} {row['follower_us']:9.1f}"
        f" {row['client_us']:8.1f} {row['others']:7.2f}"
    )


def show(ours: list[dict[Case, Row]], floors: list[dict[Case, Row]]) -> None:
    print(
        "clients  what         per s  p50 ms  p99 ms   CPU us   leader  follower   client  others"
    )
    for case in CASES:
        row = medians(ours, case)
        if floors:
            floor = medians(floors, case)
            print(line(case, "floor", floor))
            ratios: Mapping[str, Any] = {k: row[k] / floor[k] for k in ("servers_us", "per_s")}
            ratio = f"   {ratios['servers_us']:.2f} times the floor's CPU"
        else:
            ratio = ""
        print(line(case, "ours", row) + ratio)


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    commands = int(sys.argv[2]) if len(sys.argv) > 2 else 20_000
    script = floor_script()
    if isinstance(script, str):
        print(f"no floor: {script}")
    ours: list[dict[Case, Row]] = []
    floors: list[dict[Case, Row]] = []
    for _ in range(rounds):
        if isinstance(script, Path):
            floors.append(measure_floor(script, commands))
        ours.append(run(lambda: measure_ours(commands)))
    print(
        f"medians of {rounds}, {commands:,} puts at 64 clients; CPU: of the three servers, per put"
    )
    show(ours, floors)


if __name__ == "__main__":
    main()
