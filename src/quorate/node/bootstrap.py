"""How an empty data directory becomes a machine: the one explicit bootstrap of a founder, or what
``quorate join`` makes.

All founding machines derive the same numbers from the same configuration (``identity.py``).

The last eight digits of a cluster id are a digest of the founding names, so that ``--cluster-id``
on the second machine fails at once if its configuration names other machines.

The identity is written last.  A directory with a log and no identity is one whose bootstrap was
interrupted, or whose identity was lost: both are refused, since the two cannot be told apart.
"""

import re
from collections.abc import Mapping, Sequence
from contextlib import closing

from quorate.base.checksum import stable_hash
from quorate.base.errors import BadConfiguration
from quorate.base.ids import GROUP_NAMES, Address, ClusterId, NodeId
from quorate.node.config import NodeConfig
from quorate.node.identity import (
    FoundingGroup,
    FoundingMember,
    NodeIdentity,
    founding_replica,
    identity_in,
    write_identity,
)
from quorate.raft.wal import Wal
from quorate.runtime.real.disk import RealDisk


def _digest(names: Sequence[str]) -> str:
    return f"{stable_hash(chr(0).join(sorted(names)).encode()) & 0xFFFFFFFF:08x}"


def new_cluster_id(names: Sequence[str], token: str) -> ClusterId:
    """A cluster id for the founding machines ``names``; ``token`` is 24 random hex digits."""
    return ClusterId(token + _digest(names))


def founding_identity(name: str, names: Sequence[str], cluster: ClusterId) -> NodeIdentity:
    """The identity of machine ``name`` in the cluster that ``names`` found.

    Raises ``BadConfiguration`` if ``cluster`` is no cluster id, or one of other founding machines.
    """
    order = tuple(sorted(names))
    groups = _founding_groups(order, cluster)
    return NodeIdentity(cluster, NodeId(order.index(name) + 1), name, order, groups)


def joining_identity(
    name: str,
    node: NodeId,
    cluster: ClusterId,
    founders: Mapping[str, Address],
) -> NodeIdentity:
    """That of machine ``name``, which joins as ``node``; ``founders`` are those of the cluster.

    Raises ``BadConfiguration`` as ``founding_identity`` does.
    """
    order = tuple(sorted(founders))
    groups = _founding_groups(order, cluster)
    members = {
        member.replica: founders[order[member.node - 1]]
        for group in groups
        for member in group.members
    }
    return NodeIdentity(cluster, node, name, order, groups, members)


def _founding_groups(names: tuple[str, ...], cluster: ClusterId) -> tuple[FoundingGroup, ...]:
    """Those of the cluster that ``names``, in order, founded."""
    if not re.fullmatch(r"[0-9a-f]{32}", cluster):
        raise BadConfiguration(
            f"{cluster!r} is not a cluster id: it has 32 hexadecimal digits, as the bootstrap of"
            " the first machine printed them."
        )
    if cluster[24:] != _digest(names):
        raise BadConfiguration(
            f"The cluster {cluster} was founded by other machines than {', '.join(sorted(names))}:"
            " all machines must be bootstrapped with the same [[nodes]]."
        )
    nodes = [NodeId(number) for number in range(1, len(names) + 1)]
    return tuple(
        FoundingGroup(
            group,
            tuple(FoundingMember(founding_replica(group, node), node) for node in nodes),
        )
        for group in sorted(GROUP_NAMES)
    )


async def bootstrap(config: NodeConfig, cluster: ClusterId) -> NodeIdentity:
    """Make the machine of ``config`` a founder of ``cluster``.

    Raises ``BadConfiguration`` and changes nothing unless its data directory is empty or missing.
    """
    identity = founding_identity(config.name, [node.name for node in config.nodes], cluster)
    root = config.data_path
    before = identity_in(root)
    if before is not None:
        raise BadConfiguration(
            f"{root} belongs to the node {before.name!r} of the cluster {before.cluster} already:"
            " a machine is bootstrapped once; start it with 'quorate node'."
        )
    if root.is_dir() and any(root.iterdir()):
        raise BadConfiguration(
            f"{root} is not empty and holds no identity: it may have belonged to a machine that"
            " promised something, so it is left alone; name an empty directory as data_dir."
        )
    await make_machine(config, identity)
    return identity


async def make_machine(config: NodeConfig, identity: NodeIdentity) -> None:
    """Give the empty data directory of ``config`` an empty log and then its identity, durably."""
    root = config.data_path
    with (
        closing(RealDisk(root.parent)) as parent,
        closing(RealDisk(root)) as disk,
        closing(RealDisk(config.disk_path("raft"))) as raft_disk,
    ):
        await parent.sync_directory("")
        await Wal.create(raft_disk, identity.cluster, identity.node)
        await disk.sync_directory("")
        await write_identity(disk, identity)
