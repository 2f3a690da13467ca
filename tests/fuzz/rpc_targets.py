"""What comes over the network: bytes to frames, frames to messages, and both ends of a connection.

Whatever a peer sends costs it its own connection at most: in each run a second peer, on the same
server, goes on being answered.
"""

import asyncio
import struct
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache
from typing import Any, get_origin

import msgspec
from fuzz.memory import Silence, Wire, memory_world
from fuzz.target import Target, expect, framed, parts

from quorate.base.codec import Notice, Request, encode, outcome_of, result_of
from quorate.base.errors import (
    BadConfiguration,
    ErrorInfo,
    Fenced,
    NotLeader,
    ProtocolError,
    QuorateError,
)
from quorate.base.ids import Address, ClusterId, NodeId
from quorate.gfs import messages as gfs
from quorate.mapreduce import messages as jobs
from quorate.mapreduce.core.commands import Attempt, JobProgress, Phase
from quorate.node.messages import DescribeNode, NodeDescription, NodeEntry
from quorate.node.reports import Ready, RunningProcess, parse
from quorate.raft.core.entries import Entry
from quorate.raft.core.messages import AppendReply, AppendRequest, VoteReply, VoteRequest
from quorate.raft.messages import Envelope, GroupStatus, GroupStatuses, RaftMessages
from quorate.rpc.frames import (
    ERROR,
    HELLO,
    MAX_CONTROL_FRAME_BYTES,
    NOTICE,
    REPLY,
    REQUEST,
    WELCOME,
    decode_frame,
    encode_frame,
)
from quorate.rpc.handshake import (
    PROTOCOL_VERSION,
    Hello,
    Identity,
    Welcome,
    hello_from,
    welcome_from,
)
from quorate.rpc.outgoing import ClientConnection
from quorate.rpc.server import Call, RpcServer
from quorate.runtime.ports import Connection, FrameReceiver, Listener
from quorate.runtime.real.network import RealConnection
from quorate.runtime.real.processes import _Channel

CLUSTER = ClusterId("c" * 32)
SERVER, CLIENT = Identity(CLUSTER, NodeId(1), "raft"), Identity(CLUSTER, NodeId(2), "raft")
ADDRESS = Address("127.0.0.1:7400")
_loop = asyncio.new_event_loop()


def _kinds(base: type[Any]) -> list[type[Any]]:
    """All tagged messages of the product that derive from ``base``."""
    found = []
    for kind in base.__subclasses__():
        found += _kinds(kind)
        if kind.__struct_config__.tag is not None and kind.__module__.startswith("quorate."):
            found.append(kind)
    return sorted(found, key=lambda kind: str(kind.__struct_config__.tag))


@cache
def requests() -> list[type[Request[Any]]]:
    return _kinds(Request)


@cache
def notices() -> list[type[Notice]]:
    return _kinds(Notice)


def _frame(part: bytes) -> bytes:
    """A part is a frame; one that begins with 1 lacks only the length of its header, one with 2
    has a payload of its second half."""
    if part[:1] == b"\1":
        return struct.pack(">I", len(part) - 1) + part[1:]
    if part[:1] == b"\2":
        half = (len(part) - 1) // 2
        return struct.pack(">I", half) + part[1:]
    return part[1:]


def _part(kind: int, body: object, call_id: int = 0, timeout_ms: int = 0) -> bytes:
    return b"\1" + encode((kind, call_id, timeout_ms, body))


# The server's end.


async def _later(call: Call) -> None:
    await asyncio.sleep(0)


def _handler(number: int) -> Callable[[Any, Call], object]:
    """One of the ways a handler has to answer, or not to."""

    def refuse(request: Any, call: Call) -> object:
        raise Fenced("refused", number=number)

    def fail(request: Any, call: Call) -> object:
        raise ZeroDivisionError(number)

    ways: list[Callable[[Any, Call], object]] = [
        lambda request, call: None,
        lambda request, call: _later(call),
        lambda request, call: asyncio.get_running_loop().create_future(),
        refuse,
        fail,
    ]
    return ways[number % len(ways)]


class _Listening:
    """A network on which a server listens, and whose connections are the inputs'."""

    def __init__(self) -> None:
        self.accept: Callable[[], FrameReceiver]

    async def listen(
        self, address: Address, accept: Callable[[], FrameReceiver], max_frame_bytes: int
    ) -> Listener:
        self.accept = accept
        return None  # type: ignore[return-value]


