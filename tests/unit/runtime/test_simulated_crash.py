"""A crash in the simulated world is a crash: nothing of the process has any effect any more."""

import asyncio
import gc
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from quorate.base.check import Bug
from quorate.base.errors import DiskFull, Unavailable
from quorate.runtime.ports import World
from quorate.runtime.simulated.process import ProcessKilled
from quorate.runtime.simulated.world import Simulation


def test_finally_blocks_of_a_killed_process_never_run_while_the_simulation_does() -> None:
    ended: list[str] = []

    async def main(world: World) -> None:
        async def wait() -> None:
            try:
                await world.clock.sleep(50)
            finally:
                ended.append("task")

        world.spawn(wait(), "wait")
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            ended.append("main")

    with Simulation(1) as simulation:
        process = simulation.machine("n1").start_process("test", main)
        simulation.run_for(10)
        process.kill()
        simulation.run_for(1_000)
        gc.collect()
        assert ended == []


def test_what_finally_blocks_do_when_the_simulation_ends_reaches_no_port() -> None:
    refused: list[str] = []
    calls: dict[str, Callable[[World], object]] = {
        "disk": lambda world: world.disk.open("evidence", create=True),
        "trace": lambda world: world.trace.event("evidence"),
        "clock": lambda world: world.clock.call_later(1, print),
        "wall": lambda world: world.clock.wall_ms(),
        "free": lambda world: world.disk.free_bytes(),
    }

    async def main(world: World) -> None:
        file = world.disk.open("file", create=True)
        calls["file"] = lambda _: file.write(0, b"evidence")
        calls["size"] = lambda _: file.size()
        try:
            await world.clock.sleep(1_000)
        finally:
            for name, call in calls.items():
                try:
                    call(world)
                except ProcessKilled:
                    refused.append(name)
            await world.clock.sleep(1)

    with Simulation(1) as simulation:
        process = simulation.machine("n1").start_process("test", main)
        simulation.run_for(10)
        process.kill()
    assert refused == list(calls)


def test_timers_and_callbacks_of_a_killed_process_never_fire() -> None:
    fired: list[str] = []

    async def main(world: World) -> None:
        world.clock.call_later(50, fired.append, "timer")
        asyncio.get_running_loop().call_later(0.05, fired.append, "loop timer")
        future.add_done_callback(lambda _: fired.append("callback"))
        world.spawn(wait_for_future(), "wait")
        await world.clock.sleep(1_000)

    async def wait_for_future() -> None:
        await future
        fired.append("woken")

    with Simulation(1) as simulation:
        future: asyncio.Future[None] = simulation.loop.create_future()
        process = simulation.machine("n1").start_process("test", main)
        simulation.run_for(10)
        process.kill()
        future.set_result(None)
        simulation.run_for(1_000)
        assert fired == []


def test_a_process_that_dies_in_the_middle_of_a_step_reaches_no_port_after_that() -> None:
    reached: list[str] = []

    async def main(world: World) -> None:
        file = world.disk.open("file", create=True)
        file.write(0, b"before")
        simulation.processes[0].kill()
        try:
            file.write(0, b"after!")
        except Exception:
            reached.append("an ordinary handler")
        reached.append("the next line")

    with Simulation(1) as simulation:
        machine = simulation.machine("n1")
        machine.start_process("test", main)
        simulation.run_for(10)
        assert reached == []

        async def look(world: World) -> bytes:
            return world.disk.open("file").read(0, 10)

        again = machine.start_process("test", look)
        simulation.run_until(lambda: not again.alive, 1_000)
        assert again.result == b"before"


