"""Ports in memory, made for a million runs: no simulation, no cost, nothing that outlives an input.

A file system here never fails and is always durable; what fuzzing asks is how content is read.
"""

import asyncio
import random
from collections.abc import Callable, Sequence
from typing import Any, cast

from quorate.base.errors import NotFound
from quorate.runtime.ports import (
    Buffer,
    Clock,
    File,
    Frame,
    FrameReceiver,
    Network,
    Processes,
    Timer,
    World,
)


class MemoryFile:
    """A file, open for ever."""

    def __init__(self, data: bytes = b"") -> None:
        self.data = bytearray(data)

    def size(self) -> int:
        return len(self.data)

    def read(self, offset: int, length: int) -> bytes:
        if not 0 <= offset < 1 << 63 or not 0 <= length < 1 << 63:
            raise OverflowError("what pread does not take")
        return bytes(self.data[offset : offset + length])

    def write(self, offset: int, data: Buffer) -> None:
        if not 0 <= offset < 1 << 40:
            raise OverflowError("what pwrite does not take")
        self.allocate(offset)
        self.data[offset : offset + len(data)] = data

    async def write_and_sync(self, offset: int, data: Buffer) -> None:
        self.write(offset, data)

    async def sync(self) -> None:
        """Always durable."""

    def allocate(self, length: int) -> None:
        self.data.extend(bytes(max(0, length - len(self.data))))

    def close(self) -> None:
        """Nothing to close."""


class MemoryDisk:
    """A disk: files by path."""

    def __init__(self) -> None:
        self.files: dict[str, MemoryFile] = {}

    def open(self, path: str, *, create: bool = False) -> File:
        if path not in self.files:
            if not create:
                raise NotFound(path)
            self.files[path] = MemoryFile()
        return self.files[path]

    def exists(self, path: str) -> bool:
        return path in self.files

    def list(self, directory: str) -> list[str]:
        below = directory + "/"
        return sorted(path.removeprefix(below) for path in self.files if path.startswith(below))

    def make_directory(self, path: str) -> None:
        """All there are exist."""

    def rename(self, source: str, target: str) -> None:
        self.files[target] = self.files.pop(source)

    def remove(self, path: str) -> None:
        self.files.pop(path, None)

    async def sync_directory(self, directory: str) -> None:
        """Always durable."""

    def free_bytes(self) -> int:
        return 1 << 40


class LoopClock:
    """The running loop's time."""

    def monotonic_ms(self) -> float:
        return asyncio.get_running_loop().time() * 1000

    def wall_ms(self) -> int:
        return 1_000_000

    async def sleep(self, delay_ms: float) -> None:
        await asyncio.sleep(delay_ms / 1000)

    def call_later(self, delay_ms: float, callback: Callable[..., object], *args: Any) -> Timer:
        return asyncio.get_running_loop().call_later(delay_ms / 1000, callback, *args)


class Silence:
    """A trace that keeps only how many errors there were."""

    def __init__(self) -> None:
        self.errors: list[str] = []

    def event(self, name: str, **facts: object) -> None:
        """Not kept."""

    def error(self, sentence: str) -> None:
        self.errors.append(sentence)


class Wire:
    """A connection whose other end is the input."""

    def __init__(self, receiver: FrameReceiver, max_frame_bytes: int) -> None:
        self.max_frame_bytes = max_frame_bytes
        self.sent: list[bytes] = []
        self.closed = False
        self._receiver = receiver
        receiver.connected(self)

    @property
    def peer(self) -> str:
        return "memory:1"

    @property
    def certificate(self) -> None:
        return None

    def send(self, frames: Sequence[Frame]) -> None:
        self.sent += [b"".join(frame) for frame in frames]

    def buffered_bytes(self) -> int:
        return 0

    async def drain(self) -> None:
        """Nothing waits here."""

    def close(self) -> None:
        self.closed = True

    def deliver(self, frames: Sequence[bytes]) -> None:
        """Frames as one read brings them; none after the end or above the bound."""
        fitting = [memoryview(f) for f in frames if 0 < len(f) <= self.max_frame_bytes]
        if fitting and not self.closed:
            self._receiver.frames_received(fitting)

    def end(self) -> None:
        self._receiver.disconnected(None)


def memory_world(
    stop: Callable[[BaseException], None],
    network: Network | None = None,
    disk: MemoryDisk | None = None,
) -> World:
    """A world of these; ``stop`` hears what would end the process."""
    return World(
        clock=cast(Clock, LoopClock()),
        network=cast(Network, network),
        disk=disk or MemoryDisk(),
        random=random.Random(1),
        processes=cast(Processes, None),
        trace=Silence(),
        stop=stop,
    )
