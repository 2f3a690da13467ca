"""A group's snapshots: taken while it works, fetched where its log is not enough, read at a start.

Rules:
* The state is frozen in a moment, and written while entries go on being applied to it; reading one
  back, freeing a log that was cut: whatever is long is done in short turns of the loop.
* The log is cut only behind a snapshot that is on the synced disk.  So at a start the newest
  snapshot is at or behind the cut; if not, the one that belongs there is lost, and the replica
  cannot be.
* A replica does one thing at a time: what it is offered while it takes a snapshot, it is offered
  again with the leader's next heartbeat.
* Who is sent a snapshot whose bytes do not check says so.  The sender then reads the file of its
  newest one as a whole; if a disk has lied, it takes another of its state, which is in memory.
* A state that was half read back when something failed is nobody's: the process stops.
"""

from collections.abc import Callable
from typing import Protocol

from quorate.base.codec import Notice, Request
from quorate.base.errors import (
    BadConfiguration,
    CorruptData,
    DiskFull,
    ProtocolError,
    QuorateError,
    ReplicaDamaged,
    Unavailable,
)
from quorate.base.ids import Address, GroupId, ReplicaId
from quorate.base.sometimes import sometimes
from quorate.raft.core.entries import NOBODY, EntryId, HardState, Snapshot, SnapshotId
from quorate.raft.core.log import Log
from quorate.raft.core.replica import Replica
from quorate.raft.driver import Driver
from quorate.raft.figures import SnapshotFigures
from quorate.raft.messages import ReadSnapshot, SnapshotChunk, SnapshotDoubted
from quorate.raft.sessions import SessionMachine
from quorate.raft.snapshots import SnapshotStore
from quorate.raft.snapshots.output import Turn
from quorate.raft.wal import Recovered, Wal
from quorate.runtime.ports import World

FETCH_TIMEOUT_MS = 500
"""For an answer, and so much again for each 128 KiB of it."""
FETCH_BYTES = 128 << 10
COMPACT_ENTRIES = 4096
"""Cut, and freed, in one turn."""
MAX_GROWTH = 4
"""A large state is written less often: what the log holds in memory may grow to this many times its
usual bound."""
STATE_SHARE = 4
"""And all of it, where the rest is not in memory, to this part of the state.  So of a store that is
filled, all snapshots together are no more than five times what the last one is."""
LOOK_AGAIN_MS = 4_000
"""At a file that somebody doubts; often enough for all who are offered it again."""
INSTALL_AGAIN_MS = 5_000
"""After one that could not be kept; the leader offers it with every heartbeat."""
RETRY_SHARE = 4
"""After a snapshot that met a full disk the next is tried when a fourth of the usual bound has
come, however large the state is."""


class Caller(Protocol):
    """What fetches and tells: an ``RpcClient``."""

    def notify(self, address: Address, notice: Notice) -> None: ...

    async def call_bulk(
        self, address: Address, request: Request[SnapshotChunk], *, timeout_ms: float
    ) -> tuple[SnapshotChunk, memoryview]: ...


