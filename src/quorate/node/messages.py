"""What a node says of itself to those who look at a cluster from outside."""

import msgspec

from quorate.base.codec import Reply, Request
from quorate.base.histogram import Histogram
from quorate.base.ids import Address, ClusterId, NodeId
from quorate.gfs.messages import ChunkserverFigures
from quorate.kv.core.commands import Statistics
from quorate.kv.figures import KvFigures
from quorate.mapreduce.messages import WorkerFigures
from quorate.node.reports import RunningProcess
from quorate.raft.core.settings import Timing
from quorate.raft.figures import RaftFigures
from quorate.raft.messages import GroupStatus
from quorate.rpc.figures import RpcFigures


class NodeEntry(msgspec.Struct, array_like=True, frozen=True):
    """One machine of the cluster and its door."""

    node: NodeId
    name: str
    rpc: Address


class NodeDescription(Reply):
    """One machine as its raft process sees it."""

    cluster: ClusterId
    node: NodeId
    name: str
    version: str
    """The release of quorate that it runs."""
    nodes: list[NodeEntry]
    """All machines of the cluster, as the groups' latest configurations on this one name them."""
    groups: list[GroupStatus]
    """Its replicas."""
    processes: list[RunningProcess]
    """As its supervisor last wrote them down."""
    founders: list[NodeEntry] = msgspec.field(default_factory=list)
    """The machines that founded the cluster, and where they are or were."""
    store: Statistics | None = None
    """The key/value store, as the replica here has it."""


class DescribeNode(Request[NodeDescription], tag="node.describe.1"):
    """Asked of the ``rpc`` door of any node; answered without a leader."""


class Examination(Reply):
    """What else ``quorate doctor`` wants to know of a raft process, now."""

    wall_ms: int
    monotonic_ms: float
    disk_free_bytes: int
    sync_ms: Histogram
    """Of the log, since the process began."""
    timing: Timing
    life: str
    """Where the process runs."""
    twins: dict[NodeId, tuple[str, str]]
    """Two processes that spoke to this one in the name of one node, by node."""


class Examine(Request[Examination], tag="node.examine.1"):
    """Asked of the ``rpc`` door of any node; answered without a leader."""


class ProcessFigures(Reply):
    """What the parts of one process count; since it began."""

    rpc: RpcFigures
    notices_dropped: int
    """That could not be sent at once."""
    loop_lag_ms: Histogram
    """How late the event loop was when it was to be woken."""
    system: RaftFigures | ChunkserverFigures | WorkerFigures
    kv: KvFigures | None = None


class AskFigures(Request[ProcessFigures], tag="node.figures.1"):
    """Asked of any process of a node by its supervisor."""
