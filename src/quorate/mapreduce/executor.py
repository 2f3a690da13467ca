"""Running one attempt on a worker, from its assignment to the report of how it ended.

A map: fetch the split into a local file, have a task process run it, keep the regions.  A reduce:
fetch the region of each map, have a task process run it, write the lines to a file of the job's
temporary folder under the coordinator's fence.

How an attempt may end:
* Done.
* Failed for good: the user's functions raised, or the input is not what it was; so the job fails.
* A map's output is not to be had: that map and this reduce run again.
* Anything else: tried again, a few times.
"""

import asyncio
from itertools import accumulate

from quorate.base.codec import encode
from quorate.base.errors import (
    AlreadyExists,
    Fenced,
    JobFailed,
    Maybe,
    NotFound,
    QuorateError,
    Unavailable,
)
from quorate.base.ids import Address, NodeId
from quorate.base.together import together
from quorate.gfs.client import FileSystem
from quorate.mapreduce.core.commands import (
    Attempt,
    MapOutputLost,
    Range,
    TaskDone,
    TaskFailed,
)
from quorate.mapreduce.core.job import part_path
from quorate.mapreduce.map_outputs import (
    DIRECTORY,
    MapOutputStore,
    fetch_piece,
    map_output_file,
)
from quorate.mapreduce.messages import (
    Assignment,
    FetchRegion,
    GetJobFile,
    GetMapOutputs,
    JobFile,
    MapOutput,
)
from quorate.mapreduce.slots import Slots
from quorate.mapreduce.splits import read_lines
from quorate.mapreduce.tasks import (
    Damaged,
    Mapped,
    MapTask,
    Piece,
    Raised,
    ReduceTask,
    Region,
    Result,
    decode_result,
)
from quorate.raft.client import GroupClient
from quorate.rpc.client import RpcClient
from quorate.runtime.ports import File, World

_CALL_TIMEOUT_MS = 10_000.0
_FETCH_TIMEOUT_MS = 2_000.0
_FETCHES_AT_ONCE = 8
_FETCH_TRIES = 3
_PAUSE_MS = 200.0
_UPLOAD_TRIES = 5
_FENCE_WAIT_MS = 2_000.0
_WRITE_BYTES = 1 << 20


class _OutputLost(Exception):
    """The output of a map is not to be had."""

    def __init__(self, map_attempt: Attempt, reason: str) -> None:
        super().__init__(reason)
        self.map_attempt = map_attempt


