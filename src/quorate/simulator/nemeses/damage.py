"""What becomes of a disk: while its machine is down, and under a process that goes on running."""

import random
from collections.abc import Callable
from functools import partial

from quorate.base.ids import GroupId
from quorate.raft.snapshots.names import DIRECTORY, Kind, parse_name
from quorate.raft.wal.format import batch_bytes, decode_batch_header
from quorate.runtime.simulated.disk import SimulatedDisk
from quorate.runtime.simulated.inodes import DirectoryInode, FileInode
from quorate.runtime.simulated.world import Simulation
from quorate.simulator.cluster import Cluster

LAST_SHARE = 0.4
"""Of the flipped bits: where a start could take damage for a torn end."""
FIRST_BATCH = 512


def flip_bit(disk: SimulatedDisk, rng: random.Random) -> None:
    """Flip one bit of the log or of a snapshot; often in the last batch that was written whole and
    may have been acknowledged."""
    segments = _segments(disk)
    if not segments:
        return  # the disk is new
    last = _batches(segments[-1])[-1:]
    older = [place for file in segments[:-1] for place in _batches(file)]
    snapshots = [(file, 0, len(file.current)) for file in _snapshots(disk).values()]
    others = [places for places in (older, snapshots) if places]
    places = last if not others or (last and rng.random() < LAST_SHARE) else rng.choice(others)
    if places:
        file, offset, length = rng.choice(places)
        file.flip_bit(offset + rng.randrange(length), rng.randrange(8))


class Rot:
    """Bits that flip in snapshots under leaders that run, and are as they were when these have
    ended: what a start makes of damage is tried with ``flip_bit``, on nodes that may be lost."""

    def __init__(self, simulation: Simulation, cluster: Cluster) -> None:
        self._simulation = simulation
        self._cluster = cluster
        self._rotten: dict[str, list[Callable[[], None]]] = {}

    def strike(self, victim: str, rng: random.Random) -> bool:
        """``victim`` is being sent a snapshot: damage the newest of each group where it is read;
        whether there was one."""
        leaders = {group: self._cluster.leader(group) for group in self._cluster.groups}
        struck = False
        for group, leader in leaders.items():
            if leader in (None, victim):
                continue
            file = _snapshots(self._simulation.machine(leader).disk).get(group)
            if file is not None and file.current:
                flip = partial(file.flip_bit, rng.randrange(len(file.current)), rng.randrange(8))
                flip()
                self._rotten.setdefault(leader, []).append(flip)
                struck = True
        return struck

    def over(self, name: str) -> None:
        """If the process of this node has ended."""
        if not self._cluster.is_up(name):
            for flip in self._rotten.pop(name, ()):
                flip()


def _segments(disk: SimulatedDisk) -> list[FileInode]:
    """Oldest first."""
    log = disk.found(("raft", "log"))
    found = sorted(log.entries.items()) if isinstance(log, DirectoryInode) else []
    return [file for name, file in found if name.endswith(".seg") and isinstance(file, FileInode)]


def _batches(file: FileInode) -> list[tuple[FileInode, int, int]]:
    """Of a segment: file, offset and length of each that is whole."""
    data, offset = bytes(file.current), FIRST_BATCH
    found: list[tuple[FileInode, int, int]] = []
    while (header := decode_batch_header(data, offset)) is not None:
        length = batch_bytes(header.payload_bytes)
        found.append((file, offset, length))
        offset += length
    return found


def _snapshots(disk: SimulatedDisk) -> dict[GroupId, FileInode]:
    """The newest of each group."""
    directory = disk.found(("raft", DIRECTORY))
    found = directory.entries.items() if isinstance(directory, DirectoryInode) else ()
    named = [(parse_name(name), file) for name, file in sorted(found)]
    return {
        name[0].group: file
        for name, file in named
        if name is not None and name[1] is Kind.WHOLE and isinstance(file, FileInode)
    }
