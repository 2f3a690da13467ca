"""What one seed draws beside its faults: sizes, speeds, and what is *off*.

A run in which nothing is ever lost finds other bugs than one where everything fails at once, so
each seed leaves out some kinds of fault and some operations of its clients (swarm testing: Groce
and others, 2012).
"""

import random
from typing import TypeAlias

import msgspec

from quorate.raft.core.settings import Limits, Timing
from quorate.simulator.nemeses.faults import KINDS, KINDS_FOR_EVER

FAULTS_MS = 20_000
"""When the faults end that ever do."""

NOT_FOR_NODES = frozenset(
    {"storm", "ambush", "flipped bit", "failed sync", "full disk", "jump", "delay"}
    | {"transfer", "change", "torn change", "lost disk"}
)
KINDS_FOR_NODES = tuple(kind for kind in KINDS if kind not in NOT_FOR_NODES)
"""Of whole nodes every promise is judged, also those that a lost disk would break."""
NODE_ROLES = ("raft", "chunkserver", "worker")


class Options(msgspec.Struct, frozen=True):
    """Times in virtual ms."""

    nodes: int
    founders: int
    """So many of the nodes are voters from the beginning."""
    groups: int
    clients: int
    delay_ms: tuple[float, float]
    """One way, between any two machines."""
    sync_ms: tuple[float, float]
    """What an fsync costs."""
    timing: Timing
    limits: Limits
    kinds: tuple[str, ...]
    """The kinds of fault that are on (faults.py)."""
    down_ms: tuple[int, ...]
    """How long what has crashed stays down, at most; one of these each time."""
    partition_ms: int
    """How long a partition lasts, at most."""
    pace_ms: float
    """A client pauses so long between two operations, at most."""
    padding_bytes: int = 0
    """What some commands are longer than they need."""
    ambushes: int = 0
    """So many more than are drawn, if that kind is on."""
    ballast_bytes: int = 0
    """What a state machine's snapshots are longer than its state needs."""
    loss: float = 0.1
    """The largest share of frames that a noise may take."""
    lost: tuple[str, ...] = ()
    """Nodes, a minority, that something happens to which never ends."""
    off: tuple[str, ...] = ()
    """Operations that no client does."""
    alone: tuple[str, ...] = ()
    """Roles whose processes are also killed and paused alone."""
    sided: tuple[str, ...] = ()
    """Machines of clients that a partition may also cut off from some of the nodes."""
    faults_ms: int = FAULTS_MS
    operations: int | None = None
    """A client stops after so many; ``None``: at the end."""

    @property
    def names(self) -> list[str]:
        """The machines of the nodes."""
        return [f"n{number}" for number in range(1, self.nodes + 1)]


Needed: TypeAlias = tuple[tuple[str, ...], ...]
"""Groups of operations of each of which one at least must be on."""


