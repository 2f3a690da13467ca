"""The table of all planted bugs."""

from quorate.simulator.planted import (
    durability,
    elections,
    kv,
    kv_reads,
    membership,
    nodes,
    reads,
    replication,
    sessions,
    snapshots,
)
from quorate.simulator.planted.patching import PlantedBug

__all__ = ["BUGS", "PlantedBug"]

BUGS: tuple[PlantedBug, ...] = (
    *elections.BUGS,
    *replication.BUGS,
    *durability.BUGS,
    *snapshots.BUGS,
    *reads.BUGS,
    *sessions.BUGS,
    *nodes.BUGS,
    *membership.BUGS,
    *kv.BUGS,
    *kv_reads.BUGS,
)
