"""What both ends of an RPC connection share.

Frames that are sent within one turn of the loop leave in one write: the first schedules a flush
for the end of the turn, the others join it.  This is most of what makes calls cheap (a write per
call more than doubles the CPU of a call).  Who has joined its own messages already, as Raft does,
takes all that waits with it at once.

A peer that breaks the protocol loses this connection, with one line in the trace that names it and
says why; other connections do not notice.  A bug of our own found on the way stops the process.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Sequence

from quorate.base.check import Bug
from quorate.base.errors import ProtocolError, QuorateError
from quorate.rpc.frames import (
    CONNECTION,
    MAX_BULK_FRAME_BYTES,
    MAX_CONTROL_FRAME_BYTES,
    encode_frame,
    split_frame,
)
from quorate.runtime.ports import Buffer, Connection, Frame, World

HIGH_BACKLOG_BYTES = 16 << 20
"""Above this, what wants to send waits until the transport's buffer is low again."""


class Flusher:
    """Lets what the connections of one owner send in a turn leave at its end: one callback of the
    loop for all of them."""

    __slots__ = ("_channels",)

    def __init__(self) -> None:
        self._channels: list[Channel] = []

    def later(self, channel: "Channel") -> None:
        if not self._channels:
            asyncio.get_running_loop().call_soon(self._flush)
        self._channels.append(channel)

    def _flush(self) -> None:
        channels, self._channels = self._channels, []
        for channel in channels:
            try:
                channel.flush()
            except Exception as error:  # a bug of ours, and no reason to keep the others waiting
                channel.world.stop(error)


class Channel(ABC):
    """One end of a connection; a ``FrameReceiver``.  Each side says what it does with a frame."""

    connection: Connection

    def __init__(self, world: World, bulk: bool, flusher: Flusher) -> None:
        self.world = world
        self._flusher = flusher
        self.closed = False
        self.reset = False
        """It was the other end, or the network, that ended the connection."""
        self._bulk = bulk
        self._max_bytes = MAX_BULK_FRAME_BYTES if bulk else MAX_CONTROL_FRAME_BYTES
        self._outbox: list[Frame] = []
        self._outbox_bytes = 0
        self._gate = asyncio.Lock()

    def welcome(self, bulk: bool) -> None:
        """The other end is known: from here on it may send what the channel is for."""
        self._bulk = bulk
        self._max_bytes = MAX_BULK_FRAME_BYTES if bulk else MAX_CONTROL_FRAME_BYTES
        self.connection.max_frame_bytes = self._max_bytes

    # What a side defines.

    @abstractmethod
    def describe(self) -> str:
        """The other end, for the trace."""

    @abstractmethod
    def handle(self, header: memoryview, payload: memoryview) -> None:
        """One frame; raises ``ProtocolError`` if it should not be there."""

    @abstractmethod
    def ended(self, error: Exception | None) -> None:
        """Called once, when no frame will come or leave any more."""

    # FrameReceiver.

    def connected(self, connection: Connection) -> None:
        self.connection = connection

    def frames_received(self, frames: Sequence[memoryview]) -> None:
        try:
            for frame in frames:
                if self.closed:
                    return
                self.handle(*split_frame(frame, self._bulk))
        except QuorateError as error:
            self.fail(error)
        except Bug as bug:
            self.world.stop(bug)

    def disconnected(self, error: Exception | None) -> None:
        if isinstance(error, ProtocolError) and not self.closed:
            self._report(error)
        self.reset = not self.closed
        self._end(error)

    # Sending.

    def send(
        self,
        kind: int,
        call_id: int,
        timeout_ms: int,
        body: object,
        payload: Sequence[Buffer] = (),
    ) -> None:
        """Let a frame leave at the end of this turn; ``BadInput`` if it is too large."""
        frame, size = encode_frame(kind, call_id, timeout_ms, body, payload, self._max_bytes)
        if not self._outbox:
            self._flusher.later(self)
        self._outbox.append(frame)
        self._outbox_bytes += size

    def send_now(self, kind: int, body: object) -> None:
        """Let a frame that belongs to no call leave, and all that waits before it."""
        frame, size = encode_frame(kind, CONNECTION, 0, body, (), self._max_bytes)
        self._outbox.append(frame)
        self._outbox_bytes += size
        self.flush()

    def flush(self) -> None:
        """Hand over what waits, as one write."""
        if self._outbox and not self.closed:
            self.connection.send(self._outbox)
        self._outbox = []
        self._outbox_bytes = 0

    def backlog_bytes(self) -> int:
        """What was sent and has not yet left this process."""
        return self._outbox_bytes + self.connection.buffered_bytes()

    def crowded(self) -> bool:
        """Whether what wants to send must wait for ``room``; nobody overtakes those who do."""
        return self._gate.locked() or self.backlog_bytes() > HIGH_BACKLOG_BYTES

    async def room(self) -> None:
        """Wait, in order of arrival, until the backlog is no longer high."""
        async with self._gate:
            if self.backlog_bytes() > HIGH_BACKLOG_BYTES:
                self.flush()
                await self.connection.drain()

    # The end.

    def fail(self, error: QuorateError) -> None:
        """Close because of what the other end did."""
        if not self.closed:
            self._report(error)
            self.close(error)

    def close(self, error: Exception | None = None) -> None:
        """Close after what was sent has left; nothing more is received."""
        if not self.closed:
            self.flush()
            self.connection.close()
            self._end(error)

    def _report(self, error: QuorateError) -> None:
        sentence = f"closed the connection with {self.describe()}: {error.message}"
        self.world.trace.error(sentence)

    def _end(self, error: Exception | None) -> None:
        # A close may linger behind bytes that never leave: the end does not wait for it.
        if not self.closed:
            self.closed = True
            self.ended(error)
