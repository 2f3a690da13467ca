"""The answering side.

A handler gets a request and what is known of the call, and returns the reply, a ``Bulk``, a
coroutine or future of either, or an ``Answer``; a future costs no task, an ``Answer`` nothing.
What it raises crosses the network: a ``QuorateError`` as its class, anything else as "internal
error", with the traceback in the trace here.  A call is executed once, also where the network
repeats its frame.  When the caller's deadline has passed, or its connection is gone, nobody waits
for the answer: a coroutine is cancelled, and what a future still brings is dropped.  A notice's
handler that raises ``ProtocolError`` costs the sender its connection.

Bounds, for each connection, and what happens at them: 1024 calls under way, or 256 MiB of their
payloads: ``Overloaded`` at once.  16 MiB of answers that the peer has not read: calls begin only
when it has; a peer that goes on sending beyond both bounds loses the connection.
"""

import asyncio
import traceback
from collections.abc import Awaitable, Callable, Mapping, Sequence
from types import CoroutineType, MappingProxyType
from typing import Any, NamedTuple, NoReturn

import msgspec

from quorate.base.check import Bug
from quorate.base.codec import UNREADABLE, Notice, Request, encode, union_decoder
from quorate.base.errors import (
    BadInput,
    Maybe,
    Overloaded,
    ProtocolError,
    QuorateError,
    Unavailable,
)
from quorate.base.ids import Address
from quorate.rpc.answer import Answer
from quorate.rpc.connection import HIGH_BACKLOG_BYTES, Channel, Flusher
from quorate.rpc.deadlines import Deadlines
from quorate.rpc.figures import RpcFigures
from quorate.rpc.frames import (
    CONNECTION,
    ERROR,
    HELLO,
    KIND_NAMES,
    MAX_HELLO_FRAME_BYTES,
    NOTICE,
    PING,
    REPLY,
    REQUEST,
    WELCOME,
    Header,
    Message,
    decode_header,
    message_decoder,
    name_of,
    tag_of,
    unreadable,
)
from quorate.rpc.handshake import HELLO_TIMEOUT_MS, Identity, Welcome, hello_from
from quorate.runtime.ports import Buffer, Connection, Listener, World

MAX_CONNECTIONS = 1024
MAX_CALLS_UNDER_WAY = 1024
MAX_PAYLOAD_BYTES_UNDER_WAY = 256 << 20
MAX_LATE_CALLS = 1024
"""So many gaps in the numbers of calls are remembered; what is older counts as lost."""


class Call(msgspec.Struct, gc=False):
    """What a handler knows besides the request."""

    peer: Identity
    remaining_ms: float
    """Of the caller's deadline, when the request came."""
    payload: memoryview
    """Raw bytes that came with a bulk call; a view into the received frame."""


class Bulk(NamedTuple):
    """The answer to a bulk call that sends raw bytes back."""

    reply: object
    payload: Sequence[Buffer]


Handler = Callable[[Any, Call], object]
NoticeHandler = Callable[[Any, Identity], None]


class _Failure(NamedTuple):
    """What a handler's coroutine raised, as a value: its task itself never fails."""

    error: BaseException


class _Work(msgspec.Struct):
    """A call whose answer is not there yet."""

    connection: "_ServerConnection"
    number: int
    call_id: int
    request: type[Any]
    payload_bytes: int
    future: asyncio.Future[Any]

    def finished(self, future: asyncio.Future[Any]) -> None:
        self.connection.finished(self, future)


class _Messages:
    """Typed messages of one kind and what handles each."""

    def __init__(
        self, handlers: Mapping[type[Any], Callable[[Any, Any], Any]], owner: Identity
    ) -> None:
        self.handlers = dict(handlers)
        # There is no union of nothing; without handlers every message is unknown.
        self._decode = union_decoder(handlers).decode if handlers else _decode_nothing
        self._tags = frozenset(name_of(kind) for kind in handlers)
        self._owner = owner

    def read(self, body: Any) -> Any:
        """The message in a body that is raw, or was decoded as a message of the other kind.

        Raises ``Unavailable`` if it is unknown here, which is no fault of the peer, and
        ``ProtocolError`` if it is malformed.
        """
        raw = body if isinstance(body, msgspec.Raw) else msgspec.Raw(encode(body))
        try:
            return self._decode(raw)
        except UNREADABLE as error:
            tag = tag_of(raw)
            if tag is None or tag in self._tags:
                raise unreadable(error) from None
        raise Unavailable(f"{self._owner} does not know the message {tag[:100]!r}")


