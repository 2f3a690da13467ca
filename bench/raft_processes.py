"""Real processes that host groups of ``KeyValues``, for benches: each has a log on a real disk, its
own event loop and sockets.

    async with RaftProcesses(world, folder, groups=1, timing=Timing()) as cluster:
        leader = await cluster.leader()                     # a node's number, from 1
        client = GroupClient(world, rpc, cluster.addresses, GroupId(1))
        await client.execute(Put(b"key", b"value"), timeout_ms=1000)
        cluster.kill(leader)                                # SIGKILL; start(leader) brings it back

The children die with this process.  Each keeps a timer that fires every ``PROBE_MS`` and remembers
by how much it was late: how long its loop was held up (``usage``).
"""

import asyncio
import os
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
from key_values import KeyValues
from processes import Processes

from quorate.base.codec import Notice, Reply, Request
from quorate.base.errors import QuorateError
from quorate.base.ids import Address, ClusterId, GroupId, NodeId
from quorate.base.machine import StateMachine
from quorate.node.identity import founding_replica
from quorate.raft.core.configuration import founding
from quorate.raft.core.settings import Limits, Timing
from quorate.raft.messages import AskStatus, GroupStatus, RaftMessages
from quorate.raft.node import Membership, RaftNode
from quorate.raft.wal import Wal
from quorate.rpc.client import RpcClient
from quorate.rpc.handshake import Identity
from quorate.rpc.server import Handler, RpcServer
from quorate.runtime.ports import World
from quorate.runtime.real.disk import RealDisk
from quorate.runtime.real.parent_death import die_with_parent
from quorate.runtime.real.world import TlsPaths, real_world, run
from quorate.torture.hosts import free_ports

CLUSTER = ClusterId("b" * 32)
PROBE_MS = 1.0
ASK_MS = 300.0
POLL_S = 0.02
TICKS = os.sysconf("SC_CLK_TCK")


class Usage(Reply):
    """Of one process, since it started or since it was last asked."""

    cpu_s: float
    """User and system time since it started."""
    worst_stall_ms: float
    """The longest that its loop was held up, since it was last asked."""
    notices: int
    """Sent, since it started."""
    envelopes: int
    """Messages of single groups in them."""


class AskUsage(Request[Usage], tag="bench.usage.1"):
    pass


class NodeSettings(msgspec.Struct, frozen=True):
    """What a child is told on its command line."""

    parent: int
    node: int
    addresses: list[Address]
    groups: int
    directory: str
    timing: Timing
    limits: Limits
    tls: list[str] | None
    probe: bool


# The child.


class _CountingClient(RpcClient):
    notices = envelopes = 0

    def notify(self, address: Address, notice: Notice) -> None:
        self.notices += 1
        if isinstance(notice, RaftMessages):
            self.envelopes += len(notice.envelopes)
        super().notify(address, notice)


class _Probe:
    """What ``AskUsage`` is answered with."""

    def __init__(self, world: World, rpc: _CountingClient, probe: bool) -> None:
        self._clock = world.clock
        self._rpc = rpc
        self._worst_ms = 0.0
        self._due_ms = 0.0
        if probe:
            self._arm()

    def _arm(self) -> None:
        self._due_ms = self._clock.monotonic_ms() + PROBE_MS
        self._clock.call_later(PROBE_MS, self._fire)

    def _fire(self) -> None:
        self._worst_ms = max(self._worst_ms, self._clock.monotonic_ms() - self._due_ms)
        self._arm()

    def usage(self) -> Usage:
        worst_ms, self._worst_ms = self._worst_ms, 0.0
        return Usage(time.process_time(), worst_ms, self._rpc.notices, self._rpc.envelopes)


def _membership(settings: NodeSettings, group: int) -> Membership:
    nodes = range(1, len(settings.addresses) + 1)
    replicas = [founding_replica(GroupId(group), NodeId(node)) for node in nodes]
    members = dict(zip(replicas, settings.addresses, strict=True))
    return Membership(replicas[settings.node - 1], founding(members))


async def serve(settings: NodeSettings) -> None:
    """Be node ``settings.node``, for ever."""
    tls = TlsPaths(*map(Path, settings.tls)) if settings.tls else None
    world = real_world(Path(settings.directory), tls=tls)
    node = NodeId(settings.node)
    identity = Identity(CLUSTER, node, "raft")
    rpc = _CountingClient(world, identity)
    probe = _Probe(world, rpc, settings.probe)
    machines: dict[GroupId, tuple[StateMachine, Membership]] = {
        GroupId(group): (KeyValues(), _membership(settings, group))
        for group in range(1, settings.groups + 1)
    }
    raft = await RaftNode.start(
        world, CLUSTER, node, machines, rpc, timing=settings.timing, limits=settings.limits
    )
    requests: dict[type[Request[Any]], Handler] = {
        **raft.server.requests,
        AskUsage: lambda request, call: probe.usage(),
    }
    server = RpcServer(world, identity, requests, raft.server.notices)
    await server.start(settings.addresses[settings.node - 1])
    await asyncio.Event().wait()


