"""Reading a frozen view of the store: a client's half of ``views.py``."""

from collections.abc import AsyncIterator
from contextlib import suppress

from quorate.base.errors import DeadlineExceeded, Maybe, QuorateError, Unavailable
from quorate.base.ids import Address
from quorate.kv.messages import CloseView, ReadView, ViewOpened
from quorate.rpc.client import RpcClient
from quorate.runtime.ports import World

ATTEMPT_MS = 5_000.0
PAUSE_MS = 100.0


class View:
    """The whole store at one index of the log; the node that holds it is asked for all pieces, so
    it is lost with that node."""

    def __init__(
        self,
        world: World,
        rpc: RpcClient,
        address: Address,
        opened: ViewOpened,
        timeout_ms: float,
    ) -> None:
        self._clock = world.clock
        self._rpc = rpc
        self._address = address
        self._timeout_ms = timeout_ms
        self.opened = opened

    async def pieces(self) -> AsyncIterator[memoryview]:
        """Encoded lists of ``Entry``, in order (kv/messages.py); each within the timeout."""
        number, is_last = 0, False
        while not is_last:
            is_last, piece = await self._piece(number)
            number += 1
            yield piece

    async def _piece(self, number: int) -> tuple[bool, memoryview]:
        end_ms = self._clock.monotonic_ms() + self._timeout_ms
        request = ReadView(self.opened.view, number)
        last: QuorateError | None = None
        while (left_ms := end_ms - self._clock.monotonic_ms()) > 0:
            timeout_ms = min(left_ms, ATTEMPT_MS)
            try:
                reply, piece = await self._rpc.call_bulk(
                    self._address, request, timeout_ms=timeout_ms
                )
            except (Unavailable, Maybe) as error:
                last = error
                await self._clock.sleep(PAUSE_MS)
            else:
                return reply.is_last, piece
        raise DeadlineExceeded(f"{self._address} holds the view, and does not answer: {last}")

    async def close(self) -> None:
        """Have the node let go of it."""
        with suppress(Unavailable, Maybe):
            request = CloseView(self.opened.view)
            await self._rpc.call(self._address, request, timeout_ms=ATTEMPT_MS)
