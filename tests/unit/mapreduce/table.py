"""Driving a job table, with its invariants checked after every step."""

from typing import Any

from quorate.base.codec import encode, reply_type, result_of
from quorate.base.machine import Meta, restore_all
from quorate.mapreduce.core import commands as c
from quorate.mapreduce.core.invariants import check_state, check_step
from quorate.mapreduce.core.job_table import JobTable


def copy(table: JobTable) -> JobTable:
    again = JobTable()
    restore_all(again, table.snapshot())
    return again


class Driver:
    """A table, and log time that goes on by a second with each command."""

    def __init__(self) -> None:
        self.table = JobTable()
        self.index = 0
        self.time_ms = 1_000_000

    def do(self, command: Any, after_ms: int = 1000) -> Any:
        """The command's result; raises its error."""
        before = copy(self.table)
        self.index += 1
        self.time_ms += after_ms
        meta = Meta(self.index, 1, self.time_ms)
        [outcome] = self.table.apply_batch(meta, [encode(command)])
        check_state(self.table)
        check_step(before, self.table)
        return result_of(outcome, reply_type(type(command)))

    def ask(self, query: Any) -> Any:
        return result_of(self.table.query(encode(query)), reply_type(type(query)))

    def submit(self, maps: int, reduces: int, token: str = "t") -> int:
        """A job with ``maps`` splits, running."""
        job: int = self.do(c.OpenJob(token, "job.py", b"source", reduces, f"/out/{token}"))
        splits = [[c.Range(f"/in/{n}", 0, 10, 10)] for n in range(maps)]
        self.do(c.AddSplits(job, 0, splits))
        self.do(c.StartJob(job, maps))
        return job

    def register(self, worker: str, node: int, slots: int = 2) -> None:
        self.do(c.RegisterWorker(worker, node, f"127.0.0.1:{node}", slots))

    def assign(self, worker: str, free: int = 100) -> list[c.Attempt]:
        attempts: list[c.Attempt] = self.do(c.AssignTasks(worker, free))
        return attempts

    def done(self, attempt: c.Attempt, worker: str) -> bool:
        sizes = []
        if attempt.kind == "map" and (job := self.table.jobs.get(attempt.job)):
            sizes = [10] * len(job.reduces)
        accepted: bool = self.do(c.TaskDone(attempt, worker, sizes))
        return accepted

    def progress(self, job: int) -> c.JobProgress:
        progress: c.JobProgress = self.ask(c.Progress(job))
        return progress
