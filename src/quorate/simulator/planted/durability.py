"""Planted bugs of durability: what is on the disk when somebody relies on it."""

from typing import Any

from quorate.base.ids import ClusterId, NodeId
from quorate.raft import driver
from quorate.raft.core.messages import AppendReply, Message
from quorate.raft.wal import SEGMENT_BYTES, Spill, Wal, scan
from quorate.raft.wal.live import LiveGroup, Segment
from quorate.runtime.ports import Disk
from quorate.simulator.planted.patching import PlantedBug

_waits_for_disk = driver.waits_for_disk
_init = Wal.__init__


def _acknowledge_at_once(message: Message, durable_index: int, durable_term: bool) -> bool:
    if isinstance(message, AppendReply):
        return False
    return _waits_for_disk(message, durable_index, durable_term)


def _call_it_torn(data: bytes, path: str, offset: int, sequence: int) -> None:
    """Whatever cannot be read at the end of the log was torn."""


def _leave_it_behind(self: LiveGroup, segment: Segment) -> bool:
    if self._state_place is segment:
        self.release_state()
    return False


class _NamesLater:
    """A disk that leaves it to the kernel when a name becomes durable."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk

    def __getattr__(self, name: str) -> Any:
        return getattr(self._disk, name)

    async def sync_directory(self, directory: str) -> None:
        pass


def _name_later(
    self: Wal,
    disk: Disk,
    cluster: ClusterId,
    node: NodeId,
    segment_bytes: int = SEGMENT_BYTES,
    spill: Spill | None = None,
) -> None:
    careless: Any = _NamesLater(disk)
    _init(self, careless, cluster, node, segment_bytes, spill)


BUGS = (
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
        "a group's record lost when segments are cut",
        "a group's term and vote are not written again when the segment goes that has them",
        ((LiveGroup, "state_is_in", _leave_it_behind),),
    ),
    PlantedBug(
        "segment's name not synced",
        "a new segment of the log is synced and the directory that names it is not",
        ((Wal, "__init__", _name_later),),
    ),
)
