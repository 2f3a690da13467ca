"""One connection of a client, and the calls that wait on it.

A call id is used once on a connection.  An answer whose id nobody waits for came late or twice and
is ignored.  When the connection ends, each call that waits ends too, at once: those whose frame was
never handed to the transport with ``Unavailable``, the others with ``Maybe``.
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
from quorate.rpc.connection import Channel
from quorate.rpc.deadlines import Deadlines
from quorate.rpc.frames import (
    CONNECTION,
    ERROR,
    HELLO,
    KIND_NAMES,
    MAX_TIMEOUT_MS,
    REPLY,
    REQUEST,
    WELCOME,
    Header,
    decode_body,
    decode_header,
    name_of,
)
from quorate.rpc.handshake import PROTOCOL_VERSION, Hello, Identity, welcome_from
from quorate.runtime.ports import Buffer, World

SILENT_CALLS = 2
SILENT_MS = 1000
"""So many calls in a row that expire, and so long without a byte from the other end: given up."""

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
        super().__init__(world, bulk)
        self._address = address
        self._identity = identity
        self._on_end = on_end
        self._loop = asyncio.get_running_loop()
        self._welcomed: asyncio.Future[Identity | QuorateError] = self._loop.create_future()
        self._waiting: dict[int, tuple[asyncio.Future[Answer], Any]] = {}
        self._deadlines = Deadlines(world.clock, self._waiting, self._expire)
        self._last_id = 0
        self._written_id = 0
        self._expired = 0
        self._silent_since_ms: float | None = None

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
        if self._silent_since_ms is None:
            self._silent_since_ms = now_ms
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
        self._expired += 1
        if self._expired < SILENT_CALLS or self._silent_since_ms is None:
            return
        silent_ms = self.world.clock.monotonic_ms() - self._silent_since_ms
        if silent_ms >= SILENT_MS:
            sometimes("connection given up")
            self.world.trace.event(
                "connection given up", address=self._address, silent_ms=round(silent_ms)
            )
            self.close(Unavailable(f"nothing came back for {silent_ms:.0f} ms"))

    # Frames.

    def frames_received(self, frames: Sequence[memoryview]) -> None:
        self._expired = 0
        self._silent_since_ms = None
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
        else:
            raise ProtocolError(f"a server does not send {KIND_NAMES[kind]}")

    def _welcome(self, header: Header) -> None:
        try:
            self._welcomed.set_result(welcome_from(header, self._identity))
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
