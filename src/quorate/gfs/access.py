"""What all parts of the client share: the way to masters and chunkservers, and deadlines."""

from dataclasses import dataclass

from quorate.base.errors import DeadlineExceeded
from quorate.base.ids import NodeId
from quorate.raft.client import GroupClient
from quorate.rpc.client import RpcClient
from quorate.runtime.ports import Clock, World

WINDOW = 4
"""Pieces in flight at a time, for one reader, or for one writer to each of its chunkservers."""

PIECE_TIMEOUT_MS = 5_000
"""A chunkserver that takes longer for one piece counts as hung."""


@dataclass(slots=True, frozen=True)
class Access:
    """The parameters of one ``FileSystem``."""

    world: World
    rpc: RpcClient
    group: GroupClient
    timeout_ms: float
    chunk_bytes: int
    local_node: NodeId | None
    creator: str

    def deadline(self) -> "Deadline":
        """One that begins now."""
        return Deadline(self.world.clock, self.timeout_ms)


class Deadline:
    """A moment after which an operation has failed."""

    def __init__(self, clock: Clock, timeout_ms: float) -> None:
        self._clock = clock
        self._end_ms = clock.monotonic_ms() + timeout_ms

    def remaining_ms(self) -> float:
        """What is left; raises ``DeadlineExceeded`` if nothing is."""
        left_ms = self._end_ms - self._clock.monotonic_ms()
        if left_ms <= 0:
            raise DeadlineExceeded("the operation did not finish before its deadline")
        return left_ms
