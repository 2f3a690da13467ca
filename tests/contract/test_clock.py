"""The clock port, in every world."""

import asyncio
from pathlib import Path

import pytest
from contract.worlds import every_world, run_in

from quorate.base.errors import Unavailable
from quorate.runtime.ports import World


@every_world
def test_monotonic_time_passes_by_what_was_slept(kind: str, tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        start = world.clock.monotonic_ms()
        await world.clock.sleep(20)
        assert world.clock.monotonic_ms() - start >= 19.5

    run_in(kind, tmp_path, scenario)


@every_world
def test_wall_time_is_milliseconds_since_1970(kind: str, tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        assert 1_600_000_000_000 < world.clock.wall_ms() < 4_000_000_000_000

    run_in(kind, tmp_path, scenario)


@every_world
def test_timers_fire_in_order_of_their_times_and_not_when_cancelled(
    kind: str, tmp_path: Path
) -> None:
    async def scenario(world: World) -> None:
        fired: list[str] = []
        world.clock.call_later(40, fired.append, "late")
        world.clock.call_later(10, fired.append, "early")
        world.clock.call_later(20, fired.append, "cancelled").cancel()
        await world.clock.sleep(80)
        assert fired == ["early", "late"]

    run_in(kind, tmp_path, scenario)


@every_world
def test_asyncio_timeouts_run_on_the_clock_of_the_world(kind: str, tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await world.clock.sleep(5_000)

    run_in(kind, tmp_path, scenario)


@every_world
def test_a_failing_task_stops_the_process_with_its_error(kind: str, tmp_path: Path) -> None:
    async def fail() -> None:
        raise Unavailable("no quorum")

    async def scenario(world: World) -> None:
        world.spawn(fail(), "fail")
        await world.clock.sleep(20)

    with pytest.raises(Unavailable, match="no quorum"):
        run_in(kind, tmp_path, scenario)


@every_world
def test_cancel_all_ends_what_spawn_started(kind: str, tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        ended: list[str] = []

        async def wait(name: str) -> None:
            try:
                await world.clock.sleep(60_000)
            finally:
                ended.append(name)

        world.spawn(wait("first"), "first")
        world.spawn(wait("second"), "second")
        await world.clock.sleep(1)
        await world.cancel_all()
        assert ended == ["second", "first"]

    run_in(kind, tmp_path, scenario)


@every_world
def test_a_failing_callback_stops_the_process(kind: str, tmp_path: Path) -> None:
    def fail() -> None:
        raise ZeroDivisionError("in a timer")

    async def scenario(world: World) -> None:
        world.clock.call_later(1, fail)
        await world.clock.sleep(20)

    with pytest.raises(ZeroDivisionError, match="in a timer"):
        run_in(kind, tmp_path, scenario)