class _Served:
    """A server, and a peer that behaves."""

    def __init__(self) -> None:
        self.failures: list[BaseException] = []
        network = _Listening()
        self.world = memory_world(self.failures.append, network)  # type: ignore[arg-type]
        self.hints = 0
        handlers = {kind: _handler(at) for at, kind in enumerate(requests())}
        handlers[DescribeNode] = lambda request, call: None
        self.server = RpcServer(self.world, SERVER, handlers, dict.fromkeys(notices(), self._hint))
        self.network = network
        self.calls = 0
        self.good: Wire

    def _hint(self, notice: Any, peer: Identity) -> None:
        """Every other one is called a lie."""
        self.hints += 1
        if self.hints % 2:
            raise ProtocolError("no correct peer says so")

    async def feed(self, frames: Sequence[bytes]) -> None:
        if self.calls == 0:
            await self.server.start(ADDRESS)
            self.good = Wire(self.network.accept(), MAX_CONTROL_FRAME_BYTES)
            self._say(HELLO, Hello(PROTOCOL_VERSION, "control", CLIENT))
        wire = Wire(self.network.accept(), MAX_CONTROL_FRAME_BYTES)
        for at in range(0, len(frames), 3):
            wire.deliver(frames[at : at + 3])
            await asyncio.sleep(0)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        wire.end()
        self.calls += 1
        self.good.sent.clear()
        self._say(REQUEST, DescribeNode(), self.calls)
        await asyncio.sleep(0)
        (answer,) = self.good.sent
        header, _ = decode_frame(memoryview(answer), bulk=False)
        expect((header.kind, header.call_id) == (REPLY, self.calls), "the other peer is not heard")
        if self.failures:
            raise self.failures[0]
        trace = self.world.trace
        if isinstance(trace, Silence):
            trace.errors.clear()

    def _say(self, kind: int, body: object, call_id: int = 0) -> None:
        frame, _ = encode_frame(kind, call_id, 1000, body)
        self.good.deliver([b"".join(frame)])


_served: list[_Served] = []


def _server(data: bytes) -> None:
    if not _served:
        _served.append(_Served())
    served = _served[0]
    try:
        _loop.run_until_complete(served.feed([_frame(part) for part in parts(data)]))
    except BaseException:
        _served.clear()  # the next input begins with a server of its own
        raise


def _hello(channel: str = "control") -> bytes:
    return _part(HELLO, [PROTOCOL_VERSION, channel, CLIENT])


def _messages() -> list[Any]:
    """A message of each kind, most fields filled."""
    attempt = Attempt(1, "map", 0, 1)
    filled: dict[str, Any] = {
        "int": 3,
        "str": "/text",
        "bytes": b"bytes",
        "bool": True,
        "list": [],
    }
    found: list[Any] = []
    for kind in [*requests(), *notices()]:
        values = []
        for field in msgspec.structs.fields(kind):
            origin = get_origin(field.type) or field.type
            values.append(filled.get(getattr(origin, "__name__", "int"), 3))
        tag = kind.__struct_config__.tag
        found.append([tag, *values])
    entries = [Entry(5, 2, 1, b"data"), Entry(6, 2, 1, b"more")]
    envelopes = [
        Envelope(1, 1002, 1001, message)  # type: ignore[arg-type]
        for message in (
            VoteRequest(2, 4, 1, True),
            VoteReply(2, True),
            AppendRequest(2, 4, 1, 4, entries),
            AppendReply(2, True, 6),
        )
    ]
    found.append(RaftMessages(envelopes))
    found.append(jobs.Report(jobs.TaskDone(attempt, "1-a", [1, 2])))
    found.append(jobs.GetMapOutputs(attempt, 0))
    found.append(gfs.WriteChunk(7, 0, 65536, [1], 9))
    found.append(gfs.Heartbeat(NodeId(2), "n2", ADDRESS, 5, 1, True, [1], [], 1, 1))
    return found


def _server_seeds() -> list[bytes]:
    tags = {kind.__struct_config__.tag for kind in notices()}
    frames = []
    for call_id, message in enumerate(_messages(), 1):
        tag = message[0] if isinstance(message, list) else message.__struct_config__.tag
        frames.append(_part(NOTICE if tag in tags else REQUEST, message, call_id, 1000))
    rows = [[_hello(), *frames], [_hello("bulk"), b"\2" + frames[0][1:] * 2]]
    rows += [[_hello(), frame] for frame in frames]
    return [framed(row) for row in rows]


# The client's end.