def _decode_nothing(body: msgspec.Raw | memoryview) -> NoReturn:
    raise msgspec.DecodeError("no such messages are handled")


class RpcServer:
    """Answers calls at the addresses it was started on."""

    def __init__(
        self,
        world: World,
        identity: Identity,
        requests: Mapping[type[Request[Any]], Handler],
        notices: Mapping[type[Notice], NoticeHandler] = MappingProxyType({}),
    ) -> None:
        self.world = world
        self.identity = identity
        self.requests = _Messages(requests, identity)
        self.notices = _Messages(notices, identity)
        kinds = (*requests, *notices)
        self.decode = message_decoder(kinds).decode if kinds else _decode_nothing
        """A header with its body, in one pass, if it is one of these; most frames are."""
        self._listeners: list[Listener] = []
        self._connections: dict[int, _ServerConnection] = {}
        self._accepted = 0
        self.flusher = Flusher()
        self.calls = 0
        self.calls_refused = 0

    async def start(self, address: Address) -> Listener:
        """Listen at ``address``; raises ``BadConfiguration`` if that cannot be."""
        listener = await self.world.network.listen(address, self._accept, MAX_HELLO_FRAME_BYTES)
        self._listeners.append(listener)
        return listener

    async def close(self) -> None:
        """Stop listening, cancel what is under way, close all connections."""
        for listener in self._listeners:
            listener.close()
        for connection in list(self._connections.values()):
            connection.close()

    def figures(self) -> RpcFigures:
        connections = self._connections.values()
        under_way = sum(connection.calls_under_way for connection in connections)
        return RpcFigures(self.calls, under_way, self.calls_refused, len(connections))

    def _accept(self) -> "_ServerConnection":
        self._accepted += 1
        return _ServerConnection(self, self._connections, self._accepted)


