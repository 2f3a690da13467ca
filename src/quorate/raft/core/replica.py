"""One replica of one Raft group: a pure state machine with one door, ``step``.

Rules:
* Everything that changes a replica happens inside ``step(event, now_ms)``; it returns ``Effects``.
* No clock, no randomness of its own: the time is an argument, ``draw`` gives numbers in [0, 1).
* A replica does not know whether it is on disk.  Each change of term, vote or log is a numbered
  *write*; ``Persisted(n)`` tells that all up to n are synced.  What of the outside must wait for
  that is the driver's knowledge (``raft/driver.py``); what waits inside is the replica's own vote
  for itself and the leader's own ``match_index``.

Theory of operation (sections are those of the extended Raft paper; "thesis" is Ongaro's):
* Followers that hear nothing for a random time ask for pre-votes (thesis §9.6): would you vote for
  me?  Only a majority of yes starts an election, so that a machine which was cut off does not come
  back with a high term and depose a working leader.
* A candidate raises its term, votes for itself and asks for votes (§5.2); one is granted at most
  once a term, first come first served, and only to a log at least as up to date (§5.4.1).
* A leader appends a no-op, sends entries after the ones that match, and commits what a majority
  has on disk, if it is of its own term (§5.3, §5.4.2).
* A leader whom no majority has answered for an election timeout steps down, in its own term
  (thesis §6.2): it can commit nothing, and its heartbeats may keep the others from an election.
* Each replica takes snapshots of its own and cuts its log behind them (§7).  A follower that needs
  what was cut is offered the leader's.
* A read waits for a round of heartbeats that proves its leader is one (§8, thesis §6.4), or rests
  on a lease, while the voters owe it theirs (thesis §6.4.1).
* Who votes, and who gets the log, may change while all this goes on (§6).
``election.py``, ``replication.py``, ``compaction.py``, ``reads.py``, ``transfer.py`` and
``membership.py`` hold the parts; ``validation.py`` says what no correct peer sends,
``invariants.py`` what must always be true.
"""

from collections import deque
from collections.abc import Callable
from enum import IntEnum
from typing import NamedTuple

from quorate.base.check import Bug, check
from quorate.base.ids import ReplicaId
from quorate.base.sometimes import sometimes
from quorate.raft.core.configuration import Configuration
from quorate.raft.core.entries import (
    NOBODY,
    Entry,
    EntryId,
    EntryKind,
    HardState,
    Snapshot,
    configurations_in,
)
from quorate.raft.core.events import Effects, Outgoing
from quorate.raft.core.log import Log
from quorate.raft.core.messages import Message
from quorate.raft.core.progress import Progress
from quorate.raft.core.settings import Limits, Timing

MAX_BYTES = 1 << 62


class Role(IntEnum):
    FOLLOWER = 0
    PRE_CANDIDATE = 1
    CANDIDATE = 2
    LEADER = 3


class _Write(NamedTuple):
    number: int
    first_index: int
    last_index: int
    at_ms: float


class PendingRead(NamedTuple):
    """A read that waits for a round of heartbeats."""

    read: int
    asker: ReplicaId
    """This replica, or a follower."""
    read_index: int
    round: int


