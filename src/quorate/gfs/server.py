"""The chunkserver: a process that stores chunks and tells every node's master about them.

Heartbeats go to each master every ``HEARTBEAT_MS``, and sooner when chunks were finished, so that a
reader need not wait for what was just written.  The answers name chunks to delete (GFS §4.4.1).
"""

import asyncio
from collections.abc import Sequence
from itertools import islice
from typing import Any

from quorate.base.codec import Request
from quorate.base.errors import CorruptData, Overloaded, QuorateError
from quorate.base.ids import Address, ClusterId, NodeId
from quorate.gfs.chunk_file import ChunkOwner
from quorate.gfs.chunk_store import ChunkStore
from quorate.gfs.messages import (
    ChunkserverFigures,
    Heartbeat,
    HeartbeatReply,
    ReadChunk,
    WriteChunk,
)
from quorate.rpc.client import RpcClient
from quorate.rpc.server import Bulk, Call, Handler
from quorate.runtime.ports import World

HEARTBEAT_MS = 500
REPORT_SOON_MS = 50
"""Between heartbeats that report new chunks."""
HEARTBEAT_TIMEOUT_MS = 1000
MAX_CHANGES = 50_000
"""Handles in one heartbeat, so that it fits a control frame."""
MAX_WRITES = 256
"""Pieces being stored at a time; more are refused with ``Overloaded``."""
DELETES_A_TURN = 32


class _Reporter:
    """What one master has not acknowledged yet."""

    def __init__(self) -> None:
        self.full = True
        self.sequence = 0
        self.changes: dict[int, bool] = {}  # handle -> present, oldest change first

    def note(self, handle: int, present: bool) -> None:
        self.changes.pop(handle, None)
        self.changes[handle] = present

    def acknowledged(self, sent: dict[int, bool]) -> None:
        self.full = False
        for handle, present in sent.items():
            if self.changes.get(handle) is present:
                del self.changes[handle]


class Chunkserver:
    """Stores chunks on ``world.disk``; ``requests`` goes into the table of its ``RpcServer``.

    ``masters`` are the doors of all nodes' masters.  Call ``open`` before the ``RpcServer`` starts
    and ``start`` with the address it listens at.
    """

    def __init__(
        self,
        world: World,
        rpc: RpcClient,
        cluster: ClusterId,
        node: NodeId,
        name: str,
        masters: Sequence[Address],
    ) -> None:
        self._world = world
        self._rpc = rpc
        self._owner = ChunkOwner(cluster, node, name)
        self._reporters = {address: _Reporter() for address in masters}
        self._news = {address: asyncio.Event() for address in masters}
        self._store = ChunkStore(world, self._owner, self._changed)
        self._incarnation = 0
        self._writes = 0
        self.requests: dict[type[Request[Any]], Handler] = {
            WriteChunk: self._write,
            ReadChunk: self._read,
        }

    async def open(self) -> None:
        """Find the chunks on the disk; raises ``BadConfiguration`` if it is somebody else's."""
        self._incarnation = await self._store.open()
        for reporter in self._reporters.values():
            reporter.changes = dict.fromkeys(self._store.handles, True)

    def start(self, address: Address) -> None:
        """Begin to send heartbeats, which name ``address`` as the place to read and write."""
        for master in self._reporters:
            self._world.spawn(self._report(master, address), f"heartbeats to {master}")

    def figures(self) -> ChunkserverFigures:
        return ChunkserverFigures(len(self._store.handles), self._writes)

    def _changed(self, handle: int, present: bool) -> None:
        for master, reporter in self._reporters.items():
            reporter.note(handle, present)
            if present:
                self._news[master].set()

    # Requests.

    async def _write(self, request: WriteChunk, call: Call) -> None:
        if self._writes >= MAX_WRITES:
            raise Overloaded(f"{self._owner.name} is storing {MAX_WRITES} pieces; try again")
        self._writes += 1
        try:
            await self._store.write(request, call.payload)
        finally:
            self._writes -= 1

    def _read(self, request: ReadChunk, call: Call) -> Bulk:
        try:
            blocks, data = self._store.read(request.handle, request.offset, request.length)
        except CorruptData as error:
            self._world.trace.error(error.message)
            raise
        return Bulk(blocks, [data])

    # Heartbeats.

    async def _report(self, master: Address, address: Address) -> None:
        reporter, news, clock = self._reporters[master], self._news[master], self._world.clock
        while True:
            news.clear()
            sent = dict(islice(reporter.changes.items(), MAX_CHANGES))
            reply = await self._beat(master, reporter, address, sent)
            if reply is None:  # it hears later what it missed
                await clock.sleep(HEARTBEAT_MS)
                continue
            reporter.acknowledged(sent)
            if reply.want_full:
                reporter.full = True
                reporter.changes = dict.fromkeys(self._store.handles, True)
            await self._delete(reply.garbage)
            self._store.drop_idle()
            if reply.want_full or len(sent) == MAX_CHANGES:
                continue  # the rest of a long report
            await clock.sleep(REPORT_SOON_MS)
            try:
                async with asyncio.timeout((HEARTBEAT_MS - REPORT_SOON_MS) / 1000):
                    await news.wait()
            except TimeoutError:
                continue

    async def _beat(
        self, master: Address, reporter: _Reporter, address: Address, sent: dict[int, bool]
    ) -> HeartbeatReply | None:
        """The master's answer, or ``None`` if it is down or far."""
        reporter.sequence += 1
        beat = Heartbeat(
            self._owner.node,
            self._owner.name,
            address,
            self._incarnation,
            reporter.sequence,
            reporter.full,
            [handle for handle, present in sent.items() if present],
            [handle for handle, present in sent.items() if not present],
            self._world.disk.free_bytes(),
            len(self._store.handles),
        )
        try:
            return await self._rpc.call(master, beat, timeout_ms=HEARTBEAT_TIMEOUT_MS)
        except QuorateError:
            return None

    async def _delete(self, garbage: Sequence[int]) -> None:
        for position, handle in enumerate(garbage):
            self._store.delete(handle)
            if position % DELETES_A_TURN == DELETES_A_TURN - 1:
                await self._world.clock.sleep(0)
