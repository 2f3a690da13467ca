"""The output of finished maps on a worker's disk, and how reducers get at it.

An output is one local file with a region for each reduce task, one behind the other.  It is not
synced: if the machine dies, the map runs again (MapReduce §3.3).  Which files there are is known in
memory only, because a worker that starts anew begins with an empty folder.
"""

from itertools import accumulate

from quorate.base.checksum import crc32c
from quorate.base.errors import CorruptData, NotFound
from quorate.base.ids import Address
from quorate.mapreduce.core.commands import Attempt
from quorate.mapreduce.messages import MAX_PIECE_BYTES, FetchRegion, RegionPiece
from quorate.rpc.client import RpcClient
from quorate.rpc.server import Bulk, Call
from quorate.runtime.ports import World

DIRECTORY = "tasks"
"""Where a worker keeps all files of its tasks; the root of the task processes' disks."""


def map_output_file(attempt: Attempt) -> str:
    """Below ``DIRECTORY``."""
    return f"{attempt.job}/map-{attempt.task}-{attempt.attempt}.regions"


class MapOutputStore:
    """The outputs on this worker."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._begins: dict[Attempt, list[int]] = {}
        """Where each region begins, and where the last one ends."""

    def add(self, attempt: Attempt, region_bytes: list[int]) -> None:
        self._begins[attempt] = list(accumulate(region_bytes, initial=0))

    def has(self, attempt: Attempt) -> bool:
        return attempt in self._begins

    def begin(self, attempt: Attempt, reduce: int) -> int:
        """Where a region begins in ``map_output_file``."""
        return self._begins[attempt][reduce]

    def drop(self, attempt: Attempt) -> None:
        if self._begins.pop(attempt, None) is not None:
            self._world.disk.remove(f"{DIRECTORY}/{map_output_file(attempt)}")

    def drop_job(self, job: int) -> None:
        """Forget the outputs of ``job``; its folder is removed with all else in it."""
        for attempt in [attempt for attempt in self._begins if attempt.job == job]:
            del self._begins[attempt]

    def fetch(self, request: FetchRegion, call: Call) -> Bulk:
        """The handler of ``FetchRegion``."""
        begins = self._begins.get(request.map_attempt)
        if begins is None or not 0 <= request.reduce < len(begins) - 1 or request.offset < 0:
            raise NotFound(
                f"this worker has no output of map task {request.map_attempt.task}, attempt "
                f"{request.map_attempt.attempt}, of job {request.map_attempt.job}"
            )
        begin = begins[request.reduce] + request.offset
        length = min(begins[request.reduce + 1] - begin, MAX_PIECE_BYTES)
        file = self._world.disk.open(f"{DIRECTORY}/{map_output_file(request.map_attempt)}")
        try:
            data = file.read(begin, max(length, 0))
        finally:
            file.close()
        return Bulk(RegionPiece(crc32c(data)), (data,))


async def fetch_piece(
    rpc: RpcClient, address: Address, request: FetchRegion, length: int, timeout_ms: float
) -> memoryview:
    """The next bytes of a region of which ``length`` are left, checked; at least one of them."""
    reply, data = await rpc.call_bulk(address, request, timeout_ms=timeout_ms)
    if not 0 < len(data) <= length or crc32c(data) != reply.crc32c:
        raise CorruptData(f"a piece of map output came damaged from {address}")
    return data
