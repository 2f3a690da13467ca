"""A cluster of pure Raft cores in memory: disks, a network, and a scheduler that means harm.

``Host`` is a replica with its disk: what a step writes is in memory until ``sync``, promises wait
for it, and ``crash`` keeps any number of the oldest unsynced writes.  ``RandomCluster`` runs hosts
by one seeded source of randomness: it delays, reorders, loses and duplicates messages, cuts links
in one direction, and crashes.  Watchers see every step.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import NamedTuple

from quorate.base.ids import ReplicaId
from quorate.raft.core.entries import Entry, EntryId, HardState
from quorate.raft.core.events import Effects, Event, Outgoing, Persisted, Propose, Receive, Tick
from quorate.raft.core.invariants import Summary, check_state, check_step, summary
from quorate.raft.core.log import Log
from quorate.raft.core.messages import AppendReply, Message, VoteReply, VoteRequest
from quorate.raft.core.replica import Replica, Role
from quorate.raft.core.settings import Limits, Timing
from quorate.raft.core.step import step


class Letter(NamedTuple):
    sender: ReplicaId
    receiver: ReplicaId
    message: Message


class Write(NamedTuple):
    number: int
    hard_state: HardState | None
    entries: list[Entry]


def is_promise(message: Message) -> bool:
    """What may leave only when everything written before it is on disk."""
    if isinstance(message, VoteReply | VoteRequest):
        return not message.pre_vote
    return isinstance(message, AppendReply)


class Host:
    """One replica and its disk."""

    def __init__(
        self,
        me: ReplicaId,
        voters: Sequence[ReplicaId],
        draw: Callable[[], float],
        *,
        timing: Timing | None = None,
        limits: Limits | None = None,
        state: HardState | None = None,
        log: Sequence[Entry] = (),
    ) -> None:
        self.me = me
        self.disk_state = state or HardState()
        self.disk_log = list(log)
        self._voters = list(voters)
        self._draw = draw
        self._timing = timing or Timing()
        self._limits = limits or Limits()
        self.start(0.0)

    def start(self, now_ms: float) -> None:
        """From what is on the disk."""
        self.unsynced: list[Write] = []
        self.held: list[tuple[int, Outgoing]] = []
        self.replica = Replica(
            self.me,
            self._voters,
            Log(EntryId(0, 0), self.disk_log),
            self.disk_state,
            now_ms=now_ms,
            draw=self._draw,
            timing=self._timing,
            limits=self._limits,
        )

    @property
    def log(self) -> list[Entry]:
        return self.replica.log.slice(1, self.replica.log.last_index)

    def take(self, event: Event, now_ms: float) -> tuple[Effects, list[Letter]]:
        """One step, and what of its messages may leave at once."""
        before = summary(self.replica)
        effects = step(self.replica, event, now_ms)
        check_state(self.replica)
        check_step(before, self.replica)
        if effects.write:
            self.unsynced.append(Write(effects.write, effects.hard_state, effects.entries))
        letters = []
        for outgoing in effects.messages:
            if self.unsynced and is_promise(outgoing.message):
                self.held.append((self.unsynced[-1].number, outgoing))
            else:
                letters.append(Letter(self.me, *outgoing))
        return effects, letters

    def sync(self, writes: int, now_ms: float) -> tuple[list[Letter], int]:
        """The oldest ``writes`` unsynced writes reach the disk: what waited for them, and the
        number to report as ``Persisted``."""
        number = self.unsynced[writes - 1].number
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
                del self.disk_log[write.entries[0].index - 1 :]
                self.disk_log += write.entries
        del self.unsynced[:writes]


class Stepped(NamedTuple):
    """What a watcher sees: a step, or (``event`` is None) a restart."""

    host: Host
    event: Event | None
    before: Summary
    log_before: list[Entry]


@dataclass(slots=True)
class Counts:
    """What has happened, so that a test can show that it was not spared anything."""

    steps: int = 0
    elections: int = 0
    commits: int = 0
    replaced: int = 0
    crashes: int = 0
    lost: int = 0
    duplicated: int = 0

    def __iadd__(self, other: "Counts") -> "Counts":
        for name in self.__slots__:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        return self


@dataclass(slots=True)
class Chances:
    """How often each thing is done, relative to each other; drawn anew for each cluster."""

    deliver: float = 30
    sync: float = 10
    propose: float = 2
    pass_time: float = 5
    skip_ahead: float = 0.05
    """One replica's clock runs to its deadline."""
    duplicate: float = 0.0
    lose: float = 0.0
    cut: float = 0.0
    crash: float = 0.0

    @staticmethod
    def drawn(random: Random) -> "Chances":
        """Some faults are off, so that the others reach further."""
        drawn = Chances(
            duplicate=random.choice((0, 1)),
            lose=random.choice((0, 0.3, 2)),
            cut=random.choice((0, 0.3, 1)),
            crash=random.choice((0, 0.3, 1)),
        )
        drawn.sync = random.choice((5, 10, 30))
        drawn.skip_ahead = random.choice((0, 0.1, 0.5))
        return drawn


