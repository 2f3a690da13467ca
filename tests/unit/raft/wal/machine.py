"""A simulated machine for the log: crashes at any call of its disk, sync failures, power loss."""

import random
from collections.abc import Coroutine
from typing import Any, TypeVar

from quorate.base.ids import ClusterId, GroupId, NodeId
from quorate.raft.core.entries import Entry
from quorate.raft.wal import Recovered, Wal
from quorate.runtime.simulated.disk import SimulatedDisk, SimulatedView
from quorate.runtime.simulated.loop import SimulatedLoop
from quorate.runtime.simulated.process import ProcessKilled, SimulatedProcess

CLUSTER, NODE = ClusterId("c" * 32), NodeId(1)
SEGMENT_BYTES = 4096

T = TypeVar("T")


def run(work: Coroutine[Any, Any, T]) -> T:
    loop = SimulatedLoop()
    try:
        result: T = loop.run_until_complete(work)
        return result
    finally:
        loop.close()


def entries(first: int, last: int, term: int = 1, size: int = 10) -> list[Entry]:
    return [Entry(index, term, 1, bytes([index % 256]) * size) for index in range(first, last + 1)]


class _Process(SimulatedProcess):
    """Dies at a chosen call of a port."""

    __slots__ = ("calls_left",)

    def __init__(self) -> None:
        super().__init__("machine", "raft", 1)
        self.calls_left = 1 << 60

    def require_alive(self) -> None:
        self.calls_left -= 1
        if self.calls_left < 0:
            self.kill()
        super().require_alive()


class _Disk(SimulatedDisk):
    """A process can also die while it waits for a sync."""

    process: _Process

    async def sync(self, written_bytes: int) -> bool:
        self.process.require_alive()
        return await super().sync(written_bytes)


class Machine:
    def __init__(self, seed: int = 0) -> None:
        self.disk = _Disk(random.Random(seed))
        self.restart()

    def restart(self, *, power_loss: bool = False) -> None:
        """A new process; the old one is killed, and with ``power_loss`` the machine, too."""
        if power_loss:
            self.disk.power_loss()
        self.process = self.disk.process = _Process()
        self.view = SimulatedView(self.disk, self.process, ("node",))

    def crash_after(self, calls: int) -> None:
        """Die at the disk call after so many."""
        self.process.calls_left = calls

    def fail_next_sync(self) -> None:
        self.disk.faults.fail_next_syncs = 1

    def create(self, segment_bytes: int = SEGMENT_BYTES) -> None:
        run(Wal.create(self.view, CLUSTER, NODE, segment_bytes=segment_bytes))

    def open(self, segment_bytes: int = SEGMENT_BYTES) -> tuple[Wal, dict[GroupId, Recovered]]:
        return run(Wal.open(self.view, CLUSTER, NODE, segment_bytes=segment_bytes))

    def opened(self) -> Wal:
        """The log of a new machine."""
        self.create()
        return self.open()[0]

    def recovered(self, *, power_loss: bool = True) -> dict[GroupId, Recovered]:
        """What is there after a crash now."""
        self.restart(power_loss=power_loss)
        return self.open()[1]

    def segments(self) -> list[str]:
        return [name for name in self.view.list("log") if name.endswith(".seg")]

    def content(self, name: str) -> bytes:
        file = self.view.open(f"log/{name}")
        return file.read(0, file.size())

    def overwrite(self, name: str, offset: int, data: bytes) -> None:
        """Durably, as damage does."""
        file = self.view.open(f"log/{name}")
        file.write(offset, data)
        run(file.sync())


__all__ = ["CLUSTER", "NODE", "SEGMENT_BYTES", "Machine", "ProcessKilled", "entries", "run"]