def draw_options(
    rng: random.Random, operations: tuple[str, ...] = (), needed: Needed = ()
) -> Options:
    """For groups of a small machine whose clients have ``operations``."""
    kinds = _some(rng, KINDS)
    nodes = rng.choice((3, 5, 5) if "torn change" in kinds else (3, 3, 5))
    lost = rng.sample(range(1, nodes + 1), rng.randint(1, (nodes - 1) // 2))
    stays_lost = rng.random() < 0.6 and any(kind in KINDS_FOR_EVER for kind in kinds)
    storm = "storm" in kinds
    groups = rng.choice((1, 1, 2, 3))
    fewest = 2 * len(lost) + 1 if stays_lost else 1  # or those who are lost could be half of them
    founders = rng.randint(fewest, nodes)
    changes = "change" in kinds or "torn change" in kinds
    if "torn change" in kinds and rng.random() < 0.7:
        founders = max(fewest, 3)
    return Options(
        nodes=nodes,
        founders=founders if changes else nodes,
        groups=groups,
        clients=max(2 * groups, rng.randint(2, 5)),
        delay_ms=(10.0, 60.0) if storm else rng.choice(((0.1, 1.0), (0.5, 5.0), (1.0, 25.0))),
        # Slow ones more often: what was acknowledged too early stays so for longer.
        sync_ms=rng.choice(((0.2, 1.0), (0.5, 5.0), (5.0, 30.0), (5.0, 30.0))),
        timing=Timing(50, 300 if storm else rng.choice((150, 300)), lease=rng.random() < 0.4),
        limits=_draw_limits(rng),
        kinds=kinds,
        down_ms=(50, 300, 1_500),
        partition_ms=2_500,
        pace_ms=rng.choice((40.0, 80.0, 160.0)),
        padding_bytes=rng.choice((0, 3_000)),
        ballast_bytes=rng.choice((0, 0, 3 << 20)),
        lost=tuple(f"n{number}" for number in sorted(lost)) if stays_lost else (),
        off=_off(rng, operations, needed),
    )


def draw_for_keys(
    rng: random.Random, operations: tuple[str, ...] = (), needed: Needed = ()
) -> Options:
    """For the one group of the key/value store."""
    drawn = draw_options(rng, operations, needed)
    clients = rng.randint(4, 7)
    # Its one group is ambushed as often as all groups of others are, and has snapshots to fetch.
    limits = msgspec.structs.replace(
        drawn.limits, snapshot_log_bytes=rng.choice((2_000, 2_000, 2_000, 20_000, 200_000))
    )
    return msgspec.structs.replace(drawn, groups=1, clients=clients, limits=limits, ambushes=2)


def draw_for_nodes(
    rng: random.Random, operations: tuple[str, ...] = (), needed: Needed = ()
) -> Options:
    """For whole nodes: their processes die alone as well, and clients are cut off, too."""
    clients = rng.randint(3, 4)
    nodes = rng.choice((3, 3, 3, 5))
    users = (*(f"c{number}" for number in range(1, clients + 1)), "counter", "watcher")
    return Options(
        nodes=nodes,
        founders=nodes,
        groups=2,
        clients=clients,
        delay_ms=rng.choice(((0.1, 1.0), (0.5, 5.0))),
        sync_ms=rng.choice(((0.2, 1.0), (0.5, 5.0), (5.0, 30.0))),
        timing=Timing(50, rng.choice((150, 300, 600))),
        limits=_draw_limits(rng),
        kinds=_some(rng, KINDS_FOR_NODES),
        down_ms=(50, 300, 1_500, 8_000),  # long enough to be given up, too
        partition_ms=rng.choice((1_000, 6_000)),
        pace_ms=100.0,
        loss=0.002,  # a lost frame costs a caller its whole timeout, and a job is many calls
        alone=tuple(rng.sample(NODE_ROLES, rng.randint(0, len(NODE_ROLES)))),
        sided=users if rng.random() < 0.5 else (),
        off=_off(rng, operations, needed),
    )


def _off(rng: random.Random, operations: tuple[str, ...], needed: Needed) -> tuple[str, ...]:
    while operations:
        off = tuple(rng.sample(operations, rng.randrange(len(operations))))
        if all(set(group) - set(off) for group in needed):
            return off
    return ()


def _draw_limits(rng: random.Random) -> Limits:
    """Small ones often, so that what is done at a bound is done in a short run."""
    return Limits(
        inflight_messages=rng.choice((1, 4, 32)),
        message_bytes=rng.choice((200, 256 * 1024)),
        snapshot_log_bytes=rng.choice((2_000, 2_000, 20_000, 200_000, 64 << 20)),
        retained_log_bytes=rng.choice((0, 0, 1_000, 10_000)),
    )


def _some(rng: random.Random, kinds: tuple[str, ...]) -> tuple[str, ...]:
    """Half of them on average, and at least three, or there is no run to speak of."""
    while True:
        chosen = tuple(kind for kind in kinds if rng.random() < 0.5)
        if len(chosen) >= 3:
            return chosen
