"""Raft groups in situations of the field: a slow follower, wrong clocks, a change of leaders.

Times are virtual.  What a machine makes of them is the matter of ``make bench``.
"""

import itertools
import random
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from types import TracebackType
from typing import Any

import pytest

from quorate.base import sometimes
from quorate.base.check import Bug
from quorate.base.checksum import stable_hash
from quorate.base.codec import Command
from quorate.base.errors import QuorateError
from quorate.base.ids import GroupId
from quorate.base.machine import Meta, TypedMachine
from quorate.base.stream import pack_records, unpack_records
from quorate.raft.client import GroupClient
from quorate.raft.core.compaction import PATIENCE
from quorate.raft.core.settings import Limits, Timing
from quorate.raft.messages import GroupStatus
from quorate.runtime.ports import World
from quorate.runtime.simulated.process import SimulatedProcess
from quorate.runtime.simulated.world import Simulation
from quorate.simulator.cluster import RaftCluster
from quorate.simulator.workloads.lists import (
    OPERATIONS,
    History,
    append_and_read_all,
    judge,
    run_client,
)

GROUP = GroupId(1)
TIMING = Timing(heartbeat_interval_ms=50, election_timeout_ms=300)
LEASES = Timing(heartbeat_interval_ms=50, election_timeout_ms=300, lease=True, max_clock_drift=0.1)


class Put(Command[int], tag="last.put.1"):
    value: bytes


class Last(TypedMachine):
    """Remembers how many values there were, and the last: a state that does not grow."""

    commands = (Put,)
    queries = (Put,)

    def __init__(self) -> None:
        super().__init__()
        self._count, self._value = 0, b""

    def execute(self, meta: Meta, command: Put) -> int:
        self._count, self._value = self._count + 1, command.value
        return self._count

    def answer(self, query: Any) -> object:
        raise NotImplementedError

    def snapshot(self) -> Iterator[bytes]:
        return pack_records([str(self._count).encode(), self._value])

    def restore(self, stream: Iterable[bytes]) -> Iterator[None]:
        count, self._value = unpack_records(stream)
        self._count = int(count)
        yield

    def digest(self) -> int:
        return stable_hash(f"{self._count} {self._value!r}".encode())

    def next_deadline_ms(self) -> int | None:
        return None


class Field:
    """Three nodes that have a leader."""

    def __init__(self, seed: int, timing: Timing = TIMING, **options: Any) -> None:
        self.simulation = Simulation(seed)
        self.cluster = RaftCluster(self.simulation, 3, timing=timing, **options)
        self.rng = random.Random(seed)
        self.history = History()
        self._clients: list[SimulatedProcess] = []

    def __enter__(self) -> "Field":
        self.cluster.found()
        self.wait(lambda: self.cluster.leader(GROUP) is not None)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.simulation.close()

    def wait(self, what: Callable[[], bool], timeout_ms: float = 10_000) -> float:
        """Run until it is so; how long that took."""
        began_ms = self.simulation.now_ms()
        self.simulation.run_until(what, timeout_ms)
        return self.simulation.now_ms() - began_ms

    @property
    def leader(self) -> str:
        name = self.cluster.leader(GROUP)
        assert name is not None
        return name

    @property
    def followers(self) -> list[str]:
        return [name for name in self.cluster.names if name != self.leader]

    def status(self, name: str) -> GroupStatus:
        return self.cluster.raft_nodes[name].groups[GROUP].status()

    def log_bytes(self, name: str) -> int:
        return self.cluster.raft_nodes[name].groups[GROUP]._replica.log.bytes

    def hand_over(self) -> None:
        """The leader lets another lead, as before an orderly stop."""
        node = self.cluster.raft_nodes[self.leader]
        process = self.simulation.machine(self.leader).processes["raft"]

        async def let_go() -> None:
            with suppress(QuorateError):
                await node.hand_over(timeout_ms=1_000)

        process.run(lambda: self.simulation.loop.create_task(let_go()))

    def start_clients(self, count: int, *kinds: str, pace_ms: float = 5.0) -> None:
        """``kinds``: what they do, of ``OPERATIONS``."""
        off = [kind for kind in OPERATIONS if kind not in kinds]
        for _ in range(count):
            name = f"c{len(self._clients) + 1}"
            rng = random.Random(self.rng.getrandbits(64))

            async def work(
                world: World,
                clients: list[GroupClient],
                name: str = name,
                rng: random.Random = rng,
            ) -> None:
                await run_client(
                    world, clients[0], name, self.history, rng, pace_ms=pace_ms, off=off
                )

            self._clients.append(self.cluster.start_client(name, work))

    def judge(self) -> None:
        """Raises ``Bug`` unless what the clients saw is linearizable."""
        for client in self._clients:
            client.kill()
        final: list[dict[str, list[str]]] = []

        async def read(world: World, clients: list[GroupClient]) -> None:
            final.append(await append_and_read_all(clients[0], self.history, 8_000))

        reader = self.cluster.start_client("last", read)
        self.wait(lambda: not reader.alive)
        judge(self.history, final[0])

    def longest_gap_ms(self, since_ms: float) -> float:
        """Between two acknowledged operations."""
        now_ms = self.simulation.now_ms()
        ended = [o.ended_ms for o in self.history.operations if since_ms <= o.ended_ms <= now_ms]
        times = [since_ms, *sorted(ended), now_ms]
        return max(later - earlier for earlier, later in itertools.pairwise(times))