class _ServerConnection(Channel):
    """One accepted connection and the calls under way on it."""

    def __init__(
        self, server: RpcServer, connections: "dict[int, _ServerConnection]", number: int
    ) -> None:
        super().__init__(server.world, bulk=False, flusher=server.flusher)
        self._server = server
        self._requests = server.requests
        self._notices = server.notices
        self._decode = server.decode
        self._connections = connections
        self._number = number
        self._peer: Identity | None = None
        self._under_way: dict[int, _Work | Answer] = {}
        self._payload_bytes = 0
        self._room_bytes: int | None = None
        self._last_work = 0
        self._next_id = 1
        self._late: dict[int, bool] = {}
        """The ids below ``_next_id`` that have not come: for each of them, no."""
        self._deadlines = Deadlines(server.world.clock, self._under_way, self._cancel)

    def describe(self) -> str:
        who = "an unknown peer" if self._peer is None else str(self._peer)
        return f"{who} at {self.connection.peer}"

    @property
    def calls_under_way(self) -> int:
        return len(self._under_way)

    # Beginning and end.

    def connected(self, connection: Connection) -> None:
        super().connected(connection)
        self._connections[self._number] = self
        self._hello_timer = self.world.clock.call_later(HELLO_TIMEOUT_MS, self._no_hello)
        if len(self._connections) > MAX_CONNECTIONS:
            self._refuse(
                Overloaded(f"{self._server.identity} has {MAX_CONNECTIONS} connections already")
            )

    def ended(self, error: Exception | None) -> None:
        self._hello_timer.cancel()
        self._connections.pop(self._number, None)
        self._deadlines.close()
        for number in list(self._under_way):
            self._cancel(number)

    def _no_hello(self) -> None:
        self._refuse(ProtocolError(f"no hello came within {HELLO_TIMEOUT_MS} ms"))

    def _refuse(self, error: QuorateError) -> None:
        """Say why in one sentence, and close."""
        self.send(ERROR, CONNECTION, 0, error.info())
        self.fail(error)

    def _greet(self, header: Header) -> None:
        try:
            hello = hello_from(header, self._server.identity, self.connection.certificate)
        except QuorateError as error:
            self._refuse(error)
            return
        self._hello_timer.cancel()
        self._peer = hello.identity
        self.welcome(hello.channel == "bulk")
        self.send(WELCOME, CONNECTION, 0, Welcome(self._server.identity))

    # Frames.

    def frames_received(self, frames: Sequence[memoryview]) -> None:
        self._room_bytes = None
        super().frames_received(frames)

    def _crowded(self) -> bool:
        """Whether calls have to wait until the peer has read the answers to earlier ones."""
        if self._room_bytes is None:
            # Once a batch: what the answers to this batch may add.
            room_bytes = HIGH_BACKLOG_BYTES - self.backlog_bytes()
            if room_bytes < 0 or self._gate.locked():
                room_bytes = -1
            self._room_bytes = room_bytes + self._outbox_bytes
        return self._outbox_bytes > self._room_bytes

    def handle(self, header: memoryview, payload: memoryview) -> None:
        peer = self._peer
        if peer is None:
            self._greet(decode_header(header))
            return
        message: Message[Any] | Header
        try:
            message = self._decode(header)
        except UNREADABLE:
            message = decode_header(header)
        if message.kind == REQUEST:
            if not self._repeated(message.call_id):
                self._request(message, payload, peer)
        elif message.kind == NOTICE:
            self._notice(message.body, peer)
        elif message.kind == PING:
            self.send(PING, CONNECTION, 0, None)
        elif message.kind != HELLO:  # a repeated hello was duplicated on its way
            raise ProtocolError(f"a client does not send {KIND_NAMES[message.kind]}")

    def _repeated(self, call_id: int) -> bool:
        """Whether this call has come before: what it was answered would not be the whole truth.

        A client counts its calls from 1, so only frames that come late leave gaps for a while.
        """
        if call_id == self._next_id:
            self._next_id += 1
            return False
        if call_id < self._next_id:
            return self._late.pop(call_id, True)
        for late in range(max(self._next_id, call_id - MAX_LATE_CALLS), call_id):
            self._late[late] = False
        while len(self._late) > MAX_LATE_CALLS:
            del self._late[next(iter(self._late))]
        self._next_id = call_id + 1
        return False

    def _notice(self, notice: Any, peer: Identity) -> None:
        handlers = self._notices.handlers
        if type(notice) not in handlers:
            try:
                notice = self._notices.read(notice)
            except Unavailable:
                return  # of a newer release: a notice is a hint that may always be lost
        try:
            handlers[type(notice)](notice, peer)
        except ProtocolError:
            raise
        except Exception:
            self.world.trace.error(
                f"the handler of {name_of(type(notice))} failed:\n{traceback.format_exc()}"
            )

    def _request(
        self, message: "Message[Any] | Header", payload: memoryview, peer: Identity
    ) -> None:
        self._server.calls += 1
        call_id, request = message.call_id, message.body
        handler = self._requests.handlers.get(type(request))
        if handler is None:
            try:
                request = self._requests.read(request)
            except Unavailable as unknown:
                self.send(ERROR, call_id, 0, unknown.info())
                return
            handler = self._requests.handlers[type(request)]
        crowded = self._crowded()
        if len(self._under_way) >= MAX_CALLS_UNDER_WAY:
            self._drop_late_answers()
        if (
            len(self._under_way) >= MAX_CALLS_UNDER_WAY
            or self._payload_bytes + len(payload) > MAX_PAYLOAD_BYTES_UNDER_WAY
        ):
            self._overloaded(call_id, crowded)
            return
        kind = type(request)
        call = Call(peer, message.timeout_ms, payload)
        result: object
        if crowded:
            result = self._when_read(handler, request, call)
        else:
            try:
                result = handler(request, call)
            except Exception as error:
                self.reply_error(call_id, kind, error)
                return
        if isinstance(result, Answer):
            self._last_work = number = self._last_work + 1
            self._under_way[number] = result
            due_ms = self.world.clock.monotonic_ms() + message.timeout_ms
            result.bind(self, number, call_id, kind, due_ms)
            return
        if isinstance(result, CoroutineType):
            work, result = result, self.world.spawn(_outcome(result), kind.__name__)
            # A task that is cancelled before it began never comes to its work.
            result.add_done_callback(lambda _: work.close())
        if isinstance(result, asyncio.Future):
            self._await(result, call_id, kind, len(payload), message.timeout_ms)
        else:
            self.reply(call_id, kind, result)

    def _overloaded(self, call_id: int, crowded: bool) -> None:
        if crowded:
            raise ProtocolError("it sends calls and does not read the answers")
        self._server.calls_refused += 1
        error = Overloaded(
            f"{self._server.identity} has {len(self._under_way)} calls of this connection under "
            "way: send fewer at a time"
        )
        self.send(ERROR, call_id, 0, error.info())

    async def _when_read(self, handler: Handler, request: Any, call: Call) -> object:
        await self.room()
        result = handler(request, call)
        if isinstance(result, Answer):
            result = result.awaited()
        return await result if isinstance(result, Awaitable) else result

    # Answers.

    def _await(
        self,
        future: asyncio.Future[Any],
        call_id: int,
        request: type[Any],
        payload_bytes: int,
        timeout_ms: int,
    ) -> None:
        self._last_work = number = self._last_work + 1
        work = _Work(self, number, call_id, request, payload_bytes, future)
        self._under_way[number] = work
        self._payload_bytes += payload_bytes
        self._deadlines.add(number, timeout_ms)
        future.add_done_callback(work.finished)

    def _cancel(self, number: int) -> None:
        """Nobody waits for this answer any more."""
        work = self._under_way.pop(number)
        if isinstance(work, Answer):
            return
        self._payload_bytes -= work.payload_bytes
        # Not a plain future: whoever is to resolve it would meet a cancelled one.
        if isinstance(work.future, asyncio.Task):
            work.future.cancel()

    def _drop_late_answers(self) -> None:
        """No timer watches an ``Answer``: those that nobody waits for any more go when there is no
        room for others."""
        now_ms = self.world.clock.monotonic_ms()
        for number, work in list(self._under_way.items()):
            if isinstance(work, Answer) and work.due_ms <= now_ms:
                self._cancel(number)

    def claim(self, number: int) -> bool:
        """An answer is there: whether anybody still waits for it; nobody does from now on."""
        return self._under_way.pop(number, None) is not None

    def finished(self, work: _Work, future: asyncio.Future[Any]) -> None:
        """The answer is there, or why there will be none."""
        error: BaseException | None = None
        try:
            result = future.result()
        except asyncio.CancelledError:
            error = Maybe(f"{self._server.identity} gave up this call; it may have been executed")
        except (Exception, Bug) as raised:
            error = raised
        else:
            if isinstance(result, _Failure):
                error = result.error
        wanted = self._under_way.pop(work.number, None) is not None
        if isinstance(error, Bug):
            self.world.stop(error)
        elif wanted:
            self._payload_bytes -= work.payload_bytes
            if error is None:
                self.reply(work.call_id, work.request, result)
            else:
                self.reply_error(work.call_id, work.request, error)

    def reply(self, call_id: int, request: type[Any], result: object) -> None:
        payload: Sequence[Buffer] = ()
        if isinstance(result, Bulk):
            payload = result.payload if self._bulk else ()
            result = result.reply
        try:
            self.send(REPLY, call_id, 0, result, payload)
        except Exception as error:  # too large, or of a type that the codec does not know
            self.reply_error(call_id, request, error)

    def reply_error(self, call_id: int, request: type[Any], error: BaseException) -> None:
        if not isinstance(error, QuorateError):
            text = "".join(traceback.format_exception(error))
            self.world.trace.error(f"the handler of {name_of(request)} failed:\n{text}")
            error = QuorateError(
                f"internal error of {self._server.identity} in {name_of(request)}: its trace has "
                "the details"
            )
        try:
            self.send(ERROR, call_id, 0, error.info())
        except BadInput as large:
            self.send(ERROR, call_id, 0, large.info())


async def _outcome(work: Awaitable[object]) -> object:
    try:
        return await work
    except (Exception, Bug) as error:
        return _Failure(error)
