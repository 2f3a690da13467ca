"""The coordinator: what the leader of the job group does for workers and clients (§3).

Theory of operation:
* The job table (core/job_table.py) remembers; this service only asks and proposes.  A poll of a
  worker is answered from the applied state; ``AssignTasks`` is proposed only when that state shows
  work for it.  An idle cluster writes nothing to the log.
* A poll names the attempts that the worker knows of.  The reply names those that the table has for
  it besides, so an assignment whose reply was lost is simply told again.
* Whether a worker lives is what this leader has seen itself: a poll within the last three seconds
  of its own clock.  A new leader gives every worker these seconds anew.
* Each leadership shows its term as its *fence*: before it gives out a task it has raised the fence
  of every active job's temporary folder, so what an older coordinator sends too late is refused.
* When all reduces of a job are done, one command of the namespace moves their files into the output
  folder.  It may be sent again by whoever leads then.  Folders of jobs that failed are dropped.
"""

import asyncio
from collections.abc import Awaitable
from typing import Any

from quorate.base.codec import Command, Request
from quorate.base.errors import (
    AlreadyExists,
    BadInput,
    Fenced,
    NotFound,
    QuorateError,
)
from quorate.gfs.client import FileSystem
from quorate.mapreduce.core.commands import (
    AssignTasks,
    FailJob,
    JobCleaned,
    JobProgress,
    JobPublished,
    Progress,
    RegisterWorker,
    WorkerLost,
)
from quorate.mapreduce.core.job import Job, Worker, part_name
from quorate.mapreduce.core.job_table import MAX_ASSIGNED_AT_ONCE, JobTable
from quorate.mapreduce.messages import (
    Assignment,
    GetJobFile,
    GetMapOutputs,
    JobFile,
    MapOutput,
    MapOutputs,
    PollReply,
    PollTasks,
    Report,
    WatchJob,
)
from quorate.raft.group import Group
from quorate.rpc.server import Call, Handler
from quorate.runtime.ports import World

HOLD_MS = 1000.0
"""How long a poll or watch waits for something to say."""
WORKER_TIMEOUT_MS = 3000.0
_ROUND_MS = 500.0
_PROPOSE_TIMEOUT_MS = 3000.0
_OUTPUTS_A_PAGE = 2000
_MAX_SLOTS = 1024


