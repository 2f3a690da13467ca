"""State machines: arbitrary commands and queries, and snapshots that are none.

A command in the log is applied by every replica: one that raises stops them all, again at each
start.  So nothing but replies may come out, the invariants hold after each input, and the state
goes through a snapshot unchanged.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any

from fuzz.target import Target, expect, framed, parts

from quorate.base.codec import Command, Outcome, Query, decode, encode
from quorate.base.errors import BadInput, CorruptData
from quorate.base.machine import Meta, TypedMachine, restore_all
from quorate.base.stream import pack_records, unpack_records
from quorate.gfs.core import commands as g
from quorate.gfs.core.invariants import check_state as check_namespace
from quorate.gfs.core.namespace import Namespace
from quorate.mapreduce.core import commands as j
from quorate.mapreduce.core.invariants import check_state as check_job_table
from quorate.mapreduce.core.job_table import JobTable
from quorate.raft.sessions import (
    SUPPORTED_FEATURE_LEVEL,
    OpenSession,
    SessionCommand,
    SessionMachine,
    SetFeatureLevel,
    admit,
)

BLOCK = g.BLOCK_BYTES
STEP_MS = 61_000


def _drive(machine: TypedMachine, messages: Sequence[bytes]) -> None:
    """Each part is a command and a query; an empty one lets time pass."""
    for index, message in enumerate(messages, 1):
        meta = Meta(index, 1, 1_000 + STEP_MS * index)
        for reply in machine.apply_batch(meta, [message] if message else []):
            decode(reply, Outcome)
        decode(machine.query(message), Outcome)


def _survives_a_snapshot(machine: Any, other: Any) -> None:
    restore_all(other, machine.snapshot())
    expect(other.digest() == machine.digest(), "a snapshot has another digest")


def _namespace(data: bytes) -> None:
    machine = Namespace()
    _drive(machine, parts(data))
    check_namespace(machine)
    _survives_a_snapshot(machine, Namespace())


def _job_table(data: bytes) -> None:
    machine = JobTable()
    _drive(machine, parts(data))
    check_job_table(machine)
    _survives_a_snapshot(machine, JobTable())


def _sessions(data: bytes) -> None:
    """Wrapped commands of a namespace, two to an entry.  The door lets in what clients may
    propose; a feature level above ours must stop a replica, and is left out here."""
    machine = SessionMachine(Namespace())
    commands = []
    for command in parts(data):
        try:
            admit(command)
        except BadInput:
            if _new_level(command):
                continue
        commands.append(command)
    for index, (one, two) in enumerate(pairwise([*commands, b""]), 1):
        meta = Meta(index, 1, 1_000 + STEP_MS * index)
        replies = machine.apply_batch(meta, [one, two])
        expect(len(replies) == 2, "a command without a reply")
        for reply in replies:
            decode(reply, Outcome)
    _survives_a_snapshot(machine, SessionMachine(Namespace()))


def _new_level(command: bytes) -> bool:
    try:
        return bool(decode(command, SetFeatureLevel).level > SUPPORTED_FEATURE_LEVEL)
    except Exception:
        return False


def _namespace_commands() -> list[Command[Any] | Query[Any]]:
    return [
        g.Mkdir("/a/b", True),
        g.AllocateChunks(4),
        g.CreateFile("/a/one", 2 * BLOCK - 1, BLOCK, [1, 2]),
        g.RenewChunks([3, 4]),
        g.Rename("/a/one", "/a/b/two"),
        g.Stat("/a/b/two"),
        g.List("/", "/a", 10, True),
        g.Locate("/a/b/two", BLOCK, 2),
        g.PrepareOutput("/_jobs/1", "/out", "job-1-t", 3),
        g.CreateFile("/_jobs/1/r-1", 5, BLOCK, [3], 3),
        g.Publish("/_jobs/1", "/out", [g.OutputPart("part-0", "/_jobs/1/r-1")], "job-1-t", 3),
        g.DropOutput("/_jobs/1", "job-1-t", 3),
        g.ReleaseChunks([4]),
        g.Delete("/a", True),
    ]


def _job_commands() -> list[Command[Any] | Query[Any]]:
    first = j.Attempt(1, "map", 0, 1)
    reduce = j.Attempt(1, "reduce", 0, 1)
    return [
        j.OpenJob("token", "job.py", b"def map(key, value): ...", 2, "/out"),
        j.AddSplits(1, 0, [[j.Range("/in", 0, 10, 20)], [j.Range("/in", 10, 10, 20)]]),
        j.StartJob(1, 2),
        j.RegisterWorker("1-a", 1, "127.0.0.1:7402", 2),
        j.RegisterWorker("2-b", 2, "127.0.0.1:7412", 2),
        j.AssignTasks("1-a", 2),
        j.TaskDone(first, "1-a", [5, 6]),
        j.TaskDone(j.Attempt(1, "map", 1, 1), "1-a", [7, 0]),
        j.AssignTasks("2-b", 2),
        j.MapOutputLost(first, reduce, "gone"),
        j.AssignTasks("2-b", 2),
        j.TaskFailed(j.Attempt(1, "map", 0, 2), "2-b", False, "no reason"),
        j.WorkerLost("1-a"),
        j.AssignTasks("2-b", 2),
        j.Progress(1),
        j.ListJobs(),
        j.ListWorkers(),
        j.CancelJob(1),
        j.JobPublished(1),
        j.FailJob(1, "cannot be"),
        j.JobCleaned(1),
    ]


def _finished_job() -> list[Command[Any] | Query[Any]]:
    """A job of one map and one reduce from start to end."""
    return [
        j.RegisterWorker("1-a", 1, "127.0.0.1:7402", 4),
        j.OpenJob("t", "job.py", b"", 1, "/out"),
        j.AddSplits(1, 0, [[j.Range("/in", 0, 10, 10)]]),
        j.StartJob(1, 1),
        j.AssignTasks("1-a", 4),
        j.TaskDone(j.Attempt(1, "map", 0, 1), "1-a", [5]),
        j.AssignTasks("1-a", 4),
        j.TaskDone(j.Attempt(1, "reduce", 0, 1), "1-a"),
        j.JobPublished(1),
    ]


def _rows(*scripts: Sequence[Any]) -> list[bytes]:
    """Each script whole, and each of its prefixes that is short: mutations of the last step."""
    rows = [framed(map(encode, script)) for script in scripts]
    rows += [framed(map(encode, s[:end])) for s in scripts for end in range(1, len(s))]
    return rows


def _session_seeds() -> list[bytes]:
    first = 1 << 16
    script: list[Any] = [OpenSession(), SetFeatureLevel(1)]
    script += [SessionCommand(first, n, n - 1, encode(g.Mkdir(f"/{n}"))) for n in (1, 2, 3)]
    script += [SessionCommand(first, 2, 0, encode(g.Mkdir("/2")))]
    script += [SessionCommand(0, 0, 0, encode(g.Mkdir("/free")))]
    return _rows(script)


# Snapshots.


def _snapshot_target(
    name: str, make: Callable[[], Any], states: Callable[[], Iterator[Any]]
) -> Target:
    def run(data: bytes) -> None:
        """Parts are the records of a stream."""
        machine = make()
        try:
            restore_all(machine, pack_records(parts(data)))
        except CorruptData:
            return
        again = make()
        restore_all(again, machine.snapshot())
        expect(again.digest() == machine.digest(), "what was restored does not restore")

    def seeds() -> list[bytes]:
        return [framed(unpack_records(machine.snapshot())) for machine in states()]

    return Target(name, run, seeds, framed=True)


def _after(make: Callable[[], Any], *scripts: Sequence[Any]) -> Iterator[Any]:
    for script in scripts:
        for end in (0, len(script) // 2, len(script)):
            machine = make()
            for index, command in enumerate(script[:end], 1):
                machine.apply_batch(Meta(index, 1, 1_000 + index), [encode(command)])
            yield machine


def _session_states() -> Iterator[Any]:
    script = [OpenSession(), *(SessionCommand(1 << 16, n, n - 1, b"") for n in range(1, 5))]
    return _after(lambda: SessionMachine(Namespace()), script)


def _job_seeds() -> list[bytes]:
    return _rows(_job_commands(), _finished_job())


TARGETS = [
    Target("gfs.namespace", _namespace, lambda: _rows(_namespace_commands()), True),
    Target("mapreduce.job_table", _job_table, _job_seeds, True),
    Target("raft.sessions", _sessions, _session_seeds, True),
    _snapshot_target(
        "gfs.snapshot", Namespace, lambda: _after(Namespace, _namespace_commands()[:9])
    ),
    _snapshot_target(
        "mapreduce.snapshot", JobTable, lambda: _after(JobTable, _job_commands()[:12])
    ),
    _snapshot_target(
        "raft.sessions_snapshot", lambda: SessionMachine(Namespace()), _session_states
    ),
]
