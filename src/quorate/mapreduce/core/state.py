"""What the job table holds, and how it changes: each change keeps the digest up.

The digest covers, for each job, a head (all that is small), its source, its splits and its tasks,
each as one item; and each worker.
"""

from collections.abc import Iterable, Iterator

from quorate.base.checksum import SetDigest, stable_hash
from quorate.base.codec import decode, encode
from quorate.base.errors import NotFound
from quorate.base.machine import Meta
from quorate.base.stream import pack_records, unpack_records
from quorate.mapreduce.core.commands import KINDS, Attempt, Kind, Phase, State
from quorate.mapreduce.core.job import Job, Task, TaskState, Worker

FINISHED_JOBS_KEPT = 100
_MAX_MESSAGE_CHARACTERS = 16_000


class TableState:
    """Jobs, their tasks, and the workers that are registered."""

    def __init__(self) -> None:
        self._reset()

    def _reset(self) -> None:
        self.jobs: dict[int, Job] = {}
        """By id, oldest first."""
        self.workers: dict[str, Worker] = {}
        """By id, in order of registration."""
        self.running: dict[str, dict[Attempt, None]] = {}
        """The attempts that run on each registered worker."""
        self._heads: dict[int, bytes] = {}
        self._digest = SetDigest()

    # The contract of a state machine.

    def digest(self) -> int:
        return self._digest.value

    def snapshot(self) -> Iterator[bytes]:
        records = [encode(list(self.workers.values()))]
        records.extend(map(encode, self.jobs.values()))
        return pack_records(records)

    def restore(self, stream: Iterable[bytes]) -> None:
        records = unpack_records(stream)
        self._reset()
        for worker in decode(next(records), list[Worker]):
            self._add_worker(worker)
        for record in records:
            job: Job = decode(record, Job)
            self.jobs[job.job] = job
            self._heads[job.job] = job.head()
            for item in self.items(job):
                self._digest.add(item)
            for kind in KINDS:
                for index, task in enumerate(job.tasks(kind)):
                    if task.state == "running":
                        attempt = Attempt(job.job, kind, index, task.attempts)
                        self.running[task.worker][attempt] = None

    def items(self, job: Job) -> Iterator[bytes]:
        """What the digest holds of ``job``."""
        yield self._heads[job.job]
        yield from self._body(job)

    def _body(self, job: Job) -> Iterator[bytes]:
        yield encode((job.job, "source", stable_hash(job.source)))
        for index, split in enumerate(job.splits):
            yield encode((job.job, "split", index, split))
        for kind in KINDS:
            for index, task in enumerate(job.tasks(kind)):
                yield encode((job.job, kind, index, task))

    # Looking things up.

    def job(self, job: int) -> Job:
        """Raises ``NotFound``."""
        found = self.jobs.get(job)
        if found is None:
            raise NotFound(f"there is no job {job}; only the last {FINISHED_JOBS_KEPT} are kept")
        return found

    def task(self, attempt: Attempt) -> Task | None:
        """The attempt's task, if its job is active and this attempt is the task's last."""
        job = self.jobs.get(attempt.job)
        if job is None or not 0 <= attempt.task < len(job.tasks(attempt.kind)):
            return None
        task = job.tasks(attempt.kind)[attempt.task]
        return task if task.attempts == attempt.attempt else None

    # Changes.

    def _add_worker(self, worker: Worker) -> None:
        self.workers[worker.worker] = worker
        self.running[worker.worker] = {}
        self._digest.add(encode(worker))

    def _finish(self, meta: Meta, job: Job, state: State, error: str) -> None:
        for item in self._body(job):
            self._digest.remove(item)
        for attempts in self.running.values():
            for attempt in [attempt for attempt in attempts if attempt.job == job.job]:
                del attempts[attempt]
        job.state, job.finished_ms = state, meta.time_ms
        job.error = error[:_MAX_MESSAGE_CHARACTERS]
        job.source, job.splits, job.maps, job.reduces = b"", [], [], []
        job.map_phase = Phase(job.map_phase.total, job.map_phase.done)
        job.reduce_phase = Phase(job.reduce_phase.total, job.reduce_phase.done)
        for item in self._body(job):
            self._digest.add(item)
        self._changed(job)
        self._forget_old_jobs()

    def _forget_old_jobs(self) -> None:
        old = [job for job in self.jobs.values() if job.finished and job.cleaned]
        for job in old[:-FINISHED_JOBS_KEPT]:
            for item in self.items(job):
                self._digest.remove(item)
            del self.jobs[job.job], self._heads[job.job]

    def _advance(self, job: Job) -> None:
        """Judge anew in which phase an active job is."""
        if job.reduce_phase.done == job.reduce_phase.total:
            job.state = "publishing"  # what still runs is the maps whose output nobody needs now
            for index, task in enumerate(job.maps):
                if task.state == "running":
                    self._set(job, "map", index, "idle")
        else:
            maps = job.map_phase
            job.state = "reducing" if maps.done == maps.total else "mapping"
        self._changed(job)

    def _changed(self, job: Job) -> None:
        if job.job in self._heads:
            self._digest.remove(self._heads[job.job])
        job.changes += 1
        self._heads[job.job] = job.head()
        self._digest.add(self._heads[job.job])

    def _set(
        self,
        job: Job,
        kind: Kind,
        index: int,
        state: TaskState,
        worker: str = "",
        region_bytes: Iterable[int] = (),
        **counts: int | str,
    ) -> None:
        """Bring a task into another state; the caller then calls ``_changed`` or ``_advance``."""
        task = job.tasks(kind)[index]
        self._digest.remove(encode((job.job, kind, index, task)))
        phase = job.map_phase if kind == "map" else job.reduce_phase
        done = phase.done - (task.state == "done") + (state == "done")
        running = phase.running - (task.state == "running") + (state == "running")
        if task.state == "running":
            del self.running[task.worker][Attempt(job.job, kind, index, task.attempts)]
        task.state, task.worker, task.region_bytes = state, worker, list(region_bytes)
        for name, value in counts.items():
            setattr(task, name, value)
        if state == "running":
            task.attempts += 1
            self.running[worker][Attempt(job.job, kind, index, task.attempts)] = None
        if kind == "map":
            job.map_phase = Phase(phase.total, done, running)
        else:
            job.reduce_phase = Phase(phase.total, done, running)
        self._digest.add(encode((job.job, kind, index, task)))
