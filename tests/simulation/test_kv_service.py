"""The way of a gateway to the store, from nodes that do not lead, in virtual time."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, cast

import pytest

from quorate.base.codec import Request
from quorate.base.errors import Maybe, StoreFull
from quorate.base.ids import GroupId
from quorate.kv.core.commands import (
    AnyOperation,
    Append,
    Delete,
    Get,
    Limit,
    Put,
    PutMany,
    Set,
    Transact,
    Transacted,
)
from quorate.kv.core.store import Store
from quorate.kv.server import KvServer
from quorate.kv.service import Done, KvService
from quorate.raft import answers
from quorate.raft.node import RaftNode
from quorate.rpc.client import RpcClient
from quorate.rpc.server import Handler
from quorate.runtime.ports import World
from quorate.runtime.simulated.world import Simulation
from quorate.simulator.cluster import RaftCluster

GROUP = GroupId(1)
Work = Callable[["Through"], Awaitable[None]]


class Through:
    """A node's service, for who awaits."""

    def __init__(self, service: KvService) -> None:
        self.service = service

    async def told(self, ask: Callable[[Done], object]) -> Any:
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        ask(future.set_result)
        return await future

    async def apply(self, operations: Sequence[AnyOperation]) -> Any:
        return await self.told(lambda done: self.service.apply(operations, 100, done))

    async def transact(self, operations: list[AnyOperation]) -> Any:
        command = Transact([], operations, whole=False)
        return await self.told(lambda done: self.service.transact(command, done))


class ServiceCluster(RaftCluster):
    """Nodes with a store, where ``work`` is done on one of them when it is given."""

    work: tuple[str, Work] | None = None

    async def _requests(
        self, name: str, world: World, rpc: RpcClient, node: RaftNode
    ) -> Mapping[type[Request[Any]], Handler]:
        group = node.groups[GROUP]
        store = cast(Store, group.machine)
        through = Through(KvService(world, rpc, group, store))
        world.spawn(self._wait(name, world, through), "work")
        return {**node.server.requests, **KvServer(world, group, store).requests}

    async def _wait(self, name: str, world: World, through: Through) -> None:
        while True:
            if self.work is not None and self.work[0] == name:
                await self.work[1](through)
                self.work = None
            await world.clock.sleep(10)


def run_on_follower(seed: int, work: Work, first_on_leader: Work | None = None) -> None:
    with Simulation(seed) as simulation:
        nodes = ServiceCluster(simulation, 3, machine=Store)
        nodes.found()
        simulation.run_until(lambda: nodes.leader(GROUP) is not None, 10_000)
        leader = nodes.leader(GROUP)
        assert leader is not None
        follower = next(name for name in nodes.names if name != leader)
        for name, part in (leader, first_on_leader), (follower, work):
            nodes.work = None if part is None else (name, part)
            simulation.run_until(lambda: nodes.work is None, 60_000)
            assert nodes.work is None


def test_answers_of_any_size_reach_a_follower_and_harm_no_others() -> None:
    large = bytes(range(256)) * (8 << 12)

    async def work(through: Through) -> None:
        upload = await through.service.stage(large)
        await through.apply(
            [Put(b"large", upload), *[Put(b"%d" % n, large[:9_000]) for n in range(9)]]
        )
        done = await through.transact([Get(b"large"), Get(b"large")])
        assert isinstance(done, Transacted) and done.replies == [large, large]
        all_of_them = await asyncio.gather(
            *(through.transact([Get(b"%d" % (n % 9))]) for n in range(300))
        )
        assert [done.replies for done in all_of_them] == [[large[:9_000]]] * 300
        [(_, given)] = await through.apply([Set(b"large", b"new", give=True)])
        assert given == large

    run_on_follower(1, work)


def test_a_large_answer_that_cannot_be_kept_is_a_maybe(monkeypatch: Any) -> None:
    monkeypatch.setattr(answers, "MAX_HELD_BYTES", 1 << 20)

    async def work(through: Through) -> None:
        upload = await through.service.stage(bytes(2 << 20))
        await through.apply([Put(b"large", upload)])
        assert isinstance(await through.transact([Get(b"large")]), Maybe)
        assert (await through.transact([Put(b"a", b"1")])).held

    run_on_follower(2, work)


def test_what_a_full_store_refuses_takes_no_entry_of_the_log_from_wherever_it_comes() -> None:
    new, add = Put(b"new", bytes(1_000)), Append(b"a", bytes(1_000))

    async def check(through: Through) -> None:
        group = through.service.group
        await group.barrier(timeout_ms=1_000, anywhere=True)
        before = group.status()
        for operations in (
            [new],
            [add, new],
            [Set(b"b", bytes(1_000), ttl_ms=1)],
            [PutMany([(b"c", b"")])],
        ):
            for reply in await through.apply(operations):
                assert reply["code"] == "store_full"
        with pytest.raises(StoreFull):
            await through.service.stage(bytes(1_000))
        await group.barrier(timeout_ms=1_000, anywhere=True)
        assert group.status().commit_index == before.commit_index
        # A transaction tells its revision: that, and what may make room, or is not sure to be
        # refused for want of it, is decided in the log.
        done = await through.transact([new, add])
        assert done.held and [reply["code"] for reply in done.replies] == ["store_full"] * 2
        for operations in [new, Get(b"a")], [Put(b"x" * 40_000, b"")], [Put(b"a", b"")]:
            await through.apply(operations)
        await group.barrier(timeout_ms=1_000, anywhere=True)
        assert group.status().commit_index == before.commit_index + 4
        deleted, put = await through.apply([Delete([b"a"]), new])
        assert deleted == 1 and put > 0  # and it is as it was before, but for this
        await through.apply([Delete([b"new"]), Put(b"a", bytes(1_000))])

    async def on_leader(through: Through) -> None:
        await through.apply([Put(b"a", bytes(1_000))])
        await through.service.group.execute(Limit(1_430), timeout_ms=1_000)
        await check(through)

    run_on_follower(3, check, on_leader)


def test_a_full_store_takes_what_comes_when_an_end_is_due() -> None:
    async def work(through: Through) -> None:
        await through.apply([Put(b"a", b"2")])

    async def on_leader(through: Through) -> None:
        service = through.service
        await through.apply([Set(b"a", bytes(1_000), ttl_ms=300), Put(b"b", b"1")])
        await service.group.execute(Limit(1_700), timeout_ms=1_000)
        asked = 0
        while isinstance((await through.apply([Put(b"c", bytes(1_000))]))[0], dict):
            asked += 1
            await asyncio.sleep(0.02)
        assert asked and service.store.state.get(b"a") is None

    run_on_follower(4, work, on_leader)
