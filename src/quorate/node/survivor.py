"""What the disk of a node that does not run says of its replicas.  Changes nothing on it.

Everything is read to its last byte, log and snapshots, so whatever is damaged there is found with
its file and place.  What a log says is what its replica may have promised; up to where it is
committed it does not say: only that what a snapshot stands for was.
"""

from contextlib import closing

import msgspec

from quorate.base.codec import decode
from quorate.base.errors import BadConfiguration, CorruptData
from quorate.base.ids import GROUP_NAMES, Address, ClusterId, GroupId, NodeId, ReplicaId
from quorate.node.config import NodeConfig
from quorate.node.identity import NodeIdentity
from quorate.node.lock import is_held
from quorate.raft.core.configuration import Configuration
from quorate.raft.core.entries import (
    EntryId,
    EntryKind,
    HardState,
    Snapshot,
    configurations_in,
)
from quorate.raft.core.log import Log
from quorate.raft.digests import QUARANTINE_FILE, refuse_quarantined
from quorate.raft.proposals import LogBatch
from quorate.raft.snapshots.format import HEAD_BYTES, Verifier, decode_header, pieces
from quorate.raft.snapshots.names import DIRECTORY, Kind, parse_name, path_of
from quorate.raft.wal import Recovered
from quorate.raft.wal.recovery import read_log
from quorate.runtime.ports import Disk
from quorate.runtime.real.disk import RealDisk

RAFT_LOCK = "raft.lock"
LOCKS = ("lock", RAFT_LOCK)
"""Of the supervisor and of the process that holds the replicas, in the data directory."""
_ADVICE = "this replica cannot be restored from it."


class GroupReport(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One replica, as its disk has it."""

    group: GroupId
    replica: ReplicaId
    term: int
    last_index: int
    last_term: int
    """Of the last entry."""
    committed_index: int
    """At least so much was committed."""
    time_ms: int
    """Log time of the last change in the log; 0: it holds none behind its snapshot."""
    configuration: Configuration


class Survivor(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One node, as its disk has it: what ``quorate recover --report`` prints."""

    cluster: ClusterId
    node: NodeId
    name: str
    rpc: Address
    groups: tuple[GroupReport, ...]

    def group(self, group: GroupId) -> GroupReport:
        return next(report for report in self.groups if report.group == group)


def runs(config: NodeConfig) -> bool:
    """Whether a process works in the data directory."""
    return any(is_held(config.data_path / lock) for lock in LOCKS)


def read_survivor(config: NodeConfig, identity: NodeIdentity) -> Survivor:
    """The replicas of a node that does not run.

    Raises ``CorruptData`` for the first damage, also if a replica is in quarantine, and
    ``BadConfiguration`` if the log is not this node's, or there is none.
    """
    root = config.disk_path("raft")
    if not root.is_dir():
        raise BadConfiguration(f"{root} is missing: this node has no log.")
    with closing(RealDisk(root)) as disk:
        refuse_quarantined(disk, f"{root}/{QUARANTINE_FILE}")
        found = read_log(disk, identity.cluster, identity.node)
        groups = []
        for group in sorted(GROUP_NAMES):
            folded = found.groups.get(group)
            recovered = Recovered(HardState(), 0, 0, [])
            if folded is not None:
                entries = [entry for entry, _ in folded.current()]
                recovered = Recovered(folded.state, folded.cut_index, folded.cut_term, entries)
            snapshot = _newest_snapshot(disk, group)
            groups.append(_report(config, identity, group, recovered, snapshot))
    return Survivor(
        identity.cluster,
        identity.node,
        identity.name,
        next(Address(node.rpc) for node in config.nodes if node.name == config.name),
        tuple(groups),
    )


def _newest_snapshot(disk: Disk, group: GroupId) -> Snapshot | None:
    """Raises ``CorruptData`` if any byte of it is not what was written."""
    names = [parse_name(name) for name in disk.list(DIRECTORY)]
    ids = [id for id, kind in filter(None, names) if kind is Kind.WHOLE and id.group == group]
    if not ids:
        return None
    newest = max(ids)
    path = path_of(newest, Kind.WHOLE)
    with closing(disk.open(path)) as file:
        head = decode_header(file.read(0, HEAD_BYTES), path)
        if head is None or head[0] != newest:
            raise CorruptData(
                f"The snapshot {path} is damaged in its header; {_ADVICE}", path=path, offset=0
            )
        snapshot = Snapshot(newest, head[1], file.size(), head[2])
        for _ in pieces(file, Verifier(snapshot, path, _ADVICE)):
            continue
    return snapshot


def _report(
    config: NodeConfig,
    identity: NodeIdentity,
    group: GroupId,
    found: Recovered,
    snapshot: Snapshot | None,
) -> GroupReport:
    """As a start of the node would see it (raft/snapshotter.py)."""
    stands_for = snapshot.id.index if snapshot is not None else 0
    if stands_for < found.cut_index:
        raise CorruptData(
            f"The log of group {GROUP_NAMES[group]} was cut at {found.cut_index} and the newest"
            f" snapshot stands for {stands_for}: this replica has lost its state."
        )
    log = Log(EntryId(found.cut_index, found.cut_term), found.entries)
    if snapshot is not None and log.term(stands_for) != snapshot.id.term:
        log = Log(EntryId(stands_for, snapshot.id.term))
    entries = log.batch(stands_for + 1, 1 << 62)
    commands = [entry for entry in entries if entry.kind == EntryKind.COMMAND]
    batch: LogBatch | None = decode(commands[-1].data, LogBatch) if commands else None
    known = [configuration for _, configuration in configurations_in(entries)]
    return GroupReport(
        group,
        identity.replica(group),
        max(found.state.term, snapshot.id.term if snapshot is not None else 0),
        log.last_index,
        log.last_term,
        stands_for,
        batch.time_ms if batch is not None else (snapshot.time_ms if snapshot is not None else 0),
        _in_force(config, identity, group, known, snapshot),
    )


def _in_force(
    config: NodeConfig,
    identity: NodeIdentity,
    group: GroupId,
    known: list[Configuration],
    snapshot: Snapshot | None,
) -> Configuration:
    if known:
        return known[-1]
    if snapshot is not None:
        return snapshot.configuration
    doors = {node.name: Address(node.rpc) for node in config.nodes}
    return identity.founding(group, doors)
