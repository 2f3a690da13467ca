"""What makes a schedule happen to a cluster.

Faults overlap, so what is in force at a moment is computed anew from all that have begun and not
ended: two partitions at once cut what either cuts, and a process runs again when nothing holds it.
"""

import random
from collections import Counter
from collections.abc import Callable, Sequence
from contextvars import Context
from functools import partial
from typing import TypeAlias

from quorate.base.ids import GroupId, ReplicaId
from quorate.runtime.simulated.faults import Link
from quorate.runtime.simulated.process import SimulatedProcess
from quorate.runtime.simulated.world import Simulation
from quorate.simulator.cluster import Cluster, name_of
from quorate.simulator.nemeses.ambush import Lurking
from quorate.simulator.nemeses.damage import Rot, flip_bit
from quorate.simulator.nemeses.faults import (
    Ambush,
    AnyFault,
    Change,
    Drift,
    FailedSync,
    FlippedBit,
    FullDisk,
    Jump,
    Kill,
    LostDisk,
    Noise,
    Partition,
    Pause,
    PowerLoss,
    Reset,
    Schedule,
    SlowDisk,
    Storm,
    TornChange,
    Transfer,
)
from quorate.simulator.nemeses.links import Direction, both_ways, directions, noisy, noisy_links
from quorate.simulator.nemeses.tearing import Tear

CAPACITY_BYTES = 1 << 40
REPAIR_PAUSE_MS = 700.0

Undo: TypeAlias = Callable[[], None]


def _nothing() -> None:
    """How to undo what is over at once."""


