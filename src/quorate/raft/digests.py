"""Comparing what replicas have become: digests at equal indexes.

Replicas apply the same entries to the same state, so after the same index their digests are equal;
where they are not, memory or a disk has lied below all checksums, or a state machine is not
deterministic.  Raft itself would never notice.  So each replica notes its digest at every
``EVERY``-th index, by default and always, and tells its leader.  What a majority of the voters has
is right; who differs from that is told so, takes no further step, and has to be rebuilt.
"""

from collections import OrderedDict, deque
from collections.abc import Callable, Mapping, Sequence
from enum import Enum

import msgspec

from quorate.base.codec import Notice
from quorate.base.errors import ProtocolError, QuorateError, ReplicaDamaged
from quorate.base.ids import GROUP_NAMES, Address, GroupId, NodeId, ReplicaId, node_of
from quorate.raft.core.entries import NOBODY
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
        self._told: deque[int] = deque(maxlen=KEPT)
        """The latest indexes whose digest this replica has told its leader."""
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
            self._told.append(index)
            self._notify(address, notice)

    def hear(self, notice: DigestNotice) -> None:
        """What a replica has; tell those that differ from a majority."""
        replica = self._replica
        if replica.role is not Role.LEADER or notice.replica not in replica.configuration.addresses:
            return
        if notice.index % EVERY or notice.index > replica.log.last_index:
            raise ProtocolError(
                f"replica {notice.replica} has a digest at index {notice.index}, where none is told"
            )
        self._digests.note(notice.replica, notice.index, notice.digest)
        configuration = replica.configuration
        for member in configuration.members:
            verdict = self._digests.verdict(member, notice.index, configuration.voters)
            if verdict is not Verdict.DIVERGED:
                continue
            self._found(member, notice.index)
            if member == replica.replica:
                self._end(notice.index)
            elif (address := self._addresses.get(member)) is not None:
                # If that is lost, again after the next comparison.
                self._notify(address, DivergedNotice(self._group, member, notice.index))

    def _found(self, member: ReplicaId, index: int) -> None:
        if member not in self.seen:
            name = self._replica.configuration.names.get(member, f"replica {member}")
            self._world.trace.error(
                f"The state of group {GROUP_NAMES.get(self._group, str(self._group))} on {name}"
                f" differs from the majority's at index {index}: it is told to end, and its node"
                " rebuilds it; examine that machine's memory and disk."
            )
        self.seen.setdefault(member, index)
        self._world.trace.event("diverged", group=self._group, replica=member)

    def told(self, notice: DivergedNotice, node: NodeId) -> None:
        """A leader's word that this replica is not what a majority is.

        Whoever is not its leader, or speaks of what it was never told, is not believed: the notice
        makes a replica discard itself.
        """
        leader = self._replica.leader
        if leader == NOBODY or node_of(leader) != node or leader == self._replica.replica:
            return
        if notice.replica == self._replica.replica and notice.index in self._told:
            self._end(notice.index)

    def _end(self, index: int) -> None:
        """This replica must be rebuilt."""
        if not self._diverged:
            self._diverged = True
            self._world.spawn(self._quarantine(index), "quarantine")

    async def _quarantine(self, index: int) -> None:
        try:
            held = Quarantine(self._group, index)
            await write_record(self._world.disk, QUARANTINE_FILE, held)
        except QuorateError as error:  # what it ends with still has its supervisor rebuild it
            self._world.trace.error(f"no record of the quarantine was left: {error.message}")
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
