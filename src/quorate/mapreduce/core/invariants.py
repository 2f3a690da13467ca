"""What is always true of a job table, and of each step from one to the next."""

from quorate.base.check import check
from quorate.base.checksum import SetDigest
from quorate.base.codec import encode
from quorate.mapreduce.core.commands import KINDS, Attempt, Kind, State
from quorate.mapreduce.core.job import Job, Task
from quorate.mapreduce.core.job_table import JobTable
from quorate.mapreduce.core.state import FINISHED_JOBS_KEPT

_NEXT: dict[State, tuple[State, ...]] = {
    "submitted": ("mapping", "reducing", "failed", "cancelled"),
    "mapping": ("reducing", "publishing", "failed", "cancelled"),
    "reducing": ("mapping", "publishing", "failed", "cancelled"),
    "publishing": ("done", "failed"),
    "done": (),
    "failed": (),
    "cancelled": (),
}


def check_state(table: JobTable) -> None:
    """Raise ``Bug`` unless the table hangs together."""
    digest = SetDigest()
    running: dict[str, dict[Attempt, None]] = {worker: {} for worker in table.workers}
    for worker in table.workers.values():
        digest.add(encode(worker))
    for job in table.jobs.values():
        for item in table.items(job):
            digest.add(item)
        _check_job(table, job, running)
    check(digest.value == table.digest(), "the digest is not that of the state")
    check(
        {worker: set(attempts) for worker, attempts in running.items()}
        == {worker: set(attempts) for worker, attempts in table.running.items()},
        "the list of running attempts is not that of the tasks",
    )
    for worker in table.workers.values():
        check(len(running[worker.worker]) <= worker.slots, "a worker has more tasks than slots")
    ended = [job for job in table.jobs.values() if job.finished and job.cleaned]
    check(len(ended) <= FINISHED_JOBS_KEPT, "too many old jobs are kept")
    nodes = [worker.node for worker in table.workers.values()]
    check(len(nodes) == len(set(nodes)), "two workers of one node are registered")


def _check_job(table: JobTable, job: Job, running: dict[str, dict[Attempt, None]]) -> None:
    if not job.active:
        check(job.map_phase.running == job.reduce_phase.running == 0, "an ended job still runs")
        check(not job.maps and not job.reduces, "a job that is not active has tasks")
        check(job.cleaned or job.finished, "a job that never started has left something")
        return
    check(len(job.maps) == len(job.splits), "a split has not one map task")
    for kind in KINDS:
        tasks = job.tasks(kind)
        phase = job.map_phase if kind == "map" else job.reduce_phase
        check(phase.total == len(tasks), "the number of tasks does not fit")
        check(phase.done == sum(t.state == "done" for t in tasks), "done tasks are miscounted")
        check(
            phase.running == sum(t.state == "running" for t in tasks), "running ones are miscounted"
        )
        for index, task in enumerate(tasks):
            check((task.worker == "") == (task.state == "idle"), "an idle task has a worker")
            if task.state == "running":
                check(task.worker in table.workers, "a task runs on an unknown worker")
                attempt = Attempt(job.job, kind, index, task.attempts)
                running[task.worker][attempt] = None
    if job.state == "publishing":
        check(job.map_phase.running == 0, "a map runs although its output is not needed")
        check(all(t.state == "done" for t in job.reduces), "output is published unfinished")
        return
    check(any(t.state != "done" for t in job.reduces), "a finished job is not published")
    for task in job.maps:
        if task.state == "done":
            check(task.worker in table.workers, "the output of a map is nowhere, but still needed")
            check(len(task.region_bytes) == len(job.reduces), "a map has not all its regions")
    all_mapped = all(task.state == "done" for task in job.maps)
    check(job.state == ("reducing" if all_mapped else "mapping"), "the phase does not fit")


def check_step(before: JobTable, after: JobTable) -> None:
    """Raise ``Bug`` unless one batch may lead from ``before`` to ``after``."""
    for job in before.jobs.values():
        now = after.jobs.get(job.job)
        if now is None:
            check(job.finished, "a job was forgotten before it was finished")
            continue
        check(now.state in _reachable(job.state), f"a job went from {job.state} to {now.state}")
        check(now.changes >= job.changes, "the count of changes ran backwards")
        for kind in KINDS:
            for old, new in zip(job.tasks(kind), now.tasks(kind), strict=False):
                _check_task(kind, old, new)


def _reachable(state: State) -> list[State]:
    """Where any number of steps may lead."""
    reachable = [state]
    for known in reachable:
        reachable.extend(new for new in _NEXT[known] if new not in reachable)
    return reachable


def _check_task(kind: Kind, old: Task, new: Task) -> None:
    check(new.attempts >= old.attempts, "an attempt's number was used again")
    if old.attempts == new.attempts and old.state != new.state:
        check(old.state != "idle", "a task ran without a new attempt")
    if old.state == "done" and kind == "reduce":
        check(new == old, "a finished reduce was changed")
    if old.state == new.state == "done" and old.attempts != new.attempts:
        check(kind == "map", "two attempts of a task were taken")
