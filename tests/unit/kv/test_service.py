"""The way to the store inside a process: which reads share a round between the nodes."""

import asyncio
from types import SimpleNamespace
from typing import Any, cast

from quorate.base.errors import Unavailable
from quorate.kv.core.store import Store
from quorate.kv.service import KvService
from quorate.runtime.real.clock import RealClock


class Rounds:
    """A group of which only reads are asked for."""

    def __init__(self) -> None:
        self.open: list[asyncio.Future[bytes]] = []

    def ask(self, query: bytes | None, *, anywhere: bool) -> "asyncio.Future[bytes]":
        assert query is None and anywhere
        self.open.append(asyncio.get_running_loop().create_future())
        return self.open[-1]


def made() -> tuple[KvService, Rounds]:
    rounds = Rounds()
    world = cast(Any, SimpleNamespace(clock=RealClock()))
    return KvService(world, cast(Any, None), cast(Any, rounds), Store()), rounds


async def turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def test_reads_that_come_during_a_round_share_the_next_one() -> None:
    async def main() -> None:
        service, rounds = made()
        told: list[tuple[str, object]] = []
        service.settle(lambda error: told.append(("first", error)))
        await turns()
        for name in ("second", "third"):
            service.settle(lambda error, name=name: told.append((name, error)))
            await turns()
        assert len(rounds.open) == 1 and told == []
        rounds.open[0].set_result(b"")
        await turns()
        # The first round began before they came: it tells nothing of what they must see.
        assert told == [("first", None)] and len(rounds.open) == 2
        rounds.open[1].set_result(b"")
        await turns()
        assert told[1:] == [("second", None), ("third", None)] and len(rounds.open) == 2

    asyncio.run(main())


def test_a_round_that_fails_holds_up_nobody_behind_it() -> None:
    async def main() -> None:
        service, rounds = made()
        told: list[object] = []
        service.settle(lambda error: None)
        await turns()
        service.settle(told.append)
        await turns()
        rounds.open[0].set_exception(Unavailable("nobody answered"))
        await turns()
        assert len(rounds.open) == 2
        rounds.open[1].set_result(b"")
        await turns()
        assert told == [None]

    asyncio.run(main())
