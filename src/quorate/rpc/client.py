"""The asking side.

One control and one bulk connection to each address, made when first needed and shared by all
callers.  A call connects at once if it must; a notice never waits and connects in the background,
with a jittered, exponentially growing pause between attempts.

How a call can fail says what may have happened:

- ``Unavailable``, and of these ``DeadlineExceeded`` and ``Overloaded``: surely not executed.
- ``Maybe``: it was sent, and then its deadline passed or the connection was lost.
- any other ``QuorateError``: the server's answer.

Nothing is ever repeated here: only the caller can know what it may repeat.

Bounds: 4096 calls outstanding to an address on a channel (``Overloaded``); above 16 MiB that wait
to leave, calls wait, in order, for their deadline or for room; above 4 MiB, notices are dropped.
Ways to 256 addresses a channel: addresses come over the network, too.  For one more, one on which
no call waits is given up, the oldest of those that have no connection, or of all.

A connection on which calls wait while the other end shows no sign of life is given up
(``outgoing.py``), so that a partition that no packet ever reported costs a moment and not each
call's deadline.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from quorate.base.codec import Notice, Request
from quorate.base.errors import (
    DeadlineExceeded,
    Overloaded,
    QuorateError,
    Unavailable,
    error_from,
)
from quorate.base.ids import Address
from quorate.rpc.frames import NOTICE
from quorate.rpc.handshake import Identity
from quorate.rpc.outgoing import Answer, ClientConnection
from quorate.runtime.ports import Buffer, World

R = TypeVar("R")

MAX_OUTSTANDING_CALLS = 4096
NOTICE_BACKLOG_BYTES = 4 << 20
MAX_LINKS = 256
CONNECT_TIMEOUT_MS = 1000
"""For connecting, and again for the handshake."""
MIN_PAUSE_MS = 50.0
MAX_PAUSE_MS = 2000.0


class RpcClient:
    """Makes calls, as ``identity``, to any address."""

    def __init__(self, world: World, identity: Identity) -> None:
        self._world = world
        self._identity = identity
        self._control: dict[Address, _Link] = {}
        self._bulk: dict[Address, _Link] = {}
        self._closed = False
        self.notices_dropped = 0
        self.lost: Callable[[Address], None] = lambda address: None
        """Told of each control connection that ends without our closing it."""

    async def call(self, address: Address, request: Request[R], *, timeout_ms: float) -> R:
        """The answer to ``request``; raises as the module says."""
        link = self._control.get(address) or self._link(self._control, address)
        reply: R = (await link.call(request, (), timeout_ms))[0]
        return reply

    async def call_bulk(
        self,
        address: Address,
        request: Request[R],
        payload: Sequence[Buffer] = (),
        *,
        timeout_ms: float,
    ) -> tuple[R, memoryview]:
        """As ``call``, on the bulk connection, with up to 8 MiB of raw bytes each way.

        ``payload`` must not change until the call has ended; what comes back is a view into the
        received frame.
        """
        link = self._bulk.get(address) or self._link(self._bulk, address)
        return await link.call(request, payload, timeout_ms)

    def notify(self, address: Address, notice: Notice) -> None:
        """Send ``notice`` if that is possible at once; else it is dropped and counted.

        Without a connection one is begun, in the background and not too often.
        """
        link = self._control.get(address) or self._link(self._control, address)
        connection = link.connection
        if connection is None:
            link.connect_in_background()
            self.notices_dropped += 1
        elif connection.backlog_bytes() > NOTICE_BACKLOG_BYTES:
            self.notices_dropped += 1
        else:
            connection.send_now(NOTICE, notice)

    async def close(self) -> None:
        """Close all connections; calls that wait end as if these were lost."""
        self._closed = True
        links = [*self._control.values(), *self._bulk.values()]
        for link in links:
            link.close()
        tasks = [link.task for link in links if link.task is not None]
        await asyncio.gather(*tasks, return_exceptions=True)

    def _link(self, links: "dict[Address, _Link]", address: Address) -> "_Link":
        if len(links) >= MAX_LINKS:
            idle = [other for other, link in links.items() if not link.is_waited_for]
            lost = [other for other in idle if links[other].connection is None]
            for other in (lost or idle)[:1]:
                links.pop(other).close()  # who needs it again, makes it again
        links[address] = link = _Link(
            self._world, address, self._identity, links is self._bulk, self._closed
        )
        if links is self._control:
            link.on_lost = lambda: self.lost(address)
        return link


class _Link:
    """The way to one address on one channel: a connection, or the attempt to make one."""

    def __init__(
        self, world: World, address: Address, identity: Identity, bulk: bool, closed: bool
    ) -> None:
        self.connection: ClientConnection | None = None
        self.task: asyncio.Task[None] | None = None
        self._world = world
        self._address = address
        self._identity = identity
        self._bulk = bulk
        self._closed = closed
        self._attempt: asyncio.Future[ClientConnection | QuorateError] | None = None
        self._outstanding = 0
        self._pause_ms = MIN_PAUSE_MS
        self._pause_until_ms = 0.0
        self.on_lost: Callable[[], None] = lambda: None

    @property
    def is_waited_for(self) -> bool:
        return self._outstanding > 0

    async def call(
        self, request: Request[Any], payload: Sequence[Buffer], timeout_ms: float
    ) -> Answer:
        if self._outstanding >= MAX_OUTSTANDING_CALLS:
            raise Overloaded(
                f"{self._outstanding} calls to {self._address} are waiting for an answer already"
            )
        self._outstanding += 1
        try:
            connection = self.connection
            if connection is None or connection.crowded():
                connection, timeout_ms = await self._ready(timeout_ms)
            call_id, future = connection.ask(request, payload, timeout_ms)
            try:
                return await future
            except asyncio.CancelledError:
                connection.forget(call_id, future)
                raise
        finally:
            self._outstanding -= 1

    async def _ready(self, timeout_ms: float) -> tuple[ClientConnection, float]:
        """A connection with room, and what remains of the deadline."""
        began_ms = self._world.clock.monotonic_ms()
        try:
            async with asyncio.timeout(timeout_ms / 1000):
                connection = self.connection or await self._connected()
                await connection.room()
        except TimeoutError:
            raise DeadlineExceeded(
                f"{self._address} could not be reached within {timeout_ms:.0f} ms"
            ) from None
        # At least something: a call that is sent has a deadline ahead of it.
        passed_ms = self._world.clock.monotonic_ms() - began_ms
        return connection, max(timeout_ms - passed_ms, 1.0)

    async def _connected(self) -> ClientConnection:
        outcome = await asyncio.shield(self._attempt or self._connect())
        if isinstance(outcome, QuorateError):
            # A fresh one for each who waits: raising adds to an exception's traceback.
            raise error_from(outcome.info())
        return outcome

    # Connecting.

    def connect_in_background(self) -> None:
        """Unless an attempt is under way, or the last one failed too short a time ago."""
        if self._attempt is None and self._world.clock.monotonic_ms() >= self._pause_until_ms:
            self._connect()

    def _connect(self) -> asyncio.Future[ClientConnection | QuorateError]:
        attempt: asyncio.Future[ClientConnection | QuorateError]
        attempt = asyncio.get_running_loop().create_future()
        if self._closed:
            attempt.set_result(Unavailable(f"the connection with {self._address} was closed here"))
        else:
            self._attempt = attempt
            self.task = self._world.spawn(self._try(attempt), f"connect {self._address}")
        return attempt

    async def _try(self, attempt: asyncio.Future[ClientConnection | QuorateError]) -> None:
        connection = ClientConnection(
            self._world, self._address, self._identity, self._bulk, self._lost
        )
        outcome: ClientConnection | QuorateError
        try:
            await connection.open(CONNECT_TIMEOUT_MS)
        except QuorateError as error:
            outcome = error
            self._pause()
        else:
            outcome = self.connection = connection
            self._pause_ms = MIN_PAUSE_MS
        self._attempt = self.task = None
        if not attempt.done():
            attempt.set_result(outcome)

    def _pause(self) -> None:
        """Before the next attempt in the background; jittered, so that many do not come at once."""
        pause_ms = self._pause_ms * self._world.random.uniform(0.5, 1.0)
        self._pause_until_ms = self._world.clock.monotonic_ms() + pause_ms
        self._pause_ms = min(2 * self._pause_ms, MAX_PAUSE_MS)

    def _lost(self, connection: ClientConnection) -> None:
        if self.connection is connection:
            self.connection = None
            self._pause()
            if connection.reset and not self._closed:
                self.on_lost()

    def close(self) -> None:
        self._closed = True
        if self.task is not None:
            self.task.cancel()
        if self._attempt is not None:
            self._attempt.set_result(Unavailable(f"connecting to {self._address} was given up"))
            self._attempt = None
        if self.connection is not None:
            self.connection.close()
