"""Submitting jobs and following them."""

from collections.abc import Callable, Sequence

from quorate.base.codec import encode
from quorate.base.errors import AlreadyExists, BadInput, JobFailed, NotFound
from quorate.base.ids import JOBS_GROUP, Address
from quorate.gfs.client import FileSystem
from quorate.mapreduce.core.commands import (
    AddSplits,
    CancelJob,
    JobProgress,
    ListJobs,
    ListWorkers,
    OpenJob,
    Range,
    StartJob,
    WorkerStatus,
)
from quorate.mapreduce.core.job_table import MAX_REDUCES
from quorate.mapreduce.job_file import check_source
from quorate.mapreduce.messages import WatchJob
from quorate.mapreduce.splits import MINIMUM_BYTES, plan_splits
from quorate.raft.client import GroupClient
from quorate.rpc.client import RpcClient
from quorate.runtime.ports import World

TIMEOUT_MS = 30_000.0
_MAX_PAGE_BYTES = 128 << 10
_TEMPORARY = "/_jobs/"


class JobClient:
    """Jobs of the cluster whose nodes' "rpc" doors are ``addresses``.

    Every call may raise ``Unavailable``, or ``Maybe`` where it changes something.
    """

    def __init__(
        self,
        world: World,
        rpc: RpcClient,
        addresses: Sequence[Address],
        *,
        timeout_ms: float = TIMEOUT_MS,
    ) -> None:
        self._world = world
        self._timeout_ms = timeout_ms
        self._jobs = GroupClient(world, rpc, addresses, JOBS_GROUP)
        self._files = FileSystem(world, rpc, addresses)

    async def submit(
        self,
        name: str,
        source: bytes,
        inputs: Sequence[str],
        output: str,
        *,
        reduces: int | None = None,
        minimum_split_bytes: int = MINIMUM_BYTES,
    ) -> int:
        """Start a job; gives its id.

        ``name`` and ``source`` are the job file's (``job_file.read_job_file``); ``inputs`` are
        patterns of files, or folders, read in this order, each pattern's files by path; ``reduces``
        is the number of output files, else the number of task slots in the cluster;
        ``minimum_split_bytes`` is what a map task reads at least, if there is so much.  Raises
        ``BadInput``, ``NotFound`` (an input) or ``AlreadyExists`` (the output).
        """
        check_source(name, source)
        files = await self._input_files(inputs)
        await self._refuse_existing(output)
        splits = plan_splits(files, minimum_split_bytes)
        if reduces is None:
            slots = sum(worker.slots for worker in await self.workers())
            reduces = min(max(1, slots), MAX_REDUCES)
        token = f"{self._world.random.getrandbits(128):032x}"
        job = await self._jobs.execute(
            OpenJob(token, name, source, reduces, output), timeout_ms=self._timeout_ms
        )
        for first, page in _pages(splits):
            await self._jobs.execute(AddSplits(job, first, page), timeout_ms=self._timeout_ms)
        await self._jobs.execute(StartJob(job, len(splits)), timeout_ms=self._timeout_ms)
        return job

    async def _input_files(self, inputs: Sequence[str]) -> list[tuple[str, int]]:
        """Path and size of each input file, once, in order."""
        if not inputs:
            raise BadInput("a job needs at least one input file")
        files: dict[str, int] = {}
        for pattern in inputs:
            found: dict[str, int] = {}
            for status in await self._files.glob(pattern):
                below = [status]
                if status.type == "directory":
                    below = await self._files.walk(status.path)
                found.update((file.path, file.size) for file in below)
            mine = {path: size for path, size in found.items() if not path.startswith(_TEMPORARY)}
            if not mine:
                raise NotFound(f"no file matches the input {pattern}; see `quorate fs ls`")
            for path in sorted(mine):
                files.setdefault(path, mine[path])
        return list(files.items())

    async def _refuse_existing(self, output: str) -> None:
        try:
            await self._files.stat(output)
        except NotFound:
            return
        raise AlreadyExists(f"the output {output} exists; choose another one or delete it")

    async def progress(self, job: int, seen: int = -1) -> JobProgress:
        """The job as it is; waits up to a second for ``changes`` to be more than ``seen``."""
        return await self._jobs.call_leader(WatchJob(job, seen), timeout_ms=self._timeout_ms)

    async def wait(
        self, job: int, on_progress: Callable[[JobProgress], object] | None = None
    ) -> JobProgress:
        """Follow the job to its end, calling ``on_progress`` after each change.

        Raises ``JobFailed`` if it has no output, and ``Unavailable`` if there is no leader for
        longer than the client's timeout.
        """
        seen = -1
        while True:
            progress = await self.progress(job, seen)
            if progress.changes <= seen:
                continue
            seen = progress.changes
            if on_progress is not None:
                on_progress(progress)
            if progress.state == "done":
                return progress
            if progress.state == "failed":
                raise JobFailed(progress.error)
            if progress.state == "cancelled":
                raise JobFailed(f"job {job} was cancelled")

    async def cancel(self, job: int) -> None:
        """End the job without output; raises ``BadInput`` if it is too late."""
        await self._jobs.execute(CancelJob(job), timeout_ms=self._timeout_ms)

    async def list_jobs(self) -> list[JobProgress]:
        """All jobs that the cluster remembers, oldest first."""
        return await self._jobs.query(ListJobs(), timeout_ms=self._timeout_ms)

    async def workers(self) -> list[WorkerStatus]:
        """The registered workers."""
        return await self._jobs.query(ListWorkers(), timeout_ms=self._timeout_ms)


def _pages(splits: list[list[Range]]) -> list[tuple[int, list[list[Range]]]]:
    """``splits`` in pages that fit into an entry of the log, each with its first index."""
    pages: list[tuple[int, list[list[Range]]]] = []
    page_bytes = _MAX_PAGE_BYTES
    for index, split in enumerate(splits):
        size = len(encode(split))
        if page_bytes + size > _MAX_PAGE_BYTES:
            pages.append((index, []))
            page_bytes = 0
        pages[-1][1].append(split)
        page_bytes += size
    return pages
