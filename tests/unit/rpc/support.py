"""What the RPC tests share: messages, a service that answers them, and simulated processes."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any, TypeVar

from quorate.base.check import Bug
from quorate.base.codec import Notice, Reply, Request, decode
from quorate.base.errors import Fenced, ProtocolError, QuorateError
from quorate.base.ids import Address, ClusterId, NodeId
from quorate.rpc.answer import Answer
from quorate.rpc.client import RpcClient
from quorate.rpc.frames import HELLO, MAX_BULK_FRAME_BYTES, WELCOME, decode_frame, encode_frame
from quorate.rpc.handshake import PROTOCOL_VERSION, Identity, Welcome
from quorate.rpc.server import Bulk, Call, RpcServer
from quorate.runtime.ports import Buffer, Connection, Frame, World
from quorate.runtime.simulated.world import Simulation

T = TypeVar("T")

CLUSTER = ClusterId("c" * 32)
SERVER = Identity(CLUSTER, NodeId(1), "raft")
CLIENT = Identity(CLUSTER, NodeId(2), "worker")
ADDRESS = Address("server:raft")


class Echoed(Reply):
    number: int
    way: str


class Echo(Request[Echoed], tag="test.echo.1"):
    """Answered in one of the ways a handler has."""

    number: int
    way: str = "value"
    filler: str = ""


class Hang(Request[int], tag="test.hang.1"):
    """Answered when the test says so, or never."""

    number: int


class Fail(Request[None], tag="test.fail.1"):
    """Raises ``what``, in one of the ways a handler has."""

    what: str
    way: str = "value"


class Store(Request[int], tag="test.store.1"):
    """Bulk there; the answer is how many bytes came."""


class Fetch(Request[str], tag="test.fetch.1"):
    """Bulk back: ``size`` bytes."""

    size: int


class Unheard(Request[int], tag="test.unheard.1"):
    """Nobody handles this."""


class Hint(Notice, tag="test.hint.1"):
    number: int
    filler: str = ""


class Service:
    """Handles the messages above."""

    def __init__(self, world: World, identity: Identity = SERVER) -> None:
        self.world = world
        self.echoed = 0
        self.hanging: dict[int, asyncio.Future[int]] = {}
        self.cancelled: list[int] = []
        self.hints: list[tuple[Hint, Identity]] = []
        self.calls: list[Call] = []
        self.stored: list[memoryview] = []
        self.block = bytes(range(256)) * (1 << 15)
        self.server = RpcServer(
            world,
            identity,
            {
                Echo: self.echo,
                Hang: self.hang,
                Fail: self.fail,
                Store: self.store,
                Fetch: self.fetch,
            },
            {Hint: self.hint},
        )

    def hint(self, hint: Hint, peer: Identity) -> None:
        if hint.number < 0:
            raise ProtocolError(f"a hint of {hint.number}")
        self.hints.append((hint, peer))

    def echo(self, request: Echo, call: Call) -> object:
        self.echoed += 1
        self.calls.append(call)
        return self.answer(request.way, lambda: Echoed(request.number, request.way))

    def fail(self, request: Fail, call: Call) -> object:
        def fail() -> object:
            if request.what == "fenced":
                raise Fenced("a newer holder has taken over", token=7)
            if request.what == "unencodable":
                return object()
            if request.what == "huge":
                return "x" * (2 << 20)
            if request.what == "hugely":
                raise Fenced("x" * (2 << 20))
            raise ZeroDivisionError(request.what)

        return self.answer(request.way, fail)

    def answer(self, way: str, result: Callable[[], object]) -> object:
        if way == "value":
            return result()
        if way == "coroutine":
            return self._later(result)
        if way == "answer":
            return self._answered(result)
        future: asyncio.Future[object] = asyncio.get_running_loop().create_future()

        def settle() -> None:
            try:
                future.set_result(result())
            except (Exception, Bug) as error:
                future.set_exception(error)

        self.world.clock.call_later(5, settle)
        return future

    def _answered(self, result: Callable[[], object]) -> Answer:
        answer = Answer()

        def settle() -> None:
            try:
                answer.resolve(result())
            except QuorateError as error:
                answer.fail(error)

        self.world.clock.call_later(5, settle)
        return answer

    async def _later(self, result: Callable[[], object]) -> object:
        await self.world.clock.sleep(5)
        return result()

    async def hang(self, request: Hang, call: Call) -> int:
        future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.hanging[request.number] = future
        try:
            return await future
        except asyncio.CancelledError:
            self.cancelled.append(request.number)
            raise

    def store(self, request: Store, call: Call) -> int:
        self.stored.append(call.payload)
        return len(call.payload)

    def fetch(self, request: Fetch, call: Call) -> Bulk:
        half = request.size // 2
        pieces: list[Buffer] = [memoryview(self.block)[:half], self.block[half : request.size]]
        return Bulk("here", pieces)


class Raw:
    """A peer that sends what it likes; a ``FrameReceiver`` that keeps what it gets."""

    def __init__(self) -> None:
        self.received: list[bytes] = []
        self.end: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()
        self.connection: Connection

    def connected(self, connection: Connection) -> None:
        self.connection = connection

    def frames_received(self, frames: Sequence[memoryview]) -> None:
        self.received += map(bytes, frames)

    def disconnected(self, error: Exception | None) -> None:
        if not self.end.done():
            self.end.set_result(error)

    def send(self, *frames: Frame) -> None:
        self.connection.send(frames)


Scenario = Callable[["Pair"], Coroutine[Any, Any, None]]


class Pair:
    """A server and a client in simulated processes, on machines of their own."""

    def __init__(self, simulation: Simulation) -> None:
        self.simulation = simulation
        self.faults = simulation.faults
        self.service: Service
        self.here: World
        self.client: RpcClient
        self.start_server()

    def start_server(self) -> None:
        async def serve(world: World) -> None:
            self.service = Service(world)
            await self.service.server.start(ADDRESS)
            await asyncio.get_running_loop().create_future()

        self.server_process = self.simulation.machine("server").start_process("raft", serve)

    async def ask(self, scenario: Scenario, world: World) -> None:
        self.here = world
        self.client = RpcClient(world, CLIENT)
        await scenario(self)

    async def in_server(self, work: Coroutine[Any, Any, T]) -> T:
        """Await ``work`` as the server's process would."""
        context = self.server_process.context.copy()
        return await asyncio.get_running_loop().create_task(work, context=context)

    async def raw(self, address: Address = ADDRESS) -> Raw:
        """A connection to the server that has said nothing yet."""
        receiver = Raw()
        await self.here.network.connect(address, receiver, 9 << 20, 1000)
        return receiver

    def errors(self, process: str = "server/raft") -> list[str]:
        """What a process wrote for its operator."""
        mark = f" {process} ERROR "
        lines = self.simulation.trace.recent
        return [line.partition(mark)[2] for line in lines if mark in line]

    def events(self, name: str) -> int:
        return sum(f" {name}" in line for line in self.simulation.trace.recent)


def simulate(scenario: Scenario, seed: int = 1) -> None:
    """Run ``scenario`` as the client's process beside a server; it must end by itself."""
    with Simulation(seed) as simulation:
        pair = Pair(simulation)
        simulation.run_for(1)
        process = simulation.machine("client").start_process("worker", partial(pair.ask, scenario))
        simulation.run_until(lambda: not process.alive, timeout_ms=600_000)
        if process.error is not None:
            raise process.error


def frame(kind: int, body: object, call_id: int = 0, payload: Sequence[bytes] = ()) -> Frame:
    return encode_frame(kind, call_id, 60_000, body, payload, MAX_BULK_FRAME_BYTES * 2)[0]


def hello(channel: str = "control", identity: Identity = CLIENT, version: int = 0) -> Frame:
    return frame(HELLO, [version or PROTOCOL_VERSION, channel, identity])


async def welcomed(pair: Pair, channel: str = "control") -> Raw:
    peer = await pair.raw()
    peer.send(hello(channel))
    await pair.here.clock.sleep(20)
    header, _ = decode_frame(memoryview(peer.received.pop()), bulk=False)
    assert header.kind == WELCOME
    assert decode(header.body, Welcome) == Welcome(SERVER)
    return peer
