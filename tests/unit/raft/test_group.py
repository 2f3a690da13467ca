"""What a group answers, and when: applied results, redirects, and *maybe* at the step down."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from raft_replicas import ME, TWO, append, follower

from quorate.base.codec import decode, encode, outcome_of
from quorate.base.errors import (
    BadInput,
    DeadlineExceeded,
    Maybe,
    NotLeader,
    Overloaded,
    QuorateError,
)
from quorate.base.ids import Address, ClusterId, GroupId, NodeId, ReplicaId
from quorate.base.machine import Meta
from quorate.raft import group as group_module
from quorate.raft import proposals
from quorate.raft.core.entries import Entry, EntryKind
from quorate.raft.core.messages import AppendReply, AppendRequest, ReadReply, VoteReply
from quorate.raft.core.replica import Role
from quorate.raft.driver import Driver
from quorate.raft.group import Group
from quorate.raft.messages import Envelope, RaftMessages
from quorate.raft.proposals import MAX_BATCH_BYTES, MAX_BATCH_COMMANDS, LogBatch
from quorate.raft.sessions import SessionMachine, wrap
from quorate.raft.snapshots import SnapshotStore
from quorate.raft.wal import Wal
from quorate.rpc.client import RpcClient
from quorate.rpc.handshake import Identity
from quorate.runtime.ports import World
from quorate.runtime.simulated.world import Machine, Simulation
from quorate.simulator.workloads.lists import Append, Lists, Read

CLUSTER = ClusterId("e" * 32)
GROUP = GroupId(1)
PEER = Address("m2:raft")
LONG_MS = 60_000


class Timed(Lists):
    """Lists with a deadline, and a memory of when it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.deadline_ms: int | None = None
        self.batches: list[tuple[int, int]] = []
        """Log time and number of commands of each batch."""

    def apply_batch(self, meta: Meta, commands: Any) -> list[bytes]:
        self.batches.append((meta.time_ms, len(commands)))
        if self.deadline_ms is not None and meta.time_ms >= self.deadline_ms:
            self.deadline_ms = None
        return super().apply_batch(meta, commands)

    def next_deadline_ms(self) -> int | None:
        return self.deadline_ms


class Desk:
    """A group of one voter, or one of three whose others are played by the test."""

    def __init__(
        self, world: World, host: Machine, wal: Wal, store: SnapshotStore, voters: int
    ) -> None:
        self.world = world
        self.host = host
        self.machine = Timed()
        self.replica = follower(voters=voters)
        self.replica.reset_election_timer(world.clock.monotonic_ms())
        self.sent: list[Envelope] = []
        self.driver = Driver(world, wal, lambda _, notice: self.sent.extend(notice.envelopes))
        addresses = dict(self.replica.configuration.addresses)
        rpc = RpcClient(world, Identity(CLUSTER, NodeId(1), "raft"))
        sessions = SessionMachine(self.machine)
        self.group = Group(world, self.driver, GROUP, sessions, self.replica, addresses, store, rpc)

    async def lead(self) -> None:
        """Win an election; with three voters, TWO is on our side and has the first entry."""
        while self.replica.role is not Role.LEADER:
            await self.pass_ms(20)
            if self.replica.role is Role.PRE_CANDIDATE:
                self.hear(VoteReply(self.replica.term + 1, True, pre_vote=True))
            elif self.replica.role is Role.CANDIDATE:
                self.hear(VoteReply(self.replica.term, True))
        await self.pass_ms(20)
        self.accept()
        await self.pass_ms(20)
        assert self.group.is_leader

    def accept(self) -> None:
        """TWO has everything."""
        if self.replica.peers:
            last, round_ = self.replica.log.last_index, self.replica.round
            self.hear(AppendReply(self.replica.term, True, match_index=last, round=round_))

    def hear(self, message: Any) -> None:
        if self.replica.peers:
            self.driver.receive(RaftMessages([Envelope(GROUP, TWO, ME, message)]))

    def depose(self) -> None:
        """A leader of a later term has an entry where ours were."""
        last = self.replica.log.last_index
        self.hear(append(self.replica.term + 1, (last, self.replica.log.last_term)))

    def entries(self) -> list[LogBatch]:
        log = self.replica.log
        found = log.slice(1, log.last_index)
        return [decode(e.data, LogBatch) for e in found if e.kind == EntryKind.COMMAND]

    async def pass_ms(self, delay_ms: float) -> None:
        await self.world.clock.sleep(delay_ms)


