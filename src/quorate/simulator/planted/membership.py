"""Planted bugs of changing members: Raft §6, thesis §4."""

from collections.abc import Callable

import msgspec

from quorate.base.ids import ReplicaId
from quorate.raft.core import election, membership, replication
from quorate.raft.core.configuration import Configuration
from quorate.raft.core.entries import Entry, configurations_in
from quorate.raft.core.events import Effects
from quorate.raft.core.replica import Replica, Role
from quorate.simulator.planted.patching import PlantedBug

_change = membership.change
_count = election._count


def _at_once(self: Configuration, target: Configuration) -> Configuration:
    return target


def _left_early(replica: Replica, target: Configuration, now_ms: float, out: Effects) -> None:
    _change(replica, target, now_ms, out)
    if out.accepted and replica.configuration.is_joint:
        membership.settle(replica, now_ms, out)


def _majority(values: list[int]) -> int:
    return sorted(values)[(len(values) - 1) // 2]


def _with_learners(self: Configuration, value: Callable[[ReplicaId], int]) -> int:
    return _majority([value(member) for member in self.members])


def _as_one_set(self: Configuration, value: Callable[[ReplicaId], int]) -> int:
    return _majority([value(elector) for elector in self.electors])


def _new_voters_only(self: Configuration, value: Callable[[ReplicaId], int]) -> int:
    return _majority([value(voter) for voter in self.voters])


def _elected_by_new_voters(replica: Replica, now_ms: float, out: Effects) -> None:
    joint = replica.configuration
    replica.configuration = msgspec.structs.replace(joint, old_voters=())
    try:
        _count(replica, now_ms, out)
    finally:
        if replica.configuration.voters == joint.voters:
            replica.configuration = joint


def _never_reverted(self: Replica, entries: list[Entry], out: Effects) -> None:
    self.configurations += configurations_in(entries)
    self._obey(out)


def _of_the_founders(self: Replica, index: int) -> Configuration:
    return self.configurations[0][1]


def _leader_counts_itself(replica: Replica) -> None:
    if replica.role is not Role.LEADER:
        return
    voters = [voter for voter in replica.configuration.voters if voter != replica.replica]
    matches = [replica.durable_index, *(replica.progress[v].match_index for v in voters)]
    index = _majority(matches)
    if index > replica.commit_index and replica.log.term(index) == replica.term:
        replica.commit_index = index


BUGS = (
    PlantedBug(
        "members changed without a joint configuration",
        "the new voters are in force at once, however many of them are new",
        ((Configuration, "towards", _at_once),),
        "registers",
    ),
    PlantedBug(
        "joint consensus left early",
        "the new configuration follows the joint one before that is committed",
        ((membership, "change", _left_early),),
        "registers",
    ),
    PlantedBug(
        "learner counted in the majority",
        "who gets the log is taken for who votes",
        ((Configuration, "reached", _with_learners),),
        "registers",
    ),
    PlantedBug(
        "joint majority of all together",
        "a majority of old and new voters in one set, not one of each",
        ((Configuration, "reached", _as_one_set),),
        "registers",
    ),
    PlantedBug(
        "joint majority of the new voters only",
        "the old ones are not asked any more as soon as a change has begun",
        ((Configuration, "reached", _new_voters_only),),
        "registers",
    ),
    PlantedBug(
        "joint election by the new voters only",
        "a candidate of a joint configuration counts the new voters' votes alone",
        ((election, "_count", _elected_by_new_voters),),
        "registers",
    ),
    PlantedBug(
        "configuration obeyed after it was truncated",
        "an entry that is replaced leaves its configuration in force",
        ((Replica, "_configure", _never_reverted),),
        "registers",
    ),
    PlantedBug(
        "snapshot with an old configuration",
        "a snapshot bears the members of the snapshot before it",
        ((Replica, "configuration_at", _of_the_founders),),
        "registers",
    ),
    PlantedBug(
        "removed leader counts itself",
        "a leader that is no voter any more takes its own log for a vote",
        (
            (replication, "advance_commit", _leader_counts_itself),
            (election, "advance_commit", _leader_counts_itself),
        ),
        "registers",
    ),
)
