"""The key/value labs over the whole product: the store, its log, and our own client.

How the labs' words map:

* A *server* is a replica of the store's group.  Without watches (``max_events=0``) it keeps what
  the lab's server keeps: keys, values, and what makes a command exactly-once.
* A *clerk* is a ``KvClient`` on a machine of its own.  The labs' clerks try for ever; ours have
  their own deadline, which is the whole test's here: what a clerk raises before that is a failure.
* A network that is *unreliable* is that of the Raft labs between servers (network.py).  A clerk's
  call is as the labs have it: late by 0 to 26 ms, and of ten requests and of ten answers one is
  lost, of which the clerk hears at once (``Maybe``, as of a connection that breaks).  Were a frame
  to vanish without a word, it would wait for 1.5 s each time, and hardly anything would collide.
* A partition divides the servers; a clerk reaches all of them, unless the test says which.
* A *shutdown* is a loss of power, which is harder than what the labs do.
* ``maxraftstate`` is ``Limits.snapshot_log_bytes``, with nothing retained behind a snapshot.
* Whatever clerks do is kept as a history, and judged in the end by the linearizability checker.
  The labs pass what takes their checker too long; here a verdict is demanded.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar, cast

from labs.harness import ProductLab
from labs.network import LabCluster

from quorate.base.codec import Request
from quorate.base.errors import Maybe, QuorateError
from quorate.base.ids import KV_GROUP, Address, GroupId, NodeId
from quorate.base.together import together
from quorate.kv.client import KvClient
from quorate.kv.core.commands import Get
from quorate.kv.core.history import MAX_EVENTS
from quorate.kv.core.store import Store
from quorate.kv.server import KvServer
from quorate.linearizability.history import Operation, Outcome, Verdict
from quorate.linearizability.judge import check_history
from quorate.linearizability.models import MODELS
from quorate.raft.core.settings import Limits
from quorate.raft.node import RaftNode
from quorate.raft.snapshots.names import DIRECTORY, Kind
from quorate.rpc.client import RpcClient
from quorate.rpc.handshake import Identity
from quorate.rpc.server import Handler
from quorate.runtime.ports import World
from quorate.runtime.simulated.faults import Link
from quorate.runtime.simulated.process import SimulatedProcess
from quorate.runtime.simulated.world import Simulation
from quorate.simulator.cluster import CLUSTER, address
from quorate.simulator.lab.registry import LabTest
from quorate.simulator.lab.results import Broken
from quorate.simulator.lab.tester import ELECTION_MS, TEST_MS

T = TypeVar("T")

MAX_STEPS = 400_000
"""Of the checker, for one history; some seconds."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How much clerks do where they go on for a while."""

    round_s: float
    """How long; the labs of 2021 have rounds of 5 s, those of 2025 of 1 s."""
    pause_ms: float
    """At most, after each operation, of up to five clerks; more have more of it.  The labs' have
    none."""
    operations: int
    """Of the tests of speed."""


SHORT = Pace(1.0, 40.0, 300)
LONG = Pace(5.0, 30.0, 1_000)


class KvLabCluster(LabCluster):
    """Servers of the store, with its doors."""

    def __init__(
        self,
        simulation: Simulation,
        servers: int,
        machine: Callable[[], Store],
        limits: Limits | None,
    ) -> None:
        super().__init__(simulation, servers, machine, limits)
        self.groups = [KV_GROUP]
        self.is_unreliable = False

    def rpc(self, world: World) -> RpcClient:
        return _LossyCalls(world, Identity(CLUSTER, NodeId(0), "client"), self)

    async def _requests(
        self, name: str, world: World, rpc: RpcClient, node: RaftNode
    ) -> Mapping[type[Request[Any]], Handler]:
        group = node.groups[KV_GROUP]
        own = KvServer(world, group, cast(Store, group.machine))
        return {**node.server.requests, **own.requests}


class _LossyCalls(RpcClient):
    """What a clerk calls with."""

    def __init__(self, world: World, identity: Identity, cluster: KvLabCluster) -> None:
        super().__init__(world, identity)
        self._clock = world.clock
        self._cluster = cluster

    async def call(self, address: Address, request: Request[T], *, timeout_ms: float) -> T:
        random = self._cluster.random
        lost_request, lost_answer = random.randrange(10) == 0, random.randrange(10) == 0
        if not self._cluster.is_unreliable:
            return await super().call(address, request, timeout_ms=timeout_ms)
        await self._clock.sleep(random.uniform(0, 26))
        if lost_request:
            raise Maybe("the request was lost")
        answer = await super().call(address, request, timeout_ms=timeout_ms)
        if lost_answer:
            raise Maybe("the answer was lost")
        return answer


