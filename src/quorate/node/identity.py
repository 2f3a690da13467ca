"""Who a machine is: drawn when it founds a cluster or joins one; ids are never used again.

A founder's id is its place among the founders' names.  A machine that joins draws one at random:
nobody has to remember which were given before, and no two machines get the same.  The id of its
replica of a group is ``group * REPLICAS_PER_GROUP + node``.

``identity.json`` lies in the data directory, beside what it vouches for.  A directory without one
has promised nothing to nobody, and cannot know whether its machine once did: a node therefore
never makes one by itself (raft/wal.py: a replica that does not know what it promised must not
vote).  ``bootstrap.py`` is the only place that writes it.

A machine whose replicas were damaged gets another id, drawn in the same way, and is a new machine
to all others: what the old one promised nobody can know (rebuilding.py).
"""

import secrets
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

import msgspec

from quorate.base.errors import BadConfiguration
from quorate.base.ids import (
    GROUP_NAMES,
    REPLICAS_PER_GROUP,
    Address,
    ClusterId,
    GroupId,
    NodeId,
    ReplicaId,
    node_of,
)
from quorate.node.config import NodeConfig
from quorate.node.known import known_in
from quorate.raft.core.configuration import Configuration, founding
from quorate.runtime.ports import Disk
from quorate.runtime.real.disk import RealDisk
from quorate.runtime.record import read_record, write_record

IDENTITY_FILE = "identity.json"
FIRST_JOINED_NODE = 1 << 16
"""Founders have smaller ids, machines that joined this one or a higher one."""


def drawn_node() -> NodeId:
    """An id that no machine has had."""
    return NodeId(FIRST_JOINED_NODE + secrets.randbelow(REPLICAS_PER_GROUP - FIRST_JOINED_NODE))


def founding_replica(group: GroupId, node: NodeId) -> ReplicaId:
    """The replica of ``group`` on ``node``: its only one there, ever."""
    return ReplicaId(group * REPLICAS_PER_GROUP + node)


class FoundingMember(msgspec.Struct, frozen=True):
    """A replica that belongs to a group from its first entry, and the machine that holds it."""

    replica: ReplicaId
    node: NodeId


class FoundingGroup(msgspec.Struct, frozen=True):
    """A Raft group as it was founded."""

    group: GroupId
    members: tuple[FoundingMember, ...]


class NodeIdentity(msgspec.Struct, frozen=True):
    """One machine of one cluster."""

    cluster: ClusterId
    node: NodeId
    name: str
    names: tuple[str, ...]
    """The founding machines; node ``i`` is ``names[i - 1]``."""
    groups: tuple[FoundingGroup, ...]
    members: dict[ReplicaId, Address] = msgspec.field(default_factory=dict)
    """Of a machine that joined: where the founders' replicas were then, as far as that was known.
    A founder's configuration says it."""
    earlier: tuple[NodeId, ...] = ()
    """Its ids before it was rebuilt, which its chunks of files may still bear."""

    @property
    def is_founder(self) -> bool:
        return self.node < FIRST_JOINED_NODE

    def replica(self, group: GroupId) -> ReplicaId:
        """This machine's replica of ``group``."""
        return founding_replica(group, self.node)

    def founders(self, doors: Mapping[str, Address]) -> dict[NodeId, Address]:
        """Where the founding machines are or were; ``doors`` knows it by name."""
        found = {node_of(replica): address for replica, address in self.members.items()}
        for number, name in enumerate(self.names, 1):
            if name in doors:
                found.setdefault(NodeId(number), doors[name])
        return found

    def founding(self, group: GroupId, doors: Mapping[str, Address]) -> Configuration:
        """The members of ``group`` when it was founded.

        Raises ``BadConfiguration`` if nobody knows where one of them was.
        """
        where = self.founders(doors)
        members = next(found.members for found in self.groups if found.group == group)
        unknown = [self.names[m.node - 1] for m in members if m.node not in where]
        if unknown:
            raise BadConfiguration(
                f"It is not known here where {', '.join(unknown)} was, which founded the cluster"
                f" {self.cluster}: name it in the configuration of {self.name} under [[nodes]]."
            )
        return founding(
            {member.replica: where[member.node] for member in members},
            {member.replica: self.names[member.node - 1] for member in members},
        )


async def write_identity(disk: Disk, identity: NodeIdentity) -> None:
    """Make ``disk`` (the data directory) that machine's, durably."""
    await write_record(disk, IDENTITY_FILE, identity)


def read_identity(disk: Disk, where: str) -> NodeIdentity | None:
    """The identity on ``disk``, or ``None``; ``where`` names the directory in error sentences.

    Raises ``BadConfiguration`` if a newer version wrote it, ``CorruptData`` if it is damaged.
    """
    return read_record(disk, IDENTITY_FILE, NodeIdentity, f"{where}/{IDENTITY_FILE}")


def identity_in(directory: Path) -> NodeIdentity | None:
    """As ``read_identity``, of a data directory that need not exist."""
    if not directory.is_dir():
        return None
    with closing(RealDisk(directory)) as disk:
        return read_identity(disk, str(directory))


def require_identity(config: NodeConfig, config_file: Path) -> NodeIdentity:
    """The identity of the machine of ``config``; raises ``BadConfiguration`` if it does not fit."""
    identity = identity_in(config.data_path)
    if identity is None:
        raise BadConfiguration(
            f"{config.data_dir} holds no identity, and a node never bootstraps by itself: for the"
            f" first start of a new cluster run 'quorate bootstrap --config {config_file}'; if"
            " this machine was in the cluster before and lost its disk, it must be replaced by a"
            " new member."
        )
    if identity.name != config.name:
        raise BadConfiguration(
            f"{config.data_dir} belongs to the node {identity.name!r}, and {config_file} is the"
            f" configuration of {config.name!r}: give each node its own data_dir."
        )
    if [group.group for group in identity.groups] != sorted(GROUP_NAMES):
        raise BadConfiguration(
            f"{config.data_dir} was made by another version of quorate, whose clusters had other"
            " groups: go on with that version, or begin with an empty directory."
        )
    names = sorted(node.name for node in config.nodes)
    known = known_in(config.data_path).doors
    if not identity.is_founder and len(names) < 2 and not known:
        raise BadConfiguration(
            f"{config_file} names no machine but {identity.name!r} itself, which joined the cluster"
            f" {identity.cluster} of others: name at least one more that is in it under [[nodes]]."
        )
    if identity.is_founder and not {*names, *known}.issuperset(identity.names):
        raise BadConfiguration(
            f"{config_file} names the nodes {', '.join(names)}, and the cluster of"
            f" {config.data_dir} was founded by {', '.join(identity.names)}: name those, too."
        )
    return identity
