"""What happens to a replica (events), and what it wants done about it (effects)."""

from typing import NamedTuple, TypeAlias

import msgspec

from quorate.base.ids import ReplicaId
from quorate.raft.core.entries import Entry, HardState
from quorate.raft.core.messages import Message

# Events: what happens to a replica.


class Tick(NamedTuple):
    """Time has passed: deadlines are to be judged."""


class Receive(NamedTuple):
    sender: ReplicaId
    message: Message


class Propose(NamedTuple):
    """Append these, if this replica leads; one log entry each."""

    commands: list[bytes]


class Persisted(NamedTuple):
    """Every write up to and including this number is on the synced disk."""

    write: int


Event: TypeAlias = Tick | Receive | Propose | Persisted


# Effects: what a replica wants done.


class Outgoing(NamedTuple):
    receiver: ReplicaId
    message: Message


class Effects(msgspec.Struct):
    """What one step asks for.  ``raft/driver.py`` says in which order it is done, and what of it
    waits for the disk; nothing else does."""

    write: int = 0
    """The number of the write that ``hard_state`` and ``entries`` are; 0 if there is none."""
    hard_state: HardState | None = None
    entries: list[Entry] = []
    """To be persisted: they replace everything at and after the index of the first."""
    messages: list[Outgoing] = []
    accepted: bool = False
    """A ``Propose`` was appended (this replica leads)."""
