"""A pause is a SIGSTOP: nothing runs, all else goes on, and afterwards everything comes late."""

import asyncio

import pytest
from contract.worlds import Inbox

from quorate.base.errors import Unavailable
from quorate.base.ids import Address
from quorate.runtime.ports import World
from quorate.runtime.simulated.process import SimulatedProcess
from quorate.runtime.simulated.world import Simulation

ADDRESS = Address("n1:door")
SOCKETS_BYTES = 4 << 20


async def sleep_for_ever(world: World) -> None:
    await world.clock.sleep(float("inf"))


class Server:
    """A process on n1 that listens, and one on n2 that is connected to it."""

    def __init__(self, simulation: Simulation) -> None:
        self.simulation = simulation
        self.inbox, self.client = Inbox(), Inbox()
        self.accepted = 0
        self.process = simulation.machine("n1").start_process("server", self._serve)
        simulation.run_for(5)
        self.peer = simulation.machine("n2").start_process("client", self._connect)
        simulation.run_until(lambda: self.client.connection is not None, 1_000)
        simulation.run_for(5)

    async def _serve(self, world: World) -> None:
        await world.network.listen(ADDRESS, self._accept, 1 << 20)
        await sleep_for_ever(world)

    def _accept(self) -> Inbox:
        self.accepted += 1
        return self.inbox if self.accepted == 1 else Inbox()

    async def _connect(self, world: World) -> None:
        await world.network.connect(ADDRESS, self.client, 1 << 20, 1_000)
        await sleep_for_ever(world)

    def send(self, *frames: bytes) -> None:
        assert self.client.connection is not None
        self.client.connection.send([[frame] for frame in frames])


def ticking(simulation: Simulation, ticks: list[float]) -> SimulatedProcess:
    """A process that notes the true time every 10 ms of its own."""

    async def main(world: World) -> None:
        while True:
            await world.clock.sleep(10)
            ticks.append(simulation.now_ms())

    return simulation.machine("n1").start_process("ticker", main)


def test_a_paused_process_runs_nothing_and_goes_on_where_it_stood() -> None:
    ticks: list[float] = []
    with Simulation(1) as simulation:
        process = ticking(simulation, ticks)
        simulation.run_for(35)
        process.pause()
        simulation.run_for(1_000)
        assert len(ticks) == 3
        assert process.alive
        process.resume()
        simulation.run_for(25)
        assert ticks[3:] == pytest.approx([1_035, 1_045, 1_055])


def test_timers_that_came_due_meanwhile_fire_late_in_their_order_and_others_in_time() -> None:
    fired: list[tuple[str, float]] = []

    async def main(world: World) -> None:
        for name, delay_ms in (("late", 80), ("early", 20), ("after", 300), ("stopped", 50)):
            timer = world.clock.call_later(delay_ms, note, name)
            if name == "stopped":
                timer.cancel()
        await sleep_for_ever(world)

    def note(name: str) -> None:
        fired.append((name, round(simulation.now_ms())))

    with Simulation(1) as simulation:
        process = simulation.machine("n1").start_process("test", main)
        simulation.run_for(10)
        process.pause()
        simulation.run_for(190)
        process.resume()
        simulation.run_for(200)
    assert fired == [("early", 200), ("late", 200), ("after", 300)]


def test_clocks_go_on_so_a_process_sees_that_time_has_passed() -> None:
    seen: list[float] = []

    async def main(world: World) -> None:
        while True:
            seen.append(world.clock.monotonic_ms())
            await world.clock.sleep(10)

    with Simulation(1) as simulation:
        process = simulation.machine("n1").start_process("test", main)
        simulation.run_for(15)
        process.pause()
        simulation.run_for(500)
        process.resume()
        simulation.run_for(1)
    assert seen[-1] - seen[-2] == pytest.approx(505)


def test_frames_wait_in_the_socket_and_are_read_in_order() -> None:
    with Simulation(1) as simulation:
        server = Server(simulation)
        server.process.pause()
        server.send(b"one", b"two")
        simulation.run_for(1_000)
        server.send(b"three")
        simulation.run_for(1_000)
        assert server.inbox.frames == []
        server.process.resume()
        simulation.run_for(1)
        assert server.inbox.frames == [b"one", b"two", b"three"]


def test_the_kernel_accepts_connections_in_its_name() -> None:
    with Simulation(1) as simulation:
        server = Server(simulation)
        server.process.pause()
        late = Inbox()

        async def connect(world: World) -> None:
            await world.network.connect(ADDRESS, late, 1 << 20, 100)
            await sleep_for_ever(world)

        simulation.machine("n3").start_process("client", connect)
        simulation.run_for(200)
        assert late.connection is not None
        assert server.accepted == 1
        server.process.resume()
        simulation.run_for(1)
        assert server.accepted == 2


def test_beyond_the_sockets_buffers_what_is_sent_stays_with_the_sender() -> None:
    with Simulation(1) as simulation:
        server = Server(simulation)
        near = server.client.connection
        assert near is not None
        server.process.pause()
        piece = b"x" * (512 * 1024)
        for _ in range(8):
            server.send(piece)
            simulation.run_for(100)
        assert near.buffered_bytes() == 0
        for _ in range(4):
            server.send(piece)
        simulation.run_for(1_000)
        assert near.buffered_bytes() == 12 * len(piece) - SOCKETS_BYTES
        drained = server.peer.run(simulation.loop.create_task, near.drain())
        simulation.run_for(1_000)
        assert not drained.done()
        server.process.resume()
        simulation.run_for(100)
        assert drained.done()
        assert near.buffered_bytes() == 0


def test_a_paused_process_can_be_killed_and_then_stays_dead() -> None:
    ticks: list[float] = []
    with Simulation(1) as simulation:
        server = Server(simulation)
        process = ticking(simulation, ticks)
        process.pause()
        server.process.pause()
        server.send(b"never read")
        simulation.run_for(100)
        server.process.kill()
        process.kill()
        for dead in (server.process, process):
            dead.resume()
        simulation.run_for(100)
        assert ticks == []
        assert server.inbox.frames == []
        assert isinstance(server.client.ended[0], Unavailable)


def test_a_pause_of_one_process_is_no_pause_of_its_machine() -> None:
    ticks: list[float] = []
    with Simulation(1) as simulation:
        sleeper = simulation.machine("n1").start_process("sleeper", sleep_for_ever)
        ticking(simulation, ticks)
        sleeper.pause()
        simulation.run_for(100)
        assert len(ticks) >= 9


def test_a_sync_that_ends_meanwhile_is_noticed_afterwards() -> None:
    synced: list[float] = []

    async def main(world: World) -> None:
        file = world.disk.open("file", create=True)
        await file.write_and_sync(0, b"data")
        synced.append(asyncio.get_running_loop().time())
        await sleep_for_ever(world)

    with Simulation(1) as simulation:
        machine = simulation.machine("n1")
        machine.disk.faults.sync_ms = (20, 20)
        process = machine.start_process("test", main)
        simulation.run_for(10)
        process.pause()
        simulation.run_for(490)
        process.resume()
        simulation.run_for(1)
    assert synced == pytest.approx([0.5])