# A leader at 1,000 entries a second, a follower at 100.

BOUND = 60_000
VALUE = b"x" * 168
"""With what an entry costs besides, a little more than 200 bytes."""


def load(field: Field, latencies: list[float], duration_ms: int) -> None:
    """A thousand entries a second, whatever the answers."""

    async def work(world: World, clients: list[GroupClient]) -> None:
        clock = world.clock

        async def put() -> None:
            began_ms = clock.monotonic_ms()
            await clients[0].execute(Put(VALUE), timeout_ms=5_000)
            latencies.append(clock.monotonic_ms() - began_ms)

        for _ in range(duration_ms):
            world.spawn(put(), "put")
            await clock.sleep(1)
        await clock.sleep(1_000)

    client = field.cluster.start_client("client", work)
    longest = 0
    while client.alive:
        field.simulation.run_for(20)
        longest = max(longest, field.log_bytes(field.leader))
    assert client.error is None
    assert longest <= (PATIENCE + 2) * BOUND, longest
    assert len(latencies) == duration_ms


def test_a_slow_follower_costs_its_leader_neither_memory_nor_time_and_catches_up() -> None:
    limits = Limits(snapshot_log_bytes=BOUND, retained_log_bytes=BOUND // 4)
    installed = sometimes.seen().get("snapshot installed", 0)
    with Field(1, limits=limits, machine=Last) as field:
        usual: list[float] = []
        load(field, usual, 1_000)
        slow = field.followers[0]
        disk = field.simulation.machine(slow).disk
        before = field.status(field.leader).last_index
        before_slow = field.status(slow).last_applied
        disk.faults.bytes_per_ms = 21.0
        beside: list[float] = []
        load(field, beside, 3_000)
        assert field.status(field.leader).last_index - before > 2_000
        assert field.status(slow).last_applied > before_slow  # it goes on, at its own pace
        assert sorted(beside)[-30] <= 1.3 * sorted(usual)[-10]  # the slowest hundredth
        disk.faults.bytes_per_ms = 500_000.0
        last_index = field.status(field.leader).commit_index
        field.wait(lambda: field.status(slow).last_applied >= last_index, 3_000)
        field.simulation.run_for(500)
        assert field.status(slow).digest == field.status(field.leader).digest
    assert sometimes.seen()["snapshot installed"] > installed


# Leases.


def partitions(field: Field, drift: float, *, transfers: bool = False) -> None:
    """Four times the leader is cut off from its followers, and the clients are from nobody; its
    clock is slow, the others' are fast."""
    field.start_clients(3, "append", pace_ms=40.0)
    field.start_clients(2, "read", pace_ms=20.0)
    field.start_clients(1, "read anywhere", pace_ms=40.0)
    for _ in range(4):
        field.wait(lambda: field.cluster.leader(GROUP) is not None)
        leader, followers = field.leader, field.followers
        field.simulation.run_for(300)
        for name in field.cluster.names:
            clock = field.simulation.machine(name).clock
            clock.set_rate(1 - drift if name == leader else 1 + drift)
        if transfers and field.cluster.leader(GROUP) == leader:
            field.hand_over()
            field.simulation.run_for(field.rng.uniform(0.0, 4.0))
        field.simulation.faults.partition([leader], followers)
        field.simulation.run_for(1_500)
        field.simulation.faults.heal()
        for name in field.cluster.names:
            field.simulation.machine(name).clock.set_rate(1.0)
        field.simulation.run_for(500)
    field.judge()


@pytest.mark.parametrize("transfers", [False, True])
def test_under_leases_no_read_is_stale_while_clocks_are_within_their_bound(
    transfers: bool,
) -> None:
    with Field(1, LEASES) as field:
        partitions(field, LEASES.max_clock_drift, transfers=transfers)
        assert field.history.count("ok") > 300


def test_beyond_the_bound_a_lease_outlives_its_leader_and_the_checker_sees_a_stale_read() -> None:
    with Field(1, LEASES) as field, pytest.raises(Bug, match="a stale read"):
        field.cluster.checker.judges = False  # by what the clients saw alone
        partitions(field, 0.9)


def test_without_leases_no_clock_makes_a_read_stale() -> None:
    with Field(1) as field:
        partitions(field, 0.9)


# From one leader to the next.


def test_a_transfer_under_load_stops_writes_for_less_than_an_election_timeout() -> None:
    with Field(3) as field:
        field.start_clients(4, "append", pace_ms=15.0)
        field.simulation.run_for(500)
        for _ in range(3):
            leader, since_ms = field.leader, field.simulation.now_ms()
            field.hand_over()
            field.simulation.run_for(1_000)
            assert field.leader != leader
            assert field.longest_gap_ms(since_ms) < TIMING.election_timeout_ms
        field.judge()


def gap_after_a_kill(seed: int, timing: Timing) -> float:
    with Field(seed, timing) as field:
        field.start_clients(4, "append", pace_ms=15.0)
        field.simulation.run_for(1_000)
        since_ms = field.simulation.now_ms()
        field.cluster.kill(field.leader)
        field.simulation.run_for(1_500)
        gap_ms = field.longest_gap_ms(since_ms)
        field.judge()
        return gap_ms


def test_a_killed_leader_is_replaced_before_its_silence_has_become_long() -> None:
    """Its connections are reset, and who hears that need not wait for an election timeout."""
    gaps = sorted(gap_after_a_kill(seed, TIMING) for seed in range(5))
    assert gaps[3] < TIMING.election_timeout_ms
    # Once in a while two campaign at once, and the next time out.
    assert gaps[-1] < 2 * TIMING.election_timeout_ms


def test_with_leases_it_is_not() -> None:
    """What the test above owes to early campaigns."""
    assert gap_after_a_kill(0, LEASES) > LEASES.election_timeout_ms


def test_a_leader_whose_disk_stalls_hands_over_within_two_election_timeouts() -> None:
    with Field(4) as field:
        field.start_clients(4, "append", pace_ms=15.0)
        field.simulation.run_for(1_000)
        stalled = field.leader
        field.simulation.machine(stalled).disk.faults.sync_ms = (60_000.0, 60_000.0)
        took_ms = field.wait(lambda: field.cluster.leader(GROUP) not in (None, stalled))
        assert took_ms < 2 * TIMING.election_timeout_ms
        done = field.history.count("ok")
        field.wait(lambda: field.history.count("ok") > done + 50, 3_000)
        field.judge()


@pytest.mark.parametrize("dead", [0, 1])
def test_an_idle_leader_hands_over_to_one_that_lives(dead: int) -> None:
    """Both followers have everything; only one of them can take over."""
    with Field(5) as field:
        field.simulation.run_for(500)
        leader, followers = field.leader, field.followers
        field.cluster.kill(followers[dead])
        field.simulation.run_for(500)
        field.hand_over()
        took_ms = field.wait(lambda: field.cluster.leader(GROUP) not in (None, leader))
        assert took_ms < TIMING.heartbeat_interval_ms
