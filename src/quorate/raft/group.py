"""A replica and its state machine: what services in the same process see of a group.

Rules:
* Commands that come in one turn of the loop become one log entry (``proposals.py``), and queries
  one read (``reads.py``).  While the entries before are being written, and are not committed
  either, the commands of more turns gather: they have to wait for the next sync anyway, and would
  cost an entry a turn.
* Entries are applied in order, each once, when they are committed; a bounded number of commands a
  turn, so that a long log does not hold up the loop.
* A lone small entry waits for the sync under way here, however long that takes, unless somebody
  asks: a leader waits for that sync.
* A query waits for the index that ``core/reads.py`` finds for it: when that is applied here,
  everything that was committed before the query came is in the state.
* An answer is given when the proposal's entry is applied.  A leader that steps down answers *maybe*
  at once; its clients ask the next one with the same sequence number.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import TypeVar

from quorate.base.check import check
from quorate.base.codec import Command, Query, decode, encode, reply_type, result_of
from quorate.base.errors import (
    BadInput,
    DeadlineExceeded,
    Maybe,
    NotLeader,
    Unavailable,
)
from quorate.base.histogram import Histogram
from quorate.base.ids import GROUP_NAMES, Address, GroupId, ReplicaId
from quorate.base.machine import Meta
from quorate.raft.core.configuration import Configuration
from quorate.raft.core.entries import ENTRY_BYTES, Entry, EntryKind, Snapshot, held_bytes
from quorate.raft.core.events import ReadReady
from quorate.raft.core.replica import Replica, Role
from quorate.raft.digests import Comparison
from quorate.raft.driver import Driver
from quorate.raft.figures import GroupFigures
from quorate.raft.log_time import LogTime
from quorate.raft.messages import GroupStatus
from quorate.raft.observer import Observer
from quorate.raft.proposals import Answer, Awaited, LogBatch, Proposals, Refuse
from quorate.raft.reads import Reads, Waiting
from quorate.raft.sessions import SessionMachine, wrap
from quorate.raft.snapshots import SnapshotStore
from quorate.raft.snapshotter import Caller, Snapshotter
from quorate.runtime.ports import World

R = TypeVar("R")

APPLY_A_TURN = 512
APPLY_TURN_MS = 3.0
"""Entries and their commands, and time; the last entry of a turn may go beyond them."""
LITTLE_BYTES = 4096
"""An entry of no more is applied behind a sync."""


class Group:
    """One replica of a group with its state machine."""

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
        observer: Observer | None = None,
    ) -> None:
        """``sessions`` has the state of the replica's snapshot."""
        self.group = group
        self.machine = sessions.inner
        self._sessions = sessions
        self._world = world
        self._driver = driver
        self._replica = replica
        self._addresses = addresses
        self._observer = observer
        self.last_applied = 0
        self._log_time = LogTime(world.clock, self._next_deadline_ms, self._tick)
        self._proposals = Proposals()
        self._commit_latency_ms = Histogram.of_durations()
        self._commands_applied = 0
        self._queries: list[Waiting] = []
        self._reads = Reads(world, driver, group, sessions.query)
        self.snapshotter = Snapshotter(
            world, driver, group, sessions, replica, addresses, store, caller, self._restored
        )
        self.comparison = Comparison(
            world, group, replica, addresses, sessions.digest, caller.notify
        )
        self._due: set[str] = set()
        self._proposes = False
        """What has gathered in this turn is proposed at its end."""
        self.is_leader = False
        """It leads, and has applied its own first entry."""
        self._leads = False
        self._tick_index = 0
        """Of the last tick that was proposed here."""
        self._leadership_callbacks: list[Callable[[bool], None]] = []
        self._applied_callbacks: list[Callable[[], None]] = []
        self._stepped_down: list[asyncio.Future[None]] = []
        if replica.snapshot is not None:
            self._restored(replica.snapshot)
        driver.host(group, replica, addresses, self)

    # What services ask.

    @property
    def name(self) -> str:
        return GROUP_NAMES.get(self.group, str(self.group))

    @property
    def term(self) -> int:
        return self._replica.term

    @property
    def time_ms(self) -> int:
        """Log time, in milliseconds since 1970."""
        return self._log_time.ms

    @property
    def leader_address(self) -> Address | None:
        """Where the leader's process listens, as far as this replica knows."""
        return self._addresses.get(self._replica.leader)

    def require_leader(self) -> None:
        """Raise a redirect (``NotLeader``) unless this replica leads and is up to date."""
        if not self.is_leader:
            raise self._not_leader()

    def on_leadership(self, callback: Callable[[bool], None]) -> None:
        """Call with True when this replica leads and has applied its own first entry (and so all
        that was committed before), with False when it no longer does."""
        self._leadership_callbacks.append(callback)

    def on_applied(self, callback: Callable[[], None]) -> None:
        """Call after entries were applied; once for several."""
        self._applied_callbacks.append(callback)

    def on_submit(self, refuse: Refuse) -> None:
        """Ask ``refuse`` before commands are proposed (proposals.py)."""
        self._proposals.refuse = refuse

    async def execute(self, command: Command[R], *, timeout_ms: float) -> R:
        """Propose ``command`` here, without a session: it must be idempotent by itself.

        Raises its own error, ``NotLeader`` (surely not applied) or ``Maybe``.
        """
        outcome = await self._within(self.submit(wrap(0, 0, 0, encode(command))), timeout_ms)
        result: R = result_of(outcome, reply_type(type(command)))
        return result

    async def query(self, query: Query[R], *, timeout_ms: float) -> R:
        """A linearizable answer; raises ``NotLeader`` or ``DeadlineExceeded``."""
        outcome = await self._within(self.ask(encode(query)), timeout_ms, changes=False)
        result: R = result_of(outcome, reply_type(type(query)))
        return result

    async def barrier(self, *, timeout_ms: float, anywhere: bool = False) -> None:
        """Wait until all that was committed before this call is applied to ``machine``; raises as
        ``query`` does.  ``anywhere``: also where nobody leads."""
        await self._within(self.ask(None, anywhere=anywhere), timeout_ms, changes=False)

    async def transfer(self, target: ReplicaId | None = None, *, timeout_ms: float) -> None:
        """Hand leadership over to ``target``, or to who has most of the log; returns when this
        replica no longer leads.

        Raises ``NotLeader``, ``BadInput`` if there is no such other replica, or ``Unavailable`` if
        it did not take over in time: then this replica goes on leading.
        """
        self.require_leader()
        others = [v for v in self._replica.configuration.voters if v != self._replica.replica]
        if not others or target not in (None, *others):
            raise BadInput(f"group {self.name} has no other voter {target or 'at all'}")
        target = target or self._replica.successor
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._stepped_down.append(future)
        self._driver.transfer(self.group, target)
        try:
            async with asyncio.timeout(timeout_ms / 1000):
                await future
        except TimeoutError:
            raise Unavailable(
                f"replica {target} did not take over group {self.name} within {timeout_ms:.0f} ms"
            ) from None
        finally:
            if future in self._stepped_down:
                self._stepped_down.remove(future)

    @property
    def configuration(self) -> Configuration:
        """In force here: the latest in the log, committed or not."""
        return self._replica.configuration

    @property
    def committed_configuration(self) -> Configuration:
        """In force at what was applied last: nothing can take it back."""
        return self._replica.configuration_at(self._surely_committed)

    @property
    def was_member(self) -> bool:
        """Whether this replica surely belonged to the group at some time: a committed configuration
        that is still known here names it."""
        replica, committed = self._replica, self._surely_committed
        return any(
            replica.replica in known.members
            for index, known in replica.configurations
            if index <= committed
        )

    @property
    def _surely_committed(self) -> int:
        # What a snapshot stands for is committed, also while it is still being read back.
        return max(self.last_applied, self._replica.configurations[0][0])

    def change(self, target: Configuration) -> str | None:
        """Begin to change the members to ``target``, unless they are that; what must be waited for
        first, if anything.  ``changes.py`` brings a change to its end."""
        if self._replica.configuration == target:
            return "the change is not committed yet" if self._replica.unsettled else None
        return self._driver.change(self.group, target)

    def status(self) -> GroupStatus:
        replica = self._replica
        return GroupStatus(
            self.group,
            replica.replica,
            replica.role.name.lower(),
            replica.term,
            self.leader_address,
            replica.commit_index,
            self.last_applied,
            replica.log.last_index,
            self._sessions.digest(),
            replica.log.base.index + 1,
            replica.snapshot.id.index if replica.snapshot is not None else 0,
            replica.configuration,
            {peer: progress.match_index for peer, progress in replica.progress.items()},
            replica.log.last_term,
            diverged=dict(self.comparison.seen),
        )

    def status_now(self) -> GroupStatus:
        """With what depends on the time, which a process that was killed does not have."""
        status = self.status()
        status.heard_ms = self._driver.heard_ms(self.group)
        return status

    def figures(self) -> GroupFigures:
        replica, last_index = self._replica, self._replica.log.last_index
        return GroupFigures(
            self.status(),
            self.is_leader,
            replica.elections,
            self._commands_applied,
            self._proposals.count,
            self._proposals.bytes,
            self._reads.count + len(self._queries),
            {
                peer: last_index - progress.match_index
                for peer, progress in replica.progress.items()
            },
            self._commit_latency_ms,
            self.snapshotter.figures,
        )

    # Commands and queries come in.

    def submit(self, command: bytes) -> "asyncio.Future[bytes]":
        """An encoded ``WrappedCommand``; the future gives its encoded ``Outcome``."""
        answer = Awaited()
        self.submit_all([command], answer)
        return answer.future

    def submit_all(self, commands: Sequence[bytes], answer: Answer) -> None:
        """Encoded ``WrappedCommand`` values, in order; ``answer`` gets their encoded outcomes."""
        self._require_leading()
        self._admit(len(commands), sum(map(len, commands)))
        all_applied = self.last_applied == self._replica.log.last_index
        if all_applied and self._proposals.refused(commands, answer, self._log_time.now_ms):
            return
        if self._proposals.add(commands, answer) and not self._proposes:
            self._proposes = True
            self._driver.propose_soon(self.group)

    def ask(self, query: bytes | None, *, anywhere: bool = False) -> "asyncio.Future[bytes]":
        """An encoded query, or ``None`` for a barrier; ``anywhere``: also where nobody leads."""
        if not anywhere:
            self._require_leading()
        self._admit(1, 0)
        future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        if not self._queries:
            self._later("read", self._read)
        self._queries.append((query, future))
        return future

    def _require_leading(self) -> None:
        if self._replica.role is not Role.LEADER:
            raise self._not_leader()

    def _admit(self, count: int, command_bytes: int) -> None:
        reading = self._reads.count + len(self._queries)
        self._proposals.admit(self.name, reading, count, command_bytes)

    def _not_leader(self) -> NotLeader:
        leader = self.leader_address
        # Also who is removed says so: it is all that a client may know.
        members = " ".join(self.configuration.addresses.values())
        if leader is None or self._replica.role is Role.LEADER:
            sentence = f"group {self.name} has no leader that is ready; try again"
            return NotLeader(sentence, members=members)
        return NotLeader(f"group {self.name} is led from {leader}", leader=leader, members=members)

    async def _within(
        self, future: "asyncio.Future[bytes]", timeout_ms: float, *, changes: bool = True
    ) -> bytes:
        try:
            async with asyncio.timeout(timeout_ms / 1000):
                return await future
        except TimeoutError:
            sentence = f"group {self.name} did not decide within {timeout_ms:.0f} ms"
            raise (Maybe(sentence) if changes else DeadlineExceeded(sentence)) from None

    def _later(self, what: str, work: Callable[[], None]) -> None:
        """Run ``work`` once, at the end of this turn."""
        if what not in self._due:
            self._due.add(what)
            asyncio.get_running_loop().call_soon(self._run, what, work)

    def _run(self, what: str, work: Callable[[], None]) -> None:
        self._due.discard(what)
        work()

    def _read(self) -> None:
        """All queries that came in this turn, as one read."""
        queries, self._queries = self._queries, []
        self._reads.ask(queries)

    def propose_gathered(self) -> None:
        """The driver's word that the turn ends."""
        self._proposes = False
        self._propose()

    def _propose(self) -> None:
        """All commands that have gathered, as few entries as their bounds allow."""
        if not self._proposals.queued or self._gathers():
            return
        now_ms = self._log_time.now_ms()

        def append(batches: list[list[bytes]]) -> int | None:
            data = [encode(LogBatch(now_ms, batch)) for batch in batches]
            return self._driver.propose(self.group, data)

        monotonic_ms = self._world.clock.monotonic_ms()
        for refused in self._proposals.propose(self.term, monotonic_ms, append):
            refused.fail(self._not_leader())

    def _gathers(self) -> bool:
        """Whether what is proposed now would wait for another sync than the entries before it."""
        replica = self._replica
        open_ = max(replica.durable_index, replica.commit_index) < replica.log.last_index
        return open_ and replica.role is Role.LEADER and self._driver.is_writing(self.group)

    # Entries come out.

    def advanced(self) -> None:
        """The driver's word that the replica has changed."""
        replica = self._replica
        leads = replica.role is Role.LEADER
        if leads is not self._leads:
            self._leads = leads
            if not leads:
                self._step_down()
        if not self._proposes:
            self._propose()
        if replica.commit_index > self.last_applied:
            self._later("apply", self._apply)

    def reads_ready(self, reads: list[ReadReady]) -> None:
        """The driver's word that queries may be answered from a certain index on."""
        if self._replica.commit_index > self.last_applied:
            self._later("apply", self._apply)
        # A state that is being read back is nobody's: the indexes are noted, no more.
        restoring = self.last_applied < self._replica.log.base.index
        self._reads.ready(reads, -1 if restoring else self.last_applied)

    def install(self, source: ReplicaId, snapshot: Snapshot) -> None:
        """The driver's word that the leader offers a snapshot in place of its log."""
        self.snapshotter.install(source, snapshot)

    def _restored(self, snapshot: Snapshot) -> None:
        """The state is that of ``snapshot``."""
        self.last_applied = snapshot.id.index
        self._log_time.reach(snapshot.time_ms)
        if self._observer is not None:
            self._observer.restored(
                self.group,
                self._replica.replica,
                snapshot.id.index,
                snapshot.id.term,
                self._sessions.digest(),
            )
        self._later("apply", self._apply)

    def _step_down(self) -> None:
        self._proposals.fail(
            lambda: Maybe(f"group {self.name} changed its leader; ask the next one")
        )
        self._reads.fail(self._not_leader)
        waiting, self._stepped_down = self._stepped_down, []
        for stepped_down in waiting:
            if not stepped_down.done():
                stepped_down.set_result(None)
        self._tick_index = 0
        if self.is_leader:
            self.is_leader = False
            self._announce(False)

    def _announce(self, leads: bool) -> None:
        self._world.trace.event("leadership", group=self.name, leads=leads, term=self.term)
        for callback in self._leadership_callbacks:
            callback(leads)

    def _apply(self) -> None:
        replica = self._replica
        if self.last_applied < replica.log.base.index:
            return  # a snapshot is being read back; ``_restored`` goes on from there
        if self._driver.is_about_to_write:  # others wait for that; applying goes on beside it
            return self._later("apply", self._apply)
        if self._can_wait():
            return  # ``advanced`` comes when that is on the disk
        now_ms = self._world.clock.monotonic_ms
        budget, size, held, end_ms = APPLY_A_TURN, 0, 0, now_ms() + APPLY_TURN_MS
        while self.last_applied < replica.commit_index and budget > 0 and now_ms() < end_ms:
            entry = replica.log.entry(self.last_applied + 1)
            budget -= 1 + self._apply_entry(entry)
            size += len(entry.data) + ENTRY_BYTES
            held += held_bytes(entry)
        if replica.commit_index > self.last_applied:
            self._later("apply", self._apply)
        self._reads.applied(self.last_applied)
        for callback in self._applied_callbacks:
            callback()
        if self._leads and not self.is_leader and self.last_applied >= replica.term_start:
            self.is_leader = True
            self._announce(True)
        self._log_time.arm()
        self.snapshotter.applied(size, held, self.last_applied, self.time_ms)

    def _can_wait(self) -> bool:
        """Whether the sync under way comes first, since nobody waits for what there is to apply."""
        replica, next_ = self._replica, self.last_applied + 1
        return (
            not self._leads
            and replica.commit_index == next_
            and len(replica.log.entry(next_).data) <= LITTLE_BYTES
            and not self._reads.count
            and self._driver.is_writing(self.group)
        )

    def _apply_entry(self, entry: Entry) -> int:
        """Apply it and answer those who wait for it; the number of its commands."""
        check(entry.index == self.last_applied + 1, "an entry is applied out of order")
        replies: list[bytes] = []
        if entry.kind == EntryKind.COMMAND:
            batch: LogBatch = decode(entry.data, LogBatch)
            self._log_time.reach(batch.time_ms)
            meta = Meta(entry.index, entry.term, self.time_ms)
            replies = self._sessions.apply_batch(meta, batch.commands)
        self.last_applied = entry.index
        self.comparison.applied(entry.index)
        if self._observer is not None:
            digest = self._sessions.digest()
            self._observer.applied(self.group, self._replica.replica, entry, digest)
        self._commands_applied += len(replies)
        proposed_ms = self._proposals.applied(entry.index, entry.term, replies)
        if proposed_ms is not None:
            self._commit_latency_ms.observe(self._world.clock.monotonic_ms() - proposed_ms)
        return len(replies)

    # Log time.

    def _next_deadline_ms(self) -> int | None:
        return self._sessions.next_deadline_ms() if self.is_leader else None

    def _tick(self, time_ms: int) -> None:
        if self._tick_index <= self.last_applied:  # or the last one is still on its way
            data = encode(LogBatch(time_ms, []))
            self._tick_index = self._driver.propose(self.group, [data]) or 0
