"""What may be said to the job table, and what it answers."""

from typing import Annotated, Literal, TypeAlias

import msgspec

from quorate.base.codec import Command, Query, Reply

Kind: TypeAlias = Literal["map", "reduce"]
KINDS: tuple[Kind, ...] = ("map", "reduce")

State: TypeAlias = Literal[
    "submitted", "mapping", "reducing", "publishing", "done", "failed", "cancelled"
]
"""In this order; a reduce that loses a map's output leads from ``reducing`` back to ``mapping``."""

FINISHED = ("done", "failed", "cancelled")


Bytes: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=1 << 43)]
"""A length or place in a file, which holds 8 TiB at most; so the sums over a job stay numbers that
can be written down."""


class Range(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    """``length`` bytes of a file from ``offset``; the file was ``file_bytes`` long when planned."""

    path: str
    offset: Bytes
    length: Bytes
    file_bytes: Bytes


class Attempt(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    """One try at one task: numbered from 1, never reused."""

    job: int
    kind: Kind
    task: int
    attempt: int


class OpenJob(Command[int], tag="jobs.open.1"):
    """The first of three steps of a submission; gives the job's id, the same for a ``token``
    seen before.  A job that is not started within ten minutes of log time fails."""

    token: str
    name: str
    """The job file's name, for messages."""
    source: bytes
    """The job file itself, at most 256 KiB."""
    reduces: int
    output: str


class AddSplits(Command[int], tag="jobs.add_splits.1"):
    """Splits ``first``, ``first + 1``, … of a job that is not yet started; those that are already
    there are left alone.  Gives the number of splits there are."""

    job: int
    first: int
    splits: list[list[Range]]


class StartJob(Command[None], tag="jobs.start.1"):
    """All ``splits`` are there: let the job run.  Succeeds again, changing nothing."""

    job: int
    splits: int


class CancelJob(Command[None], tag="jobs.cancel.1"):
    """End the job without output; refused once its output is being published."""

    job: int


class RegisterWorker(Command[None], tag="jobs.register_worker.1"):
    """A worker process and its task slots.  Older workers of its node are lost."""

    worker: str
    """Node and incarnation: never the same for two processes."""
    node: int
    address: str
    slots: int


class WorkerLost(Command[None], tag="jobs.worker_lost.1"):
    """The worker is gone with all it holds: its running tasks, and its finished maps where a
    reduce may still need them, must run again (MapReduce §3.3)."""

    worker: str


class AssignTasks(Command[list[Attempt]], tag="jobs.assign_tasks.1"):
    """Give the worker up to ``free`` tasks; none if the worker is not registered."""

    worker: str
    free: int


class TaskDone(Command[bool], tag="jobs.task_done.1"):
    """True if this attempt counts (also when told again); False if its output is not wanted."""

    attempt: Attempt
    worker: str
    region_bytes: list[Bytes] = msgspec.field(default_factory=list)
    """Of a map: the length of its region for each reduce task."""


class TaskFailed(Command[None], tag="jobs.task_failed.1"):
    """``fatal``: the user's function raised, which ends the job with ``message``.  Otherwise the
    task could not be run or its process died, and it is tried again, up to four times."""

    attempt: Attempt
    worker: str
    fatal: bool
    message: str


class MapOutputLost(Command[None], tag="jobs.map_output_lost.1"):
    """A reduce attempt cannot have the output of a finished map: both must run again."""

    map_attempt: Attempt
    reduce_attempt: Attempt
    message: str


class JobPublished(Command[None], tag="jobs.published.1"):
    """The output folder has appeared."""

    job: int


class FailJob(Command[None], tag="jobs.fail.1"):
    """The output folder can never be made, for the reason in ``message``."""

    job: int
    message: str


class JobCleaned(Command[None], tag="jobs.cleaned.1"):
    """Nothing is left in the file system of a finished job but its output."""

    job: int


class Phase(msgspec.Struct, array_like=True, frozen=True):
    """Tasks of one kind."""

    total: int = 0
    done: int = 0
    running: int = 0


class JobProgress(Reply):
    """A job as users see it.  Times are log time, milliseconds since 1970; 0: not yet."""

    job: int
    name: str
    state: State
    output: str
    maps: Phase
    reduces: Phase
    maps_rerun: int
    """Finished maps that had to run again because their output was gone."""
    attempts_lost: int
    """Attempts that were running when their worker was lost or that failed without the user's
    fault."""
    input_bytes: int
    error: str
    """Why the job failed, else empty."""
    submitted_ms: int
    started_ms: int
    finished_ms: int
    changes: int
    """Grows with every change of the job."""


class Progress(Query[JobProgress], tag="jobs.progress.1"):
    job: int


class ListJobs(Query[list[JobProgress]], tag="jobs.list.1"):
    """All jobs that are known, oldest first; the errors cut to one line."""


class WorkerStatus(msgspec.Struct, array_like=True, frozen=True):
    worker: str
    node: int
    address: str
    slots: int
    running: int


class ListWorkers(Query[list[WorkerStatus]], tag="jobs.list_workers.1"):
    """The registered workers, in order of registration."""