class Nemesis:
    """Applies ``schedule`` to ``cluster`` while the simulation runs."""

    def __init__(
        self, simulation: Simulation, cluster: Cluster, schedule: Schedule, link: Link
    ) -> None:
        self.counts: Counter[str] = Counter()
        """Faults that had an effect, by kind."""
        self.on_begin: Callable[[AnyFault, Sequence[str]], None] = lambda fault, nodes: None
        """Called when a fault has had an effect, with the nodes that it hits (none: everybody)."""
        self.on_end: Callable[[int], None] = lambda number: None
        self._simulation = simulation
        self._cluster = cluster
        self._schedule = schedule
        self._link = link
        self._ends: dict[int, Undo] = {}
        self._cuts: dict[int, list[Direction]] = {}
        self._noises: dict[int, tuple[str, Noise]] = {}
        self._slow: dict[int, tuple[str, SlowDisk]] = {}
        self._repairs = False
        self.rot = Rot(simulation, cluster)
        self._tears: dict[int, Tear] = {}
        self._lurking: dict[int, Lurking] = {}
        self._full: dict[int, str] = {}
        self._drifts: dict[int, tuple[str, float]] = {}
        self._down: Counter[tuple[str, str]] = Counter()
        """How many faults keep a role of a node down."""
        self._paused: list[SimulatedProcess] = []
        """Once for each fault that holds it."""

    def begin(self) -> None:
        """From now on the faults of the schedule happen, each at its time."""
        self._refresh_network()
        self._cluster.checker.on_snapshot = self._snapshot_seen
        self._cluster.checker.on_configuration = self._configured
        for fault in self._schedule:
            delay_ms = fault.at_ms - self._simulation.now_ms()
            self.later(max(0.0, delay_ms), partial(self._begin, fault))

    def heal(self) -> None:
        """The end of all faults that ever end: what can run does, over a good network."""
        for number in list(self._ends):
            self._end(number)
        self._link = Link()
        self._refresh_network()
        for name in self._cluster.names:
            self._start(name)

    def later(self, delay_ms: float, act: Callable[[], None]) -> None:
        """Do it in so many simulated ms."""
        # In a context of its own: what a dying process has scheduled never happens, and a nemesis
        # may be listening inside one.
        self._simulation.loop.call_later(delay_ms / 1000, act, context=Context())

    def _begin(self, fault: AnyFault) -> None:
        hit = self._hit(fault)
        undo = self._apply(fault)
        if undo is None:
            return
        self.on_begin(fault, hit)
        if not isinstance(fault, Ambush):  # which has an effect when it strikes
            self.counts[fault.kind] += 1
        self._simulation.trace.add("nemesis", str(fault))
        if fault.for_ms is not None:
            self._ends[fault.number] = undo
            self.later(fault.for_ms, partial(self._end, fault.number))

    def _end(self, number: int) -> None:
        undo = self._ends.pop(number, None)
        if undo is not None:
            undo()
            self.on_end(number)

    def _hit(self, fault: AnyFault) -> list[str]:
        """The nodes that it will hit, if it begins now; none: everybody."""
        if isinstance(fault, Partition):
            return self._sides(fault)[0]
        target = f"leader {fault.group}" if isinstance(fault, Transfer) else ""
        target = getattr(fault, "target", target)
        name = self._resolve(target, fault.number) if target not in ("", "all") else None
        return [] if name is None else [name]

    def _apply(self, fault: AnyFault) -> Undo | None:
        """Have it begin; how it ends, or ``None`` if it had no effect."""
        if isinstance(fault, Partition | Transfer | Change | TornChange | Ambush):
            return self._to_the_cluster(fault)
        if isinstance(fault, Kill) and fault.target == "all":
            return self._fell(self._cluster.names, self._cluster.roles, self._cluster.kill)
        if isinstance(fault, PowerLoss) and fault.target == "all":
            return self._lose_power(self._cluster.names)
        name = self._resolve(fault.target, fault.number)
        if name is None:
            return self._noise(fault, "") if isinstance(fault, Noise) and not fault.target else None
        match fault:
            case Noise():
                return self._noise(fault, name)
            case Kill():
                return self._kill(name, self._roles(fault.role))
            case PowerLoss():
                return self._lose_power([name])
            case Pause():
                return self._pause(fault, name)
            case Reset():
                return _nothing if self._simulation.wire.reset(name) else None
            case LostDisk():
                return self._lose_disk(name)
            case FlippedBit():
                return self._flip_bit(fault, name)
            case Storm():
                return self._storm(fault, name)
            case Drift() | Jump():
                return self._turn_clock(fault, name)
            case SlowDisk() | FailedSync() | FullDisk():
                return self._hurt_disk(fault, name)

    def _to_the_cluster(
        self, fault: Partition | Transfer | Change | TornChange | Ambush
    ) -> Undo | None:
        match fault:
            case Partition():
                return self._partition(fault)
            case Transfer():
                return self._transfer(fault)
            case Change():
                return self._change(fault)
            case TornChange():
                return self._tear(fault)
            case Ambush():
                return self._ambush(fault)

    def _resolve(self, target: str, number: int) -> str | None:
        """The node that ``target`` means now; ``None`` if there is no such node in this run."""
        names = self._cluster.names
        word, _, group = target.partition(" ")
        if word != "leader":
            return target if target in names else None
        known = GroupId(int(group)) in self._cluster.groups
        leader = self._cluster.leader(GroupId(int(group))) if known else None
        return leader or names[number % len(names)]

    def _roles(self, role: str) -> list[str]:
        return [role] if role in self._cluster.roles else self._cluster.roles

    # The network.

    def _partition(self, fault: Partition) -> Undo | None:
        side, rest = self._sides(fault)
        nodes = self._cluster.names
        if fault.shape in ("ring", "bridge"):  # clients reach everybody
            side = [name for name in side if name in nodes]
            rest = [name for name in rest if name in nodes]
        if not set(side) & set(nodes) or not set(rest) & set(nodes):
            return None
        self.cut(fault.number, directions(fault.shape, side, rest))
        return partial(self._heal_cut, fault.number)

    def _sides(self, fault: Partition) -> tuple[list[str], list[str]]:
        """Without machines that are not of this run, and with the leader where it belongs."""
        machines = self._simulation.machines
        side = [name for name in fault.side if name in machines]
        rest = [name for name in fault.rest if name in machines]
        group = GroupId(fault.leader_of)
        leader = self._cluster.leader(group) if group in self._cluster.groups else None
        if leader is not None and side and leader != side[0]:
            swapped = {leader: side[0], side[0]: leader}
            side = [swapped.get(name, name) for name in side]
            rest = [swapped.get(name, name) for name in rest]
        return side, rest

    def _refresh_cuts(self) -> None:
        faults = self._simulation.faults
        faults.blocked = {direction for cut in self._cuts.values() for direction in cut}
        faults.on_unblock()

    def _noise(self, fault: Noise, name: str) -> Undo:
        self._noises[fault.number] = (name, fault)
        self._refresh_network()

        def undo() -> None:
            del self._noises[fault.number]
            self._refresh_network()

        return undo

    def _refresh_network(self) -> None:
        faults, noises = self._simulation.faults, list(self._noises.values())
        faults.default = noisy(self._link, [noise for name, noise in noises if not name])
        faults.links.clear()
        faults.links.update(noisy_links(self._link, noises, self._simulation.machines))

    # Processes and machines.

    def _fell(
        self, names: Sequence[str], roles: Sequence[str], how: Callable[..., None]
    ) -> Undo | None:
        """Take ``roles`` of ``names`` down by calling ``how(name, *roles)``."""
        cluster = self._cluster
        struck = [
            name
            for name in names
            if any(process.alive for process in cluster.processes(name) if process.role in roles)
        ]
        if not struck:
            return None
        for name in struck:
            self._down.update((name, role) for role in roles)
            how(name, *roles)

        def undo() -> None:
            for name in struck:
                self._down.subtract((name, role) for role in roles)
                self._start(name)

        return undo

    def _kill(self, name: str, roles: Sequence[str] = ()) -> Undo | None:
        return self._fell([name], roles or self._cluster.roles, self._cluster.kill)

    def _lose_power(self, names: Sequence[str]) -> Undo | None:
        cluster = self._cluster
        return self._fell(names, cluster.roles, lambda name, *roles: cluster.power_loss(name))

    def _start(self, name: str) -> None:
        """What nothing keeps down runs again."""
        self.rot.over(name)
        for role in self._cluster.roles:
            if self._down[name, role] <= 0:
                self._cluster.start(name, role)

    def _pause(self, fault: Pause, name: str) -> Undo | None:
        roles = self._roles(fault.role)
        held = [p for p in self._cluster.processes(name) if p.role in roles and p.alive]
        if not held:
            return None
        self._paused += held
        for process in held:
            process.pause()

        def wake() -> None:
            for process in held:
                self._paused.remove(process)
                if process not in self._paused:
                    process.resume()
            held.clear()

        def undo() -> None:
            wake()
            self._heal_cut(fault.number)

        if fault.deaf_ms and fault.for_ms is not None:
            self._deafen(fault.number, name)
            self.later(fault.for_ms - fault.deaf_ms, wake)
        return undo

    def _deafen(self, number: int, name: str) -> None:
        others = [other for other in self._cluster.names if other != name]
        self.cut(number, [(other, name) for other in others])

    def _transfer(self, fault: Transfer) -> Undo | None:
        leader = self._cluster.leader(GroupId(fault.group))
        if leader is None or not self._cluster.transfer(GroupId(fault.group)):
            return None

        def deafen() -> None:
            if fault.number in self._ends:
                self._deafen(fault.number, leader)

        if fault.deaf_after_ms:
            self.later(fault.deaf_after_ms, deafen)
        return partial(self._heal_cut, fault.number)

    def _change(self, fault: Change) -> Undo | None:
        names, group = self._cluster.names, GroupId(fault.group)
        voters = [name for name in fault.voters if name in names]
        learners = [name for name in fault.learners if name in names]
        timeout_ms = float(fault.for_ms or 0)
        if not voters or group not in self._cluster.groups:
            return None
        told = self._cluster.change_members(group, voters, learners, timeout_ms)
        return _nothing if told else None

    def _tear(self, fault: TornChange) -> Undo | None:
        cluster, group = self._cluster, GroupId(fault.group)
        leader = cluster.leader(group) if group in cluster.groups else None
        voters = cluster.voters(group)
        spare = [name for name in cluster.healthy() if name not in voters]
        if leader not in voters or len(voters) != 3 or len(spare) < 2:
            return None
        rng = self._source(fault)
        old = [name for name in voters if name != leader]
        new = rng.sample(spare, 2)
        tear = Tear(fault.number, leader, old, new, rng, self)
        self._tears[fault.number] = tear
        cluster.change_members(group, [rng.choice(old), *new], [], float(fault.for_ms or 0))

        def undo() -> None:
            tear.over = True
            del self._tears[fault.number]
            self._heal_cut(fault.number)

        return undo

    def _configured(self, replica: ReplicaId, voters: tuple[ReplicaId, ...]) -> None:
        for tear in list(self._tears.values()):
            tear.configured(name_of(replica), set(map(name_of, voters)))

    def _heal_cut(self, number: int) -> None:
        if self._cuts.pop(number, None):
            self._refresh_cuts()

    def cut(self, number: int, directions: list[Direction]) -> None:
        """What does not pass, on behalf of the fault of this number, from now on."""
        self._cuts[number] = directions
        self._refresh_cuts()

    def _storm(self, fault: Storm, hub: str) -> Undo:
        rng = self._source(fault)
        checker = self._cluster.checker
        others = [name for name in self._cluster.names if name != hub]
        half = len(others) // 2
        self.cut(fault.number, both_ways(others[:half], others[half:]))

        def strike(down_ms: float) -> None:
            if fault.number in self._cuts:  # else it is over
                self.strike(hub, rng.uniform(0, down_ms), by_power_loss=fault.by_power_loss)

        def voted(voter: ReplicaId) -> None:
            if name_of(voter) == hub and rng.random() < 0.7:
                self.later(rng.uniform(0, 10), partial(strike, 10))

        def undo() -> None:
            checker.on_vote = lambda voter: None
            self._heal_cut(fault.number)

        checker.on_vote = voted
        for _ in range(fault.strikes):
            self.later(rng.uniform(0, fault.for_ms or 0), partial(strike, 600))
        return undo

    def _snapshot_seen(self, replica: ReplicaId, installed: bool) -> None:
        for lurking in list(self._lurking.values()):
            lurking.seen(name_of(replica), installed)

    def _ambush(self, fault: Ambush) -> Undo:
        self._lurking[fault.number] = lurking = Lurking(
            fault, self._source(fault), self, partial(self.counts.update, [fault.kind])
        )

        def undo() -> None:
            lurking.over = True
            del self._lurking[fault.number]

        return undo

    def strike(self, name: str, down_ms: float, *, by_power_loss: bool = True) -> bool:
        """Take a machine down for a while; whether it was up."""
        undo = self._lose_power([name]) if by_power_loss else self._kill(name)
        if undo is not None:
            self.later(down_ms, undo)
        return undo is not None

    def stall(self, number: int, name: str, how: SlowDisk | None) -> None:
        """Have a machine's syncs stall, on behalf of the fault of this number, or no longer."""
        if how is not None:
            self._slow[number] = (name, how)
        else:
            self._slow.pop(number, None)
        self._refresh_stalls(name)

    # Clocks and disks.

    def _turn_clock(self, fault: Drift | Jump, name: str) -> Undo:
        clock = self._simulation.machine(name).clock
        if isinstance(fault, Jump):
            clock.jump_wall(fault.by_ms)
            return _nothing
        self._drifts[fault.number] = (name, fault.rate)
        clock.set_rate(fault.rate)

        def undo() -> None:
            del self._drifts[fault.number]
            rates = [rate for other, rate in self._drifts.values() if other == name]
            clock.set_rate(rates[-1] if rates else 1.0)

        return undo

    def _hurt_disk(self, fault: SlowDisk | FailedSync | FullDisk, name: str) -> Undo:
        disk = self._simulation.machine(name).disk
        match fault:
            case SlowDisk():
                self._slow[fault.number] = (name, fault)
            case FullDisk():
                self._full[fault.number] = name
                disk.faults.capacity_bytes = disk.used_bytes + fault.free_bytes
            case FailedSync(for_ms=None):
                disk.faults.sync_failure_probability = 1.0
            case FailedSync():
                disk.faults.fail_next_syncs += 1
        self._refresh_stalls(name)

        def undo() -> None:
            self._slow.pop(fault.number, None)
            self._refresh_stalls(name)
            if self._full.pop(fault.number, None) and name not in self._full.values():
                disk.faults.capacity_bytes = CAPACITY_BYTES
            if isinstance(fault, FailedSync):
                disk.faults.fail_next_syncs = 0
            self._start(name)  # it may have stopped

        return undo

    def _refresh_stalls(self, name: str) -> None:
        faults = self._simulation.machine(name).disk.faults
        worst = max(
            (fault for other, fault in self._slow.values() if other == name),
            key=lambda fault: fault.share * fault.stall_ms[1],
            default=None,
        )
        faults.stall_probability = worst.share if worst else 0.0
        faults.stall_ms = worst.stall_ms if worst else (0.0, 0.0)

    def _flip_bit(self, fault: FlippedBit, name: str) -> Undo | None:
        undo = self._kill(name) or _nothing
        flip_bit(self._simulation.machine(name).disk, self._source(fault))
        self._begin_repairs()
        return undo

    def _lose_disk(self, name: str) -> Undo | None:
        undo = self._kill(name)
        if undo is not None and self._cluster.lose_disk(name):
            self._begin_repairs()
        return undo

    def _begin_repairs(self) -> None:
        if not self._repairs:
            self._repair()

    def _repair(self) -> None:
        self._repairs = True
        for name in self._cluster.repair():
            self._start(name)
        self.later(REPAIR_PAUSE_MS, self._repair)

    def _source(self, fault: AnyFault) -> random.Random:
        return random.Random(f"{self._simulation.seed}/fault/{fault.number}")
