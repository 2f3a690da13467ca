"""One connection of a client, and the calls that wait on it.

A call id is used once on a connection.  An answer whose id nobody waits for came late or twice and
is ignored.  When the connection ends, each call that waits ends too, at once: those whose frame was
never handed to the transport with ``Unavailable``, the others with ``Maybe``.

While calls wait and nothing comes back, the other end is asked whether it lives: a call may take
long, a ping may not.  Who does not answer two of them is given up, so that a process that hangs,
or a link that drops everything and says nothing, costs a fraction of a second and not each call's
whole deadline.
"""

import asyncio
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, Literal

import msgspec

from quorate.base.codec import Request, reply_type
from quorate.base.errors import (
    ErrorInfo,
    Maybe,
    ProtocolError,
    QuorateError,
    Unavailable,
    error_from,
)
from quorate.base.ids import Address
from quorate.base.sometimes import sometimes
from quorate.rpc.connection import Channel, Flusher
from quorate.rpc.deadlines import Deadlines
from quorate.rpc.frames import (
    CONNECTION,
    ERROR,
    HELLO,
    KIND_NAMES,
    MAX_TIMEOUT_MS,
    PING,
    REPLY,
    REQUEST,
    WELCOME,
    Header,
    decode_body,
    decode_header,
    name_of,
)
from quorate.rpc.handshake import PROTOCOL_VERSION, Hello, Identity, welcome_from
from quorate.runtime.ports import Buffer, Timer, World

PING_MS = 150.0
BULK_PING_MS = 1000.0
"""How often a connection on which calls wait is looked at.  Nothing came since the last look: a
ping; nothing for three looks: given up.  Bulk payloads may be under way for longer."""
MAX_SILENT_LOOKS = 3

Answer = tuple[Any, memoryview]
"""The decoded reply and its payload."""

_decode_error = msgspec.msgpack.Decoder(ErrorInfo).decode


@cache
def _reply_decoder(request: Any) -> Callable[[msgspec.Raw], Any]:
    return msgspec.msgpack.Decoder(reply_type(request)).decode


