"""A simulated machine for snapshots: as the log's, with a whole world for each piece of work."""

import random
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, NoReturn, TypeVar, cast

from raft_replicas import group_of
from unit.raft.wal.machine import Machine as LogMachine
from unit.raft.wal.machine import ProcessKilled

from quorate.base.codec import encode
from quorate.base.ids import GroupId, ReplicaId
from quorate.raft.snapshots import Fetch, Snapshot, SnapshotId, SnapshotStore
from quorate.raft.snapshots.format import BLOCK_BYTES, FRAME_BYTES, HEADER_BYTES, Encoder
from quorate.runtime.ports import Network, Processes, World
from quorate.runtime.simulated.clock import MachineClock, SimulatedClock
from quorate.runtime.simulated.loop import SimulatedLoop
from quorate.runtime.simulated.trace import SimulatedTrace, TraceLog

GROUP = GroupId(7)
TIME_MS = 1_700_000_000_000
MEMBERS = group_of(3)
BLOCKS_AT = HEADER_BYTES + FRAME_BYTES + len(encode(MEMBERS))
"""Where the first block begins."""
T = TypeVar("T")


def snapshot_id(index: int, *, group: int = GROUP, term: int = 3, source: int = 9) -> SnapshotId:
    return SnapshotId(GroupId(group), index, term, ReplicaId(source))


def content(size: int, seed: int = 0) -> bytes:
    return random.Random(seed).randbytes(size)


def cut(data: bytes, size: int) -> Iterator[bytes]:
    return (data[at : at + size] for at in range(0, len(data), size))


def file_bytes(id: SnapshotId, data: bytes, block_bytes: int = BLOCK_BYTES) -> bytes:
    """What stands in the file of a snapshot of ``data``."""
    encoder = Encoder()
    blocks = [encoder.header(id, TIME_MS, MEMBERS)]
    blocks += [encoder.block(piece) for piece in cut(data, block_bytes)]
    return b"".join([*blocks, encoder.end()])


def offer_of(id: SnapshotId, raw: bytes) -> Snapshot:
    return Snapshot(id, TIME_MS, len(raw), MEMBERS)


def fetch_from(raw: bytes, at_most: int = 1 << 20) -> Fetch:
    async def fetch(offset: int, length: int) -> memoryview:
        return memoryview(raw)[offset : offset + min(length, at_most)]

    return fetch


class Machine(LogMachine):
    def do(self, work: Callable[[World], Coroutine[Any, Any, T]]) -> T:
        """Run ``work`` in a world of the process that is alive."""
        loop = SimulatedLoop()
        self.trace = TraceLog(loop)

        def stop(error: BaseException) -> NoReturn:
            raise error

        world = World(
            clock=SimulatedClock(loop, MachineClock(loop), self.process),
            network=cast(Network, None),
            disk=self.view,
            random=random.Random(0),
            processes=cast(Processes, None),
            trace=SimulatedTrace(self.trace, self.process),
            stop=stop,
        )
        try:
            result: T = loop.run_until_complete(work(world))
            return result
        finally:
            loop.close()

    def with_store(self, work: Callable[[SnapshotStore], Coroutine[Any, Any, T]]) -> T:
        async def opened(world: World) -> T:
            return await work(await SnapshotStore.open(world))

        return self.do(opened)

    def write(self, id: SnapshotId, data: bytes, piece_bytes: int = 10_000) -> Snapshot:
        return self.with_store(
            lambda store: store.write(id, TIME_MS, MEMBERS, cut(data, piece_bytes))
        )

    def receive(self, offer: Snapshot, fetch: Fetch) -> Snapshot:
        return self.with_store(lambda store: store.receive(offer, fetch))

    def newest(self) -> tuple[Snapshot, bytes] | None:
        """The newest snapshot of ``GROUP`` and all it holds."""

        async def work(store: SnapshotStore) -> tuple[Snapshot, bytes] | None:
            snapshot = store.newest(GROUP)
            return snapshot and (snapshot, b"".join(store.read(snapshot)))

        return self.with_store(work)

    def files(self) -> list[str]:
        return self.view.list("snapshots")

    def put_file(self, path: str, data: bytes) -> None:
        """Durably, as it was before this process."""

        async def work(world: World) -> None:
            world.disk.make_directory("snapshots")
            await world.disk.sync_directory("")
            world.disk.remove(path)
            file = world.disk.open(path, create=True)
            await file.write_and_sync(0, data)
            await world.disk.sync_directory("snapshots")

        self.do(work)

    def bytes_of(self, path: str) -> bytes:
        file = self.view.open(path)
        return file.read(0, file.size())


__all__ = [
    "BLOCKS_AT",
    "GROUP",
    "MEMBERS",
    "TIME_MS",
    "Machine",
    "ProcessKilled",
    "content",
    "cut",
    "fetch_from",
    "file_bytes",
    "offer_of",
    "snapshot_id",
]
