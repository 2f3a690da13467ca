"""What goes wrong in a run, as data: the options of a seed, and the two nemeses that act on them.

Everything is drawn from the seed, also which kinds of fault are *off*: a run without message loss
finds other bugs than one with it.  Faults end before the run does, so that progress can be asked
for; only a damaged disk stays as it is (at most one, so that a quorum of disks remains).
"""

import random
from collections.abc import Callable
from contextvars import Context
from dataclasses import dataclass, field, replace
from functools import partial

from quorate.base.ids import ReplicaId
from quorate.raft.core.settings import Timing
from quorate.raft.wal.format import batch_bytes, decode_batch_header
from quorate.runtime.simulated.faults import Link
from quorate.runtime.simulated.inodes import FileInode
from quorate.runtime.simulated.world import Simulation
from quorate.simulator.cluster import Cluster, name_of

STORM_MS = 8_000
RETRY_MS = 100
PARTITIONS = ("sides", "one way", "bridge")


@dataclass(slots=True)
class Options:
    """What one seed draws.  Times in virtual ms, rates per frame."""

    nodes: int
    groups: int
    clients: int
    link: Link
    sync_ms: tuple[float, float]
    crashes: int
    partitions: int
    timing: Timing
    storm: bool
    """For some seconds all others can reach only the hub, and the hub is killed again and again,
    above all when it has just voted: the hour of a forgotten vote."""
    power_losses: bool
    """Crashes are power losses half of the time; otherwise only processes are killed."""
    partition_kinds: tuple[str, ...]
    """Of ``sides``, ``one way``, ``bridge`` (some links are cut, nobody is cut off)."""
    flip_bit_on: str | None
    """The node on whose log one bit is flipped while it is down."""
    alone: tuple[str, ...] = ()
    """Roles whose processes are also killed alone."""
    clients_take_sides: bool = False
    """A partition also cuts clients from some of the nodes."""
    down_ms: tuple[float, ...] = (50, 300, 1_500)
    """How long what has crashed stays down, at most; one of these each time."""
    partition_ms: float = 2_500
    """How long a partition lasts, at most."""


def draw(rng: random.Random) -> Options:
    lossy, late, double = rng.random() < 0.4, rng.random() < 0.4, rng.random() < 0.4
    nodes = rng.choice((3, 3, 5))
    storm = rng.random() < 0.3
    kinds = tuple(rng.sample(PARTITIONS, rng.randint(1, 3)))
    return Options(
        nodes=nodes,
        groups=rng.choice((1, 1, 2, 3)),
        clients=rng.randint(2, 5),
        link=Link(
            delay_ms=(10.0, 60.0) if storm else rng.choice(((0.1, 1.0), (0.5, 5.0), (1.0, 25.0))),
            loss=rng.uniform(0.005, 0.08) if lossy else 0.0,
            duplicate=rng.uniform(0.01, 0.1) if double else 0.0,
            reorder=rng.uniform(0.01, 0.2) if late else 0.0,
        ),
        sync_ms=rng.choice(((0.2, 1.0), (0.5, 5.0), (5.0, 30.0))),
        crashes=rng.randint(3, 9),
        partitions=rng.randint(3, 8),
        timing=Timing(50, 300 if storm else rng.choice((150, 300))),
        storm=storm,
        power_losses=rng.random() < 0.8,
        partition_kinds=kinds,
        flip_bit_on=f"n{rng.randint(1, nodes)}" if rng.random() < 0.3 else None,
    )


def draw_for_nodes(rng: random.Random) -> Options:
    """For whole nodes: their processes die alone as well, and clients are cut off, too."""
    drawn = draw(rng)
    roles = ("raft", "chunkserver", "worker")
    return replace(
        drawn,
        nodes=rng.choice((3, 3, 3, 5)),
        groups=2,
        clients=rng.randint(3, 4),
        crashes=rng.randint(4, 14),
        # A lost frame costs a caller its whole timeout, and a job is many calls.
        link=replace(
            drawn.link,
            delay_ms=rng.choice(((0.1, 1.0), (0.5, 5.0))),
            loss=drawn.link.loss / 40,
        ),
        timing=Timing(50, rng.choice((150, 300, 600))),
        storm=False,
        flip_bit_on=None,
        alone=tuple(rng.sample(roles, rng.randint(0, len(roles)))),
        clients_take_sides=rng.random() < 0.5,
        down_ms=(50, 300, 1_500, 8_000),  # long enough to be given up, too
        partition_ms=rng.choice((1_000, 6_000)),
    )


@dataclass(slots=True)
class FaultCounts:
    crashes: int = 0
    power_losses: int = 0
    partitions: int = 0
    flipped_bits: int = 0