class Clerk:
    """A client on a machine of its own, that notes what it does."""

    def __init__(self, lab: "KvLab", name: str, servers: Sequence[int]) -> None:
        self.name = name
        self._lab = lab
        started: list[tuple[World, RpcClient, KvClient]] = []

        async def main(world: World) -> None:
            rpc = lab.cluster.rpc(world)
            doors = [address(lab.name(server)) for server in servers]
            started.append((world, rpc, KvClient(world, rpc, doors, timeout_s=TEST_MS / 1000)))
            await world.clock.sleep(float("inf"))

        self._process: SimulatedProcess = lab.simulation.machine(name).start_process("client", main)
        self._started = started

    async def run(self, work: Callable[[KvClient], Awaitable[T]]) -> T:
        """``work`` as the client's own process does it."""
        return await self.run_with(lambda world, rpc, kv: work(kv))

    async def run_with(self, work: Callable[[World, RpcClient, KvClient], Awaitable[T]]) -> T:
        while not self._started:
            await self._lab.sleep(0)
        [(world, rpc, kv)] = self._started

        async def run() -> T:
            return await work(world, rpc, kv)

        done: asyncio.Task[T] = self._process.run(asyncio.ensure_future, run())
        return await done

    # The labs' three operations, on strings.

    async def get(self, key: str) -> str:
        async def get(kv: KvClient) -> str:
            entry = await kv.get(key)
            return entry.value.decode() if entry is not None else ""

        return await self._noted("get", key, None, get)

    async def put(self, key: str, value: str) -> None:
        await self._noted("put", key, value, lambda kv: kv.put(key, value))

    async def append(self, key: str, value: str) -> None:
        await self._noted("append", key, value, lambda kv: kv.append(key, value))

    async def expect(self, key: str, value: str) -> None:
        """The labs' ``check``."""
        got = await self.get(key)
        self._lab.demand(got == value, f"key {key} has {value!r:.60}; {self.name} got {got!r:.60}")

    async def _noted(
        self, f: str, key: str, argument: str | None, work: Callable[[KvClient], Awaitable[T]]
    ) -> T:
        lab = self._lab
        operation = Operation(self.name, f, key, argument, lab.now_ms())
        lab.operations.append(operation)
        try:
            result = await self.run(work)
        except QuorateError as error:
            sentence = f"a clerk goes on until it has its answer, but {f} of {key}: {error}"
            raise Broken(sentence) from None
        operation.returned, operation.outcome = lab.now_ms(), Outcome.OK
        operation.result = result if f == "get" else None
        operation.where = f"{operation.invoked:.1f} ms to {operation.returned:.1f} ms"
        lab.slowest_agreement_ms = max(
            lab.slowest_agreement_ms, operation.returned - operation.invoked
        )
        return result


