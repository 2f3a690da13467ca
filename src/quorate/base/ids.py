"""Names for the numbers that must not be mixed up.

Cluster, node and replica ids are never reused: a machine that lost its disk comes back as
somebody else.  They are drawn once, at bootstrap, and stand in every handshake and on every disk.
"""

from typing import NewType

ClusterId = NewType("ClusterId", str)
"""32 hexadecimal digits, drawn at bootstrap."""

NodeId = NewType("NodeId", int)
"""A machine of the cluster: a founder's is 1, 2, … in the order of their names, that of one that
joined is drawn at random, above all of these."""

ReplicaId = NewType("ReplicaId", int)
"""One replica of one group on one disk; unique in the cluster, never reused."""

GroupId = NewType("GroupId", int)
"""A Raft group."""

REPLICAS_PER_GROUP = 1 << 32
"""The id of a machine's replica of a group is ``group * REPLICAS_PER_GROUP + node``."""


def node_of(replica: ReplicaId) -> NodeId:
    """The machine that holds ``replica``."""
    return NodeId(replica % REPLICAS_PER_GROUP)


Address = NewType("Address", str)
"""``host:port`` of one listening process (in the simulated world: ``node:role``)."""

NAMESPACE_GROUP = GroupId(1)
"""The group that holds the file system's namespace."""

JOBS_GROUP = GroupId(2)
"""The group that holds the table of MapReduce jobs."""

KV_GROUP = GroupId(3)
"""The group that holds the keys and values."""

GROUP_NAMES = {NAMESPACE_GROUP: "namespace", JOBS_GROUP: "jobs", KV_GROUP: "kv"}
