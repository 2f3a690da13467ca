"""Writing a large file without holding up the loop, the disk, or the log beside it.

A write goes to the page cache in the loop's thread; so after some milliseconds or some bytes,
whatever comes first, the loop gets a turn (in the simulated world no time passes within a turn, so
there the bytes decide).  Every few MiB are synced, so that the page cache never holds much of the
file and the last sync, or another file's, does not wait for all of it.  And some space is left for
the log: a node without a new snapshot goes on, one whose log meets ``DiskFull`` does not.
"""

from quorate.base.errors import DiskFull
from quorate.raft.snapshots.names import DIRECTORY
from quorate.runtime.ports import Clock, World

TURN_MS = 2.0
TURN_BYTES = 1 << 20
SYNC_BYTES = 1 << 20
RESERVED_BYTES = 64 << 20
"""Left free by files of more than ``SYNC_BYTES``: room for some segments of the log."""


class Turn:
    """How much of this turn of the loop is left."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._start()

    def _start(self) -> None:
        self._end_ms = self._clock.monotonic_ms() + TURN_MS
        self._bytes_left = TURN_BYTES

    @property
    def over(self) -> bool:
        return self._bytes_left <= 0 or self._clock.monotonic_ms() >= self._end_ms

    async def spend(self, count: int = 0) -> None:
        """``count`` bytes were worked on; if the turn is over, let others have theirs."""
        self._bytes_left -= count
        if self.over:
            await self._clock.sleep(0)
            self._start()


class Output:
    """A file that is written from its start on, and gets its name when it is whole."""

    def __init__(self, world: World, path: str) -> None:
        self._disk = world.disk
        self._path = path
        self._file = world.disk.open(path, create=True)
        self._unsynced_bytes = 0
        self.file = self._file
        self.turn = Turn(world.clock)
        self.position = 0

    async def put(self, data: bytes) -> None:
        """Raises ``DiskFull`` or ``DiskFailed``."""
        self._file.write(self.position, data)
        self.position += len(data)
        self._unsynced_bytes += len(data)
        if self._unsynced_bytes >= SYNC_BYTES:
            self._unsynced_bytes = 0
            await self._file.sync()
            self.require_space(RESERVED_BYTES)
        await self.turn.spend(len(data))

    def require_space(self, wanted_bytes: int) -> None:
        """Raises ``DiskFull`` unless so much is free."""
        free = self._disk.free_bytes()
        if free < wanted_bytes:
            raise DiskFull(
                f"There is no room for the snapshot {self._path}: {free} bytes are free,"
                f" {wanted_bytes} are wanted; free some or give the node a larger disk."
            )

    async def publish(self, path: str) -> None:
        """Sync it and let it have the name ``path``, durably."""
        await self._file.sync()
        self._disk.rename(self._path, path)
        await self._disk.sync_directory(DIRECTORY)

    def close(self) -> None:
        self._file.close()

    def remove(self) -> None:
        """What was written is of no use."""
        self._disk.remove(self._path)