class KvLab(ProductLab):
    """Some servers of the store, and clerks."""

    group_id: GroupId = KV_GROUP

    def __init__(self, test: "KvTest", seed: int, pace: Pace) -> None:
        self.kv_test = test
        self.pace = pace
        self.operations: list[Operation] = []
        self._clerks = 0
        super().__init__(
            LabTest(test.part, test.name, test.promise, test.servers, 1, False, _no_body), seed
        )

    def _make_cluster(self, test: LabTest) -> LabCluster:
        limits, max_log_bytes = None, self.kv_test.max_log_bytes
        if max_log_bytes is not None:
            limits = Limits(snapshot_log_bytes=max_log_bytes, retained_log_bytes=0)
        max_events = MAX_EVENTS if self.kv_test.watches else 0
        self._kv_cluster = KvLabCluster(
            self.simulation, test.servers, lambda: Store(max_events=max_events), limits
        )
        return self._kv_cluster

    def unreliable(self, on: bool = True) -> None:
        super().unreliable(on)
        self._kv_cluster.is_unreliable = on

    def clerk(self, servers: Sequence[int] | None = None) -> Clerk:
        """A new one; if ``servers`` are named, it knows and reaches no others."""
        self._clerks += 1
        name = f"c{self._clerks}"
        clerk = Clerk(self, name, self.servers if servers is None else servers)
        for server in self.servers:
            for link in ((name, self.name(server)), (self.name(server), name)):
                self.simulation.faults.links[link] = Link()
        if servers is not None:
            others = [self.name(server) for server in self.servers if server not in servers]
            self.simulation.faults.partition([name], others)
        return clerk

    async def all_clerks(
        self, count: int, work: Callable[[Clerk, int], Coroutine[Any, Any, T]]
    ) -> list[T]:
        """``work`` of so many new clerks at once."""
        return await together(work(self.clerk(), number) for number in range(count))

    # Servers.

    def store(self, server: int) -> Store:
        """The state of a server that is up."""
        group = self.group(server)
        self.demand(group is not None, f"{self.name(server)} is up")
        assert group is not None
        return cast(Store, group.machine)

    def counter(self, server: int) -> int:
        """What the RSM tests count, as this server has it."""
        found = self.store(server).look(Get(b"counter"))
        return int(found) if isinstance(found, bytes) else 0

    def revision(self) -> int:
        """Of the newest state."""
        return max(self.store(server).state.revision for server in self.servers)

    def snapshots_taken(self, server: int) -> int:
        """In this life of the server."""
        group = self.group(server)
        return group.figures().snapshots.written if group is not None else 0

    def installed(self, server: int) -> int:
        """Snapshots of others, in this life of the server."""
        group = self.group(server)
        return group.figures().snapshots.installed if group is not None else 0

    def partition(self, *sides: Sequence[int]) -> None:
        """Servers on different sides do not hear each other; clerks hear all."""
        self.simulation.faults.heal()
        self.simulation.faults.partition(*([self.name(s) for s in side] for side in sides))

    def heal(self) -> None:
        self.simulation.faults.heal()

    async def restart_all(self) -> None:
        """All crash, stay down for an election's time, and come back."""
        self.crash(*self.servers)
        await self.sleep(ELECTION_MS)
        await self.restart(*self.servers)
        self.connect(*self.servers)

    # What is measured.

    def log_bytes(self) -> int:
        """Of the server that has most."""
        return max(map(self.persisted_log_bytes, self.servers))

    def snapshot_bytes(self) -> int:
        """The largest of the servers' newest snapshots, as a file; 0 if there is none."""
        return max(self._snapshot_bytes(server) for server in self.servers)

    def _snapshot_bytes(self, server: int) -> int:
        disk = self.simulation.machine(self.name(server)).disk
        view = disk.view(SimulatedProcess(self.name(server), "lab", 0), "raft")
        whole = [name for name in view.list(DIRECTORY) if name.endswith(Kind.WHOLE)]
        return max((view.open(f"{DIRECTORY}/{name}").size() for name in whole), default=0)

    def judge(self) -> None:
        """All that clerks did and saw is what a single copy could have shown."""
        judgement = check_history(MODELS["kv"], self.operations, lambda steps: steps >= MAX_STEPS)
        verdict = judgement.verdict
        self.demand(verdict is Verdict.OK, f"Linearizable: {verdict.value}: {judgement.detail}")
        self.at_least("operations judged", len(self.operations), 1)


Body: TypeAlias = Callable[[KvLab], Coroutine[Any, Any, None]]


@dataclass(frozen=True, slots=True)
class KvTest:
    """A test by its name in the course."""

    part: str
    """``3A`` and ``3B`` of 2021; ``2/2024``, ``2/2025`` and ``4/2025`` of later years."""
    name: str
    promise: str
    servers: int
    seeds: int
    max_log_bytes: int | None
    watches: bool
    body: Body


KV_COURSE: dict[str, KvTest] = {}


def kv_lab(
    part: str,
    *,
    servers: int,
    seeds: int = 1,
    max_log_bytes: int | None = None,
    watches: bool = False,
    name: str = "",
) -> Callable[[Body], Body]:
    """Enter a coroutine function into the table; its first paragraph is its promise."""

    def decorate(body: Body) -> Body:
        known = name or body.__name__
        promise = " ".join((body.__doc__ or "").split())
        test = KvTest(part, known, promise, servers, seeds, max_log_bytes, watches, body)
        KV_COURSE[known] = test
        return body

    return decorate


async def _no_body(lab: object) -> None:
    """The registry of the Raft labs wants one; ``KvTest`` has its own."""


def run_kv(test: KvTest, seed: int, pace: Pace) -> tuple[KvLab, Broken | None]:
    """Run ``test``; the lab as it was in the end, and the promise that was not kept, if any."""
    lab = KvLab(test, seed, pace)
    with lab.simulation:
        try:
            lab.run(_judged(test, lab))
        except Broken as broken:
            return lab, broken
    return lab, None


async def _judged(test: KvTest, lab: KvLab) -> None:
    await test.body(lab)
    if lab.operations:
        lab.judge()
