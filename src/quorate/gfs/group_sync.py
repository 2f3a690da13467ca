"""Directory syncs, shared: who comes while one is under way joins the next.

A sync that has begun says nothing about a name that was made after it began, so it cannot be
joined; the one after it covers everybody who waits by then.
"""

import asyncio

from quorate.base.errors import QuorateError
from quorate.runtime.ports import World


class GroupSync:
    """``sync_directory`` for many callers at once."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._running: dict[str, asyncio.Lock] = {}
        self._next: dict[str, asyncio.Task[QuorateError | None]] = {}

    async def sync(self, directory: str) -> None:
        """Wait until the names that ``directory`` has now are on the disk."""
        task = self._next.get(directory)
        if task is None:
            task = self._world.spawn(self._run(directory), "sync directory")
            self._next[directory] = task
        if (error := await asyncio.shield(task)) is not None:
            raise error

    async def _run(self, directory: str) -> QuorateError | None:
        async with self._running.setdefault(directory, asyncio.Lock()):
            del self._next[directory]
            try:
                await self._world.disk.sync_directory(directory)
            except QuorateError as error:
                return error
            return None
