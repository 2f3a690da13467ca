"""What the job table holds, and how it changes: each change keeps the digest up.

The digest covers, for each job, a head (all that is small), its source, its splits and its tasks,
each as one item; and each worker.

A snapshot shows each job as it was: ``_touch`` stands before each first change of a job and gives
the snapshots a copy of it, made of the same splits and tasks, which do not change.
"""

from collections.abc import Iterable, Iterator

import msgspec
from msgspec.structs import replace

from quorate.base.checksum import SetDigest, stable_hash
from quorate.base.codec import encode
from quorate.base.errors import CorruptData, NotFound
from quorate.base.machine import RECORDS_PER_PAUSE, Meta
from quorate.base.stream import next_record, pack_records, unpack_records
from quorate.mapreduce.core.commands import KINDS, Attempt, Kind, Phase, Range, State
from quorate.mapreduce.core.job import Job, Task, TaskState, Worker

FINISHED_JOBS_KEPT = 100
_MAX_MESSAGE_CHARACTERS = 16_000


class _Header(msgspec.Struct, array_like=True):
    """The first record of a snapshot."""

    workers: list[Worker]
    jobs: int


class _JobRecord(msgspec.Struct, array_like=True):
    """A job without splits and tasks, which follow, each a record."""

    job: Job
    splits: int
    maps: int
    reduces: int


def _records(workers: list[Worker], cells: list[list[Job]]) -> Iterator[bytes]:
    yield encode(_Header(workers, len(cells)))
    for cell in cells:
        [job] = cell
        splits, maps, reduces = job.splits.copy(), job.maps.copy(), job.reduces.copy()
        bare = replace(job, splits=[], maps=[], reduces=[])  # the job itself may change from now on
        yield encode(_JobRecord(bare, len(splits), len(maps), len(reduces)))
        yield from map(encode, splits)
        yield from map(encode, maps)
        yield from map(encode, reduces)


def _refuse(wrong: bool, why: str) -> None:
    if wrong:
        raise CorruptData(f"a snapshot of the job table is damaged ({why}); fetch it again")


class TableState:
    """Jobs, their tasks, and the workers that are registered."""

    def __init__(self) -> None:
        self.jobs: dict[int, Job] = {}
        """By id, oldest first."""
        self.workers: dict[str, Worker] = {}
        """By id, in order of registration."""
        self.running: dict[str, dict[Attempt, None]] = {}
        """The attempts that run on each registered worker."""
        self._heads: dict[int, bytes] = {}
        self._shown: dict[int, list[Job]] = {}
        """Jobs that have not changed since a snapshot, each in the cell that the snapshot reads."""
        self._digest = SetDigest()

    # The contract of a state machine.

    def digest(self) -> int:
        return self._digest.value

    def snapshot(self) -> Iterator[bytes]:
        for job in self.jobs.values():
            self._shown.setdefault(job.job, [job])
        cells = [self._shown[job] for job in self.jobs]
        return pack_records(_records(list(self.workers.values()), cells))

    def _touch(self, job: Job) -> None:
        """``job`` is about to change: what snapshots show of it stays as it is."""
        cell = self._shown.pop(job.job, None)
        if cell is not None:
            splits, maps, reduces = job.splits.copy(), job.maps.copy(), job.reduces.copy()
            cell[0] = replace(job, splits=splits, maps=maps, reduces=reduces)

    def restore(self, stream: Iterable[bytes]) -> Iterator[None]:
        new = TableState()
        records = unpack_records(stream)
        header: _Header = next_record(records, _Header)
        for worker in header.workers:
            _refuse(worker.worker in new.workers, "a worker stands twice")
            new._add_worker(worker)
        for _ in range(header.jobs):
            yield from new._restore_job(next_record(records, _JobRecord), records)
        vars(self).update(vars(new))

    def _restore_job(self, record: _JobRecord, records: Iterator[bytes]) -> Iterator[None]:
        job = record.job
        _refuse(job.job in self.jobs, "a job stands twice")
        self.jobs[job.job] = job
        self._heads[job.job] = job.head()
        for _ in range(record.splits):
            job.splits.append(next_record(records, list[Range]))
            if len(job.splits) % RECORDS_PER_PAUSE == 0:
                yield
        for kind, count in zip(KINDS, (record.maps, record.reduces), strict=True):
            tasks = job.tasks(kind)
            for index in range(count):
                task: Task = next_record(records, Task)
                tasks.append(task)
                if task.state == "running":
                    _refuse(task.worker not in self.running, "a task runs nowhere")
                    attempt = Attempt(job.job, kind, index, task.attempts)
                    self.running[task.worker][attempt] = None
                if len(tasks) % RECORDS_PER_PAUSE == 0:
                    yield
        for number, item in enumerate(self.items(job)):
            self._digest.add(item)
            if number % RECORDS_PER_PAUSE == 0:
                yield

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
        self._touch(job)
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
            self._shown.pop(job.job, None)

    def _advance(self, job: Job) -> None:
        """Judge anew in which phase an active job is."""
        self._touch(job)
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
        self._touch(job)
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
        self._touch(job)
        task = job.tasks(kind)[index]
        self._digest.remove(encode((job.job, kind, index, task)))
        phase = job.map_phase if kind == "map" else job.reduce_phase
        done = phase.done - (task.state == "done") + (state == "done")
        running = phase.running - (task.state == "running") + (state == "running")
        if task.state == "running":
            del self.running[task.worker][Attempt(job.job, kind, index, task.attempts)]
        attempts = task.attempts + (state == "running")
        regions = tuple(region_bytes)
        task = replace(
            task, state=state, worker=worker, region_bytes=regions, attempts=attempts, **counts
        )
        job.tasks(kind)[index] = task
        if state == "running":
            self.running[worker][Attempt(job.job, kind, index, attempts)] = None
        if kind == "map":
            job.map_phase = Phase(phase.total, done, running)
        else:
            job.reduce_phase = Phase(phase.total, done, running)
        self._digest.add(encode((job.job, kind, index, task)))
