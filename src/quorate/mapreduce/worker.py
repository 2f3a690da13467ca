"""The worker process of a machine: asks for tasks, runs them, serves map output to reducers (§3.1).

Theory of operation:
* Its poll is its heartbeat: at once when a slot becomes free, else twice a second; with a free slot
  the coordinator holds it until there is work.
* What the poll's reply assigns is run (executor.py), each attempt in a task of its own; how it
  ended is reported until a coordinator has answered.  A reply may name again what it named before.
* An attempt that the coordinator does not want any more is cancelled, and its process killed.
* A worker that starts knows of nothing and removes what an earlier one left.
"""

import asyncio
from typing import Any

from quorate.base.codec import Request
from quorate.base.errors import QuorateError, Unavailable
from quorate.base.ids import Address, NodeId
from quorate.gfs.client import FileSystem
from quorate.mapreduce.core.commands import Attempt, MapOutputLost, TaskDone, TaskFailed
from quorate.mapreduce.executor import Executor
from quorate.mapreduce.map_outputs import DIRECTORY, MapOutputStore
from quorate.mapreduce.messages import (
    Assignment,
    FetchRegion,
    PollReply,
    PollTasks,
    Report,
    WorkerFigures,
)
from quorate.mapreduce.slots import Slots
from quorate.raft.client import GroupClient
from quorate.rpc.client import RpcClient
from quorate.rpc.server import Handler
from quorate.runtime.ports import World

_POLL_TIMEOUT_MS = 3000.0
_BUSY_POLL_MS = 500.0
_REPORT_TIMEOUT_MS = 10_000.0
_PAUSE_MS = 100.0


class Worker:
    """Runs up to ``slots`` tasks at once.  ``coordinator`` is a client of the job group;
    ``requests`` goes into the table of the process's ``RpcServer`` at ``address``."""

    def __init__(
        self,
        world: World,
        rpc: RpcClient,
        coordinator: GroupClient,
        file_system: FileSystem,
        *,
        node: NodeId,
        address: Address,
        slots: int,
    ) -> None:
        self.worker = f"{node}-{world.random.getrandbits(64):016x}"
        self._world = world
        self._coordinator = coordinator
        self._node = node
        self._address = address
        self._count = slots
        self._slots = Slots(world, DIRECTORY, slots)
        self._outputs = MapOutputStore(world)
        self._executor = Executor(
            world,
            rpc,
            coordinator,
            file_system,
            node,
            self.worker,
            address,
            self._slots,
            self._outputs,
        )
        self._running: dict[Attempt, asyncio.Task[None]] = {}
        self._reporting: dict[Attempt, None] = {}
        self._jobs: dict[int, None] = {}
        """Those that have left something here."""
        self._slot_freed = asyncio.Event()
        self.requests: dict[type[Request[Any]], Handler] = {FetchRegion: self._outputs.fetch}

    async def start(self) -> None:
        """Clear away what an earlier worker left, start the task processes, begin to poll."""
        self._world.disk.remove(DIRECTORY)
        self._world.disk.make_directory(DIRECTORY)
        await self._slots.start()
        self._world.spawn(self._poll(), "worker polls")

    def figures(self) -> WorkerFigures:
        return WorkerFigures(self._count, len(self._running), len(self._reporting))

    async def _poll(self) -> None:
        while True:
            free = self._count - len(self._running)
            self._slot_freed.clear()
            request = PollTasks(
                self.worker,
                self._node,
                self._address,
                self._count,
                free,
                list(self._running),
                list(self._reporting),
                list(self._jobs),
            )
            try:
                reply = await self._coordinator.call_leader(request, timeout_ms=_POLL_TIMEOUT_MS)
            except QuorateError as error:
                self._world.trace.event("poll failed", error=error.message)
                await self._world.clock.sleep(_PAUSE_MS)
                continue
            self._take(reply)
            if len(self._running) >= self._count:
                await self._until_slot_freed()

    async def _until_slot_freed(self) -> None:
        try:
            async with asyncio.timeout(_BUSY_POLL_MS / 1000):
                await self._slot_freed.wait()
        except TimeoutError:
            return

    def _take(self, reply: PollReply) -> None:
        self._executor.fence = max(self._executor.fence, reply.fence)
        for attempt in reply.abandon:
            self._abandon(attempt)
        for job in reply.ended:
            for attempt in [attempt for attempt in self._running if attempt.job == job]:
                self._abandon(attempt)
            self._jobs.pop(job, None)
            self._executor.forget_job(job)
        for assignment in reply.assignments:
            self._begin(assignment)

    def _abandon(self, attempt: Attempt) -> None:
        task = self._running.pop(attempt, None)
        if task is not None:
            task.cancel()

    def _begin(self, assignment: Assignment) -> None:
        attempt = assignment.attempt
        known = attempt in self._running or attempt in self._reporting
        if known or self._outputs.has(attempt) or len(self._running) >= self._count:
            return  # told twice, or more than fits: it will be told again if it is still wanted
        self._jobs[attempt.job] = None
        name = f"{attempt.kind} {attempt.task} of job {attempt.job}"
        self._running[attempt] = self._world.spawn(self._run(assignment), name)

    async def _run(self, assignment: Assignment) -> None:
        attempt = assignment.attempt
        report = await self._executor.run(assignment)
        self._running.pop(attempt, None)
        self._reporting[attempt] = None
        self._slot_freed.set()
        if not await self._report(report):
            self._outputs.drop(attempt)
        del self._reporting[attempt]

    async def _report(self, report: TaskDone | TaskFailed | MapOutputLost) -> bool:
        """Whether the attempt counts; asked until a coordinator answers."""
        while True:
            try:
                return await self._coordinator.call_leader(
                    Report(report), timeout_ms=_REPORT_TIMEOUT_MS
                )
            except Unavailable:
                await self._world.clock.sleep(_PAUSE_MS)
            except QuorateError as error:
                self._world.trace.event("report refused", error=error.message)
                return False
