"""The files of Raft snapshots; ``format.py`` says how they work."""

from quorate.raft.core.entries import Snapshot, SnapshotId
from quorate.raft.snapshots.receiving import CHUNK_BYTES, Fetch
from quorate.raft.snapshots.store import SnapshotStore

__all__ = ["CHUNK_BYTES", "Fetch", "Snapshot", "SnapshotId", "SnapshotStore"]
