"""The safety properties of Raft's figure 3, checked over all replicas after every step.

An omniscient observer: it sees each step of each replica, what each applies and what each sends.
It costs constant time a step, but for Leader Completeness, which looks at the whole committed log
once an election.

* Election Safety: at most one leader in a term.
* Leader Append-Only, and what else is true of one replica: ``raft/core/invariants.py``.
* Log Matching: entries with the same index and term hold the same data and follow the same entry;
  by induction, the logs are equal up to there.
* Leader Completeness: what was ever committed is in the log of each later leader.
* State Machine Safety: at one index all replicas apply the same entry, and are then in the same
  state.
And, on the wire, what these rest on:
* One vote in a term, also over a crash.
* Persistent state (figure 2): a replica that comes back has the term that it has spoken of, and
  the entries that it has acknowledged.  Nor does it remove those while their leader leads.
* Leader Lease: once somebody was elected no earlier leader has a lease, by its own clock (thesis
  §6.4.1).

A log that was cut behind a snapshot holds what the snapshot stands for: of it the checker demands
that the last entry was committed, and that a state restored from it equals what others had there.
"""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field

from quorate.base.check import Bug, check
from quorate.base.checksum import stable_hash
from quorate.base.ids import Address, GroupId, ReplicaId
from quorate.raft.core.entries import Entry
from quorate.raft.core.events import Effects, Event, SnapshotInstalled
from quorate.raft.core.invariants import Summary, check_state, check_step, summary
from quorate.raft.core.messages import AppendReply, VoteReply
from quorate.raft.core.replica import Replica, Role
from quorate.raft.messages import Envelope, RaftMessages


@dataclass(slots=True)
class _Promises:
    """What a replica has told its leaders."""

    term: int = 0
    """The last that it has answered in."""
    matched_index: int = 0
    """What it has acknowledged in this term."""
    index: int = 0
    """The last entry that it has acknowledged in any term and not replaced since."""
    entry_term: int = 0


@dataclass(slots=True)
class _GroupHistory:
    """What has been seen of one group since the beginning."""

    leaders: dict[int, ReplicaId] = field(default_factory=dict)  # by term
    entries: dict[tuple[int, int], tuple[int, int]] = field(default_factory=dict)
    committed: dict[int, tuple[int, int]] = field(default_factory=dict)
    """Index to the entry's term and the term in which it was seen committed."""
    applied: dict[int, tuple[int, int]] = field(default_factory=dict)  # index -> (term, digest)
    last_applied: int = 0
    """The highest index that anybody has applied."""
    votes: dict[tuple[int, ReplicaId], ReplicaId] = field(default_factory=dict)
    promises: defaultdict[ReplicaId, _Promises] = field(
        default_factory=lambda: defaultdict(_Promises)
    )