class _Connecting:
    """A network whose servers are the inputs."""

    def __init__(self) -> None:
        self.wires: list[Wire] = []

    async def connect(
        self, address: Address, receiver: FrameReceiver, max_frame_bytes: int, timeout_ms: float
    ) -> Connection:
        self.wires.append(Wire(receiver, max_frame_bytes))
        return self.wires[-1]


def _client(data: bytes) -> None:
    """The first part chooses what is asked, and whether on the bulk connection."""
    choice, *row = parts(data) or [b""]
    _loop.run_until_complete(_ask(choice, [_frame(part) for part in row]))


async def _ask(choice: bytes, frames: Sequence[bytes]) -> None:
    failures: list[BaseException] = []
    network = _Connecting()
    world = memory_world(failures.append, network)  # type: ignore[arg-type]
    number = choice[0] if choice else 0
    ended: list[ClientConnection] = []
    connection = ClientConnection(world, ADDRESS, CLIENT, number >= 128, ended.append)
    opening = asyncio.get_running_loop().create_task(connection.open(60_000))
    await asyncio.sleep(0)
    (wire,) = network.wires
    wire.deliver(frames[:1])
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    futures = []
    if opening.done() and opening.exception() is None and not connection.closed:
        for at in range(6):
            kind = requests()[(number + at) % len(requests())]
            values = [0] * len(msgspec.structs.fields(kind))
            with suppress(ProtocolError):
                futures.append(connection.ask(kind(*values), (), 60_000)[1])
        await asyncio.sleep(0)
    wire.deliver(frames[1:])
    wire.end()
    for result in await asyncio.gather(opening, *futures, return_exceptions=True):
        if isinstance(result, BaseException) and not isinstance(result, QuorateError):
            raise result
    expect(len(ended) == 1, "the end of a connection is told once")
    if failures:
        raise failures[0]


def _replies() -> dict[type[Any], object]:
    """Replies with something in them, by request."""
    server = gfs.Server(NodeId(1), "n1", ADDRESS)
    status = GroupStatus(1, 1001, "leader", 3, ADDRESS, 5, 5, 5, 77)  # type: ignore[arg-type]
    progress = JobProgress(1, "j", "mapping", "/o", Phase(1), Phase(1), 0, 0, 1, "", 1, 1, 0, 2)
    return {
        gfs.LocateFile: gfs.Located(1, 9, 65536, 0, [gfs.LocatedChunk(7, [server])]),
        gfs.PlaceChunks: gfs.Placement([gfs.PlacedChunk(7, [server])], 2),
        gfs.ListFiles: gfs.FilePage([gfs.FileStatus("/a", "file", 1, 2)], False),
        gfs.ReadChunk: gfs.ChunkBlocks(0, 9, [5]),
        jobs.PollTasks: jobs.PollReply([], [Attempt(1, "map", 0, 1)], [1], 4),
        jobs.WatchJob: progress,
        jobs.GetMapOutputs: jobs.MapOutputs([jobs.MapOutput(1, ADDRESS, 5)], 1),
        DescribeNode: NodeDescription(
            CLUSTER,
            NodeId(1),
            "n1",
            "0.1",
            [NodeEntry(NodeId(1), "n1", ADDRESS)],
            [status],
            [RunningProcess("raft", 5)],
        ),
    }


def _client_seeds() -> list[bytes]:
    replies = _replies()
    welcome = _part(WELCOME, Welcome(SERVER))
    seeds = []
    for at in range(len(requests())):
        kinds = [requests()[(at + more) % len(requests())] for more in range(6)]
        answers = [_part(REPLY, replies.get(kind), n) for n, kind in enumerate(kinds, 1)]
        for number in (at, at + 128):
            seeds.append(framed([bytes([number]), welcome, *answers]))
    refused = ErrorInfo("not_leader", "go there", {"leader": ADDRESS, "term": 3})
    seeds.append(framed([b"\0", welcome, _part(ERROR, refused, 1), _part(ERROR, refused)]))
    seeds.append(framed([b"\0", _part(ERROR, refused)]))
    return seeds


# Frames and the handshake, without a connection.


def _decode(data: bytes) -> None:
    for bulk in (False, True):
        with suppress(ProtocolError, BadConfiguration):
            header, _ = decode_frame(memoryview(data), bulk)
            with suppress(ProtocolError, BadConfiguration):
                str(hello_from(header, SERVER, None))
            str(welcome_from(header, CLIENT, None))


# Bytes to frames.


