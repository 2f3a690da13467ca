"""A group's client: the way to the leader, exactly once, and an honest word before the deadline."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from quorate.base.codec import Request, decode, encode, outcome_of
from quorate.base.errors import (
    BadConfiguration,
    BadInput,
    DeadlineExceeded,
    Maybe,
    NotLeader,
    ProtocolError,
    QuorateError,
    SessionExpired,
    Unavailable,
)
from quorate.base.ids import Address, GroupId, NodeId
from quorate.raft import client as client_module
from quorate.raft import sessions as sessions_module
from quorate.raft.client import ATTEMPT_MS, GroupClient
from quorate.raft.core.messages import AppendRequest
from quorate.raft.messages import (
    Ask,
    AskStatus,
    Envelope,
    GroupStatus,
    Propose,
    RaftMessages,
)
from quorate.raft.server import RaftServer
from quorate.raft.sessions import (
    MAX_COMMAND_BYTES,
    SESSION_IDLE_MS,
    OpenSession,
    SessionCommand,
    wrap,
)
from quorate.rpc.client import RpcClient
from quorate.rpc.frames import MAX_CONTROL_FRAME_BYTES
from quorate.rpc.handshake import Identity
from quorate.runtime.ports import World
from quorate.runtime.simulated.faults import Link
from quorate.runtime.simulated.world import Simulation
from quorate.simulator.cluster import CLUSTER, RaftCluster, address, replica_id
from quorate.simulator.workloads.lists import Append, Read

LONG_MS = 20_000


class Scene:
    """Three nodes, and a client in a process of its own."""

    def __init__(self, simulation: Simulation) -> None:
        self.simulation = simulation
        self.cluster = RaftCluster(simulation, 3)
        self.group = self.cluster.groups[0]
        self.cluster.found()
        simulation.run_until(lambda: self.cluster.leader(self.group) is not None, 10_000)
        self.world: World
        self.client: GroupClient
        self.rpc: RpcClient

    @property
    def leader(self) -> str:
        found = self.cluster.leader(self.group)
        assert found is not None
        return found

    @property
    def others(self) -> list[str]:
        return [name for name in self.cluster.names if name != self.leader]

    async def append(self, value: str, timeout_ms: float = LONG_MS) -> int:
        return await self.client.execute(Append("a", value), timeout_ms=timeout_ms)

    async def read(self) -> list[str]:
        return await self.client.query(Read("a"), timeout_ms=LONG_MS)

    async def status(self, name: str) -> GroupStatus:
        return (await self.rpc.call(address(name), AskStatus(), timeout_ms=LONG_MS)).groups[0]

    async def pass_ms(self, delay_ms: float) -> None:
        await self.world.clock.sleep(delay_ms)


def play(scenario: Callable[[Scene], Coroutine[Any, Any, None]], seed: int = 1) -> None:
    with Simulation(seed) as simulation:
        scene = Scene(simulation)

        async def main(world: World) -> None:
            scene.world = world
            scene.rpc = RpcClient(world, Identity(CLUSTER, NodeId(0), "client"))
            scene.client = GroupClient(world, scene.rpc, scene.cluster.addresses, scene.group)
            await scenario(scene)

        process = simulation.machine("c").start_process("client", main)
        simulation.run_until(lambda: not process.alive, 24 * 3_600_000)
        if process.error is not None:
            raise process.error


class Script:
    """An ``RpcClient`` that answers from a script; each line is a value or an error to raise."""

    def __init__(self, world: World, lines: list[object]) -> None:
        self.world = world
        self.lines = lines
        self.calls: list[tuple[Address, Request[Any]]] = []
        self.together: list[bytes] = []
        """What the line ``None`` stands for."""

    async def call(self, address: Address, request: Request[Any], *, timeout_ms: float) -> Any:
        if isinstance(request, Propose) and request.commands == [encode(OpenSession())]:
            return [outcome_of(7)]
        self.calls.append((address, request))
        line = self.lines.pop(0) if self.lines else Unavailable("nobody is there")
        if isinstance(line, Maybe):
            await self.world.clock.sleep(timeout_ms)
        if isinstance(line, Exception):
            raise line
        if line is None:
            return self.together
        return [line] if isinstance(request, Propose) else line


def scripted(
    lines: list[object], scenario: Callable[[GroupClient, Script], Coroutine[Any, Any, None]]
) -> None:
    with Simulation(1) as simulation:

        async def main(world: World) -> None:
            script = Script(world, lines)
            rpc: Any = script
            addresses = [Address("n1:raft"), Address("n2:raft")]
            await scenario(GroupClient(world, rpc, addresses, GroupId(1)), script)

        process = simulation.machine("c").start_process("client", main)
        simulation.run_until(lambda: not process.alive, 600_000)
        if process.error is not None:
            raise process.error


def test_it_finds_the_leader_from_any_address_and_then_goes_there_at_once() -> None:
    async def scenario(scene: Scene) -> None:
        for name in scene.cluster.names:
            client = GroupClient(scene.world, scene.rpc, [address(name)], scene.group)
            await client.execute(Append("a", name), timeout_ms=LONG_MS)
            began_ms = scene.world.clock.monotonic_ms()
            await client.query(Read("a"), timeout_ms=LONG_MS)
            assert scene.world.clock.monotonic_ms() - began_ms < 20
        assert await scene.read() == scene.cluster.names

    play(scenario)


def test_a_command_is_applied_once_though_its_leader_dies_with_the_answer() -> None:
    async def scenario(scene: Scene) -> None:
        await scene.append("first")
        leader = scene.leader
        scene.simulation.faults.block(leader, "c")  # it commits, and nobody hears
        work = asyncio.ensure_future(scene.append("second"))
        await scene.pass_ms(100)
        scene.cluster.kill(leader)
        scene.simulation.faults.heal()
        assert await work == 2
        assert await scene.append("third") == 3
        assert await scene.read() == ["first", "second", "third"]

    play(scenario)


def test_a_command_whose_entry_was_lost_with_its_leader_is_applied_once_by_the_next() -> None:
    async def scenario(scene: Scene) -> None:
        await scene.append("first")
        leader, others = scene.leader, scene.others
        scene.simulation.faults.partition([leader], others)
        assert await scene.append("second") == 2  # the old leader says "maybe"; another answers
        assert scene.leader in others
        scene.simulation.faults.heal()
        await scene.pass_ms(1_000)
        assert await scene.read() == ["first", "second"]

    play(scenario)


def test_without_a_majority_a_command_that_was_proposed_ends_in_maybe_by_its_deadline() -> None:
    async def scenario(scene: Scene) -> None:
        await scene.append("first")
        for name in scene.others:
            scene.cluster.kill(name)
        began_ms = scene.world.clock.monotonic_ms()
        with pytest.raises(Maybe):
            await scene.append("second", 3_000)
        with pytest.raises(DeadlineExceeded):
            await scene.client.query(Read("a"), timeout_ms=3_000)
        assert scene.world.clock.monotonic_ms() - began_ms < 6_100

    play(scenario)


def test_where_nobody_leads_a_command_was_surely_not_applied() -> None:
    async def scenario(scene: Scene) -> None:
        await scene.append("first")
        for name in scene.others:
            scene.cluster.kill(name)
        await scene.pass_ms(2_000)  # the last one has stepped down
        with pytest.raises(DeadlineExceeded, match="no answer from the leader"):
            await scene.append("second", 3_000)
        for name in scene.cluster.names:
            if not scene.cluster.is_up(name):
                scene.cluster.start(name)
        assert await scene.read() == ["first"]

    play(scenario)


def test_what_was_refused_is_never_applied_though_its_frame_comes_again_later() -> None:
    """A follower refuses, becomes leader, and then hears the same request a second time."""
    led: list[str] = []

    async def scenario(scene: Scene) -> None:
        await scene.append("first")
        leader, heir = scene.leader, scene.others[0]
        request = Propose(scene.group, [wrap(0, 0, 0, encode(Append("a", "refused")))])
        scene.simulation.faults.links["c", heir] = Link(duplicate=1.0, reorder_ms=(4e3, 4e3))
        with pytest.raises(NotLeader):
            await scene.rpc.call(address(heir), request, timeout_ms=1_000)
        scene.cluster.kill(leader)
        await scene.pass_ms(3_000)
        if scene.leader == heir:
            led.append(heir)
        await scene.pass_ms(3_000)
        assert await scene.read() == ["first"]

    for seed in range(4):
        play(scenario, seed)
    assert led


def test_a_short_call_does_not_wait_for_the_session_that_a_long_one_opens() -> None:
    async def scenario(scene: Scene) -> None:
        scene.simulation.faults.partition(["c"], scene.cluster.names)
        long = asyncio.ensure_future(scene.append("long", 10_000))
        await scene.pass_ms(10)
        began_ms = scene.world.clock.monotonic_ms()
        with pytest.raises(DeadlineExceeded):
            await scene.append("short", 500)
        assert scene.world.clock.monotonic_ms() - began_ms < 510
        scene.simulation.faults.heal()
        assert await long == 1
        assert await scene.read() == ["long"]

    play(scenario)


def test_a_client_that_was_idle_for_long_goes_on_with_a_new_session(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for module in (client_module, sessions_module):
        monkeypatch.setattr(module, "SESSION_IDLE_MS", 10_000)

    async def scenario(scene: Scene) -> None:
        assert await scene.append("first") == 1
        await scene.pass_ms(11_000)
        assert await scene.append("second") == 2

    play(scenario)


def test_a_session_that_others_made_expire_is_a_maybe_and_the_next_command_has_a_new_one() -> None:
    async def scenario(scene: Scene) -> None:
        assert await scene.append("first") == 1
        for name in scene.cluster.names:
            scene.simulation.machine(name).clock.jump_wall(2 * SESSION_IDLE_MS)
        with pytest.raises(SessionExpired):
            await scene.append("second")
        assert await scene.append("third") == 2
        assert await scene.read() == ["first", "third"]

    play(scenario)


def test_commands_of_one_client_may_be_under_way_together_and_all_are_applied_once() -> None:
    async def scenario(scene: Scene) -> None:
        scene.simulation.faults.default = Link(loss=0.02, duplicate=0.1, reorder=0.1)
        values = [str(number) for number in range(300)]
        lengths = await asyncio.gather(*[scene.append(value, 120_000) for value in values])
        assert sorted(lengths) == list(range(1, 301))
        assert sorted(await scene.read()) == sorted(values)

    play(scenario)


def test_the_number_of_a_command_stays_the_same_through_all_attempts() -> None:
    hint = NotLeader("elsewhere", leader="n2:raft")

    async def scenario(client: GroupClient, script: Script) -> None:
        assert await client.execute(Append("a", "x"), timeout_ms=LONG_MS) == 1
        assert [to for to, _ in script.calls[:3]] == ["n1:raft", "n2:raft", "n1:raft"]
        assert len({encode(request) for _, request in script.calls}) == 1
        assert await client.execute(Append("a", "y"), timeout_ms=LONG_MS) == 2
        last = script.calls[-1][1]
        assert isinstance(last, Propose)
        assert last.commands == [wrap(7, 2, 1, encode(Append("a", "y")))]

    lines = [hint, Maybe("lost"), Unavailable("down"), outcome_of(1)]
    scripted([*lines, outcome_of(2)], scenario)


def test_commands_of_one_turn_travel_together_and_each_gets_its_own_answer() -> None:
    async def scenario(client: GroupClient, script: Script) -> None:
        script.together = [outcome_of(1), outcome_of(BadInput("no")), outcome_of(3)]
        await client.execute(Append("a", "w"), timeout_ms=LONG_MS)  # has the session opened
        calls = [client.execute(Append("a", value), timeout_ms=LONG_MS) for value in "xyz"]
        one, two, three = await asyncio.gather(*calls, return_exceptions=True)
        assert (one, three) == (1, 3)
        assert isinstance(two, BadInput)
        _, (_, request) = script.calls
        assert isinstance(request, Propose)
        commands = [decode(command, SessionCommand) for command in request.commands]
        assert [command.sequence for command in commands] == [2, 3, 4]

    scripted([outcome_of(0), None], scenario)


def test_commands_that_fail_together_are_each_asked_again_with_their_own_number() -> None:
    async def scenario(client: GroupClient, script: Script) -> None:
        await client.execute(Append("a", "w"), timeout_ms=LONG_MS)
        calls = [client.execute(Append("a", value), timeout_ms=LONG_MS) for value in "xyz"]
        assert await asyncio.gather(*calls) == [1, 1, 1]
        requests = [request for _, request in script.calls if isinstance(request, Propose)]
        commands = [command for request in requests[2:] for command in request.commands]
        assert sorted(commands) == sorted(requests[1].commands)

    scripted([outcome_of(0), Unavailable("down"), *[outcome_of(1)] * 3], scenario)


def test_large_commands_do_not_travel_together() -> None:
    async def scenario(client: GroupClient, script: Script) -> None:
        large = "x" * (400 * 1024)
        calls = [client.execute(Append("a", large), timeout_ms=LONG_MS) for _ in range(3)]
        assert sorted(await asyncio.gather(*calls)) == [1, 2, 3]
        assert all(len(encode(request)) < MAX_CONTROL_FRAME_BYTES for _, request in script.calls)

    scripted([outcome_of(1), outcome_of(2), outcome_of(3)], scenario)


def test_an_answer_to_another_number_of_commands_says_nothing_about_them() -> None:
    async def scenario(client: GroupClient, script: Script) -> None:
        script.together = [outcome_of(1), outcome_of(2)]
        with pytest.raises(Maybe):
            await client.execute(Append("a", "x"), timeout_ms=2 * ATTEMPT_MS)

    scripted([None], scenario)


@pytest.mark.parametrize(
    ("lines", "raised"),
    [
        ([], DeadlineExceeded),
        ([NotLeader("elsewhere")] * 9, DeadlineExceeded),
        ([Maybe("lost")], Maybe),
        ([Maybe("lost"), *[NotLeader("elsewhere")] * 9], Maybe),
        ([BadConfiguration("another cluster")], BadConfiguration),
        ([Maybe("lost"), BadConfiguration("another cluster")], Maybe),
        ([Maybe("lost"), ProtocolError("garbage")], Maybe),
        ([QuorateError("internal error")], Maybe),
        ([outcome_of(BadConfiguration("its own"))], BadConfiguration),
        ([Maybe("lost"), outcome_of(BadConfiguration("its own"))], BadConfiguration),
    ],
)
def test_only_what_is_sure_is_said_to_be_so(lines: list[object], raised: type[Exception]) -> None:
    async def scenario(client: GroupClient, script: Script) -> None:
        with pytest.raises(QuorateError) as caught:
            await client.execute(Append("a", "x"), timeout_ms=2 * ATTEMPT_MS)
        assert type(caught.value) is raised

    scripted(list(lines), scenario)


def test_a_query_ends_with_an_error_that_says_nothing_was_changed() -> None:
    async def scenario(client: GroupClient, script: Script) -> None:
        with pytest.raises(DeadlineExceeded):
            await client.query(Read("a"), timeout_ms=2 * ATTEMPT_MS)
        assert all(isinstance(request, Ask) for _, request in script.calls)

    scripted([Maybe("lost")], scenario)


def test_a_client_that_lies_is_refused_and_harms_nobody() -> None:
    async def scenario(scene: Scene) -> None:
        await scene.append("first")
        leader = scene.leader
        term = (await scene.status(leader)).term
        large = encode(SessionCommand(0, 0, 0, bytes(MAX_COMMAND_BYTES + 1_000)))
        for command in (b"", b"\xc1", encode([3, 99]), encode([9]), large):
            with pytest.raises(QuorateError) as caught:
                await scene.rpc.call(
                    address(leader), Propose(scene.group, [command]), timeout_ms=1_000
                )
            assert type(caught.value).code == "bad_input"
        victim = replica_id(scene.group, leader)
        forged = AppendRequest(term + 5, 0, 0, 0, [])
        sender = replica_id(scene.group, scene.others[0])
        scene.rpc.notify(
            address(leader), RaftMessages([Envelope(scene.group, sender, victim, forged)])
        )
        await scene.pass_ms(500)
        assert (await scene.status(leader)).term == term
        assert await scene.append("second") == 2

    play(scenario)


def test_the_largest_command_is_replicated() -> None:
    async def scenario(scene: Scene) -> None:
        value = "x" * (MAX_COMMAND_BYTES - len(encode(Append("a", ""))) - 4)
        works = [scene.append(value), scene.append("small"), scene.append(value)]
        assert sorted(await asyncio.gather(*works)) == [1, 2, 3]
        await scene.pass_ms(1_000)
        statuses = [await scene.status(name) for name in scene.cluster.names]
        assert len({(status.last_applied, status.digest) for status in statuses}) == 1

    play(scenario)


def test_replicas_messages_are_taken_from_replicas_of_the_cluster_alone() -> None:
    class Deaf:
        def receive(self, notice: RaftMessages) -> None:
            raise AssertionError("it came through")

    driver: Any = Deaf()
    take = RaftServer(driver, driver, {}, driver).notices[RaftMessages]
    for role, cluster in (("client", CLUSTER), ("worker", CLUSTER), ("raft", "")):
        with pytest.raises(ProtocolError, match="which is none"):
            take(RaftMessages([]), Identity(cluster, NodeId(2), role))  # type: ignore[arg-type]
