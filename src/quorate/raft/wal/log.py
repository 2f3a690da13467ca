"""The log of a node at work: buffer the records of a turn, write them as one batch, make room.

Rules (their reasons stand in ``format.py``):
* ``append``, ``set_state`` and ``cut`` only buffer; ``sync`` writes what is buffered as one batch.
  While it runs, more may be buffered, for the next one.  One ``sync`` at a time.
* After a write or fsync that failed, or a ``sync`` that was cancelled, nobody knows what is on the
  disk: the log refuses everything, and nothing is tried again.
* What is buffered is bounded by its users: a leader's and a follower's inflight bounds.

Making room: the oldest segments in which nothing is live are removed.  If garbage (what is written
and not live, with all of every segment but the newest counted as written) exceeds the live bytes
by more than a segment, each batch also carries live records of the oldest segment, at most as many
bytes as it carries new ones and ``RELOCATION_BYTES``.  So the log takes at most about four times
what is live and three segments, and over time less is rewritten than is new, counted in sectors.
"""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from quorate.base.check import check
from quorate.base.codec import encode
from quorate.base.errors import AlreadyExists, DiskFailed
from quorate.base.ids import ClusterId, GroupId, NodeId
from quorate.base.sometimes import sometimes
from quorate.raft.core.entries import Entry, HardState
from quorate.raft.wal.format import (
    FORMAT_VERSION,
    SECTOR,
    SegmentHeader,
    batch_bytes,
    encode_batch,
    encode_segment_header,
)
from quorate.raft.wal.live import RECORD_BYTES, LiveGroup, Segment
from quorate.raft.wal.records import (
    Append,
    Cut,
    Record,
    Recovered,
    Relocate,
    Spill,
    State,
    spill_entries,
)
from quorate.raft.wal.recovery import DIRECTORY, NEXT, Found, read_log, segment_path, segments
from quorate.runtime.ports import Disk, File

SEGMENT_BYTES = 16 << 20
RELOCATION_BYTES = 64 << 10


@dataclass(slots=True)
class Stats:
    """Since the log was opened; ``segments`` is their number now."""

    bytes: int = 0
    syncs: int = 0
    segments: int = 0
    relocated_bytes: int = 0


