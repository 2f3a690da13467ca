"""A cluster of pure Raft cores in memory: a network, clocks, and a scheduler that means harm.

``RandomCluster`` runs ``raft_hosts.Host``s by one seeded source of randomness: it delays, reorders,
loses and duplicates messages, cuts links in one direction, breaks connections, crashes, lets clocks
drift, has snapshots taken, logs cut, files fetched, leadership handed over, members changed, and
asks for reads.
Watchers see every step.
"""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import NamedTuple

from raft_replicas import group_of

from quorate.base.ids import ReplicaId
from quorate.raft.core.configuration import Configuration
from quorate.raft.core.entries import NOBODY, Entry, EntryKind
from quorate.raft.core.events import (
    Change,
    Compact,
    Effects,
    Event,
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
from quorate.raft.core.invariants import Summary, summary
from quorate.raft.core.messages import InstallSnapshot, ReadReply
from quorate.raft.core.replica import Replica, Role
from quorate.raft.core.settings import Limits, Timing
from quorate.raft.core.validation import refusal
from quorate.simulator.scenarios.hosts import Fetching, Freezing, Host, Letter


class Stepped(NamedTuple):
    """What a watcher sees: a step, or (``event`` is None) a restart."""

    host: Host
    event: Event | None
    before: Summary
    log_before: list[Entry]
    reads: list[ReadReady] = []  # noqa: RUF012 - never changed
    """What may be answered, and from which index on."""


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
    snapshots: int = 0
    cuts: int = 0
    offers: int = 0
    installs: int = 0
    abandoned: int = 0
    """Transfers that broke off."""
    lost_histories: int = 0
    """Installed in place of a log that does not have the snapshot's last entry."""
    crashes_between: int = 0
    """After a snapshot was on the disk, and before the log was told."""
    reads: int = 0
    lease_reads: int = 0
    follower_reads: int = 0
    transfers: int = 0
    """Elections that a leader asked for, and that were won."""
    early_campaigns: int = 0
    changes: int = 0
    joint: int = 0
    """Those of the voters."""
    inherited: int = 0
    """Ended by another leader than the one that began it."""
    given_up: int = 0
    """A configuration went with the entry that had brought it."""
    departures: int = 0
    """Of leaders that had removed themselves."""

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
    mend: float = 0.6
    """The probability that all links work again, where one more would be cut."""
    crash: float = 0.0
    freeze: float = 0.0
    """A snapshot is begun."""
    work: float = 3
    """A snapshot that is being written or fetched is finished, or the transfer breaks off."""
    compact: float = 2
    read: float = 2
    transfer: float = 0.0
    lose_peer: float = 0.0
    """Somebody's connection with its leader is reset."""
    drift: float = 0.0
    """Somebody's clock changes its rate."""
    change: float = 0.0
    """The members are to be others."""

    @staticmethod
    def drawn(random: Random) -> "Chances":
        """Some faults are off, so that the others reach further."""
        drawn = Chances(
            duplicate=random.choice((0, 1)),
            lose=random.choice((0, 0.3, 2)),
            cut=random.choice((0, 0.1, 0.5)),
            mend=random.choice((0.2, 0.6)),
            crash=random.choice((0, 0.1, 0.5)),
            freeze=random.choice((0, 4, 4)),
            work=random.choice((1, 5)),
            transfer=random.choice((0, 0.1, 0.5)),
            lose_peer=random.choice((0, 0.2)),
            drift=random.choice((0, 1)),
            change=random.choice((0, 1, 4)),
        )
        drawn.propose = random.choice((2, 5))
        drawn.deliver = random.choice((30, 60))
        drawn.sync = random.choice((10, 30))
        drawn.skip_ahead = random.choice((0, 0.1, 0.5))
        return drawn


def _has_left(replica: Replica) -> bool:
    return replica.role is Role.FOLLOWER and not replica.is_elector


class RandomCluster:
    """``run(steps)`` lets it live; ``heal()`` and ``settle()`` let it recover."""

    MAX_UNDER_WAY = 300

    def __init__(self, seed: int, *, lease: bool | None = None, size: int | None = None) -> None:
        """``lease`` and ``size`` are drawn, if they are not given."""
        self.random = random = Random(seed)
        self.chances = Chances.drawn(random)
        size = size or random.choice((1, 2, 3, 3, 3, 3, 4, 5, 5))
        self._everybody = group_of(size + (random.randint(0, 3) if self.chances.change else 0))
        """Those behind the founders belong to nobody at first."""
        founders = group_of(size)
        limits = Limits(
            message_bytes=random.choice((1, 100, 1 << 18)),
            inflight_messages=random.choice((1, 2, 32)),
            inflight_reads=random.choice((2, 1024)),
            snapshot_log_bytes=random.choice((100, 2_000)),
            retained_log_bytes=random.choice((0, 0, 200)),
        )
        lease = random.random() < 0.5 if lease is None else lease
        self._timing = Timing(100, 300, lease=lease, max_clock_drift=0.1)
        self._spread = random.choice((0.01, 0.1, 1))  # narrow: elections are contested
        self.hosts = {
            me: Host(me, founders, self._draw, timing=self._timing, limits=limits)
            for me in self._everybody.voters
        }
        self.counts = Counts()
        self.watchers: list[Callable[[Stepped], None]] = []
        self.refusals: list[str] = []
        """What of a correct peer was taken for that of a liar."""
        self.now_ms = 0.0
        self._clocks = dict.fromkeys(self.hosts, (0.0, 0.0, 1.0))
        """Since when (true time), with what on it, and at which rate each runs."""
        self._under_way: list[Letter] = []
        self._cut: set[tuple[ReplicaId, ReplicaId]] = set()
        self._proposed = 0
        self._read = 0

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
            (self._freeze, self.chances.freeze),
            (self._work, self.chances.work),
            (self._compact, self.chances.compact),
            (self._ask, self.chances.read),
            (self._transfer, self.chances.transfer),
            (self._lose_peer, self.chances.lose_peer),
            (self._drift_away, self.chances.drift),
            (self._change, self.chances.change),
        ]
        doings, weights = zip(*actions, strict=True)
        for doing in self.random.choices(doings, weights, k=steps):
            doing()

    def _draw(self) -> float:
        return self.random.random() * self._spread

    def clock_ms(self, host: Host) -> float:
        """What its own clock shows."""
        since_ms, shown_ms, rate = self._clocks[host.me]
        return shown_ms + (self.now_ms - since_ms) * rate

    def heal(self) -> None:
        self._cut.clear()
        self._spread = 1

    def settle(self, duration_ms: float) -> None:
        """Nothing fails any more: every message arrives but where links are cut, every write is
        synced."""
        end_ms = self.now_ms + duration_ms
        while self.now_ms < end_ms:
            self.now_ms += 10
            self._tick_due()
            for _ in range(4):
                letters, self._under_way = self._under_way, []
                for letter in letters:
                    if (letter.sender, letter.receiver) not in self._cut:
                        self._receive(letter)
                for host in self.hosts.values():
                    self._sync_host(host, len(host.unsynced))
                    self._finish(host)
                    self.take(host, Compact(1_000))

    def leaders(self) -> list[Host]:
        return [host for host in self.hosts.values() if host.replica.role is Role.LEADER]

    def take(self, host: Host, event: Event) -> None:
        """One step of one replica, seen by everybody who watches."""
        before, log_before = summary(host.replica), host.log
        effects, letters = host.take(event, self.clock_ms(host))
        self._under_way += letters
        self._count(host, event, before, log_before, effects)
        for watch in self.watchers:
            watch(Stepped(host, event, before, log_before, effects.reads))

    def _receive(self, letter: Letter) -> None:
        host = self.hosts[letter.receiver]
        why = refusal(host.replica, letter.sender, letter.message)
        if why is not None:
            self.refusals.append(f"{letter} at {host.me}: {why}")
        self.take(host, Receive(letter.sender, letter.message))

    def _count(
        self, host: Host, event: Event, before: Summary, log: list[Entry], effects: Effects
    ) -> None:
        replica, counts = host.replica, self.counts
        counts.steps += 1
        if before.role is Role.CANDIDATE and replica.role is Role.LEADER:
            counts.elections += 1
            counts.transfers += replica.by_transfer
        counts.commits += replica.commit_index - before.commit_index
        counts.replaced += bool(effects.entries) and effects.entries[0].index <= len(log)
        counts.cuts += isinstance(event, Compact) and effects.cut is not None
        counts.offers += sum(isinstance(m, InstallSnapshot) for _, m in effects.messages)
        counts.reads += len(effects.reads)
        alone = replica.is_alone
        counts.lease_reads += isinstance(event, Read) and bool(effects.reads) and not alone
        if isinstance(event, Receive):
            counts.follower_reads += isinstance(event.message, ReadReply)
        if isinstance(event, SnapshotInstalled) and effects.cut is not None:
            counts.installs += 1
            position = event.snapshot.id.index - 1
            counts.lost_histories += (
                position < len(log) and log[position].term != event.snapshot.id.term
            )

        if effects.configuration is not None:
            self._count_changes(host, event, before, log, effects)
        counts.departures += before.role is Role.LEADER and _has_left(replica)

    def _count_changes(
        self, host: Host, event: Event, before: Summary, log: list[Entry], effects: Effects
    ) -> None:
        replica, counts = host.replica, self.counts
        began = isinstance(event, Change)
        counts.changes += began
        counts.joint += began and replica.configuration.is_joint
        if before.role is Role.LEADER and not began:
            last = [entry for entry in log if entry.kind == EntryKind.CONFIGURATION][-1]
            counts.inherited += last.term != replica.term
        appended = any(entry.kind == EntryKind.CONFIGURATION for entry in effects.entries)
        counts.given_up += isinstance(event, Receive) and not appended

    # The things that are done at random.

    def _any_host(self) -> Host:
        return self.random.choice(list(self.hosts.values()))

    def _leader_or_any(self) -> Host:
        return self.random.choice(self.leaders() or list(self.hosts.values()))

    def _often_the_leader(self) -> Host:
        return self._leader_or_any() if self.random.random() < 0.5 else self._any_host()

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
        self._receive(letter)

    def _duplicate(self) -> None:
        if self._under_way:
            self._under_way.append(self.random.choice(self._under_way))
            self.counts.duplicated += 1

    def _lose(self) -> None:
        if self._take_out() is not None:
            self.counts.lost += 1

    def _cut_off(self) -> None:
        """One replica, often the leader, hears nobody, or is heard by nobody, or both; or all links
        work again."""
        if self._cut and self.random.random() < 0.9:  # or one more
            if self.random.random() < self.chances.mend:
                self._cut.clear()
            return
        host = self._often_the_leader()
        deaf, mute = self.random.choice(((True, True), (True, True), (True, False), (False, True)))
        self.cut_off(host, deaf=deaf, mute=mute)

    def cut_off(self, host: Host, *, deaf: bool = True, mute: bool = True) -> None:
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
            if self.clock_ms(host) >= host.replica.next_deadline_ms:
                self.take(host, Tick())

    def _skip_ahead(self) -> None:
        host = self._any_host()
        late_ms = host.replica.next_deadline_ms - self.clock_ms(host)
        self.now_ms += max(0.0, late_ms / self._clocks[host.me][2] + 1e-6)
        self.take(host, Tick())

    def _crash(self) -> None:
        self._crash_host(self._often_the_leader())

    def _crash_host(self, host: Host) -> None:
        before, log_before = summary(host.replica), host.log
        host.crash(self.random.randint(0, len(host.unsynced)), self.clock_ms(host))
        self.counts.crashes += 1
        for watch in self.watchers:
            watch(Stepped(host, None, before, log_before))

    def _drift_away(self) -> None:
        """A clock is as wrong as it may be, one way or the other, or right."""
        drift = self._timing.max_clock_drift
        self.set_rate(self._any_host(), self.random.choice((1 - drift, 1.0, 1 + drift)))

    def set_rate(self, host: Host, rate: float) -> None:
        """Its clock is right at 1."""
        self._clocks[host.me] = (self.now_ms, self.clock_ms(host), rate)

    # Reads, and who leads.

    def _ask(self) -> None:
        self._read += 1
        host = self._often_the_leader()
        self.take(host, Read(self._read))

    def _transfer(self) -> None:
        self.take(self._leader_or_any(), Transfer(self.random.choice(list(self.hosts))))

    def _lose_peer(self) -> None:
        host = self._any_host()
        leader = host.replica.leader
        if leader not in (NOBODY, host.me):
            self.take(host, PeerLost(leader))
            self.counts.early_campaigns += host.replica.leader == NOBODY

    def _change(self) -> None:
        """A step or two away from what is; what cannot be done is refused."""
        host = self._leader_or_any()
        current = host.replica.configuration
        voters, learners = list(current.voters), list(current.learners)
        some = self.random.choices(self._everybody.voters, k=self.random.randint(1, 2))
        for one in dict.fromkeys(some):
            stays = self.random.random() < 0.6
            if one in voters:
                voters.remove(one)
            elif one in learners:
                learners.remove(one)
                voters += [one] if stays else []
                continue
            learners += [one] if stays else []
        addresses = {member: self._everybody.addresses[member] for member in (*voters, *learners)}
        self.take(host, Change(Configuration(tuple(voters), addresses, tuple(learners))))

    # Snapshots.

    def _freeze(self) -> None:
        self.counts.snapshots += self._often_the_leader().freeze()

    def _compact(self) -> None:
        self.take(self._often_the_leader(), Compact(self.random.choice((1, 3, 1_000))))

    def _work(self) -> None:
        host = self.random.choice([h for h in self.hosts.values() if h.work] or [self._any_host()])
        if isinstance(host.work, Fetching) and self._breaks_off(host.work.source, host.me):
            host.work = None
            self.counts.abandoned += 1
        else:
            self._finish(host)

    def _breaks_off(self, source: ReplicaId, target: ReplicaId) -> bool:
        links = {(source, target), (target, source)}
        return bool(links & self._cut) or self.random.random() < 0.1

    def _finish(self, host: Host) -> None:
        """The file is on the disk, and then the replica is told, unless it has crashed first."""
        work, host.work = host.work, None
        match work:
            case Freezing(snapshot, file):
                host.files[snapshot.id] = file
                event: Event = SnapshotTaken(snapshot)
            case Fetching(source, snapshot):
                found = self.hosts[source].files.get(snapshot.id)
                if found is None:
                    self.counts.abandoned += 1
                    return
                host.files[snapshot.id] = found
                event = SnapshotInstalled(snapshot)
            case None:
                return
        if self.chances.crash and self.random.random() < 0.2:
            self.counts.crashes_between += 1
            self._crash_host(host)
        else:
            self.take(host, event)
            if self.random.random() < 0.5:  # or somebody reads an older one still
                host.discard_before(snapshot.id.index)
