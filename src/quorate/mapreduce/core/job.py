"""A job and its tasks as the job table holds them."""

from typing import Literal

import msgspec

from quorate.base.codec import encode
from quorate.mapreduce.core.commands import (
    FINISHED,
    Attempt,
    JobProgress,
    Kind,
    Phase,
    Range,
    State,
)

TaskState = Literal["idle", "running", "done"]


class Worker(msgspec.Struct, array_like=True):
    worker: str
    node: int
    address: str
    slots: int


class Task(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A map or reduce task; replaced to change.  Idle, running and done exclude each other."""

    state: TaskState = "idle"
    attempts: int = 0
    """Attempts so far; also the number of the last one, which is the one that runs or is done."""
    worker: str = ""
    """Who runs it, or who did it and (for a map) keeps its output."""
    region_bytes: tuple[int, ...] = ()
    """Of a map that is done: the length of its region for each reduce task."""
    failures: int = 0
    """Attempts that failed without the user's fault."""
    outputs_lost: int = 0
    """Of a map: how often a reduce could not have its output."""
    avoid: str = ""
    """The worker on which it failed last; others are preferred."""


class Job(msgspec.Struct, array_like=True):
    """A submission.  When it is finished, source, splits and tasks are let go."""

    job: int
    token: str
    name: str
    source: bytes
    reduces_wanted: int
    output: str
    submitted_ms: int
    state: State = "submitted"
    splits: list[list[Range]] = []
    maps: list[Task] = []
    reduces: list[Task] = []
    input_bytes: int = 0
    started_ms: int = 0
    finished_ms: int = 0
    map_phase: Phase = Phase()
    reduce_phase: Phase = Phase()
    maps_rerun: int = 0
    attempts_lost: int = 0
    error: str = ""
    cleaned: bool = True
    """Whether the file system holds nothing of it but its output."""
    changes: int = 0

    @property
    def active(self) -> bool:
        """Whether it has tasks or output to see to."""
        return self.state in ("mapping", "reducing", "publishing")

    @property
    def finished(self) -> bool:
        return self.state in FINISHED

    @property
    def owner(self) -> str:
        """Who it is to the file system: unique even if a cluster counts its jobs from 1 again."""
        return f"job-{self.job}-{self.token}"

    @property
    def folder(self) -> str:
        """Its temporary folder in the file system."""
        return f"/_jobs/{self.job}"

    def tasks(self, kind: Kind) -> list[Task]:
        return self.maps if kind == "map" else self.reduces

    def part_path(self, task: int) -> str:
        """The file that the attempt of a reduce task that is done has written."""
        return part_path(Attempt(self.job, "reduce", task, self.reduces[task].attempts))

    def progress(self) -> JobProgress:
        return JobProgress(
            self.job,
            self.name,
            self.state,
            self.output,
            self.map_phase,
            self.reduce_phase,
            self.maps_rerun,
            self.attempts_lost,
            self.input_bytes,
            self.error,
            self.submitted_ms,
            self.started_ms,
            self.finished_ms,
            self.changes,
        )

    def head(self) -> bytes:
        """All but source, splits and tasks, encoded."""
        return encode((*msgspec.structs.astuple(self.progress()), self.token, self.cleaned))


def part_path(attempt: Attempt) -> str:
    """Where an attempt of a reduce task writes: a file of its own in the temporary folder."""
    return f"/_jobs/{attempt.job}/{attempt.kind}-{attempt.task:05d}-{attempt.attempt}"


def part_name(task: int) -> str:
    """The name of a reduce task's file in the output folder."""
    return f"part-{task:05d}"