class _Kept:
    """A receiver that keeps all frames."""

    def __init__(self) -> None:
        self.frames: list[bytes] = []
        self.error: Exception | None = None

    def connected(self, connection: Connection) -> None:
        """The input comes by ``RealConnection``'s other door."""

    def frames_received(self, frames: Sequence[memoryview]) -> None:
        self.frames += map(bytes, frames)

    def disconnected(self, error: Exception | None) -> None:
        self.error = error


class _Transport(asyncio.Transport):
    def __init__(self) -> None:
        super().__init__()
        self.aborted = False

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Nothing is written."""

    def is_closing(self) -> bool:
        return self.aborted

    def abort(self) -> None:
        self.aborted = True


def _split(data: bytes) -> None:
    """Against the simplest splitter there is; the first bytes say in which pieces data come, and
    how large a frame may be."""
    sizes, limit, stream = data[:4], 1 + int.from_bytes(data[4:7], "big"), data[7:]
    stream *= 1 + 30_000 * (data[:1] == b"\xfe") // (len(stream) + 1)  # beyond the buffer
    kept, transport = _Kept(), _Transport()
    connection = RealConnection(kept, limit, "peer")
    connection.connection_made(transport)
    at = turn = 0
    while at < len(stream) and not transport.aborted:
        buffer = connection.get_buffer(-1)
        size = 1 + 97 * sizes[turn % len(sizes)] if turn < 500 else 1 << 16
        piece = stream[at : at + min(size, len(buffer))]
        buffer[: len(piece)] = piece
        connection.buffer_updated(len(piece))
        at, turn = at + len(piece), turn + 1
    connection.connection_lost(None)
    wanted, broken = _wanted(stream, limit)
    expect(kept.frames == wanted, f"{len(kept.frames)} frames, not {len(wanted)}, or others")
    expect(isinstance(kept.error, ProtocolError) == broken, "a wrong length was not seen, or was")


def _wanted(stream: bytes, limit: int) -> tuple[list[bytes], bool]:
    frames, at = [], 0
    while at + 4 <= len(stream):
        end = at + 4 + int.from_bytes(stream[at : at + 4], "big")
        if not at + 4 < end <= at + 4 + limit:
            return frames, True
        if end > len(stream):
            break
        frames.append(stream[at + 4 : end])
        at = end
    return frames, False


def _split_seeds() -> list[bytes]:
    def stream(*sizes: int) -> bytes:
        return b"".join(size.to_bytes(4, "big") + b"f" * size for size in sizes)

    pieces = (b"\1\2\3\4", b"\xff\xff\xff\xff", b"\0\0\0\0", b"\xfe\x50\x10\1")
    limit = (100_000).to_bytes(3, "big")
    return [p + limit + stream(*s) for p in pieces for s in ((1, 2, 3), (500, 40_000, 7), (3,))]


# Answers of child processes.


def _child(data: bytes) -> None:
    """A line that a process reports with, and a frame of a task process."""
    parse(data)
    if data:
        _loop.run_until_complete(_answered(data))


async def _answered(data: bytes) -> None:
    channel = _Channel()
    channel.frames_received([memoryview(data)])
    expect(channel.answer.done(), "an answer that is none")
    with suppress(QuorateError):
        await channel.answer


def _child_seeds() -> list[bytes]:
    info = encode(ErrorInfo("not_leader", "go there", {"leader": "x", "term": 3}))
    ready = msgspec.json.encode(Ready((RunningProcess("raft", 5),)))
    return [b"Rreply", b"E" + info, ready, b'{"type":"failed","code":"error","message":"no"}']


# Outcomes.


def _outcome(data: bytes) -> None:
    for kind in (int, list[str], bytes, GroupStatuses):
        with suppress(QuorateError):
            result_of(data, kind)


def _outcome_seeds() -> list[bytes]:
    return [outcome_of(5), outcome_of(["a"]), outcome_of(NotLeader("not here", leader=ADDRESS))]


def _frame_seeds() -> list[bytes]:
    rows = [part for seed in _server_seeds() for part in parts(seed)]
    return [_frame(part) for part in rows] + [_frame(_part(WELCOME, Welcome(SERVER)))]


TARGETS = [
    Target("rpc.frame", _decode, _frame_seeds),
    Target("rpc.server", _server, _server_seeds, True),
    Target("rpc.client", _client, _client_seeds, True),
    Target("network.frames", _split, _split_seeds),
    Target("node.child", _child, _child_seeds),
    Target("base.outcome", _outcome, _outcome_seeds, weight=2),
]
