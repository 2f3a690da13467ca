"""What workers and clients say to the coordinator, and reducers to workers.

All but ``FetchRegion`` go to the process that leads the job group, and may be repeated.
"""

import msgspec

from quorate.base.codec import Reply, Request
from quorate.mapreduce.core.commands import (
    Attempt,
    Bytes,
    JobProgress,
    MapOutputLost,
    Range,
    TaskDone,
    TaskFailed,
)

MAX_PIECE_BYTES = 1 << 20


class Assignment(msgspec.Struct, array_like=True, frozen=True):
    """A task to run; ``split`` is empty for a reduce."""

    attempt: Attempt
    split: list[Range]


class PollReply(Reply):
    """``assignments``: all that this worker is to run and did not name.  ``abandon``: what it
    named and is not to run.  ``ended``: of the jobs that it named, those that need it no more.
    ``fence``: what it shows when it creates output files."""

    assignments: list[Assignment]
    abandon: list[Attempt]
    ended: list[int]
    fence: int


class PollTasks(Request[PollReply], tag="jobs.poll.1"):
    """The worker is alive and has ``free`` slots.  Held for up to a second until there is
    something to say, unless ``free`` is 0."""

    worker: str
    node: int
    address: str
    slots: int
    free: int
    known: list[Attempt]
    """What it runs."""
    reporting: list[Attempt]
    """What it has run, and whose report has not been answered yet."""
    jobs: list[int]
    """Of which it keeps files."""


class Report(Request[bool], tag="jobs.report.1"):
    """How an attempt ended.  False: it was not the one that counts, and its files can go."""

    report: TaskDone | TaskFailed | MapOutputLost


class JobFile(Reply):
    name: str
    source: bytes
    reduces: int


class GetJobFile(Request[JobFile], tag="jobs.get_job_file.1"):
    job: int


class MapOutput(msgspec.Struct, array_like=True, frozen=True):
    """One region; ``attempt`` is 0 if the map is not done."""

    attempt: int
    address: str
    region_bytes: Bytes


class MapOutputs(Reply):
    """Of map tasks ``first``, ``first + 1``, …; ``total`` is the number of map tasks."""

    outputs: list[MapOutput]
    total: int


class GetMapOutputs(Request[MapOutputs], tag="jobs.get_map_outputs.1"):
    """Where the regions of a reduce attempt are."""

    reduce: Attempt
    first: int


class WatchJob(Request[JobProgress], tag="jobs.watch.1"):
    """The job's progress, held for up to a second until its ``changes`` are more than ``seen``."""

    job: int
    seen: int = -1


class RegionPiece(Reply):
    """The checksum of the payload, which is a piece of a region."""

    crc32c: int


class FetchRegion(Request[RegionPiece], tag="jobs.fetch_region.1"):
    """Up to 1 MiB of a region from ``offset``, as a bulk call to the worker that ran the map."""

    map_attempt: Attempt
    reduce: int
    offset: int


class WorkerFigures(msgspec.Struct, tag="worker"):
    """What a worker does now."""

    slots: int
    running: int
    """Tasks that have a slot."""
    reporting: int
    """Ended tasks of which no coordinator has heard yet."""
