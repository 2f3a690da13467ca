"""Planted bugs of snapshots: Raft §7."""

from collections.abc import Iterable, Iterator

from quorate.base.checksum import crc32c
from quorate.raft.core.entries import Snapshot
from quorate.raft.group import Group
from quorate.raft.sessions import SessionMachine
from quorate.raft.snapshots.format import END_BYTES, FRAME_BYTES, Piece, Verifier
from quorate.raft.snapshots.output import Output
from quorate.simulator.planted.patching import PlantedBug

CHECKSUM_BYTES = 4

_snapshot = SessionMachine.snapshot
_restore = SessionMachine.restore
_restored = Group._restored
_block = Verifier._block


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


def _unchecked(self: Verifier, data: bytes) -> Piece | None:
    length = int.from_bytes(data[CHECKSUM_BYTES:FRAME_BYTES], "little")
    covered = data[CHECKSUM_BYTES : FRAME_BYTES + length if length else END_BYTES]
    checksum = crc32c(self._link + covered).to_bytes(CHECKSUM_BYTES, "little")
    return _block(self, checksum + data[CHECKSUM_BYTES:])


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
        "checksums of a snapshot ignored",
        "what is read or received of a snapshot is believed, whatever has become of its bytes",
        ((Verifier, "_block", _unchecked),),
        "registers",
    ),
    PlantedBug(
        "log cut before the snapshot is synced",
        "a snapshot gets its name, and the log is cut behind it, while it is in the page cache",
        ((Output, "publish", _publish_unsynced),),
    ),
)
