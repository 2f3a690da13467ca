"""The stores of ``kv.py``: how each is started, and how one load of it is measured.

* ours: three whole nodes (``LocalCluster``), through the RESP gateway; all their processes count.
* etcd: ``h2load``, which sends one put or range again and again.  Each put must have moved the
  revision by one.
* ZooKeeper: setData and getData.  Its reads are local: they may be stale.
* the floor: the script that ``appends.py`` compares with, at 50 connections that pipeline 16;
  ours gets that load from the same ``redis-benchmark``.

Ours and ZooKeeper otherwise get the load of ``kv_load.py``: as many connections, with as many
requests in flight on each, as etcd's.
"""

import asyncio
import base64
import csv
import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from statistics import quantiles
from typing import NamedTuple, Protocol, Self

from appends import machine_used_s, used_s
from etcd_processes import EtcdProcesses
from kv_load import VALUE
from words import cpu_of_children, descendants
from zookeeper_processes import ZooKeeperProcesses
from zookeeper_processes import missing as zookeeper_missing

from quorate.base.errors import QuorateError
from quorate.base.ids import KV_GROUP, Address, ClusterId, NodeId
from quorate.library.local import free_port
from quorate.node.local_cluster import LocalCluster
from quorate.raft.messages import AskStatus
from quorate.rpc.client import RpcClient
from quorate.rpc.handshake import Identity
from quorate.runtime.real.world import close_world, real_world

HERE = Path(__file__).parent
LOAD_S = 120.0
KEY = b"key:000000000001"


class Case(NamedTuple):
    """One load."""

    operation: str
    """``set`` or ``get``."""
    connections: int
    window: int
    """Requests in flight on each of them."""
    follower: bool = False
    """Sent to one; else to the leader."""
    pipelined: bool = False
    """A connection sends the next requests when all answers are there: redis-benchmark's way."""


class Row(NamedTuple):
    """What one load took; CPU in microseconds an operation."""

    per_s: float
    p50_ms: float
    p99_ms: float
    servers_us: float
    client_us: float
    others: float
    """Cores that the rest of the machine used meanwhile."""


class System(Protocol):
    """A store that runs."""

    name: str

    async def __aenter__(self) -> Self: ...
    async def __aexit__(self, *error: object) -> None: ...
    async def measure(self, case: Case, requests: int) -> Row: ...


class Meter:
    """CPU of servers, and of everybody, from here on."""

    def __init__(self, pids: Iterable[int]) -> None:
        self._pids = list(pids)
        self._began_s = time.monotonic()
        self._servers_s = sum(map(used_s, self._pids))
        self._machine_s = machine_used_s()

    def stop(self, requests: int, cpu_s: float) -> tuple[float, float, float]:
        """The last three of a ``Row``; ``cpu_s`` is the load's own."""
        servers_s = sum(map(used_s, self._pids)) - self._servers_s
        machine_s, passed_s = machine_used_s() - self._machine_s, time.monotonic() - self._began_s
        others = max(0.0, machine_s - servers_s - cpu_s) / passed_s
        return servers_s / requests * 1e6, cpu_s / requests * 1e6, others


async def loaded(pids: Iterable[int], system: str, port: int, case: Case, requests: int) -> Row:
    """``kv_load.py``'s."""
    arguments = (system, port, case.operation, case.connections, case.window, requests)
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        str(HERE / "kv_load.py"),
        *map(str, arguments),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    if child.stdin is None or child.stdout is None or await child.stdout.readline() != b"ready\n":
        raise SystemExit(f"the load of {system} did not start")
    meter = Meter(pids)
    child.stdin.write(b"go\n")
    async with asyncio.timeout(LOAD_S):
        output = await child.stdout.readline()
    if not output:
        raise SystemExit(f"the load of {system} broke off")
    told = json.loads(output)
    used = meter.stop(requests, told["cpu_s"])
    await child.wait()
    if told["errors"]:
        raise SystemExit(f"{told['errors']} of {requests} requests to {system} failed")
    return Row(requests / told["seconds"], told["p50_ms"], told["p99_ms"], *used)


