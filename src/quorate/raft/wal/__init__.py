"""The write-ahead log of a node, shared by its Raft groups; ``format.py`` says how it works."""

from quorate.raft.wal.format import Damaged
from quorate.raft.wal.log import Stats, Wal
from quorate.raft.wal.records import Recovered

__all__ = ["Damaged", "Recovered", "Stats", "Wal"]
