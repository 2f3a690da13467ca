"""Queries of a group: how many share a read, when they are answered, and when they give up."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from quorate.base.codec import encode, outcome_of
from quorate.base.errors import NotLeader, QuorateError, Unavailable
from quorate.base.ids import GroupId
from quorate.raft.core.events import ReadReady
from quorate.raft.core.settings import Timing
from quorate.raft.driver import Driver
from quorate.raft.group import Group
from quorate.raft.reads import ASK_AGAIN_MS, GIVE_UP_AFTER, Reads
from quorate.runtime.ports import World
from quorate.runtime.simulated.world import Simulation
from quorate.simulator.cluster import RaftCluster, address
from quorate.simulator.workloads.lists import Append, Read

GROUP = GroupId(1)
LONG_MS = 60_000


class Asked:
    """A driver that only remembers what it was asked for."""

    def __init__(self) -> None:
        self.numbers: list[int] = []

    def read(self, group: GroupId, number: int) -> None:
        assert group == GROUP
        self.numbers.append(number)


class Desk:
    def __init__(self, world: World) -> None:
        self.world = world
        self.driver = Asked()
        self.answered: list[bytes] = []
        driver: Any = self.driver
        self.reads = Reads(world, driver, GROUP, self._answer)

    def _answer(self, query: bytes) -> bytes:
        self.answered.append(query)
        return b"answer to " + query

    def ask(self, *queries: bytes | None) -> list["asyncio.Future[bytes]"]:
        futures = [asyncio.get_running_loop().create_future() for _ in queries]
        self.reads.ask(list(zip(queries, futures, strict=True)))
        return futures

    def tell(self, index: int, last_applied: int, number: int | None = None) -> None:
        number = self.driver.numbers[-1] if number is None else number
        self.reads.ready([ReadReady(number, index)], last_applied)


def play(scenario: Callable[[Desk], Coroutine[Any, Any, None]]) -> None:
    with Simulation(1) as simulation:

        async def main(world: World) -> None:
            await scenario(Desk(world))

        process = simulation.machine("m1").start_process("raft", main)
        simulation.run_until(lambda: not process.alive, 60_000)
        if process.error is not None:
            raise process.error


def test_a_query_is_answered_when_the_state_has_come_to_its_index_and_not_before() -> None:
    async def scenario(desk: Desk) -> None:
        query, barrier = desk.ask(b"q", None)
        desk.reads.applied(100)  # how far it must come is not known yet
        desk.tell(7, last_applied=5)
        desk.reads.applied(6)
        assert not query.done()
        assert desk.answered == []
        desk.reads.applied(7)
        assert (query.result(), barrier.result()) == (b"answer to q", b"")
        assert (desk.answered, desk.reads.count) == ([b"q"], 0)

    play(scenario)


def test_reads_are_answered_each_at_its_own_index() -> None:
    async def scenario(desk: Desk) -> None:
        [first] = desk.ask(b"1")
        [second] = desk.ask(b"2")
        one, two = desk.driver.numbers
        desk.tell(9, 5, one)
        desk.tell(6, 6, two)
        assert (first.done(), second.done(), desk.reads.count) == (False, True, 1)
        desk.reads.applied(9)
        assert first.done()

    play(scenario)


def test_what_an_earlier_life_asked_for_answers_nothing() -> None:
    async def scenario(desk: Desk) -> None:
        [query] = desk.ask(b"q")
        [number] = desk.driver.numbers
        for other in (number - 1, number + 1, 0):
            desk.tell(1, 100, other)
        assert not query.done()

    play(scenario)


def test_who_gets_no_index_asks_again_and_gives_up_after_a_while() -> None:
    async def scenario(desk: Desk) -> None:
        queries = desk.ask(b"q", b"r")
        await desk.world.clock.sleep(ASK_AGAIN_MS * (GIVE_UP_AFTER - 0.5))
        assert desk.driver.numbers == [desk.driver.numbers[0]] * GIVE_UP_AFTER
        assert not queries[0].done()
        await desk.world.clock.sleep(ASK_AGAIN_MS)
        assert [type(query.exception()) for query in queries] == [Unavailable] * 2
        assert desk.reads.count == 0
        await desk.world.clock.sleep(10 * ASK_AGAIN_MS)
        assert len(desk.driver.numbers) == GIVE_UP_AFTER  # and nobody asks any more

    play(scenario)


def test_who_knows_its_index_waits_for_the_state_and_asks_nobody_but_not_for_ever() -> None:
    async def scenario(desk: Desk) -> None:
        for patience, answered in ((GIVE_UP_AFTER - 1, True), (GIVE_UP_AFTER + 1, False)):
            asked = len(desk.driver.numbers)
            [query] = desk.ask(b"q")
            desk.tell(7, 5, desk.driver.numbers[-1])
            await desk.world.clock.sleep(patience * ASK_AGAIN_MS - 1)
            assert len(desk.driver.numbers) == asked + 1
            desk.reads.applied(7)
            if answered:
                assert query.result() == b"answer to q"
            else:
                assert isinstance(query.exception(), Unavailable)

    play(scenario)


def test_a_later_read_has_its_own_time() -> None:
    async def scenario(desk: Desk) -> None:
        [first] = desk.ask(b"1")
        await desk.world.clock.sleep(ASK_AGAIN_MS * (GIVE_UP_AFTER - 0.5))
        [second] = desk.ask(b"2")
        await desk.world.clock.sleep(ASK_AGAIN_MS)
        assert (first.done(), second.done()) == (True, False)
        assert isinstance(first.exception(), Unavailable)
        desk.tell(1, 1, desk.driver.numbers[-1])
        assert second.result() == b"answer to 2"

    play(scenario)


def test_who_has_given_up_waiting_is_in_nobodys_way() -> None:
    async def scenario(desk: Desk) -> None:
        gone, query = desk.ask(b"1", b"2")
        gone.cancel()
        desk.tell(1, 1)
        assert query.result() == b"answer to 2"
        assert desk.answered == [b"2"]
        again = desk.ask(b"3")[0]
        again.cancel()
        desk.reads.fail(lambda: NotLeader("no"))
        assert desk.reads.count == 0

    play(scenario)


# In a cluster.


class Trio:
    """Three nodes with a leader; ``on`` runs a coroutine within the process of one of them."""

    def __init__(self, seed: int = 1, timing: Timing | None = None) -> None:
        self.simulation = Simulation(seed)
        timing = timing or Timing(50, 300)
        self.cluster = RaftCluster(self.simulation, 3, timing=timing)

    def __enter__(self) -> "Trio":
        self.cluster.found()
        groups = self.cluster.raft_nodes
        self.simulation.run_until(
            lambda: any(node.groups[GROUP].is_leader for node in groups.values()), 10_000
        )
        self.simulation.run_for(200)
        self.leader = self.cluster.leader(GROUP) or ""
        self.follower = next(name for name in self.cluster.names if name != self.leader)
        return self

    def __exit__(self, *error: object) -> None:
        self.simulation.close()

    def group(self, name: str) -> Group:
        return self.cluster.raft_nodes[name].groups[GROUP]

    def on(self, name: str, work: Callable[[Group], Coroutine[Any, Any, Any]]) -> Any:
        group = self.group(name)
        process = self.simulation.machine(name).processes["raft"]
        found: list[Any] = []

        async def run() -> None:
            try:
                found.append(await work(group))
            except QuorateError as error:
                found.append(error)

        process.run(lambda: self.simulation.loop.create_task(run()))
        self.simulation.run_until(lambda: bool(found), 20_000)
        return found[0]

    def now_ms(self) -> float:
        return self.simulation.now_ms()


def test_all_queries_of_a_turn_are_one_read(monkeypatch: pytest.MonkeyPatch) -> None:
    numbers: list[int] = []
    read = Driver.read

    def counted(driver: Driver, group: GroupId, number: int) -> None:
        numbers.append(number)
        read(driver, group, number)

    monkeypatch.setattr(Driver, "read", counted)

    async def work(group: Group) -> list[bytes]:
        return await asyncio.gather(*[group.ask(encode(Read("a"))) for _ in range(20)])

    with Trio() as trio:
        assert trio.on(trio.leader, work) == [outcome_of([])] * 20
        assert len(numbers) == 1


def test_a_query_appends_nothing_to_the_log() -> None:
    with Trio() as trio:
        before = trio.group(trio.leader).status().last_index
        trio.on(trio.leader, lambda group: group.query(Read("a"), timeout_ms=LONG_MS))
        trio.on(trio.leader, lambda group: group.barrier(timeout_ms=LONG_MS))
        assert trio.group(trio.leader).status().last_index == before


def test_a_follower_answers_with_what_was_acknowledged_before_it_was_asked() -> None:
    async def ask(group: Group) -> bytes:
        return await group.ask(encode(Read("a")), anywhere=True)

    with Trio() as trio:
        expected: list[str] = []
        for number in range(5):
            expected.append(str(number))
            command = Append("a", str(number))
            trio.on(trio.leader, lambda group, c=command: group.execute(c, timeout_ms=LONG_MS))
            assert trio.on(trio.follower, ask) == outcome_of(expected)


def test_a_follower_that_is_not_asked_for_that_says_who_leads() -> None:
    with Trio() as trio:
        error = trio.on(trio.follower, lambda group: group.query(Read("a"), timeout_ms=LONG_MS))
        assert isinstance(error, NotLeader)
        assert error.details["leader"] == address(trio.leader)


def test_a_follower_that_cannot_ask_says_so_in_time() -> None:
    async def ask(group: Group) -> bytes:
        return await group.ask(encode(Read("a")), anywhere=True)

    with Trio() as trio:
        others = [name for name in trio.cluster.names if name != trio.follower]
        trio.simulation.faults.partition([trio.follower], others)
        began_ms = trio.now_ms()
        assert isinstance(trio.on(trio.follower, ask), Unavailable)
        assert trio.now_ms() - began_ms <= ASK_AGAIN_MS * GIVE_UP_AFTER + 10


def test_a_question_that_is_lost_is_asked_again() -> None:
    async def ask(group: Group) -> bytes:
        return await group.ask(encode(Read("a")), anywhere=True)

    with Trio() as trio:
        trio.simulation.faults.set_link(trio.follower, trio.leader, loss=1.0)
        heal = trio.simulation.faults.links.clear
        trio.simulation.loop.call_later(ASK_AGAIN_MS / 2 / 1000, heal)
        began_ms = trio.now_ms()
        assert trio.on(trio.follower, ask) == outcome_of([])
        assert ASK_AGAIN_MS <= trio.now_ms() - began_ms <= 2 * ASK_AGAIN_MS


def test_reads_of_a_leader_that_nobody_answers_fail_when_it_steps_down() -> None:
    with Trio() as trio:
        others = [name for name in trio.cluster.names if name != trio.leader]
        trio.simulation.faults.partition([trio.leader], others)
        began_ms = trio.now_ms()
        error = trio.on(trio.leader, lambda group: group.query(Read("a"), timeout_ms=LONG_MS))
        assert isinstance(error, NotLeader)
        assert trio.now_ms() - began_ms <= 2 * 300