class Coordinator:
    """Beside each replica of the job group; ``requests`` goes into the table of the process's
    ``RpcServer``.  Idle unless its replica leads."""

    def __init__(
        self, world: World, group: Group, table: JobTable, file_system: FileSystem
    ) -> None:
        self._world = world
        self._group = group
        self._table = table
        self._files = file_system
        self.requests: dict[type[Request[Any]], Handler] = {
            PollTasks: self._poll,
            Report: self._report,
            GetJobFile: self._job_file,
            GetMapOutputs: self._map_outputs,
            WatchJob: self._watch,
        }
        self._duties: asyncio.Task[None] | None = None
        self._fence = 0
        """The term of this leadership."""
        self._prepared: dict[int, None] = {}
        """Jobs whose temporary folder has this fence."""
        self._heard_ms: dict[str, float] = {}
        """When each worker polled last, on this machine's clock."""
        self._change = asyncio.Event()
        group.on_applied(self._wake)
        group.on_leadership(self._leadership)

    # Leadership.

    def _leadership(self, leads: bool) -> None:
        if self._duties is not None:
            self._duties.cancel()
            self._duties = None
        if leads:
            self._fence = self._group.term
            self._prepared = {}
            self._heard_ms = {}
            self._duties = self._world.spawn(self._lead(), "coordinator")
        self._wake()

    def _wake(self) -> None:
        change, self._change = self._change, asyncio.Event()
        change.set()

    async def _changed_within(self, timeout_ms: float) -> None:
        """Wait until something was applied, or the time has passed."""
        change = self._change
        try:
            async with asyncio.timeout(max(timeout_ms, 0) / 1000):
                await change.wait()
        except TimeoutError:
            return

    async def _lead(self) -> None:
        """The duties of a leader, until the task is cancelled."""
        while True:
            change = self._change
            for work in (self._drop_silent_workers, self._see_to_jobs):
                await self._attempt(work())
            if change is self._change:
                await self._changed_within(_ROUND_MS)

    async def _attempt(self, work: Awaitable[None]) -> None:
        """What cannot be done now, for want of a leader or a majority, is tried again later."""
        try:
            await work
        except QuorateError as error:
            self._world.trace.event("coordinator waits", reason=error.message)
            await self._world.clock.sleep(_ROUND_MS)

    async def _propose(self, command: Command[Any]) -> Any:
        return await self._group.execute(command, timeout_ms=_PROPOSE_TIMEOUT_MS)

    async def _drop_silent_workers(self) -> None:
        now_ms = self._world.clock.monotonic_ms()
        heard_ms = self._heard_ms
        self._heard_ms = {worker: heard_ms.get(worker, now_ms) for worker in self._table.workers}
        for worker, last_ms in list(self._heard_ms.items()):
            silent_ms = now_ms - last_ms
            if silent_ms > WORKER_TIMEOUT_MS:
                self._world.trace.event("worker lost", worker=worker, silent_ms=round(silent_ms))
                await self._propose(WorkerLost(worker))

    # Output folders.

    async def _see_to_jobs(self) -> None:
        for job in list(self._table.jobs.values()):
            if job.active and job.job not in self._prepared:
                await self._prepare(job)
            if job.state == "publishing" and job.job in self._prepared:
                await self._publish(job)
            if job.finished:
                self._prepared.pop(job.job, None)
            if job.finished and not job.cleaned:
                await self._files.drop_output(job.folder, owner=job.owner, fence=self._fence)
                await self._propose(JobCleaned(job.job))

    async def _prepare(self, job: Job) -> None:
        """Make the temporary folder of ``job``, or take it over from the leader before."""
        if await self._or_fail(job, self._prepare_output(job)):
            self._prepared[job.job] = None
            self._wake()

    async def _prepare_output(self, job: Job) -> None:
        published = await self._files.prepare_output(
            job.folder, job.output, owner=job.owner, fence=self._fence
        )
        if published and job.state != "publishing":
            raise AlreadyExists(f"{job.output} exists; choose another output folder or delete it")

    async def _publish(self, job: Job) -> None:
        parts = [(part_name(task), job.part_path(task)) for task in range(len(job.reduces))]
        publishing = self._files.publish(
            job.folder, job.output, parts, owner=job.owner, fence=self._fence
        )
        if await self._or_fail(job, publishing):
            await self._propose(JobPublished(job.job))

    async def _or_fail(self, job: Job, work: Awaitable[object]) -> bool:
        """Whether ``work`` was done; the job fails if it can never be done."""
        try:
            await work
        except Fenced as error:
            # Either a newer coordinator has raised the fence, and then this one can have nothing
            # more decided, or the folder was deleted behind our back.
            await self._group.barrier(timeout_ms=_PROPOSE_TIMEOUT_MS)
            await self._propose(FailJob(job.job, error.message))
            return False
        except (AlreadyExists, NotFound, BadInput) as error:
            await self._propose(FailJob(job.job, error.message))
            return False
        return True

    # Workers.

    async def _poll(self, request: PollTasks, call: Call) -> PollReply:
        self._group.require_leader()
        if request.node != call.peer.node or not 1 <= request.slots <= _MAX_SLOTS:
            raise BadInput(f"node {call.peer.node} polls as node {request.node}")
        now_ms = self._world.clock.monotonic_ms()
        self._heard_ms[request.worker] = now_ms
        known = Worker(request.worker, request.node, request.address, request.slots)
        if self._table.workers.get(request.worker) != known:
            await self._propose(
                RegisterWorker(request.worker, request.node, request.address, request.slots)
            )
        hold_ms = min(HOLD_MS, call.remaining_ms / 2) if request.free > 0 else 0.0
        while True:
            self._group.require_leader()
            reply = self._tell(request)
            left_ms = now_ms + hold_ms - self._world.clock.monotonic_ms()
            if reply.assignments or reply.abandon or reply.ended:
                return reply
            if self._ready() and self._table.choose(request.worker, request.free):
                await self._propose(AssignTasks(request.worker, request.free))
            elif left_ms <= 0:
                return reply
            else:
                await self._changed_within(left_ms)

    def _ready(self) -> bool:
        """Whether tasks may be given out: their attempts must find the fence where it is."""
        return all(job.job in self._prepared for job in self._table.jobs.values() if job.active)

    def _tell(self, request: PollTasks) -> PollReply:
        """What the worker does not know, by the applied state."""
        table = self._table
        running = table.running.get(request.worker, {})
        told = dict.fromkeys((*request.known, *request.reporting))
        new = [attempt for attempt in running if attempt not in told][:MAX_ASSIGNED_AT_ONCE]
        return PollReply(
            [
                Assignment(
                    attempt,
                    table.jobs[attempt.job].splits[attempt.task] if attempt.kind == "map" else [],
                )
                for attempt in new
            ],
            [attempt for attempt in request.known if attempt not in running],
            [job for job in request.jobs if not self._needed(job)],
            self._fence,
        )

    def _needed(self, job: int) -> bool:
        found = self._table.jobs.get(job)
        return found is not None and found.state in ("mapping", "reducing")

    async def _report(self, request: Report, call: Call) -> bool:
        self._group.require_leader()
        return await self._propose(request.report) is not False

    def _job_file(self, request: GetJobFile, call: Call) -> JobFile:
        self._group.require_leader()
        job = self._table.job(request.job)
        return JobFile(job.name, job.source, job.reduces_wanted)

    def _map_outputs(self, request: GetMapOutputs, call: Call) -> MapOutputs:
        self._group.require_leader()
        job = self._table.job(request.reduce.job)
        index = request.reduce.task
        if self._table.task(request.reduce) is None or request.reduce.kind != "reduce":
            raise NotFound(f"reduce task {index} of job {job.job} runs in another attempt by now")
        outputs = []
        for task in job.maps[max(request.first, 0) :][:_OUTPUTS_A_PAGE]:
            if task.state == "done" and task.worker in self._table.workers:
                address = self._table.workers[task.worker].address
                outputs.append(MapOutput(task.attempts, address, task.region_bytes[index]))
            else:
                outputs.append(MapOutput(0, "", 0))
        return MapOutputs(outputs, len(job.maps))

    # Clients.

    async def _watch(self, request: WatchJob, call: Call) -> JobProgress:
        self._group.require_leader()
        if request.job not in self._table.jobs:
            return await self._group.query(
                Progress(request.job), timeout_ms=min(call.remaining_ms, _PROPOSE_TIMEOUT_MS)
            )
        end_ms = self._world.clock.monotonic_ms() + min(HOLD_MS, call.remaining_ms / 2)
        while True:
            self._group.require_leader()
            progress = self._table.job(request.job).progress()
            left_ms = end_ms - self._world.clock.monotonic_ms()
            if progress.changes > request.seen or left_ms <= 0:
                return progress
            await self._changed_within(left_ms)