class Wal:
    """Made by ``create`` once, then by ``open``."""

    def __init__(
        self,
        disk: Disk,
        cluster: ClusterId,
        node: NodeId,
        segment_bytes: int = SEGMENT_BYTES,
        spill: Spill | None = None,
    ) -> None:
        check(segment_bytes >= 2 * SECTOR, f"a segment of {segment_bytes} bytes holds no batch")
        self._disk = disk
        self._cluster = cluster
        self._node = node
        self._segment_bytes = segment_bytes
        self._spill = spill
        self._segments: list[Segment] = []
        self._file: File | None = None
        self._end = 0
        self._sequence = 0
        self._records: list[Record] = []
        self._groups: dict[GroupId, LiveGroup] = {}
        self._touched: dict[GroupId, LiveGroup] = {}
        """The groups with buffered records."""
        self._syncing = False
        self._closed = False
        self.failed = False
        """A write or sync did not succeed."""
        self.stats = Stats()

    @staticmethod
    async def create(
        disk: Disk, cluster: ClusterId, node: NodeId, *, segment_bytes: int = SEGMENT_BYTES
    ) -> None:
        """Make the log of a new node, with one empty batch.  Raises ``AlreadyExists``."""
        if segments(disk):
            raise AlreadyExists(f"There is already a log in {DIRECTORY}/: a node is founded once.")
        disk.make_directory(DIRECTORY)
        await disk.sync_directory("")
        wal = Wal(disk, cluster, node, segment_bytes)
        await wal._start_segment(1, encode_batch(1, 1, encode([])))
        wal.close()

    @staticmethod
    async def open(
        disk: Disk,
        cluster: ClusterId,
        node: NodeId,
        *,
        segment_bytes: int = SEGMENT_BYTES,
        spill: Spill | None = None,
    ) -> tuple["Wal", dict[GroupId, Recovered]]:
        """The log, and what it says of each group it knows.  With ``spill``, what it keeps of an
        entry that is on the disk is not in memory.

        Raises ``Damaged``; ``BadConfiguration`` if there is no log here, or that of another node
        or of a newer version; ``DiskFull`` if there is no space for one segment.
        """
        found = read_log(disk, cluster, node, spill)
        wal = Wal(disk, cluster, node, segment_bytes, spill)
        await wal._resume(found)
        recovered = {
            log.group: Recovered(
                log.state or HardState(), log.cut_index, log.cut_term, list(log.entries)
            )
            for log in wal._groups.values()
        }
        return wal, recovered

    @property
    def pending(self) -> bool:
        """Whether records are buffered."""
        return bool(self._records)

    def append(self, group: GroupId, entries: Sequence[Entry]) -> None:
        """Replace everything at and after the index of the first of ``entries`` by them."""
        if entries:
            self._replace_from(self._log(group), entries[0].index, list(entries))

    def set_state(self, group: GroupId, state: HardState) -> None:
        log = self._log(group)
        log.set_state(state)
        self._records.append(State(group, state))

    def cut(self, group: GroupId, index: int, term: int) -> None:
        """A snapshot stands for the log up to and including ``index``, which has ``term``.

        What follows is kept only if the entry at ``index`` has that term (Raft figure 13, steps 6
        and 7): otherwise it belongs to another history.  A cut never moves back.
        """
        log = self._log(group)
        check(index >= log.cut_index, f"cut at {index} after a cut at {log.cut_index}")
        if index == log.cut_index:
            return
        if index <= log.last_index and log.entries[index - log.cut_index - 1].term != term:
            self._replace_from(log, index, [])
        log.cut(index, term)
        self._records.append(Cut(group, index, term))

    async def sync(self) -> None:
        """Write what is buffered and wait until it is on the disk.

        Raises ``DiskFull`` or ``DiskFailed``, and then refuses everything for ever.
        """
        self._require_usable()
        check(not self._syncing, "the log writes one batch at a time")
        if not self._records:
            return
        self._syncing = True
        try:
            await self._write_batch()
        except BaseException:
            self.failed = True
            raise
        finally:
            self._syncing = False

    def close(self) -> None:
        """What is buffered is dropped; the log refuses everything from now on."""
        self._closed = True
        if self._file is not None:
            self._file.close()
            self._file = None

    def _require_usable(self) -> None:
        if self.failed or self._closed:
            why = "an earlier write or sync did not succeed" if self.failed else "it was closed"
            raise DiskFailed(
                f"The log in {DIRECTORY}/ takes no more records: {why}; repair the disk if it is"
                " at fault, and start this node again."
            )

    def _log(self, group: GroupId) -> LiveGroup:
        self._require_usable()
        log = self._groups.get(group)
        if log is None:
            log = self._groups[group] = LiveGroup(group)
        self._touched[group] = log
        return log

    def _replace_from(self, log: LiveGroup, first: int, entries: list[Entry]) -> None:
        check(not entries or entries[-1].index == first + len(entries) - 1, "a gap in an append")
        log.replace_from(first, entries)
        self._records.append(Append(log.group, first, entries))

    async def _write_batch(self) -> None:
        records, self._records = self._records, []
        touched, self._touched = self._touched, {}
        buffered = [(log, log.buffered_bytes()) for log in touched.values()]
        moves = self._relocate(records, buffered) if self._is_mostly_garbage() else []
        payload = encode(records)

        sequence = self._sequence + 1
        size = batch_bytes(len(payload))
        file = self._file
        if self._end + size > self._segments[-1].size:
            file = None
            self._segments.append(Segment(sequence, self._size_for(size)))
        current = self._segments[-1]
        for log, entries in moves:
            log.move(entries, current)
        for log, buffered_bytes in buffered:
            log.place(current, buffered_bytes)
        unneeded: list[Segment] = []
        while self._segments[0] is not current and not self._segments[0].live_bytes:
            unneeded.append(self._segments.pop(0))

        image = encode_batch(sequence, self._segments[0].first, payload)
        if file is None:
            await self._start_segment(sequence, image)
        else:
            await file.write_and_sync(self._end, image)
            self._end += size
        self._sequence = sequence
        if self._spill is not None:
            for record in records:
                if isinstance(record, Append):
                    spill_entries(record.entries, self._spill)
        for segment in unneeded:  # only now: this batch says that they are
            self._disk.remove(segment_path(segment.first))
        self.stats.bytes += size
        self.stats.syncs += 1
        self.stats.segments = len(self._segments)

    def _size_for(self, first_batch_bytes: int) -> int:
        return max(self._segment_bytes, SECTOR + first_batch_bytes)

    async def _start_segment(self, first: int, image: bytes) -> None:
        """Make the segment whose first batch is ``image``; it gets its name when it is synced."""
        size = self._size_for(len(image))
        self._disk.remove(NEXT)
        file = self._disk.open(NEXT, create=True)
        file.allocate(size)
        header = SegmentHeader(FORMAT_VERSION, self._node, self._cluster, first, size)
        await file.write_and_sync(0, encode_segment_header(header) + image)
        self._disk.rename(NEXT, segment_path(first))
        await self._disk.sync_directory(DIRECTORY)
        if self._file is not None:
            self._file.close()
        self._file = file
        self._end = SECTOR + len(image)

    # Making room.

    def _is_mostly_garbage(self) -> bool:
        if len(self._segments) < 3:
            return False
        live = sum([segment.live_bytes for segment in self._segments])
        written = sum([segment.size for segment in self._segments[:-1]]) + self._end
        return written > 2 * live + self._segment_bytes

    def _relocate(
        self, records: list[Record], buffered: list[tuple[LiveGroup, int]]
    ) -> list[tuple[LiveGroup, list[Entry]]]:
        """Add live records of the oldest segment to ``records``: about as many bytes as there are,
        and ``RELOCATION_BYTES`` more.

        Returns the entries among them, which are to be placed with the batch.  They go behind the
        buffered records and are what is current after those.
        """
        oldest = self._segments[0]
        budget = RELOCATION_BYTES + sum(size for _, size in buffered)
        moves = []
        for log in self._groups.values():
            if log.state is not None and log.state_is_in(oldest):
                records.append(State(log.group, log.state))
                log.release_state()
                buffered.append((log, 0))
                budget -= RECORD_BYTES
            if log.cut_is_in(oldest):
                records.append(Cut(log.group, log.cut_index, log.cut_term))
                log.release_cut()
                buffered.append((log, 0))
                budget -= RECORD_BYTES
            if budget > 0 and (entries := log.entries_in(oldest, budget)):
                records.append(Relocate(log.group, entries))
                moves.append((log, entries))
                size = sum(len(entry.data) + RECORD_BYTES for entry in entries)
                budget -= size
                self.stats.relocated_bytes += size
                sometimes("segment relocated")
            if budget <= 0:
                break
        return moves

    # Starting again.

    async def _resume(self, found: Found) -> None:
        """Go on where a log ended: with its last batch, written again."""
        last = found.last
        image = encode_batch(last.sequence, last.oldest, last.payload)
        await self._start_segment(last.sequence, image)
        for first in found.unneeded:
            self._disk.remove(segment_path(first))
        self._segments = [
            Segment(first, size) for first, size in found.segments if first < last.sequence
        ]
        self._segments.append(Segment(last.sequence, self._size_for(len(image))))
        self._sequence = last.sequence
        self.stats.segments = len(self._segments)
        firsts = [segment.first for segment in self._segments]

        def place(sequence: int) -> Segment:
            return self._segments[bisect_right(firsts, sequence) - 1]

        for group, folded in found.groups.items():
            self._groups[group] = log = LiveGroup(group)
            log.recover(folded, place)
