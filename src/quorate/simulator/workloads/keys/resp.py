"""RESP over the simulated network: a door to a node's gateway, and a plain client.

A simulated connection loses, repeats and reorders frames, which no TCP connection does.  So each
frame bears its number: what came too early waits, what came twice is dropped, and where something
is missing for ``MISSING_MS`` the connection ends, as one does that retransmits in vain.

The client is as plain ones are: it repeats nothing.  What was sent and not answered, for whatever
reason, may have been done.
"""

import asyncio
from collections.abc import Sequence
from typing import Any

from quorate.base.errors import Maybe, QuorateError, Unavailable
from quorate.base.ids import Address
from quorate.gateways.resp.connection import RespConnection
from quorate.gateways.resp.gateway import Gateway
from quorate.runtime.ports import Connection, Timer, World

MAX_FRAME_BYTES = 1 << 20
MISSING_MS = 700.0
CONNECT_MS = 500.0
_NUMBER_BYTES = 8


def resp_address(name: str) -> Address:
    """The door of the machine of this name."""
    return Address(f"{name}:resp")


class Stream:
    """Bytes in order over frames that have none.  ``received`` and ``lost`` are a subclass's."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._connection: Connection | None = None
        self._sent = self._taken = 0
        self._early: dict[int, bytes] = {}
        self._missing: Timer | None = None

    def received(self, data: bytes) -> None: ...

    def lost(self) -> None: ...

    def write(self, data: bytes) -> None:
        if self._connection is not None:
            self._connection.send([[self._sent.to_bytes(_NUMBER_BYTES, "big"), data]])
            self._sent += 1

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()

    def connected(self, connection: Connection) -> None:
        self._connection = connection

    def frames_received(self, frames: Sequence[memoryview]) -> None:
        for frame in frames:
            number = int.from_bytes(frame[:_NUMBER_BYTES], "big")
            if number >= self._taken:
                self._early[number] = bytes(frame[_NUMBER_BYTES:])
        while (data := self._early.pop(self._taken, None)) is not None:
            self._taken += 1
            self._stop_waiting()
            self.received(data)
        if self._early and self._missing is None:
            self._missing = self._world.clock.call_later(MISSING_MS, self.close)

    def disconnected(self, error: Exception | None) -> None:
        self._stop_waiting()
        self._connection = None
        self.lost()

    def _stop_waiting(self) -> None:
        if self._missing is not None:
            self._missing.cancel()
            self._missing = None


class Socket(Stream):
    """The gateway's end: what a real socket is to it."""

    def __init__(self, world: World, gateway: Gateway) -> None:
        super().__init__(world)
        self._served = RespConnection(gateway, self, "a client")
        self._is_paused = False
        self._waiting = b""
        gateway.admit(self._served)

    def received(self, data: bytes) -> None:
        if self._is_paused:
            self._waiting += data
        else:
            self._served.feed(data)

    def lost(self) -> None:
        self._served.closed()

    def abort(self) -> None:
        self.close()

    def pause_reading(self) -> None:
        self._is_paused = True

    def resume_reading(self) -> None:
        self._is_paused = False
        waiting, self._waiting = self._waiting, b""
        if waiting:
            self._served.feed(waiting)

    def unsent_bytes(self) -> int:
        return 0 if self._connection is None else self._connection.buffered_bytes()


async def open_door(world: World, gateway: Gateway, name: str) -> None:
    """Let clients in on the machine of this name."""
    await world.network.listen(resp_address(name), lambda: Socket(world, gateway), MAX_FRAME_BYTES)


class RespError(QuorateError):
    """The gateway's refusal: surely nothing was done."""

    code = "resp"


class RespClient(Stream):
    """One connection; a ``Maybe`` among the answers is one of the gateway."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._data = b""
        self._answers: list[Any] = []
        self._waiter: asyncio.Future[None] | None = None
        self.is_open = False

    async def connect(self, address: Address) -> None:
        """Raises ``Unavailable``."""
        await self._world.network.connect(address, self, MAX_FRAME_BYTES, CONNECT_MS)
        self.is_open = True

    def received(self, data: bytes) -> None:
        self._data += data
        while (found := _parse(self._data, 0)) is not None:
            answer, end = found
            self._data = self._data[end:]
            self._answers.append(answer)
        self._wake()

    def lost(self) -> None:
        self.is_open = False
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def do(self, *commands: Sequence[bytes | str | int], timeout_ms: float) -> list[Any]:
        """The answers; where one is missing, because the connection or the time ended, a ``Maybe``.

        Raises ``Unavailable`` if nothing was sent.
        """
        if not self.is_open:
            raise Unavailable("the connection is closed")
        self.write(b"".join(map(_packed, commands)))
        loop, count = asyncio.get_running_loop(), len(commands)
        try:
            async with asyncio.timeout(timeout_ms / 1000):
                while len(self._answers) < count and self.is_open:
                    self._waiter = loop.create_future()
                    await self._waiter
        except TimeoutError:
            pass
        answers, self._answers = self._answers[:count], []
        if len(answers) < count:
            self.is_open = False
            self.close()
            answers += [Maybe("no answer")] * (count - len(answers))
        return answers


def _packed(words: Sequence[bytes | str | int]) -> bytes:
    parts = [word if isinstance(word, bytes) else str(word).encode() for word in words]
    return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%b\r\n" % (len(p), p) for p in parts)


def _parse(data: bytes, at: int) -> tuple[Any, int] | None:
    """The answer at ``at``, and where it ends; ``None`` if it is not whole.  RESP2."""
    stop = data.find(b"\r\n", at)
    if stop < 0:
        return None
    kind, text, end = data[at : at + 1], data[at + 1 : stop], stop + 2
    match kind:
        case b"+":
            return text, end
        case b"-":
            maybe = text.startswith(b"MAYBE")
            return (Maybe if maybe else RespError)(text.decode()), end
        case b":":
            return int(text), end
        case b"$":
            size = int(text)
            if size < 0:
                return None, end
            return (data[end : end + size], end + size + 2) if len(data) >= end + size + 2 else None
    items: list[Any] | None = None if int(text) < 0 else []
    for _ in range(int(text)):
        found = _parse(data, end)
        if found is None:
            return None
        item, end = found
        if items is not None:
            items.append(item)
    return items, end
