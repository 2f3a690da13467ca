"""The bugs.  Each says what somebody might have written, and what it breaks."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import msgspec

from quorate.base.check import check
from quorate.base.ids import GroupId
from quorate.gfs.chunk_file import ChunkOwner, pack_head
from quorate.gfs.core import output
from quorate.gfs.core.commands import OutputPart, Publish
from quorate.gfs.core.paths import join, split
from quorate.gfs.core.tree import Directory, Tree
from quorate.gfs.group_sync import GroupSync
from quorate.gfs.partial import PartialChunk
from quorate.raft import driver
from quorate.raft.core import election, replication
from quorate.raft.core.entries import NOBODY, HardState
from quorate.raft.core.messages import AppendReply, Message
from quorate.raft.core.replica import Replica, Role
from quorate.raft.group import Group
from quorate.raft.sessions import SessionCommand, SessionMachine
from quorate.raft.wal import Wal, scan


@dataclass(frozen=True, slots=True)
class PlantedBug:
    """A bug that can be put into the product and taken out again."""

    name: str
    story: str
    patches: tuple[tuple[Any, str, Any], ...]
    """Owner, attribute, replacement."""
    workload: str = "lists"
    """What catches it (simulator/run.py)."""

    @contextmanager
    def planted(self) -> Iterator[None]:
        """The product with this bug in it."""
        with ExitStack() as stack:
            for owner, name, replacement in self.patches:
                original = owner.__dict__.get(name)
                check(original is not None, f"{owner.__name__}.{name} is gone: mend this bug")
                stack.callback(setattr, owner, name, original)
                setattr(owner, name, replacement)
            yield


_set_state = Wal.set_state


def _forget_vote(self: Wal, group: GroupId, state: HardState) -> None:
    _set_state(self, group, HardState(state.term, NOBODY))


def _commit_any_term(replica: Replica) -> None:
    if replica.role is not Role.LEADER:
        return
    matches = sorted([replica.durable_index, *(p.match_index for p in replica.progress.values())])
    majority_index = matches[len(replica.voters) - replica.quorum]
    replica.commit_index = max(replica.commit_index, majority_index)


_waits_for_disk = driver.waits_for_disk


def _acknowledge_at_once(message: Message, durable_index: int, durable_term: bool) -> bool:
    if isinstance(message, AppendReply):
        return False
    return _waits_for_disk(message, durable_index, durable_term)


def _call_it_torn(data: bytes, path: str, offset: int, sequence: int) -> None:
    """Whatever cannot be read at the end of the log was torn."""


def _never_known(
    self: SessionMachine, meta: object, command: SessionCommand, applying: int
) -> None:
    return None


def _not_remembered(self: SessionMachine, session: int, sequence: int, reply: bytes) -> None:
    return None


_submit = Group.submit


def _submit_once(self: Group, command: bytes) -> Any:
    """The leader remembers the answers, in its own memory."""
    table: dict[bytes, Any] = self.__dict__.setdefault("planted_table", {})
    known = table.get(command)
    if known is None or known.cancelled() or (known.done() and known.exception() is not None):
        known = table[command] = _submit(self, command)
    return known


_publish = output.publish


def _publish_what_is_there(tree: Tree, command: Publish, time_ms: int) -> list[int]:
    path = split(command.folder)
    folder = tree.find(path)
    if isinstance(folder, Directory):
        named = {part.path: part.name for part in command.parts}
        there = {join((*path, name)): name for name, _ in tree.children(folder)}
        parts = [OutputPart(named.get(file, name), file) for file, name in there.items()]
        fence = max(folder.fence, command.fence)
        command = msgspec.structs.replace(command, parts=parts, fence=fence)
    return _publish(tree, command, time_ms)


async def _seal_unsynced(
    self: PartialChunk, owner: ChunkOwner, total: int, checksums: Sequence[int]
) -> None:
    self._file.write(0, pack_head(owner, self._handle, self._capacity, total, checksums))


async def _sync_later(self: GroupSync, directory: str) -> None:
    """Whatever the kernel will do in its own time."""


def _everywhere(name: str, replacement: Any) -> tuple[tuple[Any, str, Any], ...]:
    """Patch what the core's modules import from each other."""
    return tuple((module, name, replacement) for module in (election, replication))


BUGS = (
    PlantedBug(
        "vote not persisted",
        "the term goes to the disk, the vote does not: after a crash it is given again",
        ((Wal, "set_state", _forget_vote),),
    ),
    PlantedBug(
        "commit of an old term's entry by counting",
        "an entry of an earlier term is committed because a majority has it (figure 8)",
        _everywhere("advance_commit", _commit_any_term),
    ),
    PlantedBug(
        "acknowledgement before fsync",
        "a follower acknowledges entries that are still in the page cache",
        ((driver, "waits_for_disk", _acknowledge_at_once),),
    ),
    PlantedBug(
        "truncation on any CRC failure",
        "a bad batch at the end of the log is always taken for torn, and dropped",
        ((scan, "check_torn", _call_it_torn),),
    ),
    PlantedBug(
        "session table not replicated",
        "only the leader that was asked knows which commands it has seen",
        (
            (SessionMachine, "_known", _never_known),
            (SessionMachine, "_remember", _not_remembered),
            (Group, "submit", _submit_once),
        ),
    ),
    PlantedBug(
        "output published as what is there",
        "a job's temporary folder becomes the output with whatever lost attempts have left in it,"
        " and whoever asks, fenced or not",
        ((output, "publish", _publish_what_is_there),),
        "words",
    ),
    PlantedBug(
        "close before the chunkservers' fsync",
        "a chunk is acknowledged while it is still in the page caches",
        ((PartialChunk, "seal", _seal_unsynced), (GroupSync, "sync", _sync_later)),
        "words",
    ),
)
