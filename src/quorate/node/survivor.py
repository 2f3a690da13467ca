"""What the disk of a node that does not run says of its replicas.  Changes nothing on it.

Everything is read to its last byte, log and snapshots, so whatever is damaged there is found with
its file and place.  What a log says is what its replica may have promised; up to where it is
committed it does not say: only that what a snapshot stands for was.
"""

from collections.abc import Callable
from contextlib import closing
from dataclasses import replace

import msgspec

from quorate.base.codec import decode
from quorate.base.errors import BadConfiguration
from quorate.base.ids import GROUP_NAMES, Address, ClusterId, GroupId, NodeId, ReplicaId
from quorate.node.config import NodeConfig
from quorate.node.identity import NodeIdentity
from quorate.node.lock import is_held
from quorate.raft.core.configuration import Configuration
from quorate.raft.core.entries import EntryKind, HardState
from quorate.raft.core.replica import Replica
from quorate.raft.core.settings import Limits, Timing
from quorate.raft.digests import QUARANTINE_FILE, refuse_quarantined
from quorate.raft.proposals import LogBatch
from quorate.raft.snapshots import SnapshotStore
from quorate.raft.snapshotter import start_of_log, start_of_term
from quorate.raft.wal import Recovered, Wal
from quorate.raft.wal.recovery import read_log
from quorate.runtime.ports import World
from quorate.runtime.real.disk import RealDisk
from quorate.runtime.real.world import close_world, real_world, run

RAFT_LOCK = "raft.lock"
LOCKS = ("lock", RAFT_LOCK)
"""Of the supervisor and of the process that holds the replicas, in the data directory."""


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


class _Untouched(RealDisk):
    """A disk as it is: what a start would tidy up on it stays."""

    def make_directory(self, path: str) -> None:
        """Nothing is made."""

    def rename(self, source: str, target: str) -> None:
        """Nothing is renamed."""

    def remove(self, path: str) -> None:
        """Nothing is removed."""

    async def sync_directory(self, directory: str) -> None:
        """There is nothing to sync."""


class _Errors:
    """A trace, of which only that is heard which an operator must read."""

    def __init__(self, hear: Callable[[str], None]) -> None:
        self.error = hear

    def event(self, name: str, **facts: object) -> None:
        """Not heard."""


def read_survivor(
    config: NodeConfig, identity: NodeIdentity, warn: Callable[[str], None]
) -> Survivor:
    """The replicas of a node that does not run.

    ``warn`` hears of damage that a start survives.  Raises ``CorruptData`` for the first that it
    does not survive, also if a replica is in quarantine, and ``BadConfiguration`` if the log is not
    this node's, or there is none.
    """
    root = config.disk_path("raft")
    if not root.is_dir():
        raise BadConfiguration(f"{root} is missing: this node has no log.")
    groups: list[GroupReport] = []

    async def main() -> None:
        world = real_world(root, trace=_Errors(warn))
        try:
            with closing(_Untouched(root)) as disk:
                groups.extend(await _read(replace(world, disk=disk), config, identity))
        finally:
            await close_world(world)

    run(main)
    return Survivor(
        identity.cluster,
        identity.node,
        identity.name,
        next(Address(node.rpc) for node in config.nodes if node.name == config.name),
        tuple(groups),
    )


async def _read(world: World, config: NodeConfig, identity: NodeIdentity) -> list[GroupReport]:
    """All replicas come to life as they do at a start (raft/node.py), by the same functions."""
    refuse_quarantined(world.disk, f"{config.disk_path('raft')}/{QUARANTINE_FILE}")
    found = read_log(world.disk, identity.cluster, identity.node)
    # Not opened: what a start would note in the log stays in memory.
    wal = Wal(world.disk, identity.cluster, identity.node)
    store = await SnapshotStore.open(world)
    doors = {node.name: Address(node.rpc) for node in config.nodes}
    groups = []
    for group in sorted(GROUP_NAMES):
        recovered = Recovered(HardState(), 0, 0, [])
        if (folded := found.groups.get(group)) is not None:
            entries = [entry for entry, _ in folded.current()]
            recovered = Recovered(folded.state, folded.cut_index, folded.cut_term, entries)
        snapshot = store.newest(group)
        log = start_of_log(wal, group, recovered, snapshot)
        if snapshot is not None:
            for _ in store.read(snapshot):  # whatever is wrong in it is raised
                continue
        replica = Replica(
            identity.replica(group),
            identity.founding(group, doors),
            log,
            start_of_term(wal, group, recovered.state, snapshot),
            now_ms=0.0,
            draw=lambda: 0.0,
            timing=Timing(),
            limits=Limits(),
            snapshot=snapshot,
        )
        groups.append(_report(group, replica))
    return groups


def _report(group: GroupId, replica: Replica) -> GroupReport:
    log, snapshot = replica.log, replica.snapshot
    entries = log.batch(replica.commit_index + 1, 1 << 62)
    commands = [entry for entry in entries if entry.kind == EntryKind.COMMAND]
    batch: LogBatch | None = decode(commands[-1].data, LogBatch) if commands else None
    return GroupReport(
        group,
        replica.replica,
        replica.term,
        log.last_index,
        log.last_term,
        replica.commit_index,
        batch.time_ms if batch is not None else (snapshot.time_ms if snapshot is not None else 0),
        replica.configuration,
    )
