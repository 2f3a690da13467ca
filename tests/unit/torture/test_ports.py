"""Ports that obey ``Control``: a wrong clock, frames that are lost or late, and else nothing."""

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from quorate.base.ids import Address
from quorate.runtime.ports import Frame, Network
from quorate.runtime.real.clock import RealClock
from quorate.torture.control import Control
from quorate.torture.ports import LossyNetwork, SlowDisk, WrongClock

PEER = Address("10.0.0.2:7400")


class Wire:
    """A network of one connection, which keeps what is sent."""

    max_frame_bytes = 100
    peer = "peer"

    def __init__(self) -> None:
        self.sent: list[Frame] = []
        self.receiver: Any = None
        self._sending = asyncio.Event()

    async def connect(self, address: Address, receiver: Any, size: int, ms: float) -> "Wire":
        self.receiver = receiver
        receiver.connected(self)
        return self

    def send(self, frames: Sequence[Frame]) -> None:
        self.sent += frames
        self._sending.set()

    async def until(self, sent: int) -> None:
        """Wait for so many frames."""
        while len(self.sent) < sent:
            self._sending.clear()
            await self._sending.wait()


class Ear:
    """A receiver that keeps what it hears."""

    def __init__(self) -> None:
        self.heard: list[bytes] = []

    def connected(self, connection: object) -> None:
        self.connection = connection

    def frames_received(self, frames: Sequence[memoryview]) -> None:
        self.heard += [bytes(frame) for frame in frames]


def exchanged(control: Control, sent: int = 0) -> tuple[list[Frame], list[bytes]]:
    """What passes in both directions, seen when so many frames were ``sent`` or more."""

    async def main() -> tuple[list[Frame], list[bytes]]:
        wire, ear = Wire(), Ear()
        network = LossyNetwork(cast(Network, wire), RealClock(), lambda: control)
        connection = await network.connect(PEER, cast(Any, ear), 100, 1_000)
        assert ear.connection is connection
        connection.send([[b"out"]])
        wire.receiver.frames_received([memoryview(b"in")])
        async with asyncio.timeout(5):
            await wire.until(sent)
        return wire.sent, ear.heard

    return asyncio.run(main())


def test_without_orders_all_passes() -> None:
    assert exchanged(Control()) == ([[b"out"]], [b"in"])


def test_who_is_mute_still_hears_and_who_is_deaf_still_speaks() -> None:
    assert exchanged(Control(mute_to=(PEER,))) == ([], [b"in"])
    assert exchanged(Control(deaf_to=(PEER,))) == ([[b"out"]], [])
    elsewhere = Address("10.0.0.3:7400")
    assert exchanged(Control(mute_to=(elsewhere,), deaf_to=(elsewhere,)))[0]


def test_frames_are_lost_one_by_one() -> None:
    assert exchanged(Control(loss=1.0)) == ([], [])


def test_frames_that_are_late_come_all_the_same() -> None:
    before = time.monotonic()
    sent, _ = exchanged(Control(delay_ms=50.0), sent=1)
    assert sent == [[b"out"]] and time.monotonic() - before >= 0.05


def test_the_wall_clock_is_wrong_and_the_other_is_not() -> None:
    clock = WrongClock(lambda: Control(clock_ms=-3_600_000))
    assert abs(clock.wall_ms() - (time.time() - 3_600) * 1000) < 5_000
    assert abs(clock.monotonic_ms() - time.monotonic() * 1000) < 5_000


def test_a_sync_takes_longer_and_is_done(tmp_path: Path) -> None:
    async def main() -> None:
        disk = SlowDisk(tmp_path, lambda: Control(sync_ms=50.0))
        file = disk.open("file", create=True)
        before = time.monotonic()
        await file.write_and_sync(0, b"kept")
        assert time.monotonic() - before >= 0.05
        file.close()
        disk.close()

    asyncio.run(main())
    assert (tmp_path / "file").read_bytes() == b"kept"
