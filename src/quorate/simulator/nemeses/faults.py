"""Faults as data: what happens, to whom, when, and for how long.

A schedule is a list of these, drawn from the seed before the run begins (drawing.py) and applied by
an interpreter (nemesis.py).  So it can be printed, shrunk and replayed.  A target may be symbolic:
``leader 1`` is whoever leads group 1 when the fault begins.
"""

from typing import TypeAlias

import msgspec


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """What all faults have."""

    at_ms: int
    for_ms: int | None
    """How long it lasts; ``None``: it never ends."""
    number: int = 0
    """Its place in the schedule of the seed, from 1; how a replay names it."""

    @property
    def kind(self) -> str:
        """The word that options, counts and reports use."""
        return type(self).__name__.lower()

    def __str__(self) -> str:
        hidden = ("number", "at_ms", "for_ms", "what")
        facts = [
            f"{name.removesuffix('_ms').replace('_', ' ')} {_shown(value)}"
            for name, value in msgspec.structs.asdict(self).items()
            if name not in hidden and value not in ("", (), 0, (0.0, 0.0))
        ]
        lasting = "for ever" if self.for_ms is None else f"for {self.for_ms / 1000:.3f} s"
        what = f"{self.number:3} {self.at_ms / 1000:7.3f} s {self.kind}"
        return f"{what}: {', '.join(facts)} {lasting}"


def _shown(value: object) -> str:
    if isinstance(value, tuple):
        return "+".join(map(_shown, value))
    return f"{value:.3g}" if isinstance(value, float) else str(value)


class Partition(Fault, frozen=True, tag="partition"):
    """Between nodes; clients reach everybody, unless they stand on a side."""

    shape: str
    """``one`` (``side`` is one node), ``sides``, ``one way`` (nothing passes from ``side`` to
    ``rest``), ``ring`` (each node reaches its two neighbours), ``bridge`` (the first of ``side``
    still reaches everybody)."""
    side: tuple[str, ...]
    rest: tuple[str, ...]
    leader_of: int = 0
    """The leader of this group changes places with the first of ``side``; 0: nobody does."""

    @property
    def kind(self) -> str:
        return f"partition ({self.shape})"


class Noise(Fault, frozen=True, tag="noise"):
    """Frames are lost, come twice, out of order or late."""

    what: str
    """``loss``, ``duplicates``, ``reordering`` (``rate``: share of the frames) or ``delay``."""
    rate: float = 0.0
    delay_ms: tuple[float, float] = (0.0, 0.0)
    target: str = ""
    """On the links of this node only; empty: everywhere."""

    @property
    def kind(self) -> str:
        return self.what


class Reset(Fault, frozen=True, tag="reset"):
    """All connections of a machine break."""

    target: str


class Kill(Fault, frozen=True, tag="kill"):
    """SIGKILL of all processes of a machine, or of one; they are started again afterwards."""

    target: str
    """A node, ``leader N`` or ``all``."""
    role: str = ""


class PowerLoss(Fault, frozen=True, tag="power loss"):
    """A machine goes dark: of what was not synced, any part is lost."""

    target: str

    @property
    def kind(self) -> str:
        return "power loss"


class Pause(Fault, frozen=True, tag="pause"):
    """SIGSTOP, and SIGCONT afterwards."""

    target: str
    role: str = ""
    deaf_ms: int = 0
    """It runs again so long before the end, and until then its machine hears no other node: it
    wakes up and nobody tells it what has happened."""


class Drift(Fault, frozen=True, tag="drift"):
    """A machine's clocks run at another rate."""

    target: str
    rate: float


class Jump(Fault, frozen=True, tag="jump"):
    """A machine's wall clock jumps."""

    target: str
    by_ms: int


class SlowDisk(Fault, frozen=True, tag="slow disk"):
    """Some of a machine's syncs stall."""

    target: str
    share: float
    stall_ms: tuple[float, float]

    @property
    def kind(self) -> str:
        return "slow disk"


class FailedSync(Fault, frozen=True, tag="failed sync"):
    """The next sync on a machine fails; what stops of it is started again afterwards.  One that
    never ends is a failed disk."""

    target: str

    @property
    def kind(self) -> str:
        return "failed sync"


class FullDisk(Fault, frozen=True, tag="full disk"):
    """A machine's disk has room for ``free_bytes`` more, and for no more."""

    target: str
    free_bytes: int

    @property
    def kind(self) -> str:
        return "full disk"


class FlippedBit(Fault, frozen=True, tag="flipped bit"):
    """A node's processes are killed, and while they are down one bit flips: of its log, above all
    in the last batch that was written whole and may have been acknowledged, or of a snapshot."""

    target: str

    @property
    def kind(self) -> str:
        return "flipped bit"


class LostDisk(Fault, frozen=True, tag="lost disk"):
    """A machine gets another disk, an empty one, comes back as a new node, and its replicas are
    replaced by new ones; but only if a majority of every group keeps what it has."""

    target: str

    @property
    def kind(self) -> str:
        return "lost disk"


class Storm(Fault, frozen=True, tag="storm"):
    """Of the others one half reaches the other by the hub alone, so that no election is won without
    it, and the hub is killed again and again, above all when it has just voted: the hour of a
    forgotten vote."""

    target: str
    strikes: int
    by_power_loss: bool = False


class Ambush(Fault, frozen=True, tag="ambush"):
    """Whoever fetches a snapshot loses power while it does, or when it has just come and its log
    has not yet heard of it; or a bit flips in the file that is sent."""

    strikes: int
    """The most it strikes."""


class Transfer(Fault, frozen=True, tag="transfer"):
    """The leader of a group is told to hand over: no fault, but as good a reason for trouble."""

    group: int
    deaf_after_ms: int = 0
    """So soon it hears no other node any more, and so not that another leads; 0: it does."""


class Change(Fault, frozen=True, tag="change"):
    """The leader of a group is told to change its members; as little a fault as a transfer."""

    group: int
    voters: tuple[str, ...]
    learners: tuple[str, ...] = ()


class TornChange(Fault, frozen=True, tag="torn change"):
    """Two of three voters are to be replaced, and just then all is torn apart (tearing.py)."""

    group: int

    @property
    def kind(self) -> str:
        return "torn change"


AnyFault: TypeAlias = (
    Partition
    | Noise
    | Reset
    | Kill
    | PowerLoss
    | Pause
    | Drift
    | Jump
    | SlowDisk
    | FailedSync
    | FullDisk
    | FlippedBit
    | LostDisk
    | Storm
    | Ambush
    | Transfer
    | Change
    | TornChange
)
Schedule: TypeAlias = tuple[AnyFault, ...]

PARTITIONS = ("one", "sides", "one way", "ring", "bridge")
NOISES = ("loss", "duplicates", "reordering", "delay")
KINDS = (
    *(f"partition ({shape})" for shape in PARTITIONS),
    *NOISES,
    "reset",
    "kill",
    "power loss",
    "pause",
    "drift",
    "jump",
    "slow disk",
    "failed sync",
    "full disk",
    "flipped bit",
    "lost disk",
    "storm",
    "ambush",
    "transfer",
    "change",
    "torn change",
)
KINDS_FOR_EVER = ("partition (one way)", "kill", "failed sync", "flipped bit")
"""Those that may never end, where they hit a minority."""
