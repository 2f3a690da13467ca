"""Faults as data: drawn from a seed before the run, printed, and turned into what is to hold.

A schedule is a list of ``Fault``s, each with a beginning and an end.  They overlap, so nobody does
and undoes single faults: ``in_force`` says what all those that last now want of the world, as one
``State``, and the nemesis makes it so.  No fault: ``State()``, a healed world.

| kind | what happens |
| --- | --- |
| ``kill`` | SIGKILL of one node, of a majority, or of all; they are started again at the end |
| ``stop`` | SIGSTOP of one node or of a majority, SIGCONT at the end |
| ``cut-one`` | one node and the others do not reach each other; clients reach everybody |
| ``cut-halves`` | two sides of any size |
| ``cut-one-way`` | nothing passes from one side to the other, all passes back |
| ``cut-ring`` | each node reaches its two neighbours alone; of three nodes, two lose each other |
| ``loss`` | a share of the frames to and from a node, of its own connections, is lost |
| ``delay`` | these frames come late |
| ``full-disk`` | no space is left on a node's disk |
| ``slow-disk`` | each sync of a node takes longer |
| ``clock-jump`` | a node's wall clock jumps, and jumps back at the end |
"""

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import combinations, permutations

import msgspec

Link = tuple[int, int]
"""From a node to a node, by number."""

CUTS = ("cut-one", "cut-halves", "cut-one-way", "cut-ring")
KINDS = ("kill", "stop", *CUTS, "loss", "delay", "full-disk", "slow-disk", "clock-jump")

QUIET_MS = 1_000
"""Before the first fault."""
PACE_MS = (300, 2_500)
"""From one beginning to the next."""
MAX_AT_ONCE = 3
"""More would leave hardly a moment in which something is acknowledged that could be lost."""
RESPITE_MS = 2_000
"""After most faults that left no majority: so that there is something to lose again."""
LONGEST_MS = (1_500, 4_000, 4_000, 12_000)
"""One of these; the longest is more than a connection waits for who has vanished."""
JUMPS_MS = (1_000, 60_000, 3_700_000)
"""The last is longer than a session may be idle."""


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """One fault of a schedule."""

    number: int
    """Its place in the schedule, from 1."""
    kind: str
    at_ms: int
    for_ms: int
    nodes: tuple[int, ...]
    """Whom it strikes; of ``cut-ring``, the order of all."""
    leader: bool = False
    """Whoever leads when it begins takes the place of the first of ``nodes``."""
    amount: float = 0.0
    """Of ``loss`` the share, of ``delay``, ``slow-disk`` and ``clock-jump`` milliseconds."""

    @property
    def end_ms(self) -> int:
        return self.at_ms + self.for_ms

    def __str__(self) -> str:
        whom = "+".join(f"n{node}" for node in self.nodes)
        leader = " (or the leader)" if self.leader else ""
        amount = f" by {self.amount:g}" if self.amount else ""
        return f"{self.number} {self.kind} of {whom}{leader}{amount} for {self.for_ms / 1000:.1f} s"


@dataclass(frozen=True)
class State:
    """What is to hold, by the numbers of nodes."""

    down: frozenset[int] = frozenset()
    frozen: frozenset[int] = frozenset()
    cut: frozenset[Link] = frozenset()
    full: frozenset[int] = frozenset()
    loss: dict[int, float] = field(default_factory=dict)
    delay_ms: dict[int, float] = field(default_factory=dict)
    sync_ms: dict[int, float] = field(default_factory=dict)
    clock_ms: dict[int, float] = field(default_factory=dict)


def links_cut(fault: Fault, nodes: int) -> frozenset[Link]:
    """What passes no more, one way, while ``fault`` lasts."""
    everybody = range(1, nodes + 1)
    links = [(a, b) for a in everybody for b in everybody if a != b]
    side = fault.nodes
    if fault.kind == "cut-ring":
        place = {node: position for position, node in enumerate(side)}

        def apart(a: int, b: int) -> bool:
            steps = abs(place[a] - place[b])
            return steps == 2 if nodes == 3 else min(steps, nodes - steps) > 1

        return frozenset(link for link in links if apart(*link))
    if fault.kind == "cut-one-way":
        return frozenset((a, b) for a, b in links if a in side and b not in side)
    if fault.kind in CUTS:
        return frozenset((a, b) for a, b in links if (a in side) != (b in side))
    return frozenset()


