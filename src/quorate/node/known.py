"""The machines of the cluster as this one last knew them: seeds, to find it again by.

A configuration file grows old: machines join and leave.  So the raft process writes down who
belongs to each configuration that it knows to be committed (``peers.py``), in ``KNOWN_FILE`` beside
``identity.json``.  It alone writes there, under its lock, and each write replaces the whole; all
processes of the machine read, when they start or need it.  The folder ``raft`` may be set aside
(``rebuilding.py``): the record stays where it is.

* Nothing is decided by it.  Who is asked says himself who leads, and of which cluster he is; so an
  old record costs a call in vain, and one that cannot be read is none.
* A replica that reads its log again passes by configurations that are long past: nothing is taken
  from one that has applied less than the record has seen.
* Founders that left stand there too: every machine that joins must know where they were.
"""

from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

import msgspec

from quorate.base.errors import QuorateError
from quorate.base.ids import Address, GroupId, NodeId
from quorate.node.config import NodeConfig
from quorate.node.messages import NodeEntry
from quorate.runtime.ports import Disk
from quorate.runtime.real.disk import RealDisk
from quorate.runtime.record import read_record, write_record

KNOWN_FILE = "known.json"
MAX_GONE = 1_000
"""Machines that left, of which the record tells; the founders, whose ids are lowest, first."""


class KnownGroup(msgspec.Struct, frozen=True):
    """The members of one group."""

    applied: int
    """What its replica here had applied then."""
    machines: tuple[NodeEntry, ...]


class Known(msgspec.Struct, frozen=True):
    """What ``KNOWN_FILE`` holds."""

    groups: dict[GroupId, KnownGroup] = msgspec.field(default_factory=dict)
    gone: tuple[NodeEntry, ...] = ()
    """Machines that belonged to the cluster and do no more."""

    @property
    def machines(self) -> list[NodeEntry]:
        """All that belong to a group, in order."""
        found = {entry.node: entry for known in self.groups.values() for entry in known.machines}
        return [found[node] for node in sorted(found)]

    @property
    def doors(self) -> dict[str, Address]:
        """Where the machines are, or last were, by name; those that left, too."""
        return {entry.name: entry.rpc for entry in (*self.gone, *self.machines)}

    def with_group(
        self, group: GroupId, now: KnownGroup, founders: Iterable[NodeEntry] = ()
    ) -> "Known":
        """This, and that ``group`` is ``now``; ``founders`` belonged to the cluster once."""
        before = self.groups.get(group)
        if before is not None and (now.applied < before.applied or now.machines == before.machines):
            return self
        known = Known({**self.groups, group: now})
        were: dict[NodeId, NodeEntry] = {entry.node: entry for entry in founders}
        were |= {entry.node: entry for entry in (*self.gone, *self.machines)}
        left = sorted(were.keys() - {entry.node for entry in known.machines})
        return Known(known.groups, tuple(were[node] for node in left[:MAX_GONE]))


def read_known(disk: Disk) -> Known:
    """That of the data directory ``disk``; empty if there is none, or it cannot be read."""
    try:
        return read_record(disk, KNOWN_FILE, Known, KNOWN_FILE) or Known()
    except QuorateError:
        return Known()


def known_in(directory: Path) -> Known:
    """As ``read_known``, of a data directory that need not exist."""
    if not directory.is_dir():
        return Known()
    with closing(RealDisk(directory)) as disk:
        return read_known(disk)


async def write_known(directory: Path, known: Known) -> None:
    """Replace the record in the data directory, durably."""
    with closing(RealDisk(directory)) as disk:
        await write_record(disk, KNOWN_FILE, known)


def seeds_of(config: NodeConfig, known: Known) -> list[Address]:
    """Where to ask for the cluster: what the configuration says, and then what is known."""
    named = [Address(node.rpc) for node in config.nodes]
    return list(dict.fromkeys((*named, *(entry.rpc for entry in known.machines))))


def names_removed(config: NodeConfig, known: Known) -> str | None:
    """A sentence, if the configuration names machines that do not belong to the cluster any more.

    It is no reason to stop: after others were removed each machine must still be able to start.
    """
    belong = {entry.name for entry in known.machines} | {config.name}
    gone = sorted(
        {node.name for node in config.nodes} & {entry.name for entry in known.gone} - belong
    )
    if not gone:
        return None
    were, them = ("was", "it") if len(gone) == 1 else ("were", "them")
    return (
        f"The configuration of {config.name} names {' and '.join(gone)}, which {were} removed from"
        f" the cluster: take {them} out of its [[nodes]]; {config.name} goes on without {them}."
    )
