"""The table of jobs: the coordinator's whole memory, as a state machine (MapReduce §3.2, §3.3).

The paper's coordinator keeps the state of each task and, if it dies, the job dies; here the table
is replicated, so that the coordinator is whoever leads the group, and finished tasks are kept.

Rules:
* A job goes ``submitted`` → ``mapping`` → ``reducing`` → ``publishing`` → ``done``; it may fail or
  be cancelled before ``publishing`` begins, and fails while publishing only if the output folder
  can never be made.  It leads back from ``reducing`` to ``mapping`` when the output of a finished
  map is gone and some reduce is not done.
* A task is idle, running or done.  Each attempt has a new number.  Only the attempt that runs now
  may finish the task; what any other one reports changes nothing, except that the attempt which
  did finish it is told so again.
* Tasks are given to workers that ask, so many as they have free slots by both their own count and
  this table's: the oldest job first, its idle tasks in order, reduces when all its maps are done.
* An attempt lost with its worker, or for want of a map's output, is nobody's fault.  Other failures
  that are not the user's are counted, and the fourth of a task ends its job.  A map whose output
  could not be had 16 times, though its worker was alive, ends its job too.
* Every command may be repeated: it changes nothing the second time.
"""

from quorate.base.codec import encode
from quorate.base.errors import AlreadyExists, BadInput, Overloaded
from quorate.base.machine import Meta, TypedMachine
from quorate.mapreduce.core import commands as c
from quorate.mapreduce.core.job import Job, Task, Worker
from quorate.mapreduce.core.state import TableState

MAX_SOURCE_BYTES = 256 << 10
MAX_REDUCES = 1000
MAX_SPLITS = 100_000
MAX_RANGES = 1_000_000
"""Pieces of files in a job's splits: the table is in memory."""
MAX_REGIONS = 10_000_000
"""Map tasks times reduce tasks: the table keeps the size of each region."""
MAX_WORKERS = 1000
MAX_UNFINISHED_JOBS = 200
MAX_FAILURES = 4
MAX_OUTPUTS_LOST = 16
MAX_ASSIGNED_AT_ONCE = 4
"""Each assignment brings its split along; all must fit into one control frame."""
SUBMISSION_TIMEOUT_MS = 600_000
_MAX_NAME_CHARACTERS = 1000