class RandomCluster:
    """``run(steps)`` lets it live; ``heal()`` and ``settle()`` let it recover."""

    MAX_UNDER_WAY = 300

    def __init__(self, seed: int) -> None:
        self.random = random = Random(seed)
        voters = [ReplicaId(n) for n in range(1, random.choice((1, 2, 3, 3, 3, 3, 4, 5, 5)) + 1)]
        limits = Limits(random.choice((1, 100, 1 << 18)), random.choice((1, 2, 32)))
        self._spread = random.choice((0.01, 0.1, 1))  # narrow: elections are contested
        self.hosts = {
            me: Host(me, voters, self._draw, timing=Timing(100, 300), limits=limits)
            for me in voters
        }
        self.chances = Chances.drawn(random)
        self.counts = Counts()
        self.watchers: list[Callable[[Stepped], None]] = []
        self.now_ms = 0.0
        self._under_way: list[Letter] = []
        self._cut: set[tuple[ReplicaId, ReplicaId]] = set()
        self._proposed = 0

    def run(self, steps: int) -> None:
        actions = [
            (self._deliver, self.chances.deliver),
            (self._sync, self.chances.sync),
            (self._propose, self.chances.propose),
            (self._pass_time, self.chances.pass_time),
            (self._skip_ahead, self.chances.skip_ahead),
            (self._duplicate, self.chances.duplicate),
            (self._lose, self.chances.lose),
            (self._cut_off, self.chances.cut),
            (self._crash, self.chances.crash),
        ]
        doings, weights = zip(*actions, strict=True)
        for doing in self.random.choices(doings, weights, k=steps):
            doing()

    def _draw(self) -> float:
        return self.random.random() * self._spread

    def heal(self) -> None:
        self._cut.clear()
        self._spread = 1

    def settle(self, duration_ms: float) -> None:
        """Nothing fails any more: every message arrives, every write is synced."""
        end_ms = self.now_ms + duration_ms
        while self.now_ms < end_ms:
            self.now_ms += 10
            self._tick_due()
            for _ in range(4):
                letters, self._under_way = self._under_way, []
                for letter in letters:
                    self.take(self.hosts[letter.receiver], Receive(letter.sender, letter.message))
                for host in self.hosts.values():
                    self._sync_host(host, len(host.unsynced))

    def leaders(self) -> list[Host]:
        return [host for host in self.hosts.values() if host.replica.role is Role.LEADER]

    def take(self, host: Host, event: Event) -> None:
        """One step of one replica, seen by everybody who watches."""
        before, log_before = summary(host.replica), host.log
        effects, letters = host.take(event, self.now_ms)
        self._under_way += letters
        self._count(host, before, log_before, effects)
        for watch in self.watchers:
            watch(Stepped(host, event, before, log_before))

    def _count(self, host: Host, before: Summary, log: list[Entry], effects: Effects) -> None:
        replica = host.replica
        self.counts.steps += 1
        self.counts.elections += before.role is Role.CANDIDATE and replica.role is Role.LEADER
        self.counts.commits += replica.commit_index - before.commit_index
        self.counts.replaced += bool(effects.entries) and effects.entries[0].index <= len(log)

    # The things that are done at random.

    def _any_host(self) -> Host:
        return self.random.choice(list(self.hosts.values()))

    def _leader_or_any(self) -> Host:
        return self.random.choice(self.leaders() or list(self.hosts.values()))

    def _take_out(self) -> Letter | None:
        if not self._under_way:
            return None
        position = self.random.randrange(len(self._under_way))
        letters = self._under_way
        letters[position], letters[-1] = letters[-1], letters[position]
        return letters.pop()

    def _deliver(self) -> None:
        while len(self._under_way) > self.MAX_UNDER_WAY:
            self._lose()
        letter = self._take_out()
        if letter is None:
            return
        if (letter.sender, letter.receiver) in self._cut:
            self.counts.lost += 1
            return
        self.take(self.hosts[letter.receiver], Receive(letter.sender, letter.message))

    def _duplicate(self) -> None:
        if self._under_way:
            self._under_way.append(self.random.choice(self._under_way))
            self.counts.duplicated += 1

    def _lose(self) -> None:
        if self._take_out() is not None:
            self.counts.lost += 1

    def _cut_off(self) -> None:
        """One replica, a leader if there is one, hears nobody, or is heard by nobody, or both; or
        all links work again."""
        if self._cut and self.random.random() < 0.6:
            self._cut.clear()
            return
        host = self._leader_or_any()
        deaf, mute = self.random.choice(((True, True), (True, False), (False, True)))
        for other in self.hosts:
            self._cut |= {(other, host.me)} if deaf else set()
            self._cut |= {(host.me, other)} if mute else set()

    def _sync(self) -> None:
        host = self._any_host()
        self._sync_host(host, self.random.randint(0, len(host.unsynced)))

    def _sync_host(self, host: Host, writes: int) -> None:
        if writes:
            letters, number = host.sync(writes, self.now_ms)
            self._under_way += letters
            self.take(host, Persisted(number))

    def _propose(self) -> None:
        commands = []
        for _ in range(self.random.randint(1, 2)):
            self._proposed += 1
            commands.append(str(self._proposed).encode())
        self.take(self._leader_or_any(), Propose(commands))

    def _pass_time(self) -> None:
        self.now_ms += self.random.uniform(0, 80)
        self._tick_due()

    def _tick_due(self) -> None:
        for host in self.hosts.values():
            if self.now_ms >= host.replica.next_deadline_ms:
                self.take(host, Tick())

    def _skip_ahead(self) -> None:
        host = self._any_host()
        self.now_ms = max(self.now_ms, host.replica.next_deadline_ms)
        self.take(host, Tick())

    def _crash(self) -> None:
        host = self._leader_or_any() if self.random.random() < 0.5 else self._any_host()
        before, log_before = summary(host.replica), host.log
        host.crash(self.random.randint(0, len(host.unsynced)), self.now_ms)
        self.counts.crashes += 1
        for watch in self.watchers:
            watch(Stepped(host, None, before, log_before))


