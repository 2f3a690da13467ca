"""A replica of the pure Raft core with its disk: what a crash takes, and what it must not take.

What a step writes is in memory until ``sync``; promises wait for it (the driver's own rule,
``waits_for_disk``), and ``crash`` keeps any number of the oldest unsynced writes.  The file of a
snapshot is the tuple of the entries that it stands for, and is on the disk when it is there at all.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from quorate.base.ids import GroupId, ReplicaId
from quorate.raft import driver
from quorate.raft.core.configuration import Configuration
from quorate.raft.core.entries import (
    Entry,
    EntryId,
    HardState,
    Snapshot,
    SnapshotId,
    configurations_in,
)
from quorate.raft.core.events import Effects, Event, Outgoing, Receive, SnapshotInstalled
from quorate.raft.core.invariants import check_state, check_step, summary
from quorate.raft.core.messages import Message
from quorate.raft.core.replica import Replica
from quorate.raft.core.settings import Limits, Timing
from quorate.raft.core.step import step
from quorate.raft.snapshotter import start_of_log
from quorate.raft.wal import Recovered

GROUP = GroupId(1)


class Letter(NamedTuple):
    sender: ReplicaId
    receiver: ReplicaId
    message: Message


class Write(NamedTuple):
    number: int
    hard_state: HardState | None = None
    entries: Sequence[Entry] = ()
    cut: EntryId | None = None


class Fetching(NamedTuple):
    """A snapshot that was offered, and by whom."""

    source: ReplicaId
    snapshot: Snapshot


class Freezing(NamedTuple):
    """A snapshot of the host's own that is being written."""

    snapshot: Snapshot
    file: tuple[Entry, ...]


class Host:
    """One replica and its disk."""

    def __init__(
        self,
        me: ReplicaId,
        configuration: Configuration,
        draw: Callable[[], float],
        *,
        timing: Timing | None = None,
        limits: Limits | None = None,
        state: HardState | None = None,
        log: Sequence[Entry] = (),
    ) -> None:
        self.me = me
        self.disk_state = state or HardState()
        self.disk_base = EntryId(0, 0)
        self.disk_log = list(log)
        self.files: dict[SnapshotId, tuple[Entry, ...]] = {}
        self._configuration = configuration
        self._draw = draw
        self._timing = timing or Timing()
        self._limits = limits or Limits()
        self.start(0.0)

    def start(self, now_ms: float) -> None:
        """From what is on the disk."""
        self.unsynced: list[Write] = []
        self.held: list[tuple[int, Outgoing]] = []
        self._state_write = self._synced_write = 0
        self.work: Fetching | Freezing | None = None
        """One at a time, as ``Snapshotter`` does it."""
        newest = max(self.files, default=None)
        self.applied = list(self.files[newest]) if newest else []
        """The state: every entry that it has come from."""
        members = self.configuration_of(self.applied)
        snapshot = Snapshot(newest, 0, 0, members) if newest else None
        found = Recovered(
            self.disk_state, self.disk_base.index, self.disk_base.term, list(self.disk_log)
        )
        self.replica = Replica(
            self.me,
            self._configuration,
            start_of_log(self, GROUP, found, snapshot),  # type: ignore[arg-type]
            self.disk_state,
            now_ms=now_ms,
            draw=self._draw,
            timing=self._timing,
            limits=self._limits,
            snapshot=snapshot,
        )

    def cut(self, group: GroupId, index: int, term: int) -> None:
        """What a start asks of the node's log: see ``start_of_log``."""
        self.unsynced.append(Write(0, cut=EntryId(index, term)))

    @property
    def log(self) -> list[Entry]:
        """All of it, with what a snapshot stands for."""
        log = self.replica.log
        return self.applied[: log.base.index] + log.slice(log.base.index + 1, log.last_index)

    def configuration_of(self, log: Sequence[Entry]) -> Configuration:
        """That of a replica whose log, from index 1 on, is ``log`` (Raft §6)."""
        found = configurations_in(log)
        return found[-1][1] if found else self._configuration

    def take(self, event: Event, now_ms: float) -> tuple[Effects, list[Letter]]:
        """One step, and what of its messages may leave at once."""
        before = summary(self.replica)
        effects = step(self.replica, event, now_ms)
        check_state(self.replica)
        check_step(before, self.replica)
        if effects.write or effects.cut is not None:
            number = self.replica.writes
            write = Write(number, effects.hard_state, effects.entries, effects.cut)
            self.unsynced.append(write)
            if effects.hard_state is not None:
                self._state_write = number
        self._apply(event)
        if effects.install is not None and isinstance(event, Receive) and self.work is None:
            self.work = Fetching(event.sender, effects.install)
        letters = []
        durable_term = self._state_write <= self._synced_write
        for outgoing in effects.messages:
            durable_index = self.replica.durable_index
            if self.unsynced and driver.waits_for_disk(
                outgoing.message, durable_index, durable_term
            ):
                self.held.append((self.unsynced[-1].number, outgoing))
            else:
                letters.append(Letter(self.me, *outgoing))
        return effects, letters

    def _apply(self, event: Event) -> None:
        replica = self.replica
        if isinstance(event, SnapshotInstalled) and replica.snapshot == event.snapshot:
            self.applied = list(self.files[event.snapshot.id])
        while len(self.applied) < replica.commit_index:
            self.applied.append(replica.log.entry(len(self.applied) + 1))

    def sync(self, writes: int, now_ms: float) -> tuple[list[Letter], int]:
        """The oldest ``writes`` unsynced writes reach the disk: what waited for them, and the
        number to report as ``Persisted``."""
        number = self._synced_write = max(self._synced_write, self.unsynced[writes - 1].number)
        self._write_out(writes)
        free = [Letter(self.me, *outgoing) for due, outgoing in self.held if due <= number]
        self.held = [(due, outgoing) for due, outgoing in self.held if due > number]
        return free, number

    def crash(self, kept_writes: int, now_ms: float) -> None:
        """Down and up again; of the unsynced writes the oldest ``kept_writes`` are there."""
        self._write_out(kept_writes)
        self.start(now_ms)

    def _write_out(self, writes: int) -> None:
        for write in self.unsynced[:writes]:
            if write.hard_state is not None:
                self.disk_state = write.hard_state
            if write.entries:
                del self.disk_log[write.entries[0].index - 1 - self.disk_base.index :]
                self.disk_log += write.entries
            if write.cut is not None:
                self._cut_disk(write.cut)
        del self.unsynced[:writes]

    def _cut_disk(self, cut: EntryId) -> None:
        """As ``Wal.cut``: what follows is kept if it is of the same history."""
        position = cut.index - self.disk_base.index - 1
        if position < len(self.disk_log) and self.disk_log[position].term != cut.term:
            self.disk_log.clear()
        del self.disk_log[: position + 1]
        self.disk_base = cut

    # Snapshots.

    def freeze(self) -> bool:
        """Begin a snapshot of all that is applied; whether there is anything to do."""
        index = len(self.applied)
        newest = max(self.files, default=None)
        if self.work is not None or index <= (newest.index if newest else 0):
            return False
        id_ = SnapshotId(GROUP, index, self.applied[-1].term, self.me)
        members = self.replica.configuration_at(index)
        self.work = Freezing(Snapshot(id_, 0, 0, members), tuple(self.applied))
        return True

    def discard_before(self, index: int) -> None:
        newest = max(self.files)
        self.files = {
            id_: f for id_, f in self.files.items() if id_.index >= index or id_ == newest
        }