class ClientConnection(Channel):
    """The client's end.  ``on_end`` is called once, when it can be used no longer."""

    def __init__(
        self,
        world: World,
        address: Address,
        identity: Identity,
        bulk: bool,
        on_end: "Callable[[ClientConnection], None]",
    ) -> None:
        super().__init__(world, bulk, Flusher())
        self._address = address
        self._identity = identity
        self._on_end = on_end
        self._loop = asyncio.get_running_loop()
        self._welcomed: asyncio.Future[Identity | QuorateError] = self._loop.create_future()
        self._waiting: dict[int, tuple[asyncio.Future[Answer], Any]] = {}
        self._deadlines = Deadlines(world.clock, self._waiting, self._expire)
        self._last_id = 0
        self._written_id = 0
        self._ping_ms = BULK_PING_MS if bulk else PING_MS
        self._look_timer: Timer | None = None
        self._look_due_ms = 0.0
        self._heard = True
        self._silent_looks = 0

    def describe(self) -> str:
        return f"the server at {self._address}"

    async def open(self, timeout_ms: float) -> None:
        """Connect and shake hands; raises why not.  The handshake has ``timeout_ms`` again."""
        await self.world.network.connect(self._address, self, self._max_bytes, timeout_ms)
        try:
            channel: Literal["bulk", "control"] = "bulk" if self._bulk else "control"
            self.send(HELLO, CONNECTION, 0, Hello(PROTOCOL_VERSION, channel, self._identity))
            async with asyncio.timeout(timeout_ms / 1000):
                outcome = await self._welcomed
            if isinstance(outcome, QuorateError):
                raise outcome
            if self.closed:
                raise Unavailable(f"{self._address} closed the connection")
        except TimeoutError:
            self.close()
            raise Unavailable(
                f"{self._address} took the connection and sent no welcome in {timeout_ms:.0f} ms"
            ) from None
        except BaseException:
            self.close()
            raise

    # Calls.

    def ask(
        self, request: Request[Any], payload: Sequence[Buffer], timeout_ms: float
    ) -> tuple[int, asyncio.Future[Answer]]:
        """Send a request; the future of its answer, and its id."""
        if self.closed:
            raise Unavailable(f"the connection with {self._address} was lost before the call")
        call_id = self._last_id + 1
        wire_ms = min(int(timeout_ms) + 1, MAX_TIMEOUT_MS)
        self.send(REQUEST, call_id, wire_ms, request, payload)
        self._last_id = call_id
        future: asyncio.Future[Answer] = self._loop.create_future()
        self._waiting[call_id] = (future, type(request))
        now_ms = self._deadlines.add(call_id, timeout_ms)
        if self._look_timer is None:
            self._heard = False
            self._look_later(now_ms)
        return call_id, future

    def forget(self, call_id: int, future: asyncio.Future[Answer]) -> None:
        """The caller was cancelled: nobody waits for this answer."""
        self._waiting.pop(call_id, None)
        if future.done() and not future.cancelled():
            future.exception()  # or asyncio reports it as never retrieved

    def flush(self) -> None:
        super().flush()
        self._written_id = self._last_id

    def _expire(self, call_id: int) -> None:
        future, request = self._waiting.pop(call_id)
        if not future.done():
            future.set_exception(
                Maybe(
                    f"{self._address} did not answer {name_of(request)} before the deadline; it "
                    "may have been executed",
                    sent=1,
                )
            )

    # Signs of life.

    def _look_later(self, now_ms: float) -> None:
        self._look_due_ms = now_ms + self._ping_ms
        self._look_timer = self.world.clock.call_later(self._ping_ms, self._look)

    def _look(self) -> None:
        self._look_timer = None
        if self.closed or not self._waiting:
            self._silent_looks = 0
            return
        now_ms = self.world.clock.monotonic_ms()
        # A look that comes late says that we were held up: what came meanwhile is yet to be read.
        if self._heard or now_ms - self._look_due_ms > self._ping_ms / 2:
            self._heard = False
            self._silent_looks = 0
        else:
            self._silent_looks += 1
        if self._silent_looks >= MAX_SILENT_LOOKS:
            sometimes("connection given up")
            silent_ms = round(self._silent_looks * self._ping_ms)
            self.world.trace.event(
                "connection given up", address=self._address, silent_ms=silent_ms
            )
            self.close(Unavailable(f"no sign of life came back for {silent_ms} ms"))
            return
        if self._silent_looks:
            self.send(PING, CONNECTION, 0, None)
        self._look_later(now_ms)

    # Frames.

    def frames_received(self, frames: Sequence[memoryview]) -> None:
        self._heard = True
        super().frames_received(frames)

    def handle(self, header: memoryview, payload: memoryview) -> None:
        self._handle(decode_header(header), payload)

    def _handle(self, header: Header, payload: memoryview) -> None:
        kind = header.kind
        if kind == REPLY:
            waiting = self._waiting.get(header.call_id)
            if waiting is None:
                return
            future, request = waiting
            # Decoded while the call still waits: if that fails, its outcome is unknown too.
            reply = decode_body(_reply_decoder(request), header.body)
            del self._waiting[header.call_id]
            if not future.done():
                future.set_result((reply, payload))
        elif kind == ERROR:
            info = decode_body(_decode_error, header.body)
            if header.call_id == CONNECTION:
                self._refused(info)
            elif waiting := self._waiting.pop(header.call_id, None):
                future = waiting[0]
                if not future.done():
                    future.set_exception(error_from(info))
        elif kind == WELCOME:
            if not self._welcomed.done():
                self._welcome(header)
        elif kind != PING:
            raise ProtocolError(f"a server does not send {KIND_NAMES[kind]}")

    def _welcome(self, header: Header) -> None:
        try:
            server = welcome_from(header, self._identity, self.connection.certificate)
            self._welcomed.set_result(server)
        except QuorateError as error:
            self._welcomed.set_result(self._at_address(error.info()))

    def _refused(self, info: ErrorInfo) -> None:
        error = self._at_address(info)
        if not self._welcomed.done():
            self._welcomed.set_result(error)
        self.close(error)

    def _at_address(self, info: ErrorInfo) -> QuorateError:
        message = f"{self._address}: {info.message}"
        return error_from(msgspec.structs.replace(info, message=message))

    def ended(self, error: Exception | None) -> None:
        reason = f" ({error})" if error is not None else ""
        lost = f"the connection with {self._address} was lost{reason}"
        if not self._welcomed.done():
            self._welcomed.set_result(Unavailable(f"{lost} during the handshake"))
        self._deadlines.close()
        for call_id, (future, request) in self._waiting.items():
            if future.done():
                continue
            if call_id > self._written_id:
                future.set_exception(Unavailable(f"{lost} before {name_of(request)} was sent"))
            else:
                future.set_exception(
                    Maybe(f"{lost}; {name_of(request)} may have been executed", sent=1)
                )
        self._waiting.clear()
        self._on_end(self)