Scenario = Callable[[Desk], Coroutine[Any, Any, None]]


def play(scenario: Scenario, *, voters: int = 1, sync_ms: float = 1.0) -> None:
    with Simulation(1) as simulation:
        host = simulation.machine("m1")

        async def main(world: World) -> None:
            await Wal.create(world.disk, CLUSTER, NodeId(1), segment_bytes=1 << 16)
            wal, _ = await Wal.open(world.disk, CLUSTER, NodeId(1), segment_bytes=1 << 16)
            store = await SnapshotStore.open(world)
            host.disk.faults.sync_ms = (sync_ms, sync_ms)
            await scenario(Desk(world, host, wal, store, voters))

        process = host.start_process("raft", main)
        simulation.run_until(lambda: not process.alive, 24 * 3_600_000)
        if process.error is not None:
            raise process.error


def command(value: str, key: str = "a") -> bytes:
    return wrap(0, 0, 0, encode(Append(key, value)))


def error_of(future: "asyncio.Future[bytes]") -> type[BaseException] | None:
    return type(future.exception()) if future.done() and future.exception() else None


def test_a_command_gives_its_own_result_or_its_own_error() -> None:
    async def scenario(desk: Desk) -> None:
        await desk.lead()
        group = desk.group
        assert await group.execute(Append("a", "x"), timeout_ms=LONG_MS) == 1
        assert await group.execute(Append("a", "y"), timeout_ms=LONG_MS) == 2
        assert await group.query(Read("a"), timeout_ms=LONG_MS) == ["x", "y"]
        with pytest.raises(BadInput, match="not a command"):
            await group.execute(Read("a"), timeout_ms=LONG_MS)  # type: ignore[arg-type]
        await group.barrier(timeout_ms=LONG_MS)

    play(scenario)


def test_what_comes_in_one_turn_is_one_entry_with_one_log_time() -> None:
    async def scenario(desk: Desk) -> None:
        await desk.lead()
        futures = [desk.group.submit(command(str(number))) for number in range(100)]
        assert await asyncio.gather(*futures) == [outcome_of(n) for n in range(1, 101)]
        assert [len(batch.commands) for batch in desk.entries()] == [100]

    play(scenario)


def test_commands_gather_while_the_entries_before_them_are_written() -> None:
    async def scenario(desk: Desk) -> None:
        await desk.lead()
        futures = []
        for number in range(4):  # each in a turn of its own; the first begins a sync
            futures.append(desk.group.submit(command(str(number))))
            await desk.pass_ms(1)
        assert [len(batch.commands) for batch in desk.entries()] == [1]
        assert await asyncio.gather(*futures) == [outcome_of(n) for n in range(1, 5)]
        assert [len(batch.commands) for batch in desk.entries()] == [1, 3]

    play(scenario, sync_ms=20.0)


async def one_written_and_one_gathered(
    desk: Desk,
) -> tuple[asyncio.Future[bytes], asyncio.Future[bytes]]:
    """Commands of a leader whose disk is slow: the first is on its way there."""
    await desk.lead()
    desk.host.disk.faults.sync_ms = (500.0, 500.0)
    first = desk.group.submit(command("x"))
    await desk.pass_ms(1)
    second = desk.group.submit(command("y"))
    await desk.pass_ms(1)
    return first, second