class Replica:
    """The state of figure 2, and the changes of it that the parts share."""

    __slots__ = (
        "_unpersisted",
        "by_transfer",
        "commit_index",
        "configuration",
        "configurations",
        "cut_goal",
        "draw",
        "durable_index",
        "early_reads",
        "election_deadline_ms",
        "elections",
        "heartbeat_deadline_ms",
        "last_contact_ms",
        "leader",
        "lease_revoked",
        "lease_until_ms",
        "limits",
        "log",
        "progress",
        "reads",
        "replica",
        "role",
        "round",
        "rounds_sent",
        "snapshot",
        "term",
        "term_start",
        "timing",
        "transfer_deadline_ms",
        "transfer_to",
        "unsettled",
        "vote_write",
        "voted_for",
        "votes",
        "writes",
    )

    def __init__(
        self,
        replica: ReplicaId,
        configuration: Configuration,
        log: Log,
        hard_state: HardState,
        *,
        now_ms: float,
        draw: Callable[[], float],
        timing: Timing,
        limits: Limits,
        snapshot: Snapshot | None = None,
    ) -> None:
        """``configuration`` is in force unless snapshot or log know a later one."""
        self.replica = replica
        self.log = log
        index = snapshot.id.index if snapshot else log.base.index
        self.configurations = [(index, snapshot.configuration if snapshot else configuration)]
        """That of the newest snapshot, with its index, and all that follow it in the log."""
        self.configurations += configurations_in(log.batch(index + 1, MAX_BYTES))
        self.configuration = self.configurations[-1][1]
        """In force: the latest in the log, committed or not (§6)."""
        self.term = hard_state.term
        self.voted_for = hard_state.voted_for
        self.timing = timing
        self.limits = limits
        self.draw = draw
        self.role = Role.FOLLOWER
        self.leader = NOBODY
        self.snapshot = snapshot
        """The newest on this disk; it stands for what the log does not hold."""
        self.commit_index = snapshot.id.index if snapshot else log.base.index
        self.cut_goal = log.base.index
        """``Compact`` cuts the log up to here."""
        self.durable_index = log.last_index
        self.writes = 0
        self._unpersisted: deque[_Write] = deque()
        self.vote_write = 0
        self.votes: dict[ReplicaId, bool] = {}
        self.elections = 0
        """That this replica began, for whoever counts them."""
        self.progress: dict[ReplicaId, Progress]
        # It may have answered a leader just before it went down, and owe it a lease still.
        self.last_contact_ms = now_ms if timing.lease else float("-inf")
        self.by_transfer = False
        """The election under way was asked for by the leader."""
        self._lead_nobody()
        self.heartbeat_deadline_ms = float("inf")
        self.election_deadline_ms = 0.0
        self.reset_election_timer(now_ms)

    def _lead_nobody(self) -> None:
        """What only a leader has."""
        self.progress = {}
        self.unsettled = 0
        """The index of a configuration that its leader has not yet seen committed; 0: none."""
        self.term_start = 0
        """The index of this leader's own first entry."""
        self.round = 0
        """The number of its latest round of heartbeats."""
        self.rounds_sent: deque[tuple[int, float]] = deque()
        """Rounds not yet answered by a majority, and when each left."""
        self.reads: deque[PendingRead] = deque()
        self.early_reads: list[tuple[int, ReplicaId]] = []
        """Reads, and who asked, that came before an entry of this term was committed."""
        self.lease_until_ms = float("-inf")
        self.lease_revoked = False
        self.transfer_to = NOBODY
        self.transfer_deadline_ms = float("inf")

    # What the parts ask.

    @property
    def peers(self) -> list[ReplicaId]:
        """The other members."""
        return [member for member in self.configuration.members if member != self.replica]

    @property
    def is_elector(self) -> bool:
        """Whether its own vote counts."""
        return self.replica in self.configuration.electors

    @property
    def may_stand(self) -> bool:
        """Whether it starts elections.  Who is removed does until it knows that to be committed:
        the old voters may need it, and it may be the only one that has the entry (thesis §4.2.2).
        """
        later = [known for at, known in self.configurations if at > self.commit_index]
        possible = (self.configuration_at(self.commit_index), *later)
        return any(self.replica in known.electors for known in possible)

    @property
    def is_alone(self) -> bool:
        """Its own vote is the only one that counts."""
        return self.configuration.electors == (self.replica,)

    @property
    def last_entry(self) -> EntryId:
        return EntryId(self.log.last_index, self.log.last_term)

    @property
    def hard_state(self) -> HardState:
        return HardState(self.term, self.voted_for)

    @property
    def next_deadline_ms(self) -> float:
        """When the next ``Tick`` is due."""
        election_ms, heartbeat_ms = self.election_deadline_ms, self.heartbeat_deadline_ms
        return election_ms if election_ms < heartbeat_ms else heartbeat_ms

    @property
    def successor(self) -> ReplicaId:
        """The follower that a leader would hand over to: who has most, and of these who answered
        last (on an idle group, one that is dead may have as much as the others)."""

        def fitness(peer: ReplicaId) -> tuple[int, float]:
            progress = self.progress[peer]
            return progress.match_index, progress.answered_ms

        voters, electors = self.configuration.voters, self.configuration.electors
        others = [voter for voter in voters if voter != self.replica]
        return max(others or [e for e in electors if e != self.replica], key=fitness)

    def answers(self, member: ReplicaId, now_ms: float) -> bool:
        """Whether a leader has heard a member within an election timeout."""
        if member == self.replica:
            return True
        progress = self.progress.get(member)
        since_ms = now_ms - self.timing.election_timeout_ms
        return progress is not None and progress.answered_ms >= since_ms

    def disk_stalls(self, now_ms: float) -> bool:
        """A write has been under way for longer than a leader may be silent."""
        return (
            bool(self._unpersisted)
            and now_ms - self._unpersisted[0].at_ms >= self.timing.election_timeout_ms
        )

    # What the parts do.

    def reset_election_timer(self, now_ms: float) -> None:
        """Random for each election, so that split votes are rare (§5.2)."""
        self.election_deadline_ms = now_ms + self.timing.election_timeout_ms * (1 + self.draw())

    def become_follower(self, term: int, leader: ReplicaId, now_ms: float, out: Effects) -> None:
        """Of ``leader``, or of nobody yet, in ``term``; a higher term clears the vote (§5.1)."""
        check(term >= self.term, "a replica goes back to an earlier term")
        if term > self.term:
            self.set_term_and_vote(term, NOBODY, out)
        if self.role is not Role.FOLLOWER:
            self.reset_election_timer(now_ms)
            self._lead_nobody()
            self.votes = {}
            self.heartbeat_deadline_ms = float("inf")
        self.role = Role.FOLLOWER
        self.leader = leader

    def set_term_and_vote(self, term: int, voted_for: ReplicaId, out: Effects) -> None:
        self.term = term
        self.voted_for = voted_for
        out.hard_state = self.hard_state
        self.number_write(out)

    def append(self, entries: list[Entry], now_ms: float, out: Effects) -> None:
        """Replace the log from the first of ``entries`` on."""
        first_index = entries[0].index
        if first_index <= self.commit_index:
            raise Bug(f"entry {first_index} is committed, not replaceable")
        self.log.append(entries)
        self._configure(entries, out)
        self.durable_index = min(self.durable_index, first_index - 1)
        if out.entries:  # at most one run of entries a step: the second must follow the first
            check(out.entries[-1].index + 1 == first_index, "a step appends one run of entries")
        out.entries.extend(entries)
        self.number_write(out)
        self._unpersisted.append(_Write(out.write, first_index, entries[-1].index, now_ms))

    def _configure(self, entries: list[Entry], out: Effects) -> None:
        """Obey the latest configuration in the log, which ``entries`` may have changed (§6)."""
        known, first_index = self.configurations, entries[0].index
        while known[-1][0] >= first_index and len(known) > 1:
            sometimes("configuration replaced before it was committed")
            known.pop()
        known += configurations_in(entries)
        self._obey(out)

    def _obey(self, out: Effects) -> None:
        latest = self.configurations[-1][1]
        if latest != self.configuration:
            self.configuration = out.configuration = latest

    def configuration_at(self, index: int) -> Configuration:
        """In force at ``index``, which no snapshot stands for yet."""
        return next(known for at, known in reversed(self.configurations) if at <= index)

    def forget_configurations(self, index: int) -> None:
        """A snapshot stands for those before the one in force at ``index``."""
        while len(self.configurations) > 1 and self.configurations[1][0] <= index:
            del self.configurations[0]

    def number_write(self, out: Effects) -> None:
        if not out.write:
            self.writes += 1
            out.write = self.writes

    def persisted(self, write: int) -> None:
        """Move ``durable_index``.  The log on disk ends where the last synced write ends, also if
        an earlier one went further; and a later, unsynced write may have replaced what these
        wrote: only what is below every unsynced replacement counts."""
        while self._unpersisted and self._unpersisted[0].number <= write:
            self.durable_index = self._unpersisted.popleft().last_index
        for later in self._unpersisted:
            self.durable_index = min(self.durable_index, later.first_index - 1)
        self.durable_index = max(self.durable_index, self.log.base.index)

    def start_from(self, snapshot: Snapshot, out: Effects) -> None:
        """Figure 13, steps 6 to 8: keep what follows the snapshot if it is of the same history (and
        then this log says itself who belongs to the group)."""
        base = EntryId(snapshot.id.index, snapshot.id.term)
        if self.log.term(base.index) == base.term:
            self.log.cut(base.index)
            self.forget_configurations(base.index)
        else:
            self.log.reset(base)
            self.configurations = [(base.index, snapshot.configuration)]
            self._unpersisted.clear()
            self.durable_index = 0
        self.durable_index = max(self.durable_index, base.index)
        self.commit_index = base.index
        self.cut_goal = base.index
        self.snapshot = snapshot
        self._obey(out)

    def send(self, receiver: ReplicaId, message: Message, out: Effects) -> None:
        out.messages.append(Outgoing(receiver, message))

    def new_entry(self, kind: EntryKind, data: bytes, index: int) -> Entry:
        return Entry(index, self.term, int(kind), data)