class JobTable(TableState, TypedMachine):
    """Jobs, their tasks, and the workers that are registered."""

    commands = (
        c.OpenJob,
        c.AddSplits,
        c.StartJob,
        c.CancelJob,
        c.RegisterWorker,
        c.WorkerLost,
        c.AssignTasks,
        c.TaskDone,
        c.TaskFailed,
        c.MapOutputLost,
        c.JobPublished,
        c.FailJob,
        c.JobCleaned,
    )
    queries = (c.Progress, c.ListJobs, c.ListWorkers)

    def __init__(self) -> None:
        TableState.__init__(self)
        TypedMachine.__init__(self)
        self._handlers = {
            c.OpenJob: self._open_job,
            c.AddSplits: self._add_splits,
            c.StartJob: self._start_job,
            c.CancelJob: self._cancel_job,
            c.RegisterWorker: self._register_worker,
            c.WorkerLost: self._worker_lost,
            c.AssignTasks: self._assign_tasks,
            c.TaskDone: self._task_done,
            c.TaskFailed: self._task_failed,
            c.MapOutputLost: self._map_output_lost,
            c.JobPublished: self._job_published,
            c.FailJob: self._fail_job,
            c.JobCleaned: self._job_cleaned,
        }

    # The contract of a state machine.

    def execute(self, meta: Meta, command: object) -> object:
        handler = self._handlers[type(command)]  # type: ignore[index]
        return handler(meta, command)  # type: ignore[operator]

    def answer(self, query: object) -> object:
        if isinstance(query, c.Progress):
            return self.job(query.job).progress()
        if isinstance(query, c.ListJobs):
            progress = [job.progress() for job in self.jobs.values()]
            for one in progress:
                one.error = one.error.partition("\n")[0]
            return progress
        return [
            c.WorkerStatus(w.worker, w.node, w.address, w.slots, len(self.running[w.worker]))
            for w in self.workers.values()
        ]

    def expire(self, meta: Meta) -> None:
        for job in list(self.jobs.values()):
            if job.state == "submitted" and job.submitted_ms + SUBMISSION_TIMEOUT_MS <= (
                meta.time_ms
            ):
                self._finish(meta, job, "failed", "the client vanished before the job started")

    def next_deadline_ms(self) -> int | None:
        submitted = [job.submitted_ms for job in self.jobs.values() if job.state == "submitted"]
        return min(submitted) + SUBMISSION_TIMEOUT_MS if submitted else None

    # What the coordinator asks of its own replica.

    def choose(self, worker: str, free: int) -> list[tuple[Job, c.Kind, int]]:
        """The tasks that ``AssignTasks`` would give now."""
        chosen: list[tuple[Job, c.Kind, int]] = []
        if worker not in self.workers:
            return chosen
        slots = self.workers[worker].slots - len(self.running[worker])
        free = min(free, slots, MAX_ASSIGNED_AT_ONCE)
        alone = len(self.workers) == 1
        for job in self.jobs.values():
            if job.state not in ("mapping", "reducing"):
                continue
            kind: c.Kind = "map" if job.state == "mapping" else "reduce"
            for index, task in enumerate(job.tasks(kind)):
                if len(chosen) >= free:
                    return chosen
                if task.state == "idle" and (alone or task.avoid != worker):
                    chosen.append((job, kind, index))
        return chosen

    # Submission.

    def _open_job(self, meta: Meta, command: c.OpenJob) -> int:
        for job in self.jobs.values():
            if job.token == command.token:
                return job.job
        if len(command.source) > MAX_SOURCE_BYTES:
            raise BadInput(f"the job file {command.name} is larger than {MAX_SOURCE_BYTES} bytes")
        if not 1 <= command.reduces <= MAX_REDUCES:
            raise BadInput(f"a job has 1 to {MAX_REDUCES} reduce tasks, not {command.reduces}")
        for text in (command.token, command.name, command.output):
            if not 1 <= len(text) <= _MAX_NAME_CHARACTERS:
                raise BadInput(f"{text[:100]!r} has not 1 to {_MAX_NAME_CHARACTERS} characters")
        unfinished = sum(not (job.finished and job.cleaned) for job in self.jobs.values())
        if unfinished >= MAX_UNFINISHED_JOBS:
            raise Overloaded(f"{unfinished} jobs are not finished yet; submit this one later")
        job = Job(
            max(self.jobs, default=0) + 1,
            command.token,
            command.name,
            command.source,
            command.reduces,
            command.output,
            meta.time_ms,
        )
        self.jobs[job.job] = job
        for item in self._body(job):
            self._digest.add(item)
        self._changed(job)
        return job.job

    def _add_splits(self, meta: Meta, command: c.AddSplits) -> int:
        job = self.job(command.job)
        if job.state != "submitted":
            raise BadInput(f"job {job.job} is {job.state}; it takes no more input")
        known = len(job.splits)
        new = command.splits[max(known - command.first, 0) :]
        if command.first > known or known + len(new) > MAX_SPLITS:
            raise BadInput(
                f"job {job.job} has {known} splits, of at most {MAX_SPLITS}; the next ones cannot "
                f"begin at {command.first}"
            )
        self._touch(job)
        ranges = sum(map(len, job.splits)) + sum(map(len, new))
        if ranges > MAX_RANGES:
            raise BadInput(
                f"job {job.job} would read {ranges} pieces of files, and {MAX_RANGES} is the most:"
                " join small files into larger ones"
            )
        for index, split in enumerate(new, known):
            job.splits.append(split)
            job.input_bytes += sum(piece.length for piece in split)
            self._digest.add(encode((job.job, "split", index, split)))
        self._changed(job)
        return len(job.splits)

    def _start_job(self, meta: Meta, command: c.StartJob) -> None:
        job = self.job(command.job)
        if job.state != "submitted":
            return
        if len(job.splits) != command.splits:
            raise BadInput(
                f"job {job.job} has {len(job.splits)} splits of {command.splits}; submit it again"
            )
        if len(job.splits) * job.reduces_wanted > MAX_REGIONS:
            raise BadInput(
                f"{len(job.splits)} map and {job.reduces_wanted} reduce tasks are more than"
                f" {MAX_REGIONS} regions; take fewer reduce tasks"
            )
        for other in self.jobs.values():
            if other.active and other.output == job.output:
                raise AlreadyExists(f"job {other.job} runs and will make {job.output} already")
        self._touch(job)
        job.maps = [Task() for _ in job.splits]
        job.reduces = [Task() for _ in range(job.reduces_wanted)]
        for kind in c.KINDS:
            for index, task in enumerate(job.tasks(kind)):
                self._digest.add(encode((job.job, kind, index, task)))
        job.map_phase = c.Phase(len(job.maps))
        job.reduce_phase = c.Phase(len(job.reduces))
        job.started_ms = meta.time_ms
        job.cleaned = False
        self._advance(job)

    def _cancel_job(self, meta: Meta, command: c.CancelJob) -> None:
        job = self.job(command.job)
        if job.state == "publishing" or (job.finished and job.state != "cancelled"):
            raise BadInput(f"job {job.job} is {job.state}; it is too late to cancel it")
        if not job.finished:
            self._finish(meta, job, "cancelled", "")

    # Workers.

    def _register_worker(self, meta: Meta, command: c.RegisterWorker) -> None:
        if command.slots < 1:
            raise BadInput(f"the worker {command.worker} has {command.slots} slots; it needs one")
        new = Worker(command.worker, command.node, command.address, command.slots)
        if self.workers.get(new.worker) == new:
            return
        if len(self.workers) >= MAX_WORKERS:
            raise Overloaded(f"{MAX_WORKERS} workers are registered already")
        for worker in list(self.workers.values()):
            if worker.node == new.node or worker.worker == new.worker:
                self._lose(meta, worker)
        self._add_worker(new)

    def _worker_lost(self, meta: Meta, command: c.WorkerLost) -> None:
        worker = self.workers.get(command.worker)
        if worker is not None:
            self._lose(meta, worker)

    def _lose(self, meta: Meta, worker: Worker) -> None:
        for attempt in list(self.running[worker.worker]):
            job = self.jobs[attempt.job]
            self._touch(job)
            job.attempts_lost += 1
            self._set(job, attempt.kind, attempt.task, "idle")
            self._advance(job)
        for job in self.jobs.values():
            if job.state not in ("mapping", "reducing"):
                continue
            for index, task in enumerate(job.maps):
                if task.state == "done" and task.worker == worker.worker:
                    self._touch(job)
                    job.maps_rerun += 1
                    self._set(job, "map", index, "idle")
            self._advance(job)
        del self.workers[worker.worker], self.running[worker.worker]
        self._digest.remove(encode(worker))

    # Tasks.

    def _assign_tasks(self, meta: Meta, command: c.AssignTasks) -> list[c.Attempt]:
        assigned = []
        for job, kind, index in self.choose(command.worker, command.free):
            self._set(job, kind, index, "running", worker=command.worker)
            assigned.append(c.Attempt(job.job, kind, index, job.tasks(kind)[index].attempts))
            self._changed(job)
        return assigned

    def _running_task(self, attempt: c.Attempt) -> tuple[Job, Task] | None:
        task = self.task(attempt)
        if task is None or task.state != "running":
            return None
        return self.jobs[attempt.job], task

    def _task_done(self, meta: Meta, command: c.TaskDone) -> bool:
        attempt = command.attempt
        task = self.task(attempt)
        if task is None or task.worker != command.worker or task.state == "idle":
            return False
        if task.state == "running":
            job = self.jobs[attempt.job]
            regions = len(job.reduces) if attempt.kind == "map" else 0
            if len(command.region_bytes) != regions:
                raise BadInput(f"a {attempt.kind} of job {job.job} has {regions} regions")
            self._set(job, attempt.kind, attempt.task, "done", command.worker, command.region_bytes)
            self._advance(job)
        return True

    def _task_failed(self, meta: Meta, command: c.TaskFailed) -> None:
        attempt = command.attempt
        found = self._running_task(attempt)
        if found is None or found[1].worker != command.worker:
            return
        job, task = found
        if command.fatal:
            self._finish(meta, job, "failed", command.message)
            return
        self._touch(job)
        job.attempts_lost += 1
        failures, avoid = task.failures + 1, command.worker
        self._set(job, attempt.kind, attempt.task, "idle", failures=failures, avoid=avoid)
        self._changed(job)
        if failures >= MAX_FAILURES:
            what = f"{attempt.kind} task {attempt.task} failed {failures} times; the last time"
            self._finish(meta, job, "failed", f"{what}: {command.message}")

    def _map_output_lost(self, meta: Meta, command: c.MapOutputLost) -> None:
        lost_map, reduce = command.map_attempt, command.reduce_attempt
        found = self._running_task(reduce)
        if found is None or lost_map.job != reduce.job:
            return
        if (lost_map.kind, reduce.kind) != ("map", "reduce"):
            raise BadInput(f"a {reduce.kind} task does not need what a {lost_map.kind} task made")
        job, _ = found
        self._touch(job)
        job.attempts_lost += 1
        self._set(job, "reduce", command.reduce_attempt.task, "idle")
        index = command.map_attempt.task
        task = self.task(command.map_attempt)
        if task is not None and task.state == "done":
            job.maps_rerun += 1
            lost, avoid = task.outputs_lost + 1, task.worker
            self._set(job, "map", index, "idle", outputs_lost=lost, avoid=avoid)
            if lost >= MAX_OUTPUTS_LOST:
                what = f"the output of map task {index} could not be had {lost} times"
                self._finish(meta, job, "failed", f"{what}; the last time: {command.message}")
                return
        self._advance(job)

    # The end of a job.

    def _job_published(self, meta: Meta, command: c.JobPublished) -> None:
        job = self.job(command.job)
        if job.state == "publishing":
            self._finish(meta, job, "done", "")
            job.cleaned = True  # publishing has removed the temporary folder
            job.map_phase = c.Phase(job.map_phase.total, job.map_phase.total)  # as many as needed
            self._changed(job)

    def _fail_job(self, meta: Meta, command: c.FailJob) -> None:
        job = self.job(command.job)
        if not job.finished:
            self._finish(meta, job, "failed", command.message)

    def _job_cleaned(self, meta: Meta, command: c.JobCleaned) -> None:
        job = self.jobs.get(command.job)
        if job is not None and job.finished and not job.cleaned:
            self._touch(job)
            job.cleaned = True
            self._changed(job)
            self._forget_old_jobs()