def test_what_has_gathered_need_not_wait_for_our_disk_if_the_others_have_committed() -> None:
    async def scenario(desk: Desk) -> None:
        first, second = await one_written_and_one_gathered(desk)
        assert len(desk.entries()) == 1
        last, term = desk.replica.log.last_index, desk.replica.term
        for voter in (2, 3):
            reply = AppendReply(term, True, match_index=last, round=desk.replica.round)
            desk.driver.receive(RaftMessages([Envelope(GROUP, ReplicaId(voter), ME, reply)]))
        assert len(desk.entries()) == 2
        await desk.pass_ms(1)
        assert first.done()
        assert not second.done()

    play(scenario, voters=3)


def test_what_has_gathered_when_leadership_ends_is_redirected_and_the_rest_is_maybe() -> None:
    async def scenario(desk: Desk) -> None:
        first, second = await one_written_and_one_gathered(desk)
        desk.hear(append(desk.replica.term + 1, (desk.replica.log.last_index, 1)))
        await desk.pass_ms(1)
        assert error_of(first) is Maybe
        assert error_of(second) is NotLeader

    play(scenario, voters=3)


def test_a_command_does_not_wait_for_a_sync_of_another_group() -> None:
    """What can still come into the next sync does not gather for the one after."""

    async def scenario(desk: Desk) -> None:
        await desk.lead()
        desk.driver._syncing = True  # another group's batch is being written
        for number in range(3):
            desk.group.submit(command(str(number)))
            await desk.pass_ms(1)
        assert [len(batch.commands) for batch in desk.entries()] == [1, 1, 1]

    play(scenario, sync_ms=20.0)


def test_an_entry_is_bounded_in_commands_and_in_bytes_and_order_is_kept() -> None:
    async def scenario(desk: Desk) -> None:
        await desk.lead()
        small = [command(str(number)) for number in range(2 * MAX_BATCH_COMMANDS + 1)]
        large = [command("x" * 200_000) for _ in range(3)]
        await asyncio.gather(*map(desk.group.submit, small + large))
        batches = desk.entries()
        assert [len(batch.commands) for batch in batches] == [512, 512, 2, 1, 1]
        assert [raw for batch in batches for raw in batch.commands] == small + large
        assert all(sum(map(len, batch.commands)) <= MAX_BATCH_BYTES for batch in batches)

    play(scenario)


def test_nobody_is_answered_before_the_entry_is_committed() -> None:
    async def scenario(desk: Desk) -> None:
        await desk.lead()
        done, asked = desk.group.submit(command("x")), desk.group.ask(None)
        await desk.pass_ms(100)  # on our own disk, and nowhere else
        assert not done.done()
        assert not asked.done()
        desk.accept()
        assert await done == outcome_of(1)
        assert await asked == b""

    play(scenario, voters=3)


def test_a_leader_that_steps_down_answers_maybe_at_once_and_queries_are_redirected() -> None:
    async def scenario(desk: Desk) -> None:
        await desk.lead()
        done, asked = desk.group.submit(command("x")), desk.group.ask(encode(Read("a")))
        await desk.pass_ms(1)
        desk.depose()
        assert error_of(done) is Maybe
        assert error_of(asked) is NotLeader
        with pytest.raises(NotLeader) as caught:
            desk.group.submit(command("y"))
        assert caught.value.details["leader"] == PEER
        assert not desk.group.is_leader

    play(scenario, voters=3)


def test_what_was_not_yet_proposed_is_redirected_since_it_is_surely_not_applied() -> None:
    async def scenario(desk: Desk) -> None:
        await desk.lead()
        last = desk.replica.log.last_index
        done = desk.group.submit(command("x"))
        desk.depose()  # in the same turn
        with pytest.raises(NotLeader):
            await done
        assert desk.replica.log.last_index == last

    play(scenario, voters=3)


def test_a_command_answered_maybe_is_applied_if_the_next_leader_keeps_its_entry() -> None:
    async def scenario(desk: Desk) -> None:
        await desk.lead()
        done = desk.group.submit(command("x"))
        await desk.pass_ms(5)
        last, term = desk.replica.log.last_index, desk.replica.term
        desk.hear(AppendRequest(term + 1, last, term, last, []))
        assert error_of(done) is Maybe
        await desk.pass_ms(5)
        assert desk.machine.answer(Read("a")) == ["x"]

    play(scenario, voters=3)