class SafetyChecker:
    """An ``Observer`` of every replica of every group (raft/observer.py).

    ``clock`` gives what the monotonic clock of a replica's machine shows.
    """

    def __init__(self, clock: Callable[[ReplicaId], float] | None = None) -> None:
        self._clock = clock
        self._groups: defaultdict[GroupId, _GroupHistory] = defaultdict(_GroupHistory)
        self._last: dict[ReplicaId, tuple[Replica, Summary]] = {}
        self.on_vote: Callable[[ReplicaId], None] = lambda voter: None
        """Called when a granted vote leaves a replica; a nemesis may listen."""
        self.on_snapshot: Callable[[ReplicaId, bool], None] = lambda replica, installed: None
        """Called when a replica is offered a snapshot that it needs, and when it has installed
        it."""
        self.on_configuration: Callable[[ReplicaId, tuple[ReplicaId, ...]], None] = (
            lambda replica, voters: None
        )
        """Called when a replica obeys another configuration, before anything of it leaves."""
        self.elections = 0
        self.steps = 0
        self.judges = True
        """Whether it says what is broken; otherwise it only knows who leads."""

    def leader(self, group: GroupId) -> ReplicaId | None:
        """The replica that leads ``group`` in its latest term, if it still does."""
        history = self._groups.get(group)
        if history is None or not history.leaders:
            return None
        term = max(history.leaders)
        replica, _ = self._last[history.leaders[term]]
        return replica.replica if replica.role is Role.LEADER and replica.term == term else None

    def stepped(self, group: GroupId, replica: Replica, event: Event, effects: Effects) -> None:
        self.steps += 1
        installed = isinstance(event, SnapshotInstalled)
        if installed or effects.install is not None:
            self.on_snapshot(replica.replica, installed)
        if effects.configuration is not None:
            self.on_configuration(replica.replica, effects.configuration.voters)
        if not self.judges:
            self._look(group, replica)
            return
        check_state(replica)
        known = self._last.get(replica.replica)
        now = summary(replica)
        history = self._groups[group]
        base = replica.log.base.index
        if now.role is Role.LEADER:
            self._lease_is_over(history, replica)
        was_leader, committed = False, 0
        if known is not None and known[0] is replica:  # the same life, not a restart
            before = known[1]
            if now == before and not effects.entries:
                return
            check_step(before, replica)
            was_leader = before.role is Role.LEADER and before.term == now.term
            committed = before.commit_index
        else:
            self._has_kept(history, replica, effects)
        self._last[replica.replica] = (replica, now)
        end = effects.entries[0].index if effects.entries else now.last_index + 1
        self._replaced(history, replica, end)
        for entry in effects.entries:
            self._log_matching(history, replica, entry)
        if now.role is Role.LEADER and not was_leader:
            self._elected(history, replica)
        # What is at or below the base, a snapshot stands for; of that the last can be judged.
        for index in range(max(committed + 1, base, 1), now.commit_index + 1):
            self._committed(history, replica, index)

    def _has_kept(self, history: _GroupHistory, replica: Replica, effects: Effects) -> None:
        """It has just taken the first step of a new life."""
        promised = history.promises[replica.replica]
        index, term = promised.index, promised.entry_term
        check(
            replica.term >= promised.term,
            f"Persistent state: {replica.replica} has answered in term {promised.term}, and came"
            f" back in term {replica.term}",
        )
        replaced = effects.entries and effects.entries[0].index <= index
        check(
            replaced or index <= replica.log.base.index or replica.log.term(index) == term,
            f"Persistent state: {replica.replica} has acknowledged entry {index} of term {term},"
            " and came back without it",
        )

    def _replaced(self, history: _GroupHistory, replica: Replica, first: int) -> None:
        """Its log is another from ``first`` on."""
        promised = history.promises[replica.replica]
        if first > promised.index:
            return
        check(
            replica.term > promised.term or first > promised.matched_index,
            f"Log Matching: {replica.replica} removes entry {first}, which it has acknowledged to"
            f" the leader of the same term {promised.term}",
        )
        promised.index, promised.entry_term = first - 1, replica.log.term(first - 1) or 0

    def _look(self, group: GroupId, replica: Replica) -> None:
        known = self._last.get(replica.replica)
        leads = replica.role is Role.LEADER
        if leads and (
            known is None or known[1].role is not Role.LEADER or known[1].term != replica.term
        ):
            self.elections += 1
            self._groups[group].leaders.setdefault(replica.term, replica.replica)
        self._last[replica.replica] = (replica, summary(replica))

    def _log_matching(self, history: _GroupHistory, replica: Replica, entry: Entry) -> None:
        prev_term = replica.log.term(entry.index - 1)
        if prev_term is None:
            return  # behind a snapshot
        seen = (prev_term, stable_hash(entry.data))
        known = history.entries.setdefault((entry.index, entry.term), seen)
        check(known == seen, f"Log Matching: two entries {entry.index} of term {entry.term}")

    def _elected(self, history: _GroupHistory, replica: Replica) -> None:
        self.elections += 1
        first = history.leaders.setdefault(replica.term, replica.replica)
        check(
            first == replica.replica,
            f"Election Safety: {first} and {replica.replica} lead in term {replica.term}",
        )
        for index, (term, committed_in) in history.committed.items():
            if replica.term <= committed_in:
                continue  # elected late, in a term that is past: it need not have it
            if index >= replica.log.base.index and replica.log.term(index) != term:
                raise Bug(
                    f"Leader Completeness: {replica.replica} leads in term {replica.term} without"
                    f" entry {index} of term {term}, which is committed"
                )
        others = [self._last[peer][0] for peer in replica.peers if peer in self._last]
        for other in others:
            if other.role is Role.LEADER and other.timing.lease:
                self._lease_is_over(history, other)

    def _lease_is_over(self, history: _GroupHistory, replica: Replica) -> None:
        """Of a leader, if another was elected after it."""
        if not replica.timing.lease or replica.lease_revoked or self._clock is None:
            return
        newest = max(history.leaders, default=0)
        if newest > replica.term:
            left_ms = replica.lease_until_ms - self._clock(replica.replica)
            check(
                left_ms <= 0,
                f"Leader Lease: {history.leaders[newest]} leads in term {newest}, and"
                f" {replica.replica} has a lease in term {replica.term} for another"
                f" {left_ms:.1f} ms",
            )

    def _committed(self, history: _GroupHistory, replica: Replica, index: int) -> None:
        term = replica.log.term(index) or 0
        known, _ = history.committed.setdefault(index, (term, replica.term))
        check(
            known == term,
            f"State Machine Safety: entry {index} was committed with term {known},"
            f" and {replica.replica} commits it with term {term}",
        )

    def applied(self, group: GroupId, replica: ReplicaId, entry: Entry, digest: int) -> None:
        if not self.judges:
            return
        history = self._groups[group]
        history.last_applied = max(history.last_applied, entry.index)
        seen = (entry.term, digest)
        known = history.applied.setdefault(entry.index, seen)
        check(
            known == seen,
            f"State Machine Safety: replica {replica} differs from another after entry"
            f" {entry.index}: (term, digest) {seen}, not {known}",
        )

    def restored(
        self, group: GroupId, replica: ReplicaId, index: int, term: int, digest: int
    ) -> None:
        if not self.judges:
            return
        history, seen = self._groups[group], (term, digest)
        check(
            index <= history.last_applied,
            f"State Machine Safety: replica {replica} was restored to entry {index}, and nobody has"
            f" applied more than {history.last_applied}",
        )
        known = history.applied.setdefault(index, seen)
        check(
            known == seen,
            f"State Machine Safety: replica {replica}, restored from a snapshot, differs from"
            f" another after entry {index}: (term, digest) {seen}, not {known}",
        )

    def sent(self, address: Address, notice: RaftMessages) -> None:
        for envelope in notice.envelopes:
            match envelope.message:
                case VoteReply(term, granted=True, pre_vote=False):
                    self._voted(envelope, term)
                case AppendReply(term, success=True, match_index=index) if self.judges:
                    self._acknowledged(envelope, term, index)

    def _voted(self, envelope: Envelope, term: int) -> None:
        votes = self._groups[envelope.group].votes
        first = votes.setdefault((term, envelope.sender), envelope.receiver)
        self.on_vote(envelope.sender)
        check(
            first == envelope.receiver or not self.judges,
            f"One vote a term (§5.2): {envelope.sender} votes for {first} and for"
            f" {envelope.receiver} in term {term}",
        )

    def _acknowledged(self, envelope: Envelope, term: int, index: int) -> None:
        """What was held back may be of an earlier term, and what it speaks of replaced by now."""
        known = self._last.get(envelope.sender)
        if known is None or known[1].term != term:
            return
        promised = self._groups[envelope.group].promises[envelope.sender]
        if term > promised.term:
            promised.term, promised.matched_index = term, 0
        promised.matched_index = max(promised.matched_index, index)
        if index > promised.index:
            promised.index, promised.entry_term = index, known[0].log.term(index) or 0