class Executor:
    """Runs the attempts of one worker."""

    def __init__(
        self,
        world: World,
        rpc: RpcClient,
        coordinator: GroupClient,
        file_system: FileSystem,
        node: NodeId,
        worker: str,
        address: Address,
        slots: Slots,
        outputs: MapOutputStore,
    ) -> None:
        self._world = world
        self._rpc = rpc
        self._coordinator = coordinator
        self._files = file_system
        self._node = node
        self._worker = worker
        self._address = address
        self._slots = slots
        self._outputs = outputs
        self.fence = 0
        """The newest that a coordinator has told."""
        self._job_files: dict[int, JobFile] = {}

    def forget_job(self, job: int) -> None:
        """Remove what is left of a job that has ended."""
        self._job_files.pop(job, None)
        self._outputs.drop_job(job)
        try:
            self._world.disk.remove(f"{DIRECTORY}/{job}")
        except QuorateError as error:  # a process that was just killed may still have written there
            self._world.trace.error(f"files of job {job} stay until a restart: {error.message}")

    async def run(self, assignment: Assignment) -> TaskDone | TaskFailed | MapOutputLost:
        """Run the attempt; how it ended is never raised."""
        attempt = assignment.attempt
        try:
            self._world.disk.make_directory(f"{DIRECTORY}/{attempt.job}")
            job = await self._job_file(attempt.job)
            if attempt.kind == "map":
                return await self._map(attempt, job, assignment.split)
            return await self._reduce(attempt, job)
        except _OutputLost as lost:
            return MapOutputLost(lost.map_attempt, attempt, f"on node {self._node}: {lost}")
        except JobFailed as error:
            return self._failed(attempt, error, fatal=True)
        except QuorateError as error:
            return self._failed(attempt, error, fatal=False)

    def _failed(self, attempt: Attempt, error: QuorateError, *, fatal: bool) -> TaskFailed:
        where = f"{attempt.kind} task {attempt.task} (attempt {attempt.attempt}, node {self._node})"
        separator = "\n" if "\n" in error.message else " "
        return TaskFailed(attempt, self._worker, fatal, f"{where}:{separator}{error.message}")

    async def _job_file(self, job: int) -> JobFile:
        if job not in self._job_files:
            self._job_files[job] = await self._coordinator.call_leader(
                GetJobFile(job), timeout_ms=_CALL_TIMEOUT_MS
            )
        return self._job_files[job]

    async def _compute(self, task: MapTask | ReduceTask) -> Result:
        result = decode_result(await self._slots.run(encode(task)))
        if isinstance(result, Raised):
            raise JobFailed(result.message)
        return result

    # Map.

    async def _map(self, attempt: Attempt, job: JobFile, split: list[Range]) -> TaskDone:
        local = f"{attempt.job}/map-{attempt.task}-{attempt.attempt}.input"
        output = map_output_file(attempt)
        try:
            pieces = await self._fetch_split(split, f"{DIRECTORY}/{local}")
            result = await self._compute(
                MapTask(job.name, job.source, local, pieces, job.reduces, output)
            )
            if not isinstance(result, Mapped):
                raise Unavailable("the task process answered for another task")
            self._outputs.add(attempt, result.region_bytes)
        finally:
            self._world.disk.remove(f"{DIRECTORY}/{local}")
            if not self._outputs.has(attempt):  # a full disk, for instance, wants this back
                self._world.disk.remove(f"{DIRECTORY}/{output}")
        return TaskDone(attempt, self._worker, result.region_bytes)

    async def _fetch_split(self, split: list[Range], local: str) -> list[Piece]:
        """Write the lines of all ranges to a local file, in any order."""
        file = self._world.disk.open(local, create=True)
        turn = asyncio.Semaphore(_FETCHES_AT_ONCE)
        end = 0

        async def fetch(wanted: Range) -> Piece:
            nonlocal end
            async with turn:
                try:
                    lines = await read_lines(
                        wanted, lambda offset, length: self._read(wanted.path, offset, length)
                    )
                except NotFound as error:
                    raise JobFailed(
                        f"the input file {wanted.path} has vanished since the job was submitted"
                    ) from error
            position, end = end, end + len(lines.data)
            file.write(position, lines.data)
            return Piece(wanted.path, lines.offset, position, len(lines.data))

        try:
            return await together(map(fetch, split))
        finally:
            file.close()

    async def _read(self, path: str, offset: int, length: int) -> bytes:
        return await self._files.read(path, offset, length)

    # Reduce.

    async def _reduce(self, attempt: Attempt, job: JobFile) -> TaskDone:
        stem = f"{attempt.job}/reduce-{attempt.task}-{attempt.attempt}"
        fetched, lines = f"{stem}.regions", f"{stem}.output"
        try:
            outputs = await self._find_outputs(attempt)
            regions = await self._fetch_regions(attempt, outputs, fetched)
            result = await self._compute(ReduceTask(job.name, job.source, regions, lines))
            if isinstance(result, Damaged):
                number = outputs[result.map_task].attempt
                source = Attempt(attempt.job, "map", result.map_task, number)
                raise _OutputLost(source, f"the output of map task {source.task} is damaged")
            await self._upload(f"{DIRECTORY}/{lines}", part_path(attempt))
        finally:
            for file in (fetched, lines):
                self._world.disk.remove(f"{DIRECTORY}/{file}")
        return TaskDone(attempt, self._worker)

    async def _find_outputs(self, attempt: Attempt) -> list[MapOutput]:
        outputs: list[MapOutput] = []
        while True:
            page = await self._coordinator.call_leader(
                GetMapOutputs(attempt, len(outputs)), timeout_ms=_CALL_TIMEOUT_MS
            )
            outputs.extend(page.outputs)
            if len(outputs) >= page.total or not page.outputs:
                return outputs

    async def _fetch_regions(
        self, attempt: Attempt, outputs: list[MapOutput], local: str
    ) -> list[Region]:
        """The region of each map, in order: here already, or fetched into one local file."""
        file = self._world.disk.open(f"{DIRECTORY}/{local}", create=True)
        remote = [0 if out.address == self._address else out.region_bytes for out in outputs]
        turn = asyncio.Semaphore(_FETCHES_AT_ONCE)
        lost: list[_OutputLost] = []

        async def fetch(index: int, output: MapOutput, position: int) -> Region:
            source = Attempt(attempt.job, "map", index, output.attempt)
            async with turn:
                if lost:  # one is enough: the others need not be waited for
                    raise lost[0]
                try:
                    if output.address == self._address:
                        begin = self._local_region(source, attempt.task)
                        return Region(index, map_output_file(source), begin, output.region_bytes)
                    await self._fetch_region(source, attempt.task, output, file, position)
                except _OutputLost as error:
                    lost.append(error)
                    raise
            return Region(index, local, position, output.region_bytes)

        try:
            return await together(
                map(fetch, range(len(outputs)), outputs, accumulate(remote, initial=0))
            )
        finally:
            file.close()

    def _local_region(self, source: Attempt, reduce: int) -> int:
        if not self._outputs.has(source):
            raise _OutputLost(source, f"the output of map task {source.task} is gone")
        return self._outputs.begin(source, reduce)

    async def _fetch_region(
        self, source: Attempt, reduce: int, output: MapOutput, file: File, position: int
    ) -> None:
        if output.attempt == 0:
            raise _OutputLost(source, f"map task {source.task} is to run again")
        offset = 0
        while offset < output.region_bytes:
            data = await self._fetch_piece(
                Address(output.address),
                FetchRegion(source, reduce, offset),
                output.region_bytes - offset,
            )
            file.write(position + offset, data)
            offset += len(data)

    async def _fetch_piece(self, address: Address, request: FetchRegion, left: int) -> memoryview:
        for _ in range(_FETCH_TRIES):
            try:
                return await fetch_piece(self._rpc, address, request, left, _FETCH_TIMEOUT_MS)
            except NotFound as error:
                raise _OutputLost(request.map_attempt, error.message) from error
            except QuorateError as error:  # also of the other machine's disk
                reason = f"{error.message} (from {address})"
                await self._world.clock.sleep(_PAUSE_MS)
        raise _OutputLost(request.map_attempt, reason)

    async def _upload(self, local: str, path: str) -> None:
        """Write the local file to ``path``, which only this attempt does; so if it is there, it is
        there because an earlier try was answered too late."""
        for tries_left in reversed(range(_UPLOAD_TRIES)):
            fence = self.fence
            try:
                await self._copy(local, path, fence)
                return
            except AlreadyExists:
                return
            except Fenced:
                # The coordinator has changed; if the new one wants this attempt, a poll brings
                # its fence.
                if tries_left == 0:
                    raise
                await self._newer_fence(fence)
            except (Unavailable, Maybe):
                if tries_left == 0:
                    raise
                await self._world.clock.sleep(_PAUSE_MS)

    async def _newer_fence(self, fence: int) -> None:
        end_ms = self._world.clock.monotonic_ms() + _FENCE_WAIT_MS
        while self.fence <= fence and self._world.clock.monotonic_ms() < end_ms:
            await self._world.clock.sleep(_PAUSE_MS)

    async def _copy(self, local: str, path: str, fence: int) -> None:
        file = self._world.disk.open(local)
        try:
            writer = await self._files.create(path, fence=fence)
            try:
                offset = 0
                while data := file.read(offset, _WRITE_BYTES):
                    await writer.write(data)
                    offset += len(data)
                await writer.close()
            except BaseException:
                writer.abort()
                raise
        finally:
            file.close()