def test_a_leader_that_nobody_answers_lets_nobody_wait_for_longer_than_two_timeouts() -> None:
    async def scenario(desk: Desk) -> None:
        await desk.lead()
        began_ms = desk.world.clock.monotonic_ms()
        with pytest.raises(Maybe):
            await desk.group.submit(command("x"))
        waited_ms = desk.world.clock.monotonic_ms() - began_ms
        assert waited_ms <= 2 * desk.replica.timing.election_timeout_ms

    play(scenario, voters=3)


def test_a_deadline_that_passes_is_maybe_for_a_command_and_surely_nothing_for_a_query() -> None:
    async def scenario(desk: Desk) -> None:
        await desk.lead()
        with pytest.raises(Maybe):
            await desk.group.execute(Append("a", "x"), timeout_ms=30)
        with pytest.raises(DeadlineExceeded):
            await desk.group.query(Read("a"), timeout_ms=30)
        desk.accept()
        await desk.pass_ms(10)
        assert desk.machine.answer(Read("a")) == ["x"]
        done = desk.group.submit(command("y"))  # those who gave up are not in the way
        await desk.pass_ms(5)
        desk.accept()
        assert await done == outcome_of(2)

    play(scenario, voters=3)


def test_above_the_bounds_on_number_and_bytes_requests_are_refused_and_below_taken_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(proposals, "MAX_WAITING", 10)
    monkeypatch.setattr(proposals, "MAX_WAITING_BYTES", 10_000)

    async def fill(desk: Desk, raw: bytes, count: int) -> list["asyncio.Future[bytes]"]:
        waiting = []
        for _ in range(count):
            waiting.append(desk.group.submit(raw))
            await desk.pass_ms(1)  # some are proposed, the last is only queued
        with pytest.raises(Overloaded):
            desk.group.submit(raw)
        return waiting

    async def scenario(desk: Desk) -> None:
        await desk.lead()
        for raw, count in ((command("x"), 10), (command("x" * 4_000), 2)):
            waiting = await fill(desk, raw, count)
            desk.accept()
            await asyncio.gather(*waiting)
        desk.group.ask(None)
        await fill(desk, command("x" * 4_000), 2)
        desk.depose()  # all are told, and nothing is counted any more
        await desk.pass_ms(5)
        await desk.lead()
        waiting = await fill(desk, command("x"), 10)
        desk.accept()
        await asyncio.gather(*waiting)

    play(scenario, voters=3)


def test_services_hear_of_leadership_once_the_leaders_first_entry_is_applied() -> None:
    heard: list[tuple[bool, int]] = []

    async def scenario(desk: Desk) -> None:
        desk.group.on_leadership(lambda leads: heard.append((leads, desk.group.last_applied)))
        with pytest.raises(NotLeader):
            desk.group.require_leader()
        await desk.lead()
        desk.group.require_leader()
        assert heard == [(True, 1)]
        desk.depose()
        assert heard == [(True, 1), (False, 1)]
        with pytest.raises(NotLeader):
            desk.group.require_leader()

    play(scenario, voters=3)


def test_a_long_log_is_applied_in_bounded_portions_a_turn() -> None:
    """Each turn of the loop may only take so long, or heartbeats are missed."""
    full = [command(str(number)) for number in range(MAX_BATCH_COMMANDS)]
    data = encode(LogBatch(1, full))
    single = encode(LogBatch(1, [command("x")]))
    portions: list[int] = []

    async def scenario(desk: Desk) -> None:
        entries = [Entry(n, 1, EntryKind.COMMAND, data if n % 2 else single) for n in range(1, 41)]
        desk.hear(AppendRequest(1, 0, 0, 40, entries))
        seen = 0
        while desk.group.last_applied < 39:  # the last can wait for the disk
            await asyncio.sleep(0)
            applied = sum(count for _, count in desk.machine.batches)
            portions.append(applied - seen)
            seen = applied
        assert seen == 20 * (MAX_BATCH_COMMANDS + 1) - 1

    play(scenario, voters=3)
    assert max(portions) <= group_module.APPLY_A_TURN + MAX_BATCH_COMMANDS


