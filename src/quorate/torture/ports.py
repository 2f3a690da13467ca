"""Ports of a test node that behave as badly as ``Control`` says; else they are the real ones.

A direction between two nodes is cut by both: the sender is *mute* on the connections that it
opened, and the receiver *deaf* on those that it opened itself, where only answers come.  Frames
vanish one by one and the connection stays, as in the simulated network.
"""

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from quorate.base.ids import Address
from quorate.runtime.ports import (
    Certificate,
    Clock,
    Connection,
    Frame,
    FrameReceiver,
    Listener,
    Network,
)
from quorate.runtime.real.clock import RealClock
from quorate.runtime.real.disk import RealDisk
from quorate.runtime.real.kernel_syncs import KernelSyncs
from quorate.torture.control import Control

Told = Callable[[], Control]
"""What holds now."""


class WrongClock(RealClock):
    """A clock whose wall time is shifted."""

    def __init__(self, told: Told) -> None:
        self._told = told

    def wall_ms(self) -> int:
        return super().wall_ms() + int(self._told().clock_ms)


class SlowDisk(RealDisk):
    """A disk whose syncs take longer."""

    def __init__(self, root: Path, told: Told) -> None:
        super().__init__(root, KernelSyncs())
        self._told = told

    def sync_begun(self, descriptor: int) -> asyncio.Future[int] | None:
        return None if self._told().sync_ms else super().sync_begun(descriptor)

    async def in_thread(self, descriptor: int, work: Callable[[int], None]) -> None:
        sync_ms = self._told().sync_ms

        def late(descriptor: int) -> None:
            time.sleep(sync_ms / 1000)
            work(descriptor)

        await super().in_thread(descriptor, late if sync_ms else work)


class LossyNetwork:
    """The network port, with frames that are lost or late on what this node connects to."""

    def __init__(self, network: Network, clock: Clock, told: Told) -> None:
        self._network = network
        self._clock = clock
        self._told = told

    async def listen(
        self, address: Address, accept: Callable[[], FrameReceiver], max_frame_bytes: int
    ) -> Listener:
        return await self._network.listen(address, accept, max_frame_bytes)

    async def connect(
        self, address: Address, receiver: FrameReceiver, max_frame_bytes: int, timeout_ms: float
    ) -> Connection:
        link = _Link(address, receiver, self._clock, self._told)
        await self._network.connect(address, link, max_frame_bytes, timeout_ms)
        return link


class _Link:
    """One connection as its receiver sees it, and the receiver as the connection sees it."""

    def __init__(self, address: Address, receiver: FrameReceiver, clock: Clock, told: Told) -> None:
        self._address = address
        self._receiver = receiver
        self._clock = clock
        self._told = told
        self._late_until_ms = 0.0

    # What the connection tells.

    def connected(self, connection: Connection) -> None:
        self._connection = connection
        self._receiver.connected(self)

    def frames_received(self, frames: Sequence[memoryview]) -> None:
        told = self._told()
        if self._address in told.deaf_to:
            return
        if kept := [frame for frame in frames if not _lost(told)]:
            self._receiver.frames_received(kept)

    def disconnected(self, error: Exception | None) -> None:
        self._receiver.disconnected(error)

    # What the receiver does.

    @property
    def max_frame_bytes(self) -> int:
        return self._connection.max_frame_bytes

    @max_frame_bytes.setter
    def max_frame_bytes(self, max_frame_bytes: int) -> None:
        self._connection.max_frame_bytes = max_frame_bytes

    @property
    def peer(self) -> str:
        return self._connection.peer

    @property
    def certificate(self) -> Certificate | None:
        return self._connection.certificate

    def send(self, frames: Sequence[Frame]) -> None:
        told = self._told()
        if self._address in told.mute_to:
            return
        kept = [frame for frame in frames if not _lost(told)]
        now_ms = self._clock.monotonic_ms()
        # In order, also when a shorter delay follows a longer one.
        self._late_until_ms = max(self._late_until_ms, now_ms + told.delay_ms)
        if self._late_until_ms > now_ms:
            self._clock.call_later(self._late_until_ms - now_ms, self._connection.send, kept)
        elif kept:
            self._connection.send(kept)

    def buffered_bytes(self) -> int:
        return self._connection.buffered_bytes()

    async def drain(self) -> None:
        await self._connection.drain()

    def close(self) -> None:
        self._connection.close()


def _lost(told: Control) -> bool:
    return told.loss > 0 and random.random() < told.loss
