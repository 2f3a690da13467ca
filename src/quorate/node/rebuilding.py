"""A damaged replica is rebuilt from its peers by its own node, unasked.

What a replica promised, and what it had become, stands on its own disk alone.  When that cannot be
read any more nobody knows it, so the replica is given up for ever: its machine comes back as a new
one, with another id, an empty log, the same name and the same address, and takes its own old place.
All replicas of a node share one log, so they are rebuilt together.

The order, in which each step can be the last before a crash::

    ask             a leader of each group says that this machine is a member
    rebuild.json    the new id, and why
    raft.damaged-I  the old directory ``raft``, renamed; I is the old id
    raft            an empty log of the new id
    identity.json   the new id; the old one stands in ``earlier``
    start           all processes, as the new machine
    members         a learner in each group, then one joint change from the old id to the new
                    rebuild.json is removed

* The others are those that the configuration names and those that were known last (known.py): a
  founder need not have heard of anybody when its configuration was written.
* Before somebody leads nothing is changed: with the majority lost the others could rebuild nothing,
  and what is left on this disk is for a person to look at (``quorate doctor``).
* The new id is on the disk before anything is done in its name, so that whoever goes on after a
  crash goes on with the same machine, and not with a third.
* Moving the old directory away is one rename.  While the identity is the old one, what stands in
  ``raft`` beside ``raft.damaged-I`` was begun here and has promised nothing: it is made anew.
* The identity comes after the log: until then log and identity have different ids, and no process
  starts with such a pair.  From then on the old id is nowhere but in ``raft.damaged-I``, which
  nothing reads; and the process that may still speak in its name has ended, for its lock was taken.
* Until it is promoted the new replica is no voter of any configuration, so it neither votes nor
  counts, however empty its log is (raft/core/configuration.py).
* Chunks of files keep their bytes and the id that they were stored under: the chunkserver takes
  those of ``earlier`` ids for its own (gfs/chunk_file.py).

If the new replica is damaged before it is promoted, all begins again with a third id; the change of
members then is from both.
"""

from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import TypeVar

import msgspec

from quorate.base.errors import Fenced, Maybe, QuorateError, ReplicaDamaged, Unavailable
from quorate.base.ids import Address, NodeId
from quorate.node.bootstrap import make_machine
from quorate.node.config import NodeConfig
from quorate.node.identity import NodeIdentity, drawn_node
from quorate.node.known import read_known, seeds_of
from quorate.node.lock import FileLock
from quorate.node.members import MemberChanges, require_member
from quorate.node.messages import NodeEntry
from quorate.node.peers import without_strangers
from quorate.node.survivor import RAFT_LOCK
from quorate.rpc.client import RpcClient
from quorate.rpc.handshake import Identity
from quorate.runtime.ports import Disk, World
from quorate.runtime.record import read_record, write_record

T = TypeVar("T")

REBUILD_FILE = "rebuild.json"
ASIDE = "raft.damaged-"
LOOK_MS = 3_000.0
"""For one attempt to find the leaders."""
CHANGE_MS = 60_000.0
"""For one attempt to change the members; the next goes on where that came to."""
FIRST_PAUSE_MS = 250.0
MAX_PAUSE_MS = 5_000.0
AGAIN_MS = 10_000.0
"""Before a rebuilding that met damage itself is begun again: the disk may be about to die."""
LOCK_PATIENCE_MS = 5_000.0


class RebuildRecord(msgspec.Struct, frozen=True):
    """What ``REBUILD_FILE`` holds."""

    node: NodeId
    """The id under which the machine is rebuilt."""
    why: str


def read_rebuild(disk: Disk, where: Path) -> RebuildRecord | None:
    """That of the data directory ``disk``, if its machine is being rebuilt."""
    return read_record(disk, REBUILD_FILE, RebuildRecord, f"{where}/{REBUILD_FILE}")


async def resumed(disk: Disk, config: NodeConfig, machine: NodeIdentity) -> NodeIdentity:
    """Who to start as: ``machine``, or, if its rebuilding has begun, the one that it becomes.

    ``disk`` is the data directory.  Nothing happens if there is nothing to do.
    """
    record = read_rebuild(disk, config.data_path)
    if record is None or record.node == machine.node:
        return machine
    lock = FileLock(config.data_path / RAFT_LOCK, LOCK_PATIENCE_MS)
    try:
        aside = f"{ASIDE}{machine.node}"
        if disk.exists(aside):
            disk.remove("raft")
        else:
            for older in disk.list(""):
                if older.startswith(ASIDE):
                    disk.remove(older)
            disk.rename("raft", aside)
        await disk.sync_directory("")
        doors = read_known(disk).doors | {known.name: Address(known.rpc) for known in config.nodes}
        new = _successor(doors, machine, record.node)
        await make_machine(config, new)
        return new
    finally:
        lock.release()