@pytest.mark.parametrize("asked", [False, True])
def test_a_little_is_applied_behind_a_sync_unless_somebody_waits(asked: bool) -> None:
    data = encode(LogBatch(1, [command("x")]))

    async def scenario(desk: Desk) -> None:
        desk.hear(AppendRequest(1, 0, 0, 0, [Entry(1, 1, EntryKind.COMMAND, data)]))
        await desk.pass_ms(50)
        desk.hear(AppendRequest(1, 1, 1, 1, [Entry(2, 1, EntryKind.COMMAND, data)]))
        await desk.pass_ms(1)
        assert desk.group.last_applied == 0
        if asked:
            desk.group.ask(None, anywhere=True)
            await desk.pass_ms(1)
            [read] = [e.message.read for e in desk.sent if hasattr(e.message, "read")]
            desk.hear(ReadReply(read, 1))
            await desk.pass_ms(1)
            assert desk.group.last_applied == 1
        await desk.pass_ms(50)
        assert desk.group.last_applied == 1

    play(scenario, voters=3, sync_ms=20.0)


def test_a_tick_is_proposed_when_a_deadline_of_the_state_is_due_and_not_again() -> None:
    async def scenario(desk: Desk) -> None:
        await desk.lead()
        desk.machine.deadline_ms = desk.world.clock.wall_ms() + 5_000
        await desk.group.execute(Append("a", "x"), timeout_ms=LONG_MS)  # the group sees it
        before = len(desk.entries())
        await desk.pass_ms(4_900)
        assert len(desk.entries()) == before
        await desk.pass_ms(200)
        assert desk.machine.deadline_ms is None
        await desk.pass_ms(10_000)
        assert len(desk.entries()) == before + 1

    play(scenario)


@pytest.mark.parametrize("by_ms", [-3_600_000, 3_600_000])
def test_log_time_never_runs_back_and_deadlines_are_met_though_the_wall_clock_jumps(
    by_ms: int,
) -> None:
    async def scenario(desk: Desk) -> None:
        await desk.lead()
        await desk.group.execute(Append("a", "x"), timeout_ms=LONG_MS)
        desk.machine.deadline_ms = desk.group.time_ms + 5_000
        desk.host.clock.jump_wall(by_ms)
        for _ in range(10):
            await desk.group.execute(Append("a", "y"), timeout_ms=LONG_MS)
            await desk.pass_ms(400)
        await desk.pass_ms(7_000)
        times = [time_ms for time_ms, _ in desk.machine.batches]
        assert times == sorted(times)
        assert desk.machine.deadline_ms is None

    play(scenario)


def test_log_time_does_not_run_ahead_of_a_clock_that_is_right_and_comes_back_to_it() -> None:
    async def ahead_ms(desk: Desk) -> int:
        await desk.group.execute(Append("a", "x"), timeout_ms=LONG_MS)
        return desk.group.time_ms - desk.world.clock.wall_ms()

    async def scenario(desk: Desk) -> None:
        await desk.lead()
        for _ in range(100):
            assert await ahead_ms(desk) <= 0
            await desk.pass_ms(7)
        desk.host.clock.jump_wall(-10_000)
        await desk.pass_ms(10_000)
        assert 4_000 < await ahead_ms(desk) < 6_000
        await desk.pass_ms(12_000)
        assert await ahead_ms(desk) <= 0

    play(scenario)


def test_a_driver_that_has_stopped_takes_nothing() -> None:
    async def scenario(desk: Desk) -> None:
        await desk.lead()
        desk.driver.stop()
        with pytest.raises(QuorateError):
            await desk.group.execute(Append("a", "x"), timeout_ms=100)
        assert desk.machine.answer(Read("a")) == []

    play(scenario)
