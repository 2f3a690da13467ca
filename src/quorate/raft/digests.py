"""Comparing what replicas have become: digests at equal indexes.

Replicas apply the same entries to the same state, so after the same index their digests are equal;
where they are not, memory or a disk has lied below all checksums, or a state machine is not
deterministic.  Raft itself would never notice.  So each replica notes its digest at every
``EVERY``-th index, by default and always, and tells its leader.  What a majority of the voters has
is right; who differs from that is told so, takes no further step, and has to be rebuilt.
"""

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from enum import Enum

import msgspec

from quorate.base.codec import Notice
from quorate.base.errors import ReplicaDamaged
from quorate.base.ids import GROUP_NAMES, Address, GroupId, ReplicaId
from quorate.raft.core.replica import Replica, Role
from quorate.raft.messages import DigestNotice, DivergedNotice
from quorate.runtime.ports import Disk, World
from quorate.runtime.record import read_record, write_record

QUARANTINE_FILE = "quarantine.json"
EVERY = 256
KEPT = 64
"""Indexes of which a leader remembers what it was told; a follower that is further behind is
compared when it has caught up."""


class Verdict(Enum):
    EQUAL = "equal"
    DIVERGED = "diverged"
    UNKNOWN = "unknown"
    """Too few have said what they have at this index."""


class Digests:
    """What the replicas of a group have said, as one of them has heard it."""

    def __init__(self) -> None:
        self._said: OrderedDict[int, dict[ReplicaId, int]] = OrderedDict()

    def note(self, replica: ReplicaId, index: int, digest: int) -> None:
        """At ``index`` the state of ``replica`` has this digest."""
        self._said.setdefault(index, {})[replica] = digest
        while len(self._said) > KEPT:
            self._said.popitem(last=False)

    def verdict(self, replica: ReplicaId, index: int, voters: Sequence[ReplicaId]) -> Verdict:
        """Whether ``replica`` is what a majority of ``voters`` is at ``index``."""
        said = self._said.get(index, {})
        own = said.get(replica)
        votes = [said[voter] for voter in voters if voter in said]
        agreed = next((digest for digest in votes if 2 * votes.count(digest) > len(voters)), None)
        if own is None or agreed is None:
            return Verdict.UNKNOWN
        return Verdict.EQUAL if own == agreed else Verdict.DIVERGED


class Quarantine(msgspec.Struct, frozen=True):
    """What ``QUARANTINE_FILE`` holds, in the directory of a replica that must not start again."""

    group: GroupId
    index: int


class Comparison:
    """Compares one replica with the others of its group, all the time."""

    def __init__(
        self,
        world: World,
        group: GroupId,
        replica: Replica,
        addresses: Mapping[ReplicaId, Address],
        digest: Callable[[], int],
        notify: Callable[[Address, Notice], None],
    ) -> None:
        self._world = world
        self._group = group
        self._replica = replica
        self._addresses = addresses
        self._digest = digest
        self._notify = notify
        self._digests = Digests()
        self._diverged = False
        self.seen: dict[ReplicaId, int] = {}
        """Members that were told that they differ, and the first index where they did."""

    def applied(self, index: int) -> None:
        """The state stands at ``index``."""
        if index % EVERY:
            return
        own, leader = self._replica.replica, self._replica.leader
        notice = DigestNotice(self._group, own, index, self._digest())
        if self._replica.role is Role.LEADER:
            self.hear(notice)
        elif (address := self._addresses.get(leader)) is not None:
            self._notify(address, notice)

    def hear(self, notice: DigestNotice) -> None:
        """What a replica has; tell those that differ from a majority."""
        if self._replica.role is not Role.LEADER:
            return
        self._digests.note(notice.replica, notice.index, notice.digest)
        for member in self._replica.configuration.members:
            verdict = self._digests.verdict(
                member, notice.index, self._replica.configuration.voters
            )
            if verdict is not Verdict.DIVERGED:
                continue
            told = DivergedNotice(self._group, member, notice.index)
            self.seen.setdefault(member, notice.index)
            self._world.trace.event("diverged", group=self._group, replica=member)
            if member == self._replica.replica:
                self.diverged(told)
            elif (address := self._addresses.get(member)) is not None:
                self._notify(address, told)  # if that is lost, again after the next comparison

    def diverged(self, notice: DivergedNotice) -> None:
        """This replica is not what a majority is: it ends, and must be rebuilt."""
        if notice.replica != self._replica.replica or self._diverged:
            return
        self._diverged = True
        self._world.spawn(self._quarantine(notice.index), "quarantine")

    async def _quarantine(self, index: int) -> None:
        await write_record(self._world.disk, QUARANTINE_FILE, Quarantine(self._group, index))
        self._world.stop(diverged(self._group, index))


def refuse_quarantined(disk: Disk, where: str) -> None:
    """Raises ``ReplicaDamaged`` if the replicas on ``disk`` must not start again; ``where`` names
    the file in the sentence if that itself is damaged."""
    held = read_record(disk, QUARANTINE_FILE, Quarantine, where, of_replica=True)
    if held is not None:
        raise diverged(held.group, held.index)


def diverged(group: GroupId, index: int) -> ReplicaDamaged:
    """Why a replica in quarantine does not start."""
    return ReplicaDamaged(
        f"The state of group {GROUP_NAMES.get(group, str(group))} on this node differs from that of"
        f" the majority at index {index}: a disk or memory has lied, or there is a bug;"
        f" {ReplicaDamaged.ADVICE}."
    )