async def output_of(*command: str) -> str:
    """Of a load that somebody else made."""
    child = await asyncio.create_subprocess_exec(
        *command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    async with asyncio.timeout(LOAD_S):
        output = (await child.communicate())[0].decode()
    if child.returncode:
        raise SystemExit(f"{command[0]} failed: {output[-1000:]}")
    return output


async def redis_benchmark(pids: Iterable[int], port: int, case: Case, requests: int) -> Row:
    """Values of 200 bytes under 100,000 keys, as the floor gets them."""
    options = {
        "-p": port,
        "-t": case.operation,
        "-c": case.connections,
        "-P": case.window,
        "-n": requests,
        "-d": len(VALUE),
        "-r": 100_000,
    }
    words = [str(word) for option in options.items() for word in option]
    meter, cpu_s = Meter(pids), cpu_of_children()
    output = await output_of("redis-benchmark", *words, "--csv")
    used = meter.stop(requests, cpu_of_children() - cpu_s)
    table = [line for line in output.splitlines() if line.startswith('"')]
    [found] = csv.DictReader(table)
    times = [float(found[f"p{percent}_latency_ms"]) for percent in (50, 99)]
    return Row(float(found["rps"]), *times, *used)


class Quorate:
    """Three nodes, each with all its roles."""

    name = "quorate"

    def __init__(self, folder: Path) -> None:
        client = folder / "client"
        client.mkdir()
        self._world = real_world(client)
        self._cluster = LocalCluster(self._world, folder / "cluster", 3, free_port(), tasks=1)
        self._rpc = RpcClient(self._world, Identity(ClusterId(""), NodeId(0), "client"))
        self.pids: list[int] = []

    async def __aenter__(self) -> Self:
        await self._cluster.start()
        self.pids = descendants(
            [pid for name in self._cluster.nodes for pid in self._cluster.pids(name)]
        )
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._rpc.close()
        await self._cluster.stop()
        await close_world(self._world)

    async def leader(self) -> str:
        """The node that leads the keys' group."""
        for _ in range(100):
            for name, node in self._cluster.nodes.items():
                try:
                    door = Address(node.addresses["rpc"])
                    reply = await self._rpc.call(door, AskStatus(), timeout_ms=1000)
                except QuorateError:
                    continue
                if any(own.group == KV_GROUP and own.role == "leader" for own in reply.groups):
                    return name
            await asyncio.sleep(0.1)
        raise SystemExit("no leader within 10 seconds")

    async def port(self, *, follower: bool) -> int:
        """Of the gateway there."""
        leader = await self.leader()
        name = leader if not follower else next(n for n in self._cluster.nodes if n != leader)
        return int(self._cluster.nodes[name].addresses["resp"].rpartition(":")[2])

    async def measure(self, case: Case, requests: int) -> Row:
        leader = await self.leader()
        port = await self.port(follower=case.follower)
        if case.pipelined:
            row = await redis_benchmark(self.pids, port, case, requests)
        else:
            row = await loaded(self.pids, "resp", port, case, requests)
        if await self.leader() != leader:
            raise SystemExit("the leader changed under load: measure again")
        return row


class Etcd(EtcdProcesses):
    """With its own times: heartbeats every 100 ms, elections after 1000."""

    name = "etcd"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, heartbeat_ms=100, election_ms=1000)

    async def measure(self, case: Case, requests: int) -> Row:
        leader = await self.leader()
        number = leader if not case.follower else next(n for n in self.numbers if n != leader)
        body = _field(1, KEY)
        path = "etcdserverpb.KV/Range"
        if case.operation == "set":
            body, path = body + _field(2, VALUE), "etcdserverpb.KV/Put"
        else:
            texts = {"key": base64.b64encode(KEY).decode()}
            await self._post(leader, "kv/put", {**texts, "value": base64.b64encode(VALUE).decode()})
        before = await self.revision()
        pids = [self.pid(n) for n in self.numbers]
        with tempfile.TemporaryDirectory(dir=self._directory) as place:
            request, log = Path(place) / "request", Path(place) / "log"
            request.write_bytes(b"\0" + len(body).to_bytes(4, "big") + body)
            command = ["h2load", f"-n{requests}", f"-c{case.connections}", f"-m{case.window}"]
            command += [f"-d{request}", f"--log-file={log}"]
            command += ["-Hcontent-type: application/grpc", "-Hte: trailers"]
            command += [f"{self._urls(number)[0]}/{path}"]
            meter, cpu_s = Meter(pids), cpu_of_children()
            output = await output_of(*command)
            used = meter.stop(requests, cpu_of_children() - cpu_s)
            lines = [line.split("\t") for line in log.read_text().splitlines()]
        latencies_ms = [int(line[2]) / 1000 for line in lines if line[1] == "200"]
        moved = await self.revision() - before
        if len(latencies_ms) != requests or moved != requests * (case.operation == "set"):
            raise SystemExit(
                f"of {requests} requests etcd answered {len(latencies_ms)} and wrote {moved}"
            )
        cuts = quantiles(latencies_ms, n=100)
        found = re.search(r"finished in .*, ([\d.]+) req/s", output)
        if found is None:
            raise SystemExit(f"h2load said nothing of its speed: {output}")
        return Row(float(found[1]), cuts[49], cuts[98], *used)


class ZooKeeper(ZooKeeperProcesses):
    """With its own times."""

    name = "zookeeper"

    async def measure(self, case: Case, requests: int) -> Row:
        leader = await self.leader()
        number = leader if not case.follower else next(n for n in self.numbers if n != leader)
        pids = [self.pid(n) for n in self.numbers]
        return await loaded(pids, "zookeeper", self.port(number), case, requests)


def missing(name: str) -> str:
    """Why a peer, or a load, cannot be had here; empty if it can."""
    if name == "zookeeper":
        return zookeeper_missing()
    needs = ["etcd", "h2load"] if name == "etcd" else [name]
    absent = [program for program in needs if shutil.which(program) is None]
    return f"{' and '.join(absent)}: not installed" if absent else ""


def _field(number: int, data: bytes) -> bytes:
    """Of a protobuf message: bytes, fewer than 16384."""
    size = len(data)
    length = bytes([size]) if size < 128 else bytes([size & 127 | 128, size >> 7])
    return bytes([number << 3 | 2]) + length + data
