"""Eyes on every step of a replica: the simulator's safety checks; nobody in production."""

from typing import Protocol

from quorate.base.ids import GroupId, ReplicaId
from quorate.raft.core.entries import Entry
from quorate.raft.core.events import Effects, Event
from quorate.raft.core.replica import Replica


class Observer(Protocol):
    """Told of each step and each applied entry of every replica."""

    def stepped(self, group: GroupId, replica: Replica, event: Event, effects: Effects) -> None:
        """``replica`` has just taken ``event``; ``effects`` are not yet carried out."""

    def applied(self, group: GroupId, replica: ReplicaId, entry: Entry, digest: int) -> None:
        """``entry`` has just been applied; ``digest`` is that of the state after it."""