class Snapshotter:
    """Takes, fetches and restores the snapshots of one replica."""

    def __init__(
        self,
        world: World,
        driver: Driver,
        group: GroupId,
        sessions: SessionMachine,
        replica: Replica,
        addresses: dict[ReplicaId, Address],
        store: SnapshotStore,
        caller: Caller,
        restored: Callable[[Snapshot], None],
    ) -> None:
        self._world = world
        self._driver = driver
        self._group = group
        self._sessions = sessions
        self._replica = replica
        self._addresses = addresses
        self._store = store
        self._caller = caller
        self._restored = restored
        self._log_bytes = self._held_bytes = 0
        """Of the entries that were applied since the newest snapshot; of them, in memory."""
        self._again_bytes = 0
        """When so many were, another is tried after one that met a full disk; 0: none did."""
        newest = replica.snapshot
        self._applied = (newest.id.index, newest.time_ms) if newest is not None else (0, 0)
        """Index and log time of the state."""
        self._look_at_ms = 0.0
        self._busy = False
        self.figures = SnapshotFigures()

    @property
    def is_busy(self) -> bool:
        """A snapshot is being written, or fetched."""
        return self._busy

    def applied(self, entry_bytes: int, held_bytes: int, index: int, time_ms: int) -> None:
        """Entries of so many bytes, and so many of them in memory, were applied, up to ``index``:
        is it time for a snapshot?"""
        self._applied = (index, time_ms)
        self._log_bytes += entry_bytes
        self._held_bytes += held_bytes
        usual = self._replica.limits.snapshot_log_bytes
        newest = self._replica.snapshot
        state_bytes = newest.bytes if newest is not None else 0
        again = 0 < self._again_bytes <= self._log_bytes
        due = again or is_due(self._log_bytes, self._held_bytes, usual, state_bytes)
        if due and not self._busy:
            self.take(index, time_ms)

    def take(self, index: int, time_ms: int) -> None:
        """Freeze the state, which has just applied ``index``, and write it."""
        term = self._replica.log.term(index)
        if term is None or self._busy:
            return
        self._busy = True
        self._log_bytes = self._held_bytes = self._again_bytes = 0
        id_ = SnapshotId(self._group, index, term, self._replica.replica)
        members = self._replica.configuration_at(index)
        stream = self._sessions.snapshot()

        async def work() -> None:
            began_ms = self._world.clock.monotonic_ms()
            try:
                snapshot = await self._store.write(id_, time_ms, members, stream)
                self._wrote(snapshot, began_ms)
                self._driver.snapshot_taken(self._group, snapshot)
                while self._driver.compact(self._group, COMPACT_ENTRIES):
                    await self._world.clock.sleep(0)
                self._store.discard_before(self._group, index)
            except DiskFull as error:
                sometimes("no room for a snapshot")
                self._world.trace.error(f"no snapshot of group {self._group}: {error.message}")
                usual = self._replica.limits.snapshot_log_bytes
                self._again_bytes = self._log_bytes + usual // RETRY_SHARE
            finally:
                self._busy = False

        self._world.spawn(work(), "snapshot")

    def doubted(self, id: SnapshotId) -> None:
        """Somebody could not use what was read of ``id``: look, and take another if that is so."""
        newest, now_ms = self._replica.snapshot, self._world.clock.monotonic_ms()
        if self._busy or newest is None or newest.id != id or now_ms < self._look_at_ms:
            return
        self._look_at_ms = now_ms + LOOK_AGAIN_MS
        self._busy = True

        async def work() -> None:
            try:
                whole = await self._store.whole(id)
            finally:
                self._busy = False
            if whole is None:
                sometimes("damaged snapshot replaced")
                self._world.trace.error(
                    f"The snapshot of group {self._group} at index {id.index} is damaged on this"
                    " disk: another is taken of the state in memory; examine the disk."
                )
                self.take(*self._applied)

        self._world.spawn(work(), "look at a snapshot")

    def install(self, source: ReplicaId, offer: Snapshot) -> None:
        """Fetch what ``source`` offers, unless something is under way already."""
        address = self._addresses.get(source)
        if self._busy or address is None or offer.id.group != self._group:
            return
        self._busy = True

        async def fetch(offset: int, length: int) -> memoryview:
            request = ReadSnapshot(offer.id, offset, length)
            timeout_ms = FETCH_TIMEOUT_MS * (1 + length // FETCH_BYTES)
            call = self._caller.call_bulk(address, request, timeout_ms=timeout_ms)
            try:
                return (await call)[1]
            except QuorateError as error:  # the sender's trouble: its disk is not ours
                raise Unavailable(f"{address} did not send it: {error.message}") from error

        async def work() -> None:
            began_ms = self._world.clock.monotonic_ms()
            try:
                snapshot = await self._store.receive(offer, fetch)
            except (DiskFull, CorruptData, BadConfiguration) as error:
                self._world.trace.error(f"snapshot of group {self._group}: {error.message}")
                if not isinstance(error, DiskFull):
                    self._caller.notify(address, SnapshotDoubted(offer.id))
                await self._world.clock.sleep(INSTALL_AGAIN_MS)
            except (Unavailable, ProtocolError) as error:  # DiskFailed stops the process
                sometimes("snapshot transfer interrupted")
                self._world.trace.event("snapshot interrupted", group=self._group, why=error)
            else:
                await self._install(snapshot, began_ms)
            finally:
                self._busy = False

        self._world.spawn(work(), "snapshot transfer")

    def _wrote(self, snapshot: Snapshot, began_ms: float) -> None:
        self.figures.written += 1
        self.figures.written_bytes += snapshot.bytes
        self.figures.writing_ms += self._world.clock.monotonic_ms() - began_ms

    async def _install(self, snapshot: Snapshot, began_ms: float) -> None:
        self._driver.snapshot_installed(self._group, snapshot)
        if self._replica.snapshot != snapshot:
            return  # the log has caught up meanwhile
        await load(self._world, self._sessions, self._store, snapshot)
        self._applied = (snapshot.id.index, snapshot.time_ms)
        self._log_bytes = self._held_bytes = 0
        self.figures.installed += 1
        self.figures.installed_bytes += snapshot.bytes
        self.figures.installing_ms += self._world.clock.monotonic_ms() - began_ms
        self._restored(snapshot)
        self._store.discard_before(self._group, snapshot.id.index)


def is_due(log_bytes: int, held_bytes: int, usual: int, state_bytes: int) -> bool:
    """Whether so much of a log, ``held_bytes`` of it in memory, is worth a snapshot."""
    bound = max(usual, min(state_bytes, MAX_GROWTH * usual))
    return held_bytes >= bound or log_bytes >= max(bound, state_bytes // STATE_SHARE)


async def load(
    world: World, sessions: SessionMachine, store: SnapshotStore, snapshot: Snapshot
) -> None:
    """Read ``snapshot`` into the state.

    Raises ``ReplicaDamaged`` if its bytes are not what was written, ``CorruptData`` if the machine
    cannot take what was; then the state is nobody's.
    """
    turn = Turn(world.clock)
    for _ in sessions.restore(store.read(snapshot)):
        await turn.spend()


def start_of_term(
    wal: Wal, group: GroupId, found: HardState, snapshot: Snapshot | None
) -> HardState:
    """Term and vote after a start.

    A snapshot may have reached the disk before the term it belongs to.  No vote of that term can
    have left this node: it would have waited for the term.
    """
    if snapshot is None or snapshot.id.term <= found.term:
        return found
    sometimes("term taken from a snapshot")
    state = HardState(snapshot.id.term, NOBODY)
    wal.set_state(group, state)
    return state


def start_of_log(wal: Wal, group: GroupId, found: Recovered, snapshot: Snapshot | None) -> Log:
    """The log after a start: what the node's log holds, behind what the snapshot stands for.

    Raises ``ReplicaDamaged`` if the snapshot that belongs to the log is not there.
    """
    stands_for = snapshot.id.index if snapshot is not None else 0
    if stands_for < found.cut_index:
        raise ReplicaDamaged(
            f"The log of group {group} was cut at {found.cut_index} and the newest snapshot that"
            f" can be read stands for {stands_for}: this replica has lost its state;"
            f" {ReplicaDamaged.ADVICE}."
        )
    log = Log(EntryId(found.cut_index, found.cut_term), found.entries)
    if snapshot is None or log.term(stands_for) == snapshot.id.term:
        return log
    # It was installed, and the node went down before its log was told (figure 13, step 7).
    sometimes("log cut at a start")
    wal.cut(group, stands_for, snapshot.id.term)
    return Log(EntryId(stands_for, snapshot.id.term))
