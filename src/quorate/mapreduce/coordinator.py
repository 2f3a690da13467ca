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
from collections.abc import Callable, Mapping

from quorate.base.codec import Request
from quorate.base.errors import (
    AlreadyExists,
    BadInput,
    Fenced,
    Maybe,
    NotFound,
    QuorateError,
    Unavailable,
)
from quorate.gfs.client import FileSystem
from quorate.gfs.core.commands import OutputPart
from quorate.mapreduce.core.commands import (
    AssignTasks,
    Attempt,
    FailJob,
    JobCleaned,
    JobProgress,
    JobPublished,
    Progress,
    RegisterWorker,
    WorkerLost,
)
from quorate.mapreduce.core.job import Job
from quorate.mapreduce.core.job_table import JobTable
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
from quorate.mapreduce.sequential import part_name
from quorate.raft.group import Group
from quorate.rpc.server import Call, Handler
from quorate.runtime.ports import World