def _successor(doors: Mapping[str, Address], machine: NodeIdentity, node: NodeId) -> NodeIdentity:
    """A machine that joined, also if the old one was a founder."""
    where = machine.founders(doors)
    members = {
        member.replica: where[member.node]
        for group in machine.groups
        for member in group.members
        if member.node in where
    }
    earlier = (*machine.earlier, machine.node)
    return msgspec.structs.replace(machine, node=node, members=members, earlier=earlier)


class Rebuilding:
    """What one machine, from one start of its processes to the next, does about damage."""

    def __init__(
        self,
        world: World,
        config: NodeConfig,
        machine: NodeIdentity,
        say: Callable[[str], None],
    ) -> None:
        """``world.disk`` is the data directory; ``say`` hears what a person should."""
        self._world = world
        self._config = config
        self._machine = machine
        self._say = say
        doors = {known.name: Address(known.rpc) for known in config.nodes}
        self._own = doors[machine.name]
        self.unfinished = read_rebuild(world.disk, config.data_path) is not None
        """The machine was made anew, and does not have its old place yet."""
        self.needed = self.unfinished
        """A replica here is damaged, or not rebuilt yet."""

    async def until_possible(self, damage: ReplicaDamaged) -> None:
        """Return when the others can rebuild what ``damage`` says; changes nothing.

        Raises what ends the node: that there are no others, or that it was removed.
        """
        name, peers = self._machine.name, ", ".join(self._others())
        self.needed = True
        if not peers:
            raise ReplicaDamaged(
                f"{damage.message}  But no other machine is known here: if the cluster of {name}"
                " has others, name one in its configuration under [[nodes]]; an older copy of this"
                " directory has forgotten what was promised since, so it may be used only if"
                f" {name} was always alone, and then all since is lost."
            )
        self._world.trace.error(f"A replica of {name} is damaged.  {damage.message}")
        if self.unfinished:
            self._say(f"{name} was being rebuilt; that begins anew in {AGAIN_MS / 1000:.0f} s")
            await self._world.clock.sleep(AGAIN_MS)
        pause_ms, waits = FIRST_PAUSE_MS, False
        while True:
            try:
                machines = await self._ask(MemberChanges.machines, LOOK_MS)
                break
            except QuorateError as error:  # whatever it is, the others cannot help yet
                self._world.trace.event("nobody to rebuild from", why=error.message)
                if not waits:
                    self._say(
                        f"{name} waits to be rebuilt, and changes nothing until a leader of each"
                        f" group answers at {peers}: {error.message}"
                    )
            waits = True
            await self._world.clock.sleep(pause_ms)
            pause_ms = min(2 * pause_ms, MAX_PAUSE_MS)
        require_member(machines, name, (self._machine.node, *self._machine.earlier))

    async def begin(self, damage: ReplicaDamaged) -> None:
        """From here on each start of the node goes on with it; no process of it runs now."""
        record = RebuildRecord(drawn_node(), damage.message)
        await write_record(self._world.disk, REBUILD_FILE, record)
        self._say(
            f"{self._machine.name} is rebuilt from the others under the new id {record.node}; what"
            f" is damaged is kept in {ASIDE}{self._machine.node}"
        )

    async def finish(self) -> None:
        """Take the old place in all groups, beside the processes, which run."""
        entry = NodeEntry(self._machine.node, self._machine.name, self._own)
        earlier = self._machine.earlier
        while True:
            try:
                await self._ask(lambda changes: changes.rebuild(entry, earlier), CHANGE_MS)
                break
            except (Unavailable, Maybe, Fenced) as error:
                self._world.trace.event("not rebuilt yet", why=error.message)
            await self._world.clock.sleep(MAX_PAUSE_MS)
        self._world.disk.remove(REBUILD_FILE)
        await self._world.disk.sync_directory("")
        self.unfinished = self.needed = False
        self._say(f"{entry.name} is rebuilt, and has its place in all groups again")

    def _others(self) -> list[Address]:
        """Where other machines may be, as far as this one knows by now."""
        founders = self._machine.founders({}).values()
        known = (*seeds_of(self._config, read_known(self._world.disk)), *founders)
        return [door for door in dict.fromkeys(known) if door != self._own]

    async def _ask(self, work: Callable[[MemberChanges], Awaitable[T]], timeout_ms: float) -> T:
        own = Identity(self._machine.cluster, self._machine.node, "supervisor")
        rpc = RpcClient(self._world, own)
        try:
            named = [Address(node.rpc) for node in self._config.nodes]
            seeds = await without_strangers(rpc, self._others(), named)
            return await work(MemberChanges(self._world, rpc, seeds, self._say, timeout_ms))
        finally:
            await rpc.close()