def test_ending_a_simulation_leaves_no_warnings_behind(
    monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    unraisable: list[Any] = []
    monkeypatch.setattr("sys.unraisablehook", unraisable.append)

    async def numbers() -> AsyncIterator[int]:
        try:
            yield 1
            await asyncio.sleep(1_000)
        finally:
            await asyncio.sleep(1)

    async def stubborn(world: World) -> None:
        while True:
            try:
                async for _ in numbers():
                    await world.clock.sleep(1_000)
            finally:
                await asyncio.sleep(5)

    async def main(world: World) -> None:
        world.spawn(stubborn(world), "stubborn")
        await world.clock.sleep(20)
        world.spawn(asyncio.sleep(5), "never started")
        simulation.processes[0].kill()

    worlds: list[World] = []

    async def keep(world: World) -> None:
        worlds.append(world)
        await main(world)

    with Simulation(1) as simulation:
        simulation.machine("n1").start_process("test", keep)
        simulation.machine("n2").start_process("test", stubborn)
        simulation.run_for(10)
        simulation.loop.create_task(stubborn(worlds[0]))
        simulation.run_for(100)
    simulation = Simulation(2)  # nothing refers to the first one any more
    worlds.clear()
    gc.collect()
    assert unraisable == []
    assert [str(warning.message) for warning in recwarn] == []


def test_a_users_error_of_a_task_ends_its_process_alone_and_is_kept() -> None:
    async def fail(world: World) -> None:
        await world.clock.sleep(1)
        raise DiskFull("no space is left")

    async def main(world: World) -> None:
        world.spawn(fail(world), "fail")
        await world.clock.sleep(1_000)

    async def other(world: World) -> str:
        await world.clock.sleep(100)
        return "done"

    with Simulation(1) as simulation:
        process = simulation.machine("n1").start_process("test", main)
        neighbour = simulation.machine("n1").start_process("other", other)
        simulation.run_until(lambda: not neighbour.alive, 1_000)
        assert isinstance(process.error, DiskFull)
        assert not process.alive
        assert (neighbour.result, neighbour.error) == ("done", None)


@pytest.mark.parametrize("error", [Bug("invariant"), KeyError("unexpected")])
def test_a_bug_of_any_process_fails_the_simulation(error: BaseException) -> None:
    async def fail(world: World) -> None:
        await world.clock.sleep(1)
        raise error

    async def main(world: World) -> None:
        world.spawn(fail(world), "fail")
        await world.clock.sleep(1_000)

    with Simulation(1) as simulation:
        simulation.machine("n1").start_process("test", main)
        with pytest.raises(type(error)):
            simulation.run_for(100)


def test_a_process_ends_when_its_main_returns_and_its_role_can_start_again() -> None:
    async def main(world: World) -> str:
        world.spawn(world.clock.sleep(1_000), "left behind")
        return "result"

    with Simulation(1) as simulation:
        machine = simulation.machine("n1")
        first = machine.start_process("test", main)
        simulation.run_until(lambda: not first.alive, 100)
        second = machine.start_process("test", main)
        assert second is not first
        assert machine.processes["test"] is second
        simulation.run_until(lambda: not second.alive, 100)
        assert (first.result, second.result) == ("result", "result")


def test_every_incarnation_has_a_random_source_of_its_own() -> None:
    async def main(world: World) -> float:
        return world.random.random()

    def drawn(seed: int) -> list[float]:
        with Simulation(seed) as simulation:
            processes = [
                simulation.machine(name).start_process(role, main)
                for name in ("n1", "n2")
                for role in ("raft", "worker", "raft")
            ]
            simulation.run_for(10)
            return [process.result for process in processes]

    assert drawn(1) == drawn(1)
    assert len({*drawn(1), *drawn(2)}) == 12


def test_what_the_harness_waits_for_has_a_deadline_in_virtual_time() -> None:
    with Simulation(7) as simulation:
        with pytest.raises(TimeoutError, match="seed 7: not done within 500 ms"):
            simulation.run_until(lambda: False, 500)
        assert simulation.now_ms() == 500
        assert simulation.run_until(asyncio.sleep(0.25, "result"), 500) == "result"
        assert simulation.now_ms() == 750

        async def fail() -> None:
            raise Unavailable("no")

        with pytest.raises(Unavailable):
            simulation.run_until(fail(), 500)


def test_clocks_differ_between_machines_drift_and_jump_but_monotonic_time_never_goes_back() -> None:
    async def main(world: World) -> None:
        await world.clock.sleep(1e9)

    async def measure(world: World) -> list[float]:
        start = world.clock.monotonic_ms()
        wall = world.clock.wall_ms()
        await world.clock.sleep(1_000)
        return [world.clock.monotonic_ms() - start, world.clock.wall_ms() - wall]

    with Simulation(1) as simulation:
        machine = simulation.machine("n1")
        other = simulation.machine("n2")
        assert machine.clock.monotonic_ms() != other.clock.monotonic_ms()
        assert abs(machine.clock.wall_ms() - other.clock.wall_ms()) <= 1

        machine.clock.set_rate(1.25)
        process = machine.start_process("test", measure)
        simulation.run_until(lambda: not process.alive, 10_000)
        assert process.result == [pytest.approx(1_000), pytest.approx(1_000, abs=1)]
        assert simulation.now_ms() == pytest.approx(800)

        before = machine.clock.monotonic_ms()
        machine.clock.set_rate(0.5)
        assert machine.clock.monotonic_ms() == before
        machine.clock.jump_wall(-3_600_000)
        assert machine.clock.monotonic_ms() == before
        assert other.clock.wall_ms() - machine.clock.wall_ms() > 3_500_000
