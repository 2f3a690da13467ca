"""Task processes, in every world."""

import asyncio
from pathlib import Path

import pytest
from contract.worlds import every_world, run_in

from quorate.base.check import Bug
from quorate.base.errors import BadInput, NotFound, Unavailable
from quorate.runtime.ports import World

SERVE = "contract.functions:serve"


@every_world
def test_requests_are_served_one_after_the_other(kind: str, tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        process = await world.processes.start(SERVE, "tasks/1")
        assert process.pid > 0
        assert await process.run(b"echo one") == b"one"
        assert await process.run(b"echo ") == b""
        assert await process.run(b"big 3000000") == b"x" * 3_000_000
        assert await process.run(b"echo " + b"y" * 1_000_000) == b"y" * 1_000_000

    run_in(kind, tmp_path, scenario)


@every_world
def test_the_disk_of_a_task_process_is_its_directory_of_ours(kind: str, tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        process = await world.processes.start(SERVE, "tasks/1")
        await process.run(b"write from the task")
        assert world.disk.open("tasks/1/written").read(0, 100) == b"from the task"
        file = world.disk.open("tasks/1/ours", create=True)
        file.write(0, b"12345")
        assert await process.run(b"size ours") == b"5"
        with pytest.raises(NotFound):
            await process.run(b"size tasks/1/ours")

    run_in(kind, tmp_path, scenario)


@every_world
def test_an_error_of_the_function_is_an_answer_and_the_process_lives(
    kind: str, tmp_path: Path
) -> None:
    async def scenario(world: World) -> None:
        process = await world.processes.start(SERVE, "tasks")
        with pytest.raises(BadInput, match="not like this") as caught:
            await process.run(b"refuse not like this")
        assert caught.value.details == {"line": 7}
        assert await process.run(b"echo alive") == b"alive"

    run_in(kind, tmp_path, scenario)


@every_world
def test_any_other_exception_is_the_end_of_the_process(kind: str, tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        process = await world.processes.start(SERVE, "tasks")
        with pytest.raises(Unavailable, match=f"task process {process.pid} "):
            await process.run(b"crash")
        with pytest.raises(Unavailable, match=f"task process {process.pid} "):
            await process.run(b"echo again")

    run_in(kind, tmp_path, scenario)


@every_world
def test_a_killed_process_fails_the_request_that_waits(kind: str, tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        process = await world.processes.start(SERVE, "tasks")
        verb = b"echo" if kind == "simulated" else b"hang"
        task = world.spawn(_outcome(process.run(verb + b" x")), "run")
        await world.clock.sleep(0)
        process.kill()
        process.kill()
        assert "killed by signal 9" in await task or "SIGKILL" in await task

    async def _outcome(work: object) -> str:
        with pytest.raises(Unavailable) as caught:
            await work  # type: ignore[misc]
        return str(caught.value)

    run_in(kind, tmp_path, scenario)


@every_world
def test_a_cancelled_request_ends_the_process(kind: str, tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        process = await world.processes.start(SERVE, "tasks")
        verb = b"echo" if kind == "simulated" else b"hang"
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.0005):
                await process.run(verb + b" x")
        with pytest.raises(Unavailable):
            await process.run(b"echo again")

    run_in(kind, tmp_path, scenario)


@every_world
def test_two_requests_at_once_are_a_bug(kind: str, tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        process = await world.processes.start(SERVE, "tasks")
        first = asyncio.ensure_future(process.run(b"echo 1"))
        await world.clock.sleep(0)
        with pytest.raises(Bug):
            await process.run(b"echo 2")
        assert await first == b"1"

    run_in(kind, tmp_path, scenario)
