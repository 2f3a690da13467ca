"""What the clients of the store saw, all together.

A transaction fetches its keys before and after what it does, and begins by giving the key ``CLOCK``
an end: so its answer says at which revision it stands, and at which log time.
"""

import asyncio
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from quorate.kv.core.commands import Event
from quorate.linearizability.history import Operation, Outcome

CLOCK = b"clock"
CLOCK_TTL_MS = 1 << 40

KEYS = {"register": ("r1", "r2"), "kv": ("s1",)}
"""By model of quorate.linearizability."""
COUNTER = "n1"
ACCOUNTS = (b"a1", b"a2", b"a3")
SHARED = (b"w1", b"w2")
"""Counters that clients increment by reading and writing."""
ENDING = (b"e1", b"e2")
"""Keys with a time to live."""
LOCK, GUARDED = b"l1", b"p1"
TRANSACTED = (*ACCOUNTS, *SHARED, *ENDING, LOCK, GUARDED)
"""What nobody changes but by a transaction that says what it found and left."""
PAID = (b"m1", b"m2")
"""Accounts of RESP clients, which together hold nothing."""
STANDING = tuple(b"z%02d" % number for number in range(8))
"""Keys that are there all the while, once they are."""


class Version(NamedTuple):
    """What ``Fetch`` says of a key."""

    value: bytes
    revision: int
    at_ms: int
    """The log time of its end; 0: none."""


Versions = dict[bytes, Version | None]
"""By key; ``None``: it is absent."""


@dataclass(slots=True, eq=False)
class Tx:
    """One transaction; times are true time, in virtual ms."""

    client: str
    what: str
    keys: tuple[bytes, ...]
    invoked: float
    touches: tuple[bytes, ...] = ()
    """What it changes, if its conditions hold; also if nothing of that is left in the end."""
    returned: float | None = None
    outcome: Outcome = Outcome.INFO
    revision: int = 0
    time_ms: int = 0
    """Log time."""
    held: bool = False
    before: Versions = field(default_factory=dict)
    after: Versions = field(default_factory=dict)
    replies: list[Any] = field(default_factory=list)
    expected: Versions = field(default_factory=dict)
    """What must be there after it, as far as its client knows."""
    untouched: dict[bytes, int] = field(default_factory=dict)
    """Its conditions: since which revision."""
    revisions: dict[bytes, int] = field(default_factory=dict)
    """Its conditions: of which revision."""
    values: tuple[bytes, ...] = ()
    """What it may leave behind if its outcome is unknown."""

    def __str__(self) -> str:
        end = "open" if self.returned is None else f"{self.returned:.1f} ms"
        return f"{self.what} by {self.client}, {self.invoked:.1f} ms to {end}"


@dataclass(slots=True, eq=False)
class Look:
    """Keys read at one moment, without a place in the log."""

    client: str
    invoked: float
    returned: float
    versions: Versions
    revision: int = 0
    """Of the store at that moment; 0: nobody said."""
    time_ms: int = 0
    """Log time at that moment; 0: nobody said."""


class Change(NamedTuple):
    """A change whose revision its client was told."""

    revision: int
    key: bytes
    value: bytes | None
    returned: float


@dataclass(slots=True, eq=False)
class Told:
    """What a watcher was told without a gap: everything of its range between two revisions."""

    client: str
    start: bytes
    end: bytes | None
    since: int
    revision: int
    events: list[Event] = field(default_factory=list)
    reached: list[tuple[float, int]] = field(default_factory=list)
    """When it had been told up to which revision."""
    refused_ms: float = -1.0
    """When it was told last that the rest is forgotten."""

    def covers(self, key: bytes) -> bool:
        return key >= self.start and (self.end is None or key < self.end)


@dataclass(slots=True)
class Glance:
    """What one node had, however old: some keys, read in one go on a ``READONLY`` connection."""

    connection: str
    returned: float
    values: dict[bytes, tuple[bytes | None, int]]
    """By key: value and revision; ``None`` and 0: it was absent."""


class Scanned(NamedTuple):
    """The keys of a whole scan, and those that were surely there when it began."""

    client: str
    found: list[bytes]
    there: tuple[bytes, ...]


class Moment(NamedTuple):
    """From when to when somebody did something."""

    began: float
    ended: float
    who: str


@dataclass(slots=True)
class Seen:
    """All of it."""

    operations: list[Operation] = field(default_factory=list)
    txs: list[Tx] = field(default_factory=list)
    looks: list[Look] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)
    told: list[Told] = field(default_factory=list)
    scans: list[Scanned] = field(default_factory=list)
    glances: list[Glance] = field(default_factory=list)
    """Those of one connection in order."""
    execs: list[Moment] = field(default_factory=list)
    """Those that were done: from behind their WATCH to before EXEC."""
    pokes: list[Moment] = field(default_factory=list)
    """Touches of the watched key."""
    paid: list[list[int]] = field(default_factory=list)
    """What accounts held at one moment."""
    tokens: list[tuple[Moment, int]] = field(default_factory=list)
    """That somebody wrote with, or saw written."""
    final: Look | None = None
    """Everything, in the end."""
    held: dict[str, str | None] = field(default_factory=dict)
    """The last value of each register that somebody saw."""
    standing: tuple[bytes, ...] = ()
    """Those of ``STANDING`` that were acknowledged."""

    def count(self, outcome: Outcome) -> int:
        found = sum(operation.outcome is outcome for operation in self.operations)
        found += sum(tx.outcome is outcome for tx in self.txs)
        if outcome is Outcome.OK:
            found += len(self.looks) + len(self.scans) + len(self.glances)
        return found


def now_ms() -> float:
    """True time: a client's own clock is not everybody's."""
    return asyncio.get_running_loop().time() * 1000


def version(fetched: Any) -> Version | None:
    """Of a reply to ``Fetch``."""
    return None if fetched is None else Version(*fetched)