@dataclass(slots=True)
class Nemesis:
    """Makes ``options`` happen to ``cluster``, between the start and ``end_ms``."""

    simulation: Simulation
    cluster: Cluster
    options: Options
    rng: random.Random
    end_ms: float
    clients: list[str] = field(default_factory=list)
    """Machines of clients that take sides in partitions."""
    counts: FaultCounts = field(default_factory=FaultCounts)

    def schedule(self) -> None:
        """Spread crashes and partitions over the time."""
        begin_ms = 500
        if self.options.storm:
            self._at(begin_ms, self._storm)
            begin_ms += STORM_MS
        for _ in range(self.options.partitions):
            self._at(self.rng.uniform(begin_ms, self.end_ms - 3_000), self._partition)
        for _ in range(self.options.crashes):
            self._at(self.rng.uniform(begin_ms, self.end_ms - 3_000), self._crash)

    def heal(self) -> None:
        """The end of all faults: everything that can run does, over a good network."""
        self.cluster.checker.on_vote = lambda voter: None
        self.simulation.faults.heal()
        self.simulation.faults.default = Link()
        for name in self.cluster.names:
            self.cluster.start(name)

    def _at(self, delay_ms: float, act: Callable[[], None]) -> None:
        # In a context of its own: what a dying process has scheduled never happens, and a nemesis
        # may be listening inside one.
        self.simulation.loop.call_later(delay_ms / 1000, act, context=Context())

    def _storm(self) -> None:
        """Candidates that cannot hear each other, and a voter in the middle that keeps dying."""
        self.counts.partitions += 1
        hub = self.rng.choice(self.cluster.names)
        others = [[name] for name in self.cluster.names if name != hub]
        self.simulation.faults.partition(*others)

        def voted(voter: ReplicaId) -> None:
            if name_of(voter) == hub and self.rng.random() < 0.7:
                self._at(self.rng.uniform(0, 10), lambda: self._strike(hub, 10))

        def calm() -> None:
            self.simulation.faults.heal()
            self.cluster.checker.on_vote = lambda voter: None

        self.cluster.checker.on_vote = voted
        for _ in range(STORM_MS // 800):
            self._at(self.rng.uniform(0, STORM_MS), lambda: self._strike(hub, 600))
        self._at(STORM_MS, calm)

    def _strike(self, name: str, down_ms: float) -> None:
        if self.cluster.is_up(name):
            self.counts.crashes += 1
            self.cluster.kill(name)
            self._at(self.rng.uniform(0, down_ms), lambda: self.cluster.start(name))

    def _crash(self) -> None:
        """One node, or sometimes all of them, for a while."""
        running = [name for name in self.cluster.names if self.cluster.is_up(name)]
        if not running:
            self._at(RETRY_MS, self._crash)
            return
        everyone = self.rng.random() < 0.15
        self.counts.crashes += 1
        for name in running if everyone else [self._victim(running)]:
            self._fell(name)
            if name == self.options.flip_bit_on and not self.counts.flipped_bits:
                self._flip_bit(name)
            down_ms = self.rng.choice(self.options.down_ms) * self.rng.random()
            self._at(down_ms, partial(self.cluster.start, name))

    def _fell(self, name: str) -> None:
        """Its power fails, or all its processes die, or one alone."""
        alone = self.options.alone
        if self.options.power_losses and self.rng.random() < 0.5:
            self.counts.power_losses += 1
            self.cluster.power_loss(name)
        elif alone and self.rng.random() < 0.6:
            self.cluster.kill(name, self.rng.choice(alone))
        else:
            self.cluster.kill(name)

    def _victim(self, running: list[str]) -> str:
        """The leader more often than chance: it has more to lose."""
        leader = self.cluster.leader(self.rng.choice(self.cluster.groups))
        if leader in running and self.rng.random() < 0.5:
            return leader
        return self.rng.choice(running)

    def _flip_bit(self, name: str) -> None:
        """In the last batch of its log that was written whole, which may have been acknowledged."""
        disk = self.simulation.machine(name).disk
        log = disk.directory(("raft", "log"))
        newest = max(entry for entry in log.entries if entry.endswith(".seg"))
        file = log.entries[newest]
        data = bytes(file.current) if isinstance(file, FileInode) else b""
        offset, last = 512, None
        while (header := decode_batch_header(data, offset)) is not None:
            last = (offset, batch_bytes(header.payload_bytes))
            offset += last[1]
        if last is not None:
            self.counts.flipped_bits += 1
            disk.flip_bit(
                f"raft/log/{newest}", last[0] + self.rng.randrange(last[1]), self.rng.randrange(8)
            )

    def _partition(self) -> None:
        """Between nodes; clients reach all of them, unless they take sides."""
        self.counts.partitions += 1
        names = list(self.cluster.names)
        self.rng.shuffle(names)
        size = self.rng.randint(1, len(names) // 2)
        side, rest = names[:size], names[size:]
        if self.options.clients_take_sides:
            for client in self.clients:
                self.rng.choice((side, rest, [])).append(client)
        faults = self.simulation.faults
        match self.rng.choice(self.options.partition_kinds):
            case "sides":
                faults.partition(side, rest)
            case "one way":
                heard, unheard = (side, rest) if self.rng.random() < 0.5 else (rest, side)
                for a in unheard:
                    for b in heard:
                        faults.block(a, b)
            case "bridge":  # the first name still reaches everybody
                faults.partition(names[1 : 1 + size], names[1 + size :])
        self._at(self.rng.uniform(200, self.options.partition_ms), faults.heal)
