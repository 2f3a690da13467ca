"""Who belongs to a group: Raft §6, with joint consensus.

* A replica obeys the latest configuration in its log, committed or not.
* While the voters change there is a joint configuration: elections and commitment need a majority
  of the old voters and one of the new.  So no moment has two majorities that do not meet, whatever
  changes at once.  When it is committed, the leader, whoever that is by then, appends the new one.
* Learners get the log and count for nothing.  A replica becomes a learner first and a voter when it
  has caught up, so that a change does not wait for an empty disk (thesis §4.2.1).
* One change at a time, and none before the leader has committed an entry of its own term.
* Ids of replicas are never used again, so what a removed replica says cannot meet its successor.
"""

import re
from collections.abc import Callable, Mapping
from typing import TypeVar

import msgspec

from quorate.base.ids import Address, ReplicaId

T = TypeVar("T", int, float)

MAX_MEMBERS = 63
"""More would not make a group safer, and each costs its leader a copy of everything."""
MAX_ADDRESS_BYTES = 200
"""So that any configuration fits into the head of a snapshot (``snapshots/format.py``)."""
MAX_LOST = 1_000
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
"""What a machine may be called."""


class Configuration(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    """As it stands in the log, in an entry of kind ``CONFIGURATION``, and in snapshots."""

    voters: tuple[ReplicaId, ...]
    addresses: dict[ReplicaId, Address]
    """Of the processes of all members."""
    learners: tuple[ReplicaId, ...] = ()
    old_voters: tuple[ReplicaId, ...] = ()
    """Those before this change, while it is under way: C_old of figure 11."""
    names: dict[ReplicaId, str] = msgspec.field(default_factory=dict)
    """What people call the machines."""
    lost: tuple[ReplicaId, ...] = ()
    """Members that a recovery from a lost majority gave up (node/recovery.py).  Together they may
    believe to be the majority that they were: nothing that they say is heard, ever."""

    @property
    def is_joint(self) -> bool:
        return bool(self.old_voters)

    @property
    def electors(self) -> tuple[ReplicaId, ...]:
        """Whose votes count, in order."""
        return tuple(dict.fromkeys((*self.voters, *self.old_voters)))

    @property
    def members(self) -> tuple[ReplicaId, ...]:
        """Who gets the log, in order."""
        return tuple(dict.fromkeys((*self.electors, *self.learners)))

    def reached(self, value: Callable[[ReplicaId], T]) -> T:
        """The highest ``value`` that a majority has reached; of both sets, while joint (§6)."""
        reached = _reached(self.voters, value)
        return min(reached, _reached(self.old_voters, value)) if self.old_voters else reached

    def is_quorum(self, says_yes: Callable[[ReplicaId], bool]) -> bool:
        """Whether a majority says yes; of both sets, while joint (§6)."""
        return self.reached(lambda replica: int(says_yes(replica))) == 1

    def after(self) -> "Configuration":
        """C_new: what follows a joint configuration."""
        return _of_members(msgspec.structs.replace(self, old_voters=()))

    def towards(self, target: "Configuration") -> "Configuration":
        """What is to be appended so that ``target`` comes into force: itself if the voters stay the
        same, else the joint configuration that leads there."""
        if set(target.voters) == set(self.voters):
            return target
        addresses, names = self.addresses | target.addresses, self.names | target.names
        return _of_members(
            Configuration(target.voters, addresses, target.learners, self.voters, names, self.lost)
        )


def _of_members(configuration: Configuration) -> Configuration:
    """Without addresses and names of others."""
    members = configuration.members
    names = configuration.names
    return msgspec.structs.replace(
        configuration,
        addresses={member: configuration.addresses[member] for member in members},
        names={member: names[member] for member in members if member in names},
    )


def founding(
    addresses: Mapping[ReplicaId, Address], names: Mapping[ReplicaId, str] | None = None
) -> Configuration:
    """That of a new group: all of them vote."""
    return Configuration(tuple(addresses), dict(addresses), names=dict(names or {}))


def _reached(voters: tuple[ReplicaId, ...], value: Callable[[ReplicaId], T]) -> T:
    values = sorted([value(voter) for voter in voters])
    return values[(len(voters) - 1) // 2]


def fault_of(configuration: Configuration) -> str | None:
    """What is wrong with it by itself; ``None`` if nothing is."""
    groups = (configuration.voters, configuration.learners, configuration.old_voters)
    if not configuration.voters:
        return "a group without voters decides nothing"
    if any(len(set(group)) != len(group) or min(group, default=1) < 1 for group in groups):
        return "a replica stands there twice, or has no id"
    if set(configuration.learners) & set(configuration.voters):  # old voters may become learners
        return "a replica is a learner and a voter"
    if len(configuration.members) > MAX_MEMBERS:
        return f"{len(configuration.members)} members; {MAX_MEMBERS} at most"
    if set(configuration.lost) & set(configuration.members) or len(configuration.lost) > MAX_LOST:
        return "a replica that was given up as lost is a member, or too many were"
    if set(configuration.addresses) != set(configuration.members):
        return "not every member has an address"
    if any(len(a.encode()) > MAX_ADDRESS_BYTES for a in configuration.addresses.values()):
        return f"an address of more than {MAX_ADDRESS_BYTES} bytes"
    if not configuration.addresses.keys() >= configuration.names.keys():
        return "a name of who is no member"
    if not all(NAME.fullmatch(name) for name in configuration.names.values()):
        return "what a machine is called is no name"
    return None
