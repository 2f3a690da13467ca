"""The chunkserver: a process that stores chunks and tells every node's master about them.

Heartbeats go to each master every ``HEARTBEAT_MS``, and sooner when chunks were finished, so that a
reader need not wait for what was just written.  The answers name chunks to delete (GFS §4.4.1), and
the masters that there are by now: what is named there gets heartbeats, too, and a master that no
answer names any more, nor the configuration of this machine, gets none.
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
MAX_MASTERS = 64
"""The same as the members of a group, and one."""
MAX_WRITES = 256
"""Pieces being stored at a time; more are refused with ``Overloaded``."""
DELETES_A_TURN = 32


class _Reporter:
    """What one master has not acknowledged yet."""

    def __init__(self) -> None:
        self.full = True
        self.sequence = 0
        self.changes: dict[int, bool] = {}  # handle -> present, oldest change first
        self.news = asyncio.Event()
        self.names: list[Address] = []
        """The masters that this one knows."""

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

    ``masters`` are the doors of nodes' masters, who name the others; ``earlier`` are ids that the
    machine had before, and stored chunks under.  Call ``open`` before the
    ``RpcServer`` starts and ``start`` with the address it listens at.
    """

    def __init__(
        self,
        world: World,
        rpc: RpcClient,
        cluster: ClusterId,
        node: NodeId,
        name: str,
        masters: Sequence[Address],
        earlier: tuple[NodeId, ...] = (),
    ) -> None:
        self._world = world
        self._rpc = rpc
        self._owner = ChunkOwner(cluster, node, name, earlier)
        self._masters = list(masters)
        self._reporters: dict[Address, _Reporter] = {}
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

    def start(self, address: Address) -> None:
        """Begin to send heartbeats, which name ``address`` as the place to read and write."""
        for master in self._masters:
            self._report_to(master, address)

    def _report_to(self, master: Address, address: Address) -> None:
        """Begin to report to a master, with all that is here."""
        if master not in self._reporters and len(self._reporters) < MAX_MASTERS:
            reporter = self._reporters[master] = _Reporter()
            reporter.changes = dict.fromkeys(self._store.handles, True)
            self._world.spawn(self._report(master, address), f"heartbeats to {master}")

    def _is_wanted(self, master: Address) -> bool:
        named = (reporter.names for reporter in self._reporters.values())
        return master in self._masters or any(master in names for names in named)

    def figures(self) -> ChunkserverFigures:
        return ChunkserverFigures(len(self._store.handles), self._writes)

    def _changed(self, handle: int, present: bool) -> None:
        for reporter in self._reporters.values():
            reporter.note(handle, present)
            if present:
                reporter.news.set()

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
        reporter, clock = self._reporters[master], self._world.clock
        news = reporter.news
        while self._is_wanted(master):
            news.clear()
            sent = dict(islice(reporter.changes.items(), MAX_CHANGES))
            reply = await self._beat(master, reporter, address, sent)
            if reply is None:  # it hears later what it missed
                reporter.names = []
                await clock.sleep(HEARTBEAT_MS)
                continue
            reporter.acknowledged(sent)
            reporter.names = reply.masters
            for other in reply.masters:
                self._report_to(other, address)
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
        del self._reporters[master]

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
