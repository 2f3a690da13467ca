"""What the simulated network does to frames and connections, fault by fault."""

import asyncio
from collections.abc import Callable

import pytest
from contract.worlds import Inbox

from quorate.base.errors import Unavailable
from quorate.base.ids import Address
from quorate.runtime.ports import Connection, World
from quorate.runtime.simulated.world import Simulation

HOUR_MS = 3_600_000.0
ADDRESS = Address("n1:door")


class Pair:
    """A server process on n1 and a client process on n2, connected."""

    def __init__(self, simulation: Simulation) -> None:
        self.simulation = simulation
        self.server_end = Inbox()
        self.client_end = Inbox()
        self.server = simulation.machine("n1").start_process("server", self._serve)
        simulation.run_for(5)
        self.client = simulation.machine("n2").start_process("client", self._connect)
        simulation.run_until(lambda: self.client_end.connection is not None, 1_000)

    async def _serve(self, world: World) -> None:
        await world.network.listen(ADDRESS, self._accept, 1 << 20)
        await world.clock.sleep(HOUR_MS)

    def _accept(self) -> Inbox:
        return Inbox() if self.server_end.connection else self.server_end

    async def _connect(self, world: World) -> None:
        await world.network.connect(ADDRESS, self.client_end, 1 << 20, 1_000)
        await world.clock.sleep(HOUR_MS)

    def send(self, count: int, *, batch: int = 1) -> list[bytes]:
        frames = [b"frame %d" % number for number in range(count)]
        near = self.client_end.connection
        assert near is not None
        for start in range(0, count, batch):
            near.send([[frame] for frame in frames[start : start + batch]])
        return frames


def test_the_same_frames_arrive_in_order_without_faults() -> None:
    with Simulation(1) as simulation:
        pair = Pair(simulation)
        sent = pair.send(200, batch=10)
        simulation.run_for(100)
        assert pair.server_end.frames == sent
        assert pair.server_end.batches == [10] * 20


def test_delays_are_drawn_from_the_range_of_the_link() -> None:
    with Simulation(1) as simulation:
        simulation.faults.set_link("n2", "n1", delay_ms=(100.0, 200.0))
        pair = Pair(simulation)
        start = simulation.now_ms()
        pair.send(1)
        simulation.run_until(lambda: bool(pair.server_end.frames), 1_000)
        assert 100 <= simulation.now_ms() - start <= 201


def test_bytes_take_time() -> None:
    with Simulation(1) as simulation:
        pair = Pair(simulation)
        pair.server_end.connection.max_frame_bytes = 1 << 30  # type: ignore[union-attr]
        near = pair.client_end.connection
        assert near is not None
        start = simulation.now_ms()
        near.send([[b"x" * 12_500_000]])
        assert near.buffered_bytes() > 12_000_000
        simulation.run_until(lambda: bool(pair.server_end.frames), 1_000)
        assert 100 <= simulation.now_ms() - start <= 102


@pytest.mark.parametrize(
    ("fault", "check"),
    [
        ("loss", lambda sent, got: 300 < len(got) < 700 and set(got) < set(sent)),
        ("duplicate", lambda sent, got: 1_300 < len(got) < 1_700 and set(got) == set(sent)),
        ("reorder", lambda sent, got: got != sent and sorted(got) == sorted(sent)),
    ],
)
def test_frames_are_lost_doubled_and_reordered_at_the_rate_that_is_set(
    fault: str, check: Callable[[list[bytes], list[bytes]], bool]
) -> None:
    with Simulation(1) as simulation:
        pair = Pair(simulation)
        setattr(simulation.faults.default, fault, 0.5)
        sent = pair.send(1_000, batch=5)
        simulation.run_for(1_000)
        assert check(sent, pair.server_end.frames)
        assert not pair.server_end.ended


def test_processes_of_one_machine_are_spared_the_faults_between_machines() -> None:
    with Simulation(1) as simulation:
        simulation.faults.default.loss = 1.0
        server = Inbox()

        async def serve(world: World) -> None:
            await world.network.listen(ADDRESS, lambda: server, 100)
            await world.clock.sleep(HOUR_MS)

        async def client(world: World) -> None:
            near = await world.network.connect(ADDRESS, Inbox(), 100, 1_000)
            near.send([[b"hello"]])
            await world.clock.sleep(HOUR_MS)

        simulation.machine("n1").start_process("server", serve)
        simulation.run_for(1)
        simulation.machine("n1").start_process("client", client)
        simulation.faults.partition(["n1"], ["n2", "n3"])
        simulation.run_until(lambda: server.frames == [b"hello"], 1_000)


def test_a_one_way_partition_drops_one_direction_silently_until_it_heals() -> None:
    with Simulation(1) as simulation:
        pair = Pair(simulation)
        simulation.faults.block("n2", "n1")
        pair.send(3)
        far = pair.server_end.connection
        assert far is not None
        far.send([[b"the other way"]])
        simulation.run_for(1_000)
        assert pair.server_end.frames == []
        assert pair.client_end.frames == [b"the other way"]
        simulation.faults.heal()
        pair.send(1)
        simulation.run_for(1_000)
        assert pair.server_end.frames == [b"frame 0"]
        assert not pair.server_end.ended and not pair.client_end.ended


