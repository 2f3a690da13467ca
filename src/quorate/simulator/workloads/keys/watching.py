"""Watchers: each follows a range of keys from node to node, and notes what it is told.

What is forgotten is refused; then the keys are read again, page by page, and the watch goes on from
the revision of the first page.
"""

import itertools

from quorate.base.errors import NotFound, QuorateError
from quorate.base.ids import Address
from quorate.kv.core.commands import Changed, Page, Range
from quorate.kv.messages import Watch
from quorate.simulator.workloads.keys.player import Player
from quorate.simulator.workloads.keys.record import Told, now_ms

RANGES: tuple[tuple[bytes, bytes | None], ...] = (
    (b"", None),
    (b"a", b"d"),
    (b"e", b"m"),
    (b"e1", b"e1\0"),
    (b"w", b"x"),
)
ASK_MS = (500, 1_200)
NAPS, NAP_MS = 0.03, 1_500.0
"""How often a watcher does not ask for so long, at most: then it has much to be told, or too much.
"""
PAGE = 5


class Watcher(Player):
    """``follow`` goes on until the process is stopped."""

    async def follow(self, pace_ms: float) -> None:
        start, end = self.rng.choice(RANGES)
        limit = self.rng.choice((5, 7, 1000) if end is not None else (50, 1000))
        told = self._begin(start, end, 0)
        answered: Address | None = None
        """Who did last: asked again after each who does not, for some belong to no group."""
        failed = False
        for number in itertools.count(self.rng.randrange(len(self.addresses))):
            address = self.addresses[number % len(self.addresses)]
            if failed and answered is not None:
                address, answered = answered, None
            request = Watch(told.revision, start, end, limit)
            timeout_ms = self.rng.choice(ASK_MS)
            try:
                changed = await self.rpc.call(address, request, timeout_ms=timeout_ms)
            except NotFound:
                told.refused_ms = now_ms()
                answered, failed = address, False
                since = await self._read_again(start, end)
                if since is not None:
                    told = self._begin(start, end, since)
                continue
            except QuorateError:
                failed = True
                await self.world.clock.sleep(self.rng.uniform(0, 50))
                continue
            note(told, changed)
            answered, failed = address, False
            if self.rng.random() < NAPS:
                await self.world.clock.sleep(self.rng.uniform(0, NAP_MS))
            elif len(changed.events) < limit:
                await self.world.clock.sleep(self.rng.uniform(0, pace_ms))

    def _begin(self, start: bytes, end: bytes | None, since: int) -> Told:
        told = Told(self.name, start, end, since, since)
        self.seen.told.append(told)
        return told

    async def _read_again(self, start: bytes, end: bytes | None) -> int | None:
        """The revision from which to go on; ``None`` if the keys cannot be read now."""
        since: int | None = None
        limit, anywhere = self.rng.choice((PAGE, 100)), self.rng.random() < 0.3
        following: bytes | None = start
        while following is not None:
            try:
                page: Page = await self.client.query(
                    Range(following, end, limit), timeout_ms=2_000, anywhere=anywhere
                )
            except QuorateError:
                return None
            since = page.revision if since is None else since
            following = page.more
        return since


def note(told: Told, changed: Changed) -> None:
    """``changed`` goes on from where ``told`` was."""
    told.events += changed.events
    told.revision = changed.revision
    told.reached.append((now_ms(), changed.revision))
