"""Who a machine is: drawn once, at bootstrap, and never changed or reused afterwards.

``identity.json`` lies in the data directory, beside what it vouches for.  A directory without one
has promised nothing to nobody, and cannot know whether its machine once did: a node therefore
never makes one by itself (raft/wal.py: a replica that does not know what it promised must not
vote).  ``bootstrap.py`` is the only place that writes it.
"""

from contextlib import closing
from pathlib import Path

import msgspec

from quorate.base.errors import BadConfiguration
from quorate.base.ids import ClusterId, GroupId, NodeId, ReplicaId
from quorate.node.config import NodeConfig
from quorate.runtime.ports import Disk
from quorate.runtime.real.disk import RealDisk
from quorate.runtime.record import read_record, write_record

IDENTITY_FILE = "identity.json"


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

    def replica(self, group: GroupId) -> ReplicaId:
        """This machine's replica of ``group``."""
        return next(
            member.replica
            for founding in self.groups
            if founding.group == group
            for member in founding.members
            if member.node == self.node
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
    names = tuple(sorted(node.name for node in config.nodes))
    if names != identity.names:
        raise BadConfiguration(
            f"{config_file} names the nodes {', '.join(names)}, and the cluster of"
            f" {config.data_dir} was founded by {', '.join(identity.names)}: name those."
        )
    return identity
