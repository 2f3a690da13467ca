"""Queries that wait until they may be answered: the group's half of ``core/reads.py``.

All queries that come in one turn of the loop are one read.  Its number is unique over all lives of
the replica (they start at random and count on), so an index that was found for an earlier life
answers nothing.  On a follower question and answer cross the network: who got none asks again, and
gives up after a while.
"""

import asyncio
from collections.abc import Callable, Iterable

from quorate.base.errors import QuorateError, Unavailable
from quorate.base.ids import GroupId
from quorate.base.sometimes import sometimes
from quorate.raft.core.events import ReadReady
from quorate.raft.driver import Driver
from quorate.runtime.ports import Timer, World

ASK_AGAIN_MS = 200
GIVE_UP_AFTER = 5
"""So many times a follower asks."""

Waiting = tuple[bytes | None, "asyncio.Future[bytes]"]
"""An encoded query, or ``None`` for a barrier, and who waits for the answer."""


class _Read:
    __slots__ = ("asked", "index", "queries")

    def __init__(self, queries: list[Waiting]) -> None:
        self.queries = queries
        self.asked = 1
        self.index: int | None = None
        """From where on it may be answered, once that is known."""


class Reads:
    """The reads of one replica; ``answer`` asks its state machine."""

    def __init__(
        self, world: World, driver: Driver, group: GroupId, answer: Callable[[bytes], bytes]
    ) -> None:
        self._world = world
        self._driver = driver
        self._group = group
        self._answer = answer
        self._reads: dict[int, _Read] = {}
        self._last = world.random.getrandbits(60)
        self._timer: Timer | None = None
        self.count = 0
        """Queries that wait."""

    def ask(self, queries: list[Waiting]) -> None:
        """Have them answered by a state that has all that is committed by now."""
        self._last += 1
        self._reads[self._last] = _Read(queries)
        self.count += len(queries)
        self._driver.read(self._group, self._last)
        if self._reads and self._timer is None:
            self._timer = self._world.clock.call_later(ASK_AGAIN_MS, self._ask_again)

    def ready(self, reads: list[ReadReady], last_applied: int) -> None:
        for number, index in reads:
            if (read := self._reads.get(number)) is not None:
                read.index = index
        self.applied(last_applied)

    def applied(self, last_applied: int) -> None:
        """The state has all up to ``last_applied``: answer what was waiting for that."""
        if not self._reads:
            return
        done = [
            number
            for number, read in self._reads.items()
            if read.index is not None and read.index <= last_applied
        ]
        for number in done:
            for query, future in self._take_out(number):
                if not future.done():
                    future.set_result(b"" if query is None else self._answer(query))

    def fail(self, error: Callable[[], QuorateError]) -> None:
        """Nothing that waits can be answered here."""
        self._fail(list(self._reads), error)

    def _fail(self, numbers: Iterable[int], error: Callable[[], QuorateError]) -> None:
        for number in numbers:
            for _, future in self._take_out(number):
                if not future.done():
                    future.set_exception(error())

    def _take_out(self, number: int) -> list[Waiting]:
        queries = self._reads.pop(number).queries
        self.count -= len(queries)
        return queries

    def _ask_again(self) -> None:
        """A leader's own reads need no repetition, and for them it does no harm."""
        self._timer = None
        late = [number for number, read in self._reads.items() if read.asked >= GIVE_UP_AFTER]
        self._fail(late, lambda: Unavailable("no state here was fit to answer in time"))
        for number, read in list(self._reads.items()):
            read.asked += 1
            if read.index is None:
                sometimes("read asked again")
                self._driver.read(self._group, number)
        if self._reads and self._timer is None:
            self._timer = self._world.clock.call_later(ASK_AGAIN_MS, self._ask_again)