def test_connecting_through_a_partition_ends_at_the_deadline() -> None:
    caught: list[float] = []

    async def client(world: World) -> None:
        start = world.clock.monotonic_ms()
        with pytest.raises(Unavailable, match="no connection to n1:door within 300 ms"):
            await world.network.connect(ADDRESS, Inbox(), 100, 300)
        caught.append(world.clock.monotonic_ms() - start)

    for source, target in (("n1", "n3"), ("n3", "n1")):
        with Simulation(1) as simulation:
            pair = Pair(simulation)
            simulation.faults.block(source, target)
            process = simulation.machine("n3").start_process("client", client)
            simulation.run_for(1_000)
            assert not process.alive
            assert process.error is None
            assert pair.server.alive
    assert caught == [pytest.approx(300), pytest.approx(300)]


def test_the_death_of_a_process_ends_its_connections_and_frees_its_addresses() -> None:
    with Simulation(1) as simulation:
        pair = Pair(simulation)
        pair.server.kill()
        simulation.run_for(50)
        assert len(pair.client_end.ended) == 1
        assert isinstance(pair.client_end.ended[0], Unavailable)
        assert pair.server_end.ended == []
        assert Pair(simulation).server.alive


def test_the_death_of_a_process_is_heard_only_after_the_partition() -> None:
    with Simulation(1) as simulation:
        pair = Pair(simulation)
        simulation.faults.partition(["n1"], ["n2"])
        pair.server.kill()
        simulation.run_for(60_000)
        assert pair.client_end.ended == []
        simulation.faults.unblock("n1", "n2")
        simulation.run_for(50)
        assert len(pair.client_end.ended) == 1


def test_a_power_loss_is_silence_until_the_machine_runs_again() -> None:
    async def refused(world: World) -> None:
        with pytest.raises(Unavailable, match="within 100 ms"):
            await world.network.connect(ADDRESS, Inbox(), 100, 100)

    async def idle(world: World) -> None:
        await world.clock.sleep(HOUR_MS)

    with Simulation(1) as simulation:
        pair = Pair(simulation)
        simulation.machine("n1").power_loss()
        pair.send(3)
        process = simulation.machine("n2").start_process("other", refused)
        simulation.run_for(60_000)
        assert (process.alive, process.error) == (False, None)
        assert pair.client_end.ended == []
        simulation.machine("n1").start_process("server", idle)
        simulation.run_for(50)
        assert len(pair.client_end.ended) == 1


def test_a_client_that_gives_up_connecting_leaves_no_half_open_connection() -> None:
    async def client(world: World) -> None:
        with pytest.raises(Unavailable):
            await world.network.connect(ADDRESS, Inbox(), 100, 150)
        await world.clock.sleep(HOUR_MS)

    async def serve(world: World) -> None:
        await world.network.listen(ADDRESS, lambda: server, 100)
        await world.clock.sleep(HOUR_MS)

    with Simulation(1) as simulation:
        server = Inbox()
        simulation.faults.default.delay_ms = (100.0, 100.0)
        simulation.machine("n1").start_process("server", serve)
        simulation.run_for(1)
        simulation.machine("n2").start_process("client", client)
        simulation.run_for(1_000)
        assert server.connection is not None
        assert server.ended == [None]


def test_a_server_that_dies_while_it_is_being_reached_is_unavailable() -> None:
    outcomes: list[str] = []

    async def client(world: World) -> None:
        try:
            await world.network.connect(ADDRESS, inbox, 100, 1_000)
            outcomes.append("connected")
        except Unavailable as error:
            outcomes.append(str(error))
        await asyncio.sleep(10)

    async def serve(world: World) -> None:
        await world.network.listen(ADDRESS, Inbox, 100)
        await world.clock.sleep(HOUR_MS)

    for delay_ms in (0, 50, 150, 250):
        with Simulation(1) as simulation:
            inbox = Inbox()
            simulation.faults.default.delay_ms = (100.0, 100.0)
            server = simulation.machine("n1").start_process("server", serve)
            simulation.run_for(1)
            simulation.machine("n2").start_process("client", client)
            simulation.run_for(delay_ms)
            server.kill()
            simulation.run_for(2_000)
            ended_rightly = inbox.connection is None or len(inbox.ended) == 1
            assert ended_rightly
    assert len(outcomes) == 4
    assert outcomes[3] == "connected"
    assert all("n1:door" in outcome for outcome in outcomes[:2])


def test_memory_is_never_shared_between_processes() -> None:
    with Simulation(1) as simulation:
        pair = Pair(simulation)
        near: Connection | None = pair.client_end.connection
        assert near is not None
        mutable = bytearray(b"as sent")
        near.send([[mutable]])
        mutable[:] = b"changed"
        simulation.run_for(50)
        assert pair.server_end.frames == [b"as sent"]
