"""The event loop on virtual time."""

import asyncio
import itertools
import socket
import time
from collections.abc import AsyncIterator

import pytest

from quorate.base.check import Bug
from quorate.base.errors import Unavailable
from quorate.runtime.simulated import loop as loop_module
from quorate.runtime.simulated.forbidden import NotInSimulation
from quorate.runtime.simulated.loop import Deadlock, Livelock, SimulatedLoop, new_loop
from quorate.runtime.simulated.process import SimulatedProcess

REAL_CLOCK = time.perf_counter


async def nothing() -> None:
    return


def test_time_jumps_to_the_next_timer_without_waiting() -> None:
    loop = new_loop()

    async def main() -> float:
        await asyncio.sleep(3_600)
        return asyncio.get_running_loop().time()

    start = REAL_CLOCK()
    assert loop.run_until_complete(main()) == 3_600
    assert REAL_CLOCK() - start < 5
    loop.close()


def test_timers_of_one_moment_run_in_the_order_in_which_they_were_set() -> None:
    loop = new_loop()
    seen: list[int] = []
    for number in range(100):
        loop.call_at(1.0, seen.append, number)
    loop.run_until(None, 1.0)
    assert seen == list(range(100))
    assert loop.time() == 1.0
    loop.close()


def test_running_for_a_time_ends_at_exactly_that_time() -> None:
    loop = new_loop()
    seen: list[str] = []
    loop.call_later(2.0, seen.append, "at the end")
    loop.call_later(2.001, seen.append, "after")
    assert not loop.run_until(None, 2.0)
    assert (loop.time(), seen) == (2.0, ["at the end"])
    assert not loop.run_until(None, 10.0)
    assert (loop.time(), seen) == (10.0, ["at the end", "after"])
    loop.close()


def test_waiting_for_what_can_never_happen_is_a_deadlock() -> None:
    loop = new_loop()

    async def main() -> None:
        await asyncio.get_running_loop().create_future()

    with pytest.raises(Deadlock):
        loop.run_until_complete(main())
    loop.close()


def test_standing_still_for_ever_is_a_livelock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop_module, "_LIVELOCK_STEPS", 1_000)
    loop = new_loop()

    async def main() -> None:
        for _ in itertools.count():
            await asyncio.sleep(0)

    with pytest.raises(Livelock):
        loop.run_until_complete(main())
    loop.close()


def test_many_steps_while_time_moves_are_no_livelock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop_module, "_LIVELOCK_STEPS", 1_000)
    loop = new_loop()

    async def main() -> None:
        for _ in range(5_000):
            await asyncio.sleep(0.001)

    loop.run_until_complete(main())
    loop.close()


@pytest.mark.parametrize("error", [Bug("broken"), ZeroDivisionError("unexpected")])
def test_a_failing_callback_fails_the_run(error: BaseException) -> None:
    loop = new_loop()

    def fail() -> None:
        raise error

    loop.call_later(1, fail)
    with pytest.raises(type(error), match=str(error)):
        loop.run_until(None, 10)
    loop.close()


def test_a_failed_future_that_nobody_asks_fails_the_run_unless_it_is_a_users_error() -> None:
    loop = new_loop()

    def fail(error: Exception) -> None:
        loop.create_future().set_exception(error)

    loop.call_soon(fail, Unavailable("nobody waits any more"))
    loop.run_until(None, 1)
    loop.call_soon(fail, ZeroDivisionError("lost"))
    with pytest.raises(ZeroDivisionError, match="lost"):
        loop.run_until(None, 2)
    loop.close()


def test_the_observer_is_called_after_each_step_with_its_process() -> None:
    loop = new_loop()
    process = SimulatedProcess("n1", "raft", 1)
    seen: list[SimulatedProcess | None] = []
    loop.observer = seen.append
    loop.call_soon(str)
    loop.call_soon(str, context=process.context)
    loop.run_until(None, 1)
    assert seen == [None, process]
    assert loop.steps == 2
    loop.close()


def test_cancelled_timers_do_not_fill_the_loop() -> None:
    loop = new_loop()

    async def main() -> None:
        for _ in range(20_000):
            async with asyncio.timeout(3_600):
                await asyncio.sleep(0.001)

    loop.run_until_complete(main())
    assert len(loop._timers) < 3_000
    loop.close()


def test_timers_keep_their_order_when_cancelled_ones_are_cleared_away() -> None:
    loop = new_loop()
    seen: list[int] = []
    handles = [loop.call_at(10 - number % 10, seen.append, number) for number in range(5_000)]
    for number, handle in enumerate(handles):
        if number % 7:
            handle.cancel()
    loop.run_until(None, 20)
    left = [number for number in range(5_000) if number % 7 == 0]
    assert seen == sorted(left, key=lambda number: (10 - number % 10, number))
    loop.close()


def test_an_abandoned_async_generator_is_closed() -> None:
    loop = new_loop()
    ended: list[bool] = []

    async def numbers() -> AsyncIterator[int]:
        try:
            yield 1
            yield 2
        finally:
            await asyncio.sleep(1)
            ended.append(True)

    async def main() -> None:
        async for _ in numbers():
            break
        await asyncio.sleep(2)

    loop.run_until_complete(main())
    assert ended == [True]
    loop.close()


@pytest.mark.parametrize(
    "door",
    [
        lambda loop: loop.call_soon_threadsafe(str),
        lambda loop: loop.run_in_executor(None, str),
        lambda loop: loop.add_reader(0, str),
        lambda loop: loop.add_signal_handler(1, str),
        lambda loop: loop.create_connection(asyncio.Protocol, "127.0.0.1", 1),
        lambda loop: loop.create_server(asyncio.Protocol, "127.0.0.1", 0),
        lambda loop: loop.subprocess_exec(asyncio.SubprocessProtocol, "true"),
        lambda loop: loop.getaddrinfo("localhost", 1),
    ],
)
def test_doors_to_the_real_world_are_refused(door: object) -> None:
    loop: SimulatedLoop = new_loop()
    with pytest.raises(NotInSimulation, match="use the ports"):
        door(loop)  # type: ignore[operator]
    loop.close()


def test_work_in_threads_and_sockets_is_refused_through_asyncio_too() -> None:
    loop = new_loop()

    async def thread() -> None:
        await asyncio.to_thread(str)

    async def stream() -> None:
        await asyncio.open_connection("127.0.0.1", 1)

    async def plain_socket() -> None:
        socket.create_connection(("127.0.0.1", 1))

    for work in (thread, stream, plain_socket):
        with pytest.raises(NotInSimulation):
            loop.run_until_complete(work())
    loop.close()


def test_a_closed_loop_takes_nothing_more() -> None:
    loop = new_loop()
    loop.close()
    with pytest.raises(RuntimeError):
        loop.call_soon(str)
    work = nothing()
    with pytest.raises(RuntimeError):
        loop.create_task(work)
    work.close()
