"""The write-ahead log of a node, shared by its Raft groups; ``format.py`` says how it works."""

from quorate.raft.wal.format import Damaged
from quorate.raft.wal.log import SEGMENT_BYTES, Stats, Wal
from quorate.raft.wal.records import Recovered, Spill

__all__ = ["SEGMENT_BYTES", "Damaged", "Recovered", "Spill", "Stats", "Wal"]
