"""What happens to a replica (events), and what it wants done about it (effects)."""

from typing import NamedTuple, TypeAlias

import msgspec

from quorate.base.ids import ReplicaId
from quorate.raft.core.configuration import Configuration
from quorate.raft.core.entries import Entry, EntryId, HardState, Snapshot
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


class Read(NamedTuple):
    """A linearizable read, of any number of queries, wants an index: see ``reads.py``."""

    read: int
    """Unique among all that this replica, in any of its lives, has asked."""


class Change(NamedTuple):
    """Change the members of the group, if this replica leads: see ``membership.py``."""

    target: Configuration


class Transfer(NamedTuple):
    """Hand leadership over to ``target``."""

    target: ReplicaId


class PeerLost(NamedTuple):
    """The connection with the node of ``peer`` was reset: its process has probably ended."""

    peer: ReplicaId


class SnapshotTaken(NamedTuple):
    """A snapshot of this replica's own state is whole on its synced disk."""

    snapshot: Snapshot


class SnapshotInstalled(NamedTuple):
    """A snapshot that ``Effects.install`` asked for is whole on the synced disk."""

    snapshot: Snapshot


class Compact(NamedTuple):
    """Cut up to so many entries of what a snapshot stands for."""

    max_entries: int


Event: TypeAlias = (
    Tick
    | Receive
    | Propose
    | Persisted
    | Read
    | Change
    | Transfer
    | PeerLost
    | SnapshotTaken
    | SnapshotInstalled
    | Compact
)


# Effects: what a replica wants done.


class Outgoing(NamedTuple):
    receiver: ReplicaId
    message: Message


class ReadReady(NamedTuple):
    """Read ``read`` may be answered from a state that has applied ``read_index``."""

    read: int
    read_index: int


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
    """A ``Propose`` or ``Change`` was appended (this replica leads)."""
    refused: str | None = None
    """Why a ``Change`` was not begun."""
    reads: list[ReadReady] = []
    cut: EntryId | None = None
    """The log is to be cut up to and including this entry."""
    configuration: Configuration | None = None
    """Another one than before is in force."""
    install: Snapshot | None = None
    """To be fetched from the sender of the message that this step received."""