@dataclass(slots=True)
class Figure3:
    """The five safety properties; each check raises ``AssertionError`` with what it saw."""

    hosts: dict[ReplicaId, Host]
    leaders: dict[int, ReplicaId] = field(default_factory=dict)
    """By term: who was elected in it."""
    committed: list[tuple[int, Entry]] = field(default_factory=list)
    """From index 1 on: the term in which the entry was first known committed, and the entry."""
    applied: dict[int, Entry] = field(default_factory=dict)

    def election_safety(self, seen: Stepped) -> None:
        replica = seen.host.replica
        if replica.role is Role.LEADER:
            first = self.leaders.setdefault(replica.term, replica.replica)
            assert first == replica.replica, (
                f"{first} and {replica.replica} lead in term {replica.term}"
            )

    def leader_append_only(self, seen: Stepped) -> None:
        replica, before = seen.host.replica, seen.before
        if seen.event is not None and before.role is replica.role is Role.LEADER:
            kept = seen.host.log[: len(seen.log_before)]
            assert kept == seen.log_before, f"leader {replica.replica} changed its log"

    def log_matching(self, seen: Stepped) -> None:
        log = seen.host.log
        if log == seen.log_before:
            return
        for other in self.hosts.values():
            theirs = other.log
            for last in range(min(len(log), len(theirs)), 0, -1):
                if log[last - 1].term == theirs[last - 1].term:
                    assert log[:last] == theirs[:last], (
                        f"{seen.host.me} and {other.me} share entry {last} but not all before it"
                    )
                    break

    def leader_completeness(self, seen: Stepped) -> None:
        replica = seen.host.replica
        news = replica.commit_index > len(self.committed)
        for index in range(len(self.committed) + 1, replica.commit_index + 1):
            self.committed.append((replica.term, replica.log.entry(index)))
        if not news and (replica.role is not Role.LEADER or seen.before.role is Role.LEADER):
            return
        for host in self.hosts.values():
            if host.replica.role is not Role.LEADER:
                continue
            log = host.log
            for index, (term, entry) in enumerate(self.committed, 1):
                assert term >= host.replica.term or log[index - 1 : index] == [entry], (
                    f"{host.me} leads in term {host.replica.term} without entry {index},"
                    f" committed in term {term}"
                )

    def state_machine_safety(self, seen: Stepped) -> None:
        replica = seen.host.replica
        first = 1 if seen.event is None else seen.before.commit_index + 1
        for index in range(first, replica.commit_index + 1):
            entry = replica.log.entry(index)
            applied = self.applied.setdefault(index, entry)
            assert applied == entry, f"{replica.replica} applies another entry at {index}"
