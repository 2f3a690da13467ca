"""RESP over frames that are lost, repeated and reordered: bytes in order, or the end."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from quorate.base.errors import Maybe
from quorate.runtime.ports import World
from quorate.runtime.simulated.world import Simulation
from quorate.simulator.cluster import address
from quorate.simulator.workloads.keys.cluster import KvCluster
from quorate.simulator.workloads.keys.resp import (
    MISSING_MS,
    RespClient,
    RespError,
    Stream,
    resp_address,
)


class Ear(Stream):
    def __init__(self, world: Any) -> None:
        super().__init__(world)
        self.heard = b""
        self.ended = False

    def received(self, data: bytes) -> None:
        self.heard += data

    def close(self) -> None:
        self.ended = True


class Line:
    """Keeps frames, as a connection would take them."""

    def __init__(self) -> None:
        self.frames: list[memoryview] = []

    def send(self, frames: Sequence[Sequence[bytes]]) -> None:
        self.frames += [memoryview(b"".join(frame)) for frame in frames]


def three_frames() -> tuple[list[memoryview], Ear, list[tuple[float, Any]]]:
    timers: list[tuple[float, Any]] = []

    def call_later(delay_ms: float, callback: Any) -> Any:
        timers.append((delay_ms, callback))
        return SimpleNamespace(cancel=timers.clear)

    world: Any = SimpleNamespace(clock=SimpleNamespace(call_later=call_later))
    mouth, line = Stream(world), Line()
    mouth.connected(line)  # type: ignore[arg-type]
    for text in (b"a", b"b", b"c"):
        mouth.write(text)
    return line.frames, Ear(world), timers


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (0, 0, 2, 1, 1), (1, 2, 0, 2)])
def test_bytes_come_in_order_and_once(order: tuple[int, ...]) -> None:
    frames, ear, timers = three_frames()
    for number in order:
        ear.frames_received([frames[number]])
    assert ear.heard == b"abc"
    assert not timers and not ear.ended


def test_where_a_frame_is_missing_the_connection_ends() -> None:
    frames, ear, timers = three_frames()
    ear.frames_received([frames[0], frames[2]])
    assert ear.heard == b"a"
    [(delay_ms, callback)] = timers
    assert delay_ms == MISSING_MS
    callback()
    assert ear.ended


def test_a_client_speaks_to_a_node_and_knows_what_it_does_not_know() -> None:
    found: list[Any] = []

    async def main(world: World) -> None:
        client = RespClient(world)
        await client.connect(resp_address("n2"))
        found.extend(
            await client.do(("SET", "k", "v"), ("GET", "k"), ("GET", "none"), timeout_ms=5_000)
        )
        found.extend(
            await client.do(("MULTI",), ("INCR", "n"), ("GET", "k"), ("EXEC",), timeout_ms=5_000)
        )
        found.extend(await client.do(("NOTHING",), timeout_ms=5_000))
        cluster.kill("n2")
        found.extend(await client.do(("SET", "k", "w"), timeout_ms=5_000))
        found.append(client.is_open)

    with Simulation(1) as simulation:
        cluster = KvCluster(simulation, 3, max_events=100)
        cluster.found()
        simulation.run_for(1_000)
        process = simulation.machine("c1").start_process("client", main)
        simulation.run_until(lambda: not process.alive, timeout_ms=20_000)
        assert process.error is None
    assert found[:3] == [b"OK", b"v", None]
    assert found[3:7] == [b"OK", b"QUEUED", b"QUEUED", [1, b"v"]]
    assert isinstance(found[7], RespError) and isinstance(found[8], Maybe) and found[9] is False
    assert address("n2") != resp_address("n2")
