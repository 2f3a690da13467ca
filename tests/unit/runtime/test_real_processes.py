"""Real child processes: they die with their parent, and never speak over its pipe unasked."""

import asyncio
import os
import select
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from contract.worlds import run_in

from quorate.base.errors import Unavailable
from quorate.runtime.ports import World
from quorate.runtime.real import task_child
from quorate.runtime.real.processes import MAX_LOG_BYTES

TESTS = Path(__file__).parents[2]
SERVE = "contract.functions:serve"

PARENT = """
import asyncio, pathlib, sys
from quorate.runtime.real.world import real_world, run

async def main():
    world = real_world(pathlib.Path(sys.argv[1]))
    idle = await world.processes.start("contract.functions:serve", "idle")
    busy = await world.processes.start("contract.functions:serve", "busy")
    asyncio.ensure_future(busy.run(b"hang"))
    await asyncio.sleep(0)
    print(idle.pid, busy.pid, flush=True)
    await asyncio.sleep(600)

run(main)
"""


def ended(descriptor: int, timeout_s: float = 20.0) -> bool:
    """Whether the process behind a pid descriptor ends in time."""
    return bool(select.select([descriptor], [], [], timeout_s)[0])


def start_parent(root: Path) -> tuple[subprocess.Popen[str], list[int]]:
    """A parent process with an idle and a busy task process, and descriptors of those two."""
    path = os.pathsep.join([str(TESTS), *sys.path])
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(root)],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": path},
    )
    assert parent.stdout is not None
    pids = [int(word) for word in parent.stdout.readline().split()]
    assert len(pids) == 2
    return parent, [os.pidfd_open(pid) for pid in pids]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_task_processes_die_with_their_parent_busy_or_idle(
    number: signal.Signals, tmp_path: Path
) -> None:
    parent, descriptors = start_parent(tmp_path)
    try:
        assert not any(ended(descriptor, 0) for descriptor in descriptors)
        parent.send_signal(number)
        parent.wait(20)
        assert all(ended(descriptor) for descriptor in descriptors)
    finally:
        parent.kill()
        parent.wait()
        assert parent.stdout is not None
        parent.stdout.close()
        for descriptor in descriptors:
            os.close(descriptor)


def test_a_task_process_ends_when_its_socket_does(tmp_path: Path) -> None:
    ours, theirs = socket.socketpair()
    command = [sys.executable, "-m", "quorate.runtime.real.task_child"]
    command += [str(os.getpid()), str(theirs.fileno()), SERVE, str(tmp_path)]
    child = subprocess.Popen(
        command,
        pass_fds=[theirs.fileno()],
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(TESTS), *sys.path])},
    )
    theirs.close()
    assert ours.recv(100) == b"\0\0\0\1R"
    ours.close()
    assert child.wait(20) == 0


def test_a_child_whose_parent_is_already_another_ends_at_once() -> None:
    code = "from quorate.runtime.real.parent_death import die_with_parent\n"
    code += f"die_with_parent({os.getpid() + 1_000_000}); print('alive')"
    child = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        check=False,
    )
    assert (child.returncode, child.stdout) == (1, b"")


def test_what_user_code_prints_goes_to_the_log_of_its_directory(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        process = await world.processes.start(SERVE, "task")
        assert await process.run(b"echo hello") == b"hello"
        assert (tmp_path / "task" / "task-0.log").read_text() == "user code prints b'hello'\n"
        with pytest.raises(
            Unavailable, match=r"(?s)ended with status 1.*ZeroDivisionError: by design"
        ):
            await process.run(b"crash by design")
        assert "ZeroDivisionError: by design" in (tmp_path / "task" / "task-0.log").read_text()

    run_in("uvloop", tmp_path, scenario)


def test_each_living_child_has_a_log_of_its_own(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        one, two = await asyncio.gather(*(world.processes.start(SERVE, "task") for _ in range(2)))
        await one.run(b"echo one")
        await two.run(b"echo two")
        logs = sorted((tmp_path / "task").iterdir())
        assert [log.name for log in logs] == ["task-0.log", "task-1.log"]
        assert sorted(log.read_text() for log in logs) == [
            f"user code prints b'{name}'\n" for name in ("one", "two")
        ]
        with pytest.raises(Unavailable):
            await one.run(b"suicide")
        await world.processes.start(SERVE, "task")
        assert sorted((tmp_path / "task").iterdir()) == logs

    run_in("uvloop", tmp_path, scenario)


def test_a_long_log_is_begun_anew_between_requests(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "task-0.log"
    with log.open("wb") as output:
        monkeypatch.setattr(task_child, "_OUTPUT", output.fileno())
        output.write(bytes(MAX_LOG_BYTES))
        output.flush()
        task_child._end_output()
        assert log.stat().st_size == MAX_LOG_BYTES
        output.write(b"x")
        output.flush()
        task_child._end_output()
        output.write(b"next")
    assert log.read_bytes() == b"next"


def test_a_death_names_the_process_and_the_signal(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        process = await world.processes.start(SERVE, "task")
        with pytest.raises(Unavailable, match=f"task process {process.pid} ended with .*SIGKILL"):
            await process.run(b"suicide")

    run_in("asyncio", tmp_path, scenario)


def test_a_function_that_cannot_be_imported_fails_the_start(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        with pytest.raises(Unavailable, match="ModuleNotFoundError"):
            await world.processes.start("contract.nowhere:serve", "task")
        assert "ModuleNotFoundError" in (tmp_path / "task" / "task-0.log").read_text()

    run_in("uvloop", tmp_path, scenario)


def test_a_reply_above_the_bound_is_refused_and_the_process_lives(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        process = await world.processes.start(SERVE, "task")
        with pytest.raises(Unavailable, match="reply of 70000000 bytes exceeds"):
            await process.run(b"big 70000000")
        assert await process.run(b"echo alive") == b"alive"

    run_in("uvloop", tmp_path, scenario)


def test_closing_the_world_ends_its_task_processes(tmp_path: Path) -> None:
    descriptors: list[int] = []

    async def scenario(world: World) -> None:
        process = await world.processes.start(SERVE, "task")
        descriptors.append(os.pidfd_open(process.pid))
        await asyncio.sleep(0)

    run_in("asyncio", tmp_path, scenario)
    assert ended(descriptors[0])
    os.close(descriptors[0])
