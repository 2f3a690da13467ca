"""Planted bugs of snapshots: Raft §7."""

from collections.abc import Iterable, Iterator

from quorate.raft.core.entries import Snapshot
from quorate.raft.group import Group
from quorate.raft.sessions import SessionMachine
from quorate.raft.snapshots.output import Output
from quorate.simulator.planted.patching import PlantedBug

_snapshot = SessionMachine.snapshot
_restore = SessionMachine.restore
_restored = Group._restored


def _without_table(self: SessionMachine) -> Iterator[bytes]:
    sessions, self._sessions = self._sessions, {}
    try:
        return _snapshot(self)
    finally:
        self._sessions = sessions


def _without_answers(self: SessionMachine, stream: Iterable[bytes]) -> Iterator[None]:
    yield from _restore(self, stream)
    for session in self._sessions.values():
        session.replies = {}


def _one_too_far(self: Group, snapshot: Snapshot) -> None:
    _restored(self, snapshot)
    self.last_applied += 1


async def _publish_unsynced(self: Output, path: str) -> None:
    self._disk.rename(self._path, path)


BUGS = (
    PlantedBug(
        "snapshot without its session table",
        "a snapshot holds the state, and not which commands made it",
        ((SessionMachine, "snapshot", _without_table),),
    ),
    PlantedBug(
        "snapshot without the sessions' answers",
        "who is restored from a snapshot knows the sessions, and applies again what it has applied",
        ((SessionMachine, "restore", _without_answers),),
    ),
    PlantedBug(
        "snapshot index off by one",
        "who is restored from a snapshot leaves out the first entry behind it",
        ((Group, "_restored", _one_too_far),),
    ),
    PlantedBug(
        "log cut before the snapshot is synced",
        "a snapshot gets its name, and the log is cut behind it, while it is in the page cache",
        ((Output, "publish", _publish_unsynced),),
    ),
)
