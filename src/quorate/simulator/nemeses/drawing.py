"""Drawing a schedule from a seed: the swarm's dice.

Only kinds that are on are drawn.  What never ends hits ``options.lost`` alone, a minority;
everything else ends by itself or with the safety phase.
"""

import random

import msgspec

from quorate.base.check import Bug
from quorate.simulator.nemeses.faults import (
    KINDS_FOR_EVER,
    NOISES,
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
from quorate.simulator.nemeses.options import Options

BEGIN_MS = 500
QUIET_MS = 2_000
"""Nothing begins so shortly before the faults end."""
STORM_MS = 8_000
WEIGHTS = {
    "kill": 5,
    "power loss": 4,
    "pause": 5,
    "transfer": 4,
    "change": 6,
    "torn change": 4,
    "lost disk": 3,
    "full disk": 0.5,
}
"""How often a kind is drawn; 1 for those that are not here."""


def draw_schedule(rng: random.Random, options: Options) -> Schedule:
    """The faults of a run, in the order of their beginning."""
    drawn = _Drawing(rng, options)
    faults = [*drawn.background(), *drawn.for_ever()]
    begin_ms = BEGIN_MS
    if "storm" in options.kinds:
        faults.append(drawn.storm())
        begin_ms += STORM_MS
    kinds = [kind for kind in options.kinds if kind not in ("storm", "flipped bit")]
    weights = [WEIGHTS.get(kind, 1.0) for kind in kinds]
    # After a storm there is less time for others; all of them in it would leave nothing to judge.
    count = rng.randint(6, 12 if "storm" in options.kinds else 20)
    for kind in rng.choices(kinds, weights, k=count) if kinds else ():
        at_ms = rng.randint(begin_ms, options.faults_ms - QUIET_MS)
        faults.append(drawn.fault(kind, at_ms))
    for _ in range(options.ambushes if "ambush" in kinds else 0):
        faults.append(drawn.fault("ambush", rng.randint(begin_ms, options.faults_ms - QUIET_MS)))
    faults.sort(key=lambda fault: fault.at_ms)
    return tuple(msgspec.structs.replace(fault, number=n) for n, fault in enumerate(faults, 1))


class _Drawing:
    """One draw after the other, for one run."""

    def __init__(self, rng: random.Random, options: Options) -> None:
        self._rng = rng
        self._options = options

    def background(self) -> list[AnyFault]:
        """Noise that lasts as long as the faults do, on half of the runs that have any."""
        return [
            self._noise(kind, 0, self._options.faults_ms, "")
            for kind in self._options.kinds
            if kind in NOISES[:3] and self._rng.random() < 0.5
        ]

    def for_ever(self) -> list[AnyFault]:
        kinds = [kind for kind in KINDS_FOR_EVER if kind in self._options.kinds]
        last_ms = self._options.faults_ms
        return [
            self._never_ending(self._rng.choice(kinds), name, self._rng.randint(BEGIN_MS, last_ms))
            for name in self._options.lost
        ]

    def _never_ending(self, kind: str, name: str, at_ms: int) -> AnyFault:
        if kind == "kill":
            return Kill(at_ms=at_ms, for_ms=None, target=name)
        if kind == "failed sync":
            return FailedSync(at_ms=at_ms, for_ms=None, target=name)
        if kind == "flipped bit":
            return FlippedBit(at_ms=at_ms, for_ms=self._rng.randint(1, 500), target=name)
        side, rest = [name], [other for other in self._options.names if other != name]
        if self._rng.random() < 0.5:
            side, rest = rest, side  # it is deaf, not mute
        return Partition(
            at_ms=at_ms, for_ms=None, shape="one way", side=tuple(side), rest=tuple(rest)
        )

    def storm(self) -> AnyFault:
        return Storm(
            at_ms=BEGIN_MS,
            for_ms=STORM_MS,
            target=self._rng.choice(self._options.names),
            strikes=10,
            by_power_loss=self._rng.random() < 0.5,
        )

    def fault(self, kind: str, at_ms: int) -> AnyFault:
        """One of ``kind``, which ends by itself."""
        rng = self._rng
        shape = kind.removeprefix("partition (").removesuffix(")")
        if shape != kind:
            return self._partition(shape, at_ms)
        if kind in NOISES:
            target = "" if rng.random() < 0.5 else self._target()
            return self._noise(kind, at_ms, rng.randint(300, 4_000), target)
        if kind == "torn change":
            group = rng.randint(1, self._options.groups)
            return TornChange(at_ms=at_ms, for_ms=rng.randint(2_000, 5_000), group=group)
        if kind == "change":
            return self._change(at_ms)
        if kind == "transfer":
            return self._transfer(at_ms)
        return self._of_machine(kind, at_ms)

    def _change(self, at_ms: int) -> AnyFault:
        """To members of whom those that are lost for ever are a minority."""
        rng, names, lost = self._rng, self._options.names, self._options.lost
        healthy = [name for name in names if name not in lost]
        chosen = rng.sample(healthy, rng.randint(1, len(healthy)))
        spoiled = rng.sample(lost, min(len(lost), (len(chosen) - 1) // 2))
        rest = [name for name in names if name not in chosen and name not in spoiled]
        return Change(
            at_ms=at_ms,
            for_ms=rng.randint(1_000, 4_000),
            group=rng.randint(1, self._options.groups),
            voters=tuple(sorted(chosen + spoiled)),
            learners=tuple(sorted(rng.sample(rest, rng.randint(0, len(rest))))),
        )

    def _transfer(self, at_ms: int) -> AnyFault:
        rng = self._rng
        group = rng.randint(1, self._options.groups)
        if rng.random() < 0.5:
            return Transfer(at_ms=at_ms, for_ms=0, group=group)
        for_ms, deaf_after_ms = rng.randint(200, 1_500), rng.randint(1, 60)
        return Transfer(at_ms=at_ms, for_ms=for_ms, group=group, deaf_after_ms=deaf_after_ms)

    def _of_machine(self, kind: str, at_ms: int) -> AnyFault:
        rng, target = self._rng, self._target()
        down_ms = max(1, int(rng.choice(self._options.down_ms) * rng.random()))
        all_of_them = rng.random() < (0.35 if kind == "power loss" else 0.15)
        match kind:
            case "kill" if all_of_them:
                return Kill(at_ms=at_ms, for_ms=down_ms, target="all")
            case "kill":
                return Kill(at_ms=at_ms, for_ms=down_ms, target=target, role=self._role())
            case "power loss":
                whom = "all" if all_of_them else target
                return PowerLoss(at_ms=at_ms, for_ms=down_ms, target=whom)
            case "pause":
                for_ms = int(rng.choice((100, 800, 4_000)) * (0.2 + rng.random()))
                if rng.random() < 0.5:  # a leader that was paused does not know that it is none
                    target = f"leader {rng.randint(1, self._options.groups)}"
                deaf_ms = rng.choice((0, 0, rng.randint(50, 500)))
                return Pause(
                    at_ms=at_ms,
                    for_ms=for_ms + deaf_ms,
                    target=target,
                    role=self._role(),
                    deaf_ms=deaf_ms,
                )
            case "reset":
                return Reset(at_ms=at_ms, for_ms=0, target=target)
            case "drift":
                for_ms = rng.randint(1_000, 10_000)
                return Drift(at_ms=at_ms, for_ms=for_ms, target=target, rate=self._rate())
            case "jump":
                by_ms = rng.choice((1_000, 60_000, 3_700_000)) * rng.choice((-1, 1))
                return Jump(at_ms=at_ms, for_ms=0, target=target, by_ms=by_ms)
            case "slow disk":
                return self._slow_disk(at_ms, target)
            case "failed sync":
                return FailedSync(at_ms=at_ms, for_ms=down_ms, target=target)
            case "lost disk":
                return LostDisk(at_ms=at_ms, for_ms=down_ms, target=target)
            case "ambush":
                for_ms = rng.randint(2_000, 8_000)
                return Ambush(at_ms=at_ms, for_ms=for_ms, strikes=rng.randint(1, 4))
            case "full disk":
                for_ms = rng.randint(300, 3_000)
                return FullDisk(at_ms=at_ms, for_ms=for_ms, target=target, free_bytes=0)
        raise Bug(f"there is no fault of kind {kind}")

    def _slow_disk(self, at_ms: int, target: str) -> AnyFault:
        rng = self._rng
        return SlowDisk(
            at_ms=at_ms,
            for_ms=rng.randint(500, 5_000),
            target=target,
            share=rng.choice((0.05, 0.3, 1.0)),
            stall_ms=rng.choice(((10.0, 100.0), (100.0, 2_000.0))),
        )

    def _target(self) -> str:
        """A node, or the leader of a group: it has more to lose."""
        if self._rng.random() < 0.5:
            return f"leader {self._rng.randint(1, self._options.groups)}"
        return self._rng.choice(self._options.names)

    def _role(self) -> str:
        alone = self._options.alone
        return self._rng.choice(alone) if alone and self._rng.random() < 0.6 else ""

    def _rate(self) -> float:
        """While leases are on, within what they assume."""
        timing = self._options.timing
        if timing.lease:
            return 1 + 0.9 * timing.max_clock_drift * self._rng.choice((-1, 1))
        return self._rng.choice((0.5, 0.9, 0.999, 1.001, 1.1, 2.0))

    def _noise(self, what: str, at_ms: int, for_ms: int, target: str) -> AnyFault:
        rng, most = self._rng, self._options.loss
        rate, delay_ms = 0.0, (0.0, 0.0)
        if what == "loss":
            rate = rng.uniform(most / 20, most)
        elif what == "delay":
            delay_ms = rng.choice(((5.0, 20.0), (50.0, 150.0)))
        else:
            rate = rng.uniform(0.01, 0.2)
        return Noise(
            at_ms=at_ms,
            for_ms=for_ms,
            what=what,
            rate=rate,
            delay_ms=delay_ms,
            target=target,
        )

    def _partition(self, shape: str, at_ms: int) -> AnyFault:
        rng, options = self._rng, self._options
        names = rng.sample(options.names, options.nodes)
        size = 1 if shape == "one" else rng.randint(1, options.nodes // 2)
        side, rest = names[:size], names[size:]
        if shape == "sides" and rng.random() < 0.5:
            side, rest = rest, side
        for client in options.sided:
            rng.choice((side, rest, [])).append(client)
        if shape == "one way" and rng.random() < 0.5:
            side, rest = rest, side
        return Partition(
            at_ms=at_ms,
            for_ms=rng.randint(200, options.partition_ms),
            shape=shape,
            side=tuple(side),
            rest=tuple(rest),
            leader_of=rng.randint(1, options.groups) if rng.random() < 0.5 else 0,
        )
