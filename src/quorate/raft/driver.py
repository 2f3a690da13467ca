"""What is done about the effects of a step, and in which order: durability, written once.

Rules (DESIGN §3; etcd's and TigerBeetle's, too):
* A vote, and the request for votes that follows a vote for oneself, leave only when all that was
  written before them is on the synced disk; an acknowledgement when the term and the entries it
  speaks of are.  So a heartbeat that brings no entries is answered also while the disk is slow.
* AppendRequests leave at once: the leader's own write runs in parallel with its followers'.  Its
  own ``match_index`` moves by ``Persisted``, like everybody's.
* One log a node: what all its groups write in a turn of the loop, and while a sync runs, is one
  batch and one fsync.  One sync at a time; the next batch is written only when it has returned.
* A write or fsync that fails stops the process, and with it every replica on that disk.  It is
  never tried again: the page may be gone ("fsyncgate").
* Only what is committed is applied; see ``group.py``.

What one notice, one timer or one sync brings about leaves at once, as one notice to each node; what
is proposed in a turn leaves together at its end.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol

from quorate.base.check import check
from quorate.base.errors import ProtocolError
from quorate.base.histogram import Histogram
from quorate.base.ids import Address, GroupId, ReplicaId
from quorate.raft.core.configuration import MAX_ADDRESS_BYTES, MAX_MEMBERS, Configuration
from quorate.raft.core.entries import ENTRY_BYTES, Entry, Snapshot
from quorate.raft.core.events import (
    Change,
    Compact,
    Effects,
    Event,
    Outgoing,
    PeerLost,
    Persisted,
    Propose,
    Read,
    ReadReady,
    Receive,
    SnapshotInstalled,
    SnapshotTaken,
    Tick,
    Transfer,
)
from quorate.raft.core.messages import (
    AppendReply,
    AppendRequest,
    InstallReply,
    Message,
    VoteReply,
    VoteRequest,
)
from quorate.raft.core.replica import Replica
from quorate.raft.core.step import step
from quorate.raft.core.validation import refusal
from quorate.raft.messages import Envelope, RaftMessages
from quorate.raft.observer import Observer
from quorate.raft.wal import Wal
from quorate.runtime.ports import Timer, World

MAX_ADDRESSES = 4 * MAX_MEMBERS
"""That a replica learns from those who speak to it, beside those of its members."""
MAX_NOTICE_BYTES = 768 * 1024
"""Entries that are joined into one notice; a control frame takes 1 MiB."""


class Owner(Protocol):
    """Who is told that a replica has changed: its ``Group``."""

    def advanced(self) -> None:
        """Role, term, leader, durable or commit index may have changed; it may propose at once."""

    def propose_gathered(self) -> None:
        """The end of a turn for which ``Driver.propose_soon`` asked."""

    def reads_ready(self, reads: list[ReadReady]) -> None:
        """What ``Driver.read`` asked for."""

    def install(self, source: ReplicaId, snapshot: Snapshot) -> None:
        """``source`` offers what this replica's log lacks; ``Driver.snapshot_installed`` when it is
        here."""


def waits_for_disk(message: Message, durable_index: int, durable_term: bool) -> bool:
    """Whether a message promises something that a crash could still take back.

    ``durable_term``: the term and the vote are on the disk.
    """
    match message:
        case AppendReply():
            return not durable_term or message.match_index > durable_index
        case InstallReply():
            return not durable_term
        case VoteReply() | VoteRequest():
            return not message.pre_vote
    return False


class _Hosted:
    """A replica on this node, and where its messages go."""

    __slots__ = (
        "addresses",
        "group",
        "heard_ms",
        "owner",
        "replica",
        "running_write",
        "state_write",
        "synced_write",
    )

    def __init__(
        self, group: GroupId, replica: Replica, addresses: dict[ReplicaId, Address], owner: Owner
    ) -> None:
        self.group = group
        self.replica = replica
        self.addresses = addresses
        self.owner = owner
        self.heard_ms: dict[ReplicaId, float] = {}
        """When each other member said anything last, by the monotonic clock."""
        self.state_write = 0
        """The number of the last write that held a term or vote."""
        self.running_write = 0
        """The number of the last write that the sync under way covers, or the last one did."""
        self.synced_write = 0


class Driver:
    """Runs the replicas of one node over one log."""

    def __init__(
        self,
        world: World,
        wal: Wal,
        notify: Callable[[Address, RaftMessages], None],
        observer: Observer | None = None,
    ) -> None:
        self._world = world
        self._wal = wal
        self._notify = notify
        self._observer = observer
        self._hosted: dict[GroupId, _Hosted] = {}
        self._outbox: dict[Address, list[Envelope]] = {}
        self._proposers: list[_Hosted] = []
        self._wait_for_next: list[tuple[_Hosted, Outgoing]] = []
        self._wait_for_running: list[tuple[_Hosted, Outgoing]] = []
        self._syncing = False
        self._is_begun = False
        """Whether the sync under way has reached the disk."""
        self._idle: asyncio.Future[None] | None = None
        """What the log's task waits for, once it has been needed."""
        self._flush_due = False
        self._stopped = False
        self._timer: Timer | None = None
        self._timer_ms = float("inf")
        self.sync_ms = Histogram.of_durations()

    def host(
        self, group: GroupId, replica: Replica, addresses: dict[ReplicaId, Address], owner: Owner
    ) -> None:
        """Run ``replica``; ``addresses`` are those of all members of its group, as they change."""
        check(group not in self._hosted, f"group {group} is already here")
        self._hosted[group] = _Hosted(group, replica, addresses, owner)
        self._arm(replica.next_deadline_ms)
        if self._wal.pending:  # a start may have cut the log
            self._flush_soon()

    def stop(self) -> None:
        """Take no further step; what is being written may or may not reach the disk."""
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()

    # What comes in.

    def receive(self, notice: RaftMessages) -> None:
        """Messages from another node; those for a replica that is not here are dropped.

        Raises ``ProtocolError`` at the first that no correct peer sends, and takes no more.
        """
        door = notice.door
        if door is not None and len(door.encode()) > MAX_ADDRESS_BYTES:
            raise ProtocolError(f"an address of more than {MAX_ADDRESS_BYTES} bytes")
        now_ms = self._world.clock.monotonic_ms()
        try:
            for envelope in notice.envelopes:
                hosted = self._hosted.get(envelope.group)
                if hosted is None or hosted.replica.replica != envelope.receiver:
                    continue
                if envelope.sender in hosted.replica.configuration.lost:
                    continue  # it may believe to belong to a majority that was given up
                why = refusal(hosted.replica, envelope.sender, envelope.message)
                if why is not None:
                    raise ProtocolError(f"group {envelope.group}, from {envelope.sender}: {why}")
                if door is not None:
                    self._learn(hosted.addresses, envelope.sender, door)
                if envelope.sender in hosted.replica.configuration.addresses:
                    hosted.heard_ms[envelope.sender] = now_ms
                self._step(hosted, Receive(envelope.sender, envelope.message))
        finally:
            self._send_out()

    def _learn(self, addresses: dict[ReplicaId, Address], sender: ReplicaId, door: Address) -> None:
        if sender in addresses or len(addresses) < MAX_ADDRESSES:
            addresses[sender] = door

    def heard_ms(self, group: GroupId) -> dict[ReplicaId, int]:
        """How long ago each other member of a group said anything here; without those that have
        not since this process began."""
        now_ms = self._world.clock.monotonic_ms()
        return {peer: int(now_ms - at) for peer, at in self._hosted[group].heard_ms.items()}

    def connection_lost(self, address: Address) -> None:
        """The connection with the process at ``address`` ended; it has probably, too."""
        for hosted in self._hosted.values():
            leader = hosted.replica.leader
            if hosted.addresses.get(leader) == address and leader != hosted.replica.replica:
                self._step(hosted, PeerLost(leader))

    def propose(self, group: GroupId, commands: list[bytes]) -> int | None:
        """Append one entry for each of ``commands``; the index of the first, or ``None`` if this
        replica does not lead."""
        hosted = self._hosted[group]
        first = hosted.replica.log.last_index + 1
        accepted = self._step(hosted, Propose(commands)).accepted
        self._flush_soon()
        return first if accepted else None

    def propose_soon(self, group: GroupId) -> None:
        """``Owner.propose_gathered`` at the end of this turn."""
        self._proposers.append(self._hosted[group])
        self._flush_soon()

    def is_writing(self, group: GroupId) -> bool:
        """Whether all that is not yet on the disk is under way there: what comes now is too late
        for that sync."""
        hosted = self._hosted[group]
        return hosted.synced_write < hosted.replica.writes <= hosted.running_write

    @property
    def is_about_to_write(self) -> bool:
        """Whether what is buffered goes to the disk within a turn or two."""
        is_begun = self._syncing and self._is_begun
        return self._wal.pending and not is_begun and not self._stopped

    def read(self, group: GroupId, number: int) -> None:
        """Find the index that a linearizable read must see; ``Owner.reads_ready`` tells, unless the
        question or the answer is lost."""
        self._take(group, Read(number))

    def change(self, group: GroupId, target: Configuration) -> str | None:
        """Begin to change the members of a group; why not, if it was not begun."""
        return self._take(group, Change(target)).refused

    def transfer(self, group: GroupId, target: ReplicaId) -> None:
        """Hand leadership over, if this replica has it and ``target`` can take it."""
        self._take(group, Transfer(target))

    def snapshot_taken(self, group: GroupId, snapshot: Snapshot) -> None:
        """A snapshot of this replica's state is on the synced disk."""
        self._take(group, SnapshotTaken(snapshot))

    def snapshot_installed(self, group: GroupId, snapshot: Snapshot) -> None:
        """One that was offered is on the synced disk."""
        self._take(group, SnapshotInstalled(snapshot))

    def compact(self, group: GroupId, max_entries: int) -> bool:
        """Cut a piece off the log; whether there may be more to cut."""
        return self._take(group, Compact(max_entries)).cut is not None

    def _take(self, group: GroupId, event: Event) -> Effects:
        effects = self._step(self._hosted[group], event)
        self._flush_soon()
        return effects

    # What goes out.

    def _step(self, hosted: _Hosted, event: Event) -> Effects:
        if self._stopped:
            return Effects()
        replica = hosted.replica
        effects = step(replica, event, self._world.clock.monotonic_ms())
        if self._observer is not None:
            self._observer.stepped(hosted.group, replica, event, effects)
        if effects.configuration is not None:
            # Also of who is no longer a member: it may have to be told so.
            members = effects.configuration.addresses
            hosted.addresses.update(members)
            hosted.heard_ms = {r: at for r, at in hosted.heard_ms.items() if r in members}
        if effects.write:
            if effects.hard_state is not None:
                self._wal.set_state(hosted.group, effects.hard_state)
                hosted.state_write = effects.write
            self._wal.append(hosted.group, effects.entries)
            self._flush_soon()
        if effects.cut is not None:
            self._wal.cut(hosted.group, effects.cut.index, effects.cut.term)
            self._flush_soon()
        if effects.messages:
            self._dispatch(hosted, effects.messages)
        if replica.next_deadline_ms < self._timer_ms:
            self._arm(replica.next_deadline_ms)
        hosted.owner.advanced()
        if effects.reads:
            hosted.owner.reads_ready(effects.reads)
        if effects.install is not None and isinstance(event, Receive):
            hosted.owner.install(event.sender, effects.install)
        return effects

    def _dispatch(self, hosted: _Hosted, messages: list[Outgoing]) -> None:
        writing = self._syncing or self._wal.pending
        durable_index = hosted.replica.durable_index
        durable_term = hosted.state_write <= hosted.synced_write
        for outgoing in messages:
            if writing and waits_for_disk(outgoing.message, durable_index, durable_term):
                self._hold(hosted, outgoing)
            else:
                self._post(hosted, outgoing)

    def _hold(self, hosted: _Hosted, outgoing: Outgoing) -> None:
        """Until all that was written before it is on the disk."""
        waiting = self._wait_for_next if self._wal.pending else self._wait_for_running
        waiting.append((hosted, outgoing))

    def _post(self, hosted: _Hosted, outgoing: Outgoing) -> None:
        envelope = Envelope(
            hosted.group, hosted.replica.replica, outgoing.receiver, outgoing.message
        )
        address = hosted.addresses.get(outgoing.receiver)
        if address is not None:  # else it knows of a configuration that is not known here
            self._outbox.setdefault(address, []).append(envelope)

    def _flush_soon(self) -> None:
        if not self._flush_due:
            self._flush_due = True
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        """The end of a turn: send what may leave, and start to write what must stay."""
        if self._stopped:
            return
        proposers, self._proposers = self._proposers, []
        try:
            for hosted in proposers:
                hosted.owner.propose_gathered()
        finally:
            self._flush_due = False
            if self._proposers:  # again, in the next turn
                self._flush_soon()
        self._send_out()
        if self._wal.pending and not self._syncing:
            self._syncing, self._is_begun = True, False
            if self._idle is None:
                self._world.spawn(self._write(), "raft log")
            elif not self._idle.done():
                self._idle.set_result(None)

    def _send_out(self) -> None:
        if self._stopped:
            return
        outbox, self._outbox = self._outbox, {}
        for address, envelopes in outbox.items():
            for notice in _notices(envelopes):
                if self._observer is not None:
                    self._observer.sent(address, notice)
                self._notify(address, notice)

    async def _write(self) -> None:
        """The log's task: it writes whenever something is buffered."""
        while not self._stopped:
            await self._sync()
            self._idle = asyncio.get_running_loop().create_future()
            await self._idle

    async def _sync(self) -> None:
        try:
            while self._wal.pending and not self._stopped:
                self._wait_for_running, self._wait_for_next = self._wait_for_next, []
                writes = [(hosted, hosted.replica.writes) for hosted in self._hosted.values()]
                began_ms = self._world.clock.monotonic_ms()
                for hosted, write in writes:
                    hosted.running_write = write
                self._is_begun = True
                await self._wal.sync()
                self.sync_ms.observe(self._world.clock.monotonic_ms() - began_ms)
                self._release_waiting()
                self._send_out()
                for hosted, write in writes:
                    if write > hosted.synced_write:
                        hosted.synced_write = write
                        self._step(hosted, Persisted(write))
                self._release_waiting()
                self._send_out()
        except BaseException:
            # Now, not when the process ends: until then, what comes in would find no sync under
            # way and be acknowledged at once.
            self.stop()
            raise
        finally:
            self._syncing = False

    def _release_waiting(self) -> None:
        """A batch is on the disk: what waited for it may leave."""
        waited, self._wait_for_running = self._wait_for_running, []
        for hosted, outgoing in waited:
            self._post(hosted, outgoing)

    # Time.

    def _arm(self, deadline_ms: float) -> None:
        """One timer for all replicas.  Deadlines mostly move away (a follower hears its leader), so
        the timer stays and looks again when it fires."""
        if self._timer is not None:
            self._timer.cancel()
        clock = self._world.clock
        self._timer_ms = deadline_ms
        delay_ms = max(0.0, deadline_ms - clock.monotonic_ms())
        self._timer = clock.call_later(delay_ms, self._fire)

    def _fire(self) -> None:
        try:
            self._tick_due()
        except Exception as error:  # without its timer a replica neither leads nor campaigns
            self.stop()
            self._world.stop(error)

    def _tick_due(self) -> None:
        if self._stopped:
            return
        self._timer, self._timer_ms = None, float("-inf")  # armed below, not by a step
        now_ms = self._world.clock.monotonic_ms()
        for hosted in self._hosted.values():
            if now_ms >= hosted.replica.next_deadline_ms:
                self._step(hosted, Tick())
        self._send_out()
        self._arm(min(hosted.replica.next_deadline_ms for hosted in self._hosted.values()))


def _notices(envelopes: list[Envelope]) -> list[RaftMessages]:
    """As few notices as fit into control frames."""
    if len(envelopes) == 1:
        return [RaftMessages(envelopes)]
    notices: list[RaftMessages] = []
    size = MAX_NOTICE_BYTES
    for envelope in envelopes:
        message_bytes = _size(envelope.message)
        size += message_bytes
        if size > MAX_NOTICE_BYTES:
            notices.append(RaftMessages([]))
            size = message_bytes
        notices[-1].envelopes.append(envelope)
    return notices


def _size(message: Message) -> int:
    entries: Sequence[Entry] = message.entries if isinstance(message, AppendRequest) else ()
    return 64 + sum(len(entry.data) + ENTRY_BYTES for entry in entries)