def in_force(faults: Iterable[Fault], nodes: int) -> State:
    """What ``faults``, all of which last now, want together."""
    struck: dict[str, set[int]] = {kind: set() for kind in KINDS}
    cut: set[Link] = set()
    amounts: dict[str, dict[int, float]] = {kind: {} for kind in KINDS}
    for fault in faults:
        struck[fault.kind].update(fault.nodes)
        cut |= links_cut(fault, nodes)
        own = amounts[fault.kind]
        for node in fault.nodes:
            own[node] = own.get(node, 0.0) + fault.amount
    return State(
        down=frozenset(struck["kill"]),
        frozen=frozenset(struck["stop"]),
        cut=frozenset(cut),
        full=frozenset(struck["full-disk"]),
        loss={node: min(share, 1.0) for node, share in amounts["loss"].items()},
        delay_ms=amounts["delay"],
        sync_ms=amounts["slow-disk"],
        clock_ms=amounts["clock-jump"],
    )


def can_serve(state: State, nodes: int) -> bool:
    """Whether a majority runs, with space, and all of it reach each other."""
    whole = [n for n in range(1, nodes + 1) if n not in state.down | state.frozen | state.full]
    return any(
        not any(link in state.cut for link in permutations(side, 2))
        for side in combinations(whole, nodes // 2 + 1)
    )


def with_leader(fault: Fault, leader: int | None) -> Fault:
    """``fault`` as it happens, once it is known who leads."""
    if not fault.leader or leader is None or leader == fault.nodes[0]:
        return fault
    first = fault.nodes[0]
    swapped = {leader: first, first: leader}
    nodes = tuple(swapped.get(node, node) for node in fault.nodes)
    return msgspec.structs.replace(fault, nodes=nodes)


def draw_schedule(
    seed: int, nodes: int, duration_ms: int, kinds: Sequence[str] = KINDS
) -> list[Fault]:
    """The faults of ``seed``, all of which end within ``duration_ms``.

    Each kind comes once before any comes again, so that a short run meets most of them.
    """
    rng = random.Random(f"torture {seed}")
    faults: list[Fault] = []
    bag: list[str] = []
    at_ms = min(QUIET_MS, duration_ms // 10)
    while kinds and at_ms < duration_ms * 0.9:
        if not bag:
            bag = rng.sample(list(kinds), len(kinds))
        longest_ms = min(rng.choice(LONGEST_MS), max(duration_ms // 5, 1))
        for_ms = min(int(longest_ms * rng.uniform(0.3, 1.0)), duration_ms - at_ms)
        faults.append(_draw(rng, bag.pop(), len(faults) + 1, at_ms, for_ms, nodes))
        at_ms += rng.randint(*PACE_MS)
        ends_ms = sorted(fault.end_ms for fault in faults)
        if len(ends_ms) >= MAX_AT_ONCE:
            at_ms = max(at_ms, ends_ms[-MAX_AT_ONCE])
        last = [fault for fault in faults if fault.end_ms > faults[-1].at_ms]
        if not can_serve(in_force(last, nodes), nodes) and rng.random() < 0.7:
            at_ms = max(at_ms, ends_ms[-1] + RESPITE_MS)
    return faults


def _draw(rng: random.Random, kind: str, number: int, at_ms: int, for_ms: int, nodes: int) -> Fault:
    order = rng.sample(range(1, nodes + 1), nodes)
    size, amount = 1, 0.0
    match kind:
        case "kill":
            size = rng.choice((1, 1, nodes // 2 + 1, nodes))
        case "stop":
            size = rng.choice((1, 1, nodes // 2 + 1))
        case "cut-halves":
            size = rng.randint(1, nodes // 2)
        case "cut-one-way":
            size = rng.randint(1, nodes - 1)
        case "cut-ring":
            size = nodes
        case "loss":
            size, amount = rng.randint(1, nodes), rng.choice((0.02, 0.1, 0.3))
        case "delay":
            size, amount = rng.randint(1, nodes), rng.choice((10.0, 50.0, 200.0))
        case "slow-disk":
            size, amount = rng.randint(1, nodes), rng.choice((5.0, 50.0, 500.0))
        case "clock-jump":
            size, amount = rng.randint(1, nodes), rng.choice(JUMPS_MS) * rng.choice((-1.0, 1.0))
    leader = kind != "cut-ring" and rng.random() < 0.5
    return Fault(
        number=number,
        kind=kind,
        at_ms=at_ms,
        for_ms=for_ms,
        nodes=tuple(order[:size]),
        leader=leader,
        amount=amount,
    )
