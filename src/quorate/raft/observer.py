"""Eyes on every step of a replica: the simulator's safety checks; nobody in production."""

from typing import Protocol

from quorate.base.ids import Address, GroupId, ReplicaId
from quorate.raft.core.entries import Entry
from quorate.raft.core.events import Effects, Event
from quorate.raft.core.replica import Replica
from quorate.raft.messages import RaftMessages


class Observer(Protocol):
    """Told of each step, each applied entry and each notice of every replica."""

    def stepped(self, group: GroupId, replica: Replica, event: Event, effects: Effects) -> None:
        """``replica`` has just taken ``event``; ``effects`` are not yet carried out."""

    def applied(self, group: GroupId, replica: ReplicaId, entry: Entry, digest: int) -> None:
        """``entry`` has just been applied; ``digest`` is that of the state after it."""

    def restored(
        self, group: GroupId, replica: ReplicaId, index: int, term: int, digest: int
    ) -> None:
        """The state was read from a snapshot, which stands for all up to ``index``."""

    def sent(self, address: Address, notice: RaftMessages) -> None:
        """``notice`` is about to leave for ``address``."""
