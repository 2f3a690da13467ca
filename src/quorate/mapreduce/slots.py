"""The task processes of a worker: one per slot, kept for many tasks, replaced when they die."""

import asyncio

from quorate.mapreduce.tasks import FUNCTION
from quorate.runtime.ports import TaskProcess, World


class Slots:
    """Up to ``count`` task processes, each running one task at a time below ``directory``."""

    def __init__(self, world: World, directory: str, count: int) -> None:
        self._world = world
        self._directory = directory
        self._count = count
        self._turn = asyncio.Semaphore(count)
        self._idle: list[TaskProcess] = []

    async def start(self) -> None:
        """Start all processes now, so that no task waits for one."""
        for _ in range(self._count):
            self._idle.append(await self._new())

    async def _new(self) -> TaskProcess:
        return await self._world.processes.start(FUNCTION, self._directory)

    async def run(self, request: bytes) -> bytes:
        """The reply to an encoded task; raises ``Unavailable`` if its process dies.

        A process whose task is given up (the caller is cancelled) is killed: there is no other way
        to stop it.
        """
        async with self._turn:
            process = self._idle.pop() if self._idle else await self._new()
            try:
                reply = await process.run(request)
            except BaseException:
                process.kill()
                raise
            self._idle.append(process)
            return reply
