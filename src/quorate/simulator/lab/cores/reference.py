"""Our own core, ``quorate.raft.core``, as a learner's: the same code that the product runs.

It speaks in one-way messages and is not told that its writes are on disk before they are: here
each write is persisted at once, before the messages of its step leave.  Messages that are replies
go back as the answer to the request they came with.  A snapshot travels with the message that
offers it.
"""

from collections import deque
from typing import Any

from quorate.base.codec import decode, encode
from quorate.base.ids import Address, GroupId, ReplicaId
from quorate.raft.core.configuration import founding
from quorate.raft.core.entries import (
    ENTRY_BYTES,
    Entry,
    EntryId,
    EntryKind,
    HardState,
    Snapshot,
    SnapshotId,
)
from quorate.raft.core.events import (
    Compact,
    Effects,
    Event,
    Persisted,
    Propose,
    Receive,
    SnapshotInstalled,
    SnapshotTaken,
    Tick,
)
from quorate.raft.core.log import Log
from quorate.raft.core.messages import (
    AppendReply,
    InstallReply,
    InstallSnapshot,
    Message,
    VoteReply,
)
from quorate.raft.core.replica import Replica, Role
from quorate.raft.core.settings import Limits, Timing
from quorate.raft.core.step import step
from quorate.simulator.lab.host import Host

GROUP = GroupId(1)
REPLIES = (AppendReply, InstallReply, VoteReply)
LIMITS = Limits(snapshot_log_bytes=10 * (8 + ENTRY_BYTES), retained_log_bytes=0)
"""The tester asks for snapshots; nothing of the log is kept behind them."""
EVERYTHING = 1 << 40
Saved = tuple[HardState, EntryId, list[Entry], Snapshot | None]


class Raft:
    """One replica, and what the driver, the log and the group do around it in the product."""

    def __init__(self, host: Host) -> None:
        self.host = host
        saved: Saved = (HardState(), EntryId(0, 0), [], None)
        if host.saved:
            saved = decode(host.saved, Saved)
        hard_state, base, entries, snapshot = saved
        self._snapshot_bytes = host.snapshot
        self._replica = Replica(
            ReplicaId(host.me),
            founding({ReplicaId(n): Address(str(n)) for n in sorted([host.me, *host.peers])}),
            Log(base, entries),
            hard_state,
            now_ms=host.now_ms(),
            draw=host.random.random,
            timing=Timing(),
            limits=LIMITS,
            snapshot=snapshot,
        )
        self._applied = self._replica.commit_index
        self._set_timer()

    def state(self) -> tuple[int, bool]:
        return self._replica.term, self._replica.role is Role.LEADER

    def start(self, command: Any) -> tuple[int, int] | None:
        if self._replica.role is not Role.LEADER:
            return None
        index = self._replica.log.last_index + 1
        self._step(Propose([encode(command)]))
        return index, self._replica.term

    def timeline(self) -> dict[str, Any]:
        replica, log = self._replica, self._replica.log
        first_index = log.base.index + 1
        return {
            "role": replica.role.name.lower().replace("_", "-"),
            "voted_for": replica.voted_for,
            "commit_index": replica.commit_index,
            "first_index": first_index,
            "terms": [entry.term for entry in log.slice(first_index, log.last_index)],
        }

    def snapshot(self, index: int, snapshot: bytes) -> None:
        term = self._replica.log.term(index)
        if term is None:
            return  # a newer one was installed meanwhile
        name = SnapshotId(GROUP, index, term, self._replica.replica)
        self._snapshot_bytes = snapshot
        members = self._replica.configuration_at(index)
        self._step(SnapshotTaken(Snapshot(name, 0, len(snapshot), members)))
        self._step(Compact(EVERYTHING))
        self._persist(snapshot)

    def on_timer(self, name: str) -> None:
        self._step(Tick())

    def on_request(self, peer: int, request: tuple[Message, bytes]) -> list[Message]:
        message, snapshot = request
        return self._step(Receive(ReplicaId(peer), message), snapshot)

    def on_reply(self, peer: int, request: tuple[Message, bytes], reply: list[Message]) -> None:
        for message in reply:
            self._step(Receive(ReplicaId(peer), message))

    def _step(self, event: Event, snapshot: bytes = b"") -> list[Message]:
        """Step the core, and do what it asks for; its replies."""
        replies: list[Message] = []
        events: deque[Event] = deque([event])
        while events:
            out = step(self._replica, events.popleft(), self.host.now_ms())
            if out.write:
                self._persist()
                events.append(Persisted(out.write))
            if out.install is not None:
                self._snapshot_bytes = snapshot
                self._applied = out.install.id.index
                events.append(SnapshotInstalled(out.install))
            self._send(out, replies)
            if out.cut is not None and isinstance(event, Receive):
                self._persist(self._snapshot_bytes)
                self.host.apply_snapshot(out.cut.index, self._snapshot_bytes)
            self._apply()
        self._set_timer()
        return replies

    def _send(self, out: Effects, replies: list[Message]) -> None:
        for receiver, message in out.messages:
            if isinstance(message, REPLIES):
                replies.append(message)
            else:
                offered = isinstance(message, InstallSnapshot)
                self.host.send(receiver, (message, self._snapshot_bytes if offered else b""))

    def _apply(self) -> None:
        """What is committed; no-ops are not the state machine's."""
        while self._applied < self._replica.commit_index:
            self._applied += 1
            entry = self._replica.log.entry(self._applied)
            if entry.kind == EntryKind.COMMAND:
                self.host.apply(entry.index, decode(entry.data, int | str))

    def _persist(self, snapshot: bytes | None = None) -> None:
        replica = self._replica
        log = replica.log
        entries = log.slice(log.base.index + 1, log.last_index)
        state = (replica.hard_state, log.base, entries, replica.snapshot)
        self.host.persist(encode(state), snapshot)

    def _set_timer(self) -> None:
        now_ms, deadline_ms = self.host.now_ms(), self._replica.next_deadline_ms
        self.host.set_timer("deadline", deadline_ms - now_ms)
