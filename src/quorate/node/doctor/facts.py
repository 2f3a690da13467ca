"""What the doctor knows of a cluster, and what it says about it."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, NamedTuple

from quorate.base.ids import GROUP_NAMES, Address, ClusterId, GroupId, NodeId, ReplicaId
from quorate.node.messages import Examination, NodeDescription
from quorate.raft.core.configuration import Configuration
from quorate.raft.messages import GroupStatus


class Severity(IntEnum):
    """Also the exit code of the command."""

    WELL = 0
    RISK = 1
    """It works; something more that fails may stop it, or what it says may not be relied on."""
    STOPPED = 2
    """A group decides nothing."""


class Finding(NamedTuple):
    """One thing that the doctor says."""

    severity: Severity
    kind: str
    """One of few words, for programs."""
    sentence: str
    do: str = ""
    """What is safe to do next."""
    do_not: str = ""
    """What may lose data, and somebody might do."""
    groups: tuple[str, ...] = ()
    """Those that it is about; none: machines."""
    since_s: float | None = None
    """As far as those that answer know."""
    behind: tuple[str, ...] = ()
    """How far silent replicas are, as far as their leaders know."""

    def as_json(self) -> dict[str, Any]:
        return self._asdict() | {
            "severity": self.severity.name.lower(),
            "groups": [*self.groups],
            "behind": [*self.behind],
        }


@dataclass(slots=True)
class NodeFacts:
    """One machine, as it answers or not."""

    node: NodeId
    name: str
    rpc: Address
    why_not: str = ""
    """Why it does not answer; empty if it does."""
    description: NodeDescription | None = None
    before: list[GroupStatus] = field(default_factory=list)
    """Its replicas a moment earlier."""
    examination: Examination | None = None
    clock_ms: float = 0.0
    """Its wall clock minus the doctor's."""
    clock_error_ms: float = 0.0
    """Half the round trip: what that may be wrong by."""

    @property
    def groups(self) -> list[GroupStatus]:
        return self.description.groups if self.description is not None else []


@dataclass(slots=True)
class Facts:
    """All of it."""

    cluster: ClusterId
    nodes: list[NodeFacts]
    between_ms: float = 1_000.0
    """From the look before to the look now."""
    here: list[Finding] = field(default_factory=list)
    """What the data directory of this machine says, if it was looked at."""

    def look(self, group: GroupId) -> "GroupLook":
        """What is known of ``group``; nothing that another cluster's machine says."""
        ours = [n for n in self.nodes if n.description and n.description.cluster == self.cluster]
        seen = {
            status.replica: (node, status)
            for node in ours
            for status in node.groups
            if status.group == group
        }
        before = {
            status.replica: status
            for node in ours
            for status in node.before
            if status.group == group
        }
        return GroupLook(group, seen, before, {node.rpc: node.name for node in self.nodes})


@dataclass(slots=True)
class GroupLook:
    """One group, as those of its replicas see it that answer."""

    group: GroupId
    seen: dict[ReplicaId, tuple[NodeFacts, GroupStatus]]
    before: dict[ReplicaId, GroupStatus]
    names: dict[Address, str]

    @property
    def title(self) -> str:
        return GROUP_NAMES.get(self.group, str(self.group))

    @property
    def statuses(self) -> list[GroupStatus]:
        return [status for _, status in self.seen.values()]

    @property
    def newest(self) -> GroupStatus:
        """Who has the newest log (§5.4.1) of those that answer."""
        return max(self.statuses, key=lambda s: (s.last_term, s.last_index, -s.replica))

    @property
    def leader(self) -> GroupStatus | None:
        """Who leads, and has not been deposed by a later term."""
        leading = [status for status in self.statuses if status.role == "leader"]
        return max(leading, key=lambda status: status.term, default=None)

    @property
    def configuration(self) -> Configuration | None:
        """As its leader says, or the newest log."""
        return (self.leader or self.newest).configuration

    def name(self, replica: ReplicaId) -> str:
        """Of the machine."""
        if replica in self.seen:
            return self.seen[replica][0].name
        configuration = self.configuration
        if configuration is None:
            return f"replica {replica}"
        address = configuration.addresses.get(replica, Address(""))
        named = configuration.names.get(replica) or self.names.get(address)
        return named or f"replica {replica} ({address})"

    def all_names(self, replicas: Iterable[ReplicaId]) -> str:
        return listed([self.name(replica) for replica in replicas])

    def heard_s(self, replica: ReplicaId) -> float | None:
        """How long ago anybody who answers has heard ``replica``."""
        ages = [s.heard_ms[replica] for s in self.statuses if replica in s.heard_ms]
        return min(ages) / 1000 if ages else None


def listed(words: list[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def verb(words: int, one: str, many: str) -> str:
    return one if words == 1 else many