# The parent.


async def until(true: Callable[[], Awaitable[bool]], timeout_s: float) -> None:
    """Look again and again; raises ``TimeoutError``."""
    async with asyncio.timeout(timeout_s):
        while True:
            if await true():
                return
            await asyncio.sleep(POLL_S)


class RaftProcesses(Processes):
    """Nodes 1, 2, …, each a process; all objects of one event loop of the real world."""

    def __init__(
        self,
        world: World,
        directory: Path,
        *,
        nodes: int = 3,
        groups: int = 1,
        timing: Timing | None = None,
        limits: Limits | None = None,
        addresses: Sequence[Address] = (),
        tls: TlsPaths | None = None,
        prefixes: Sequence[Sequence[str]] = (),
        probe: bool = True,
    ) -> None:
        """``directory`` is on the disk to be measured.  ``addresses`` default to free ports of
        127.0.0.1; ``prefixes`` are what each node's command line begins with.  Without ``probe``
        no timer looks for stalls, which costs a few percent of a core."""
        self.world = world
        super().__init__(directory)
        self._prefixes = prefixes
        self._timing = timing or Timing()
        self._limits = limits or Limits()
        self._tls = tls
        self._probe = probe
        self.numbers = range(1, nodes + 1)
        self.groups = [GroupId(number) for number in range(1, groups + 1)]
        self.addresses = list(addresses) or [
            Address(f"127.0.0.1:{port}") for port in free_ports(nodes)
        ]
        self.rpc = self.client()

    def client(self) -> RpcClient:
        """What a further client calls with; the caller closes it."""
        return RpcClient(self.world, Identity(CLUSTER, NodeId(0), "client"))

    async def begin(self) -> None:
        for number in self.numbers:
            disk = RealDisk(self._directory / f"n{number}")
            await Wal.create(disk, CLUSTER, NodeId(number))
            disk.close()
        for number in self.numbers:
            self.start(number)
        for group in self.groups:
            await self.leader(group)

    async def __aexit__(self, *error: object) -> None:
        await super().__aexit__(*error)
        await self.rpc.close()

    def start(self, number: int) -> None:
        """Start a node that does not run; what it prints goes to ``n1.log`` in the directory."""
        tls = (
            [str(path) for path in (self._tls.ca, self._tls.cert, self._tls.key)]
            if self._tls
            else None
        )
        settings = NodeSettings(
            os.getpid(),
            number,
            self.addresses,
            len(self.groups),
            str(self._directory / f"n{number}"),
            self._timing,
            self._limits,
            tls,
            self._probe,
        )
        command = [
            *(self._prefixes[number - 1] if self._prefixes else ()),
            *(sys.executable, __file__, msgspec.json.encode(settings).decode()),
        ]
        self.launch(number, command)

    def cpu_s(self, number: int) -> float:
        """User and system seconds of a process, of all its threads."""
        fields = Path(f"/proc/{self.pid(number)}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    async def statuses(self, number: int) -> list[GroupStatus]:
        """How a node sees its replicas; raises a ``QuorateError`` if it does not answer."""
        reply = await self.rpc.call(self.addresses[number - 1], AskStatus(), timeout_ms=ASK_MS)
        return reply.groups

    async def usage(self, number: int) -> Usage:
        return await self.rpc.call(self.addresses[number - 1], AskUsage(), timeout_ms=5_000)

    async def leader(self, group: int = 1, timeout_s: float = 30) -> int:
        """The node whose replica leads ``group`` in the latest term that anybody who answers
        knows; raises ``TimeoutError``."""
        async with asyncio.timeout(timeout_s):
            while True:
                alive = self.running()
                found = await asyncio.gather(
                    *(self.statuses(number) for number in alive), return_exceptions=True
                )
                seen: list[tuple[int, bool, int]] = []
                for number, statuses in zip(alive, found, strict=True):
                    if isinstance(statuses, QuorateError):
                        continue
                    if isinstance(statuses, BaseException):
                        raise statuses
                    own = next(status for status in statuses if status.group == group)
                    seen.append((own.term, own.role == "leader", number))
                if seen and max(seen)[1]:
                    return max(seen)[2]
                await asyncio.sleep(POLL_S)


if __name__ == "__main__":
    told = msgspec.json.decode(sys.argv[1], type=NodeSettings)
    die_with_parent(told.parent)
    run(lambda: serve(told))
