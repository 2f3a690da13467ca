"""The ports: all that a service may know of the world it runs in.

Services are ordinary ``asyncio`` code over these.  ``runtime.real`` and ``runtime.simulated`` have
the same file names and implement the same protocols; a service cannot tell them apart.  What a
port does not offer (sockets, threads, clocks, entropy) services do not use, and the simulated
world raises where they try.

Ports are made for speed as well: frames pass in whole batches to a receiver object, not one by one
through a stream reader, and ``File.sync`` hides who does it.
"""

import asyncio
import random
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, TypeAlias

from quorate.base.ids import Address

Buffer: TypeAlias = bytes | bytearray | memoryview

Frame: TypeAlias = Sequence[Buffer]
"""One outgoing frame in pieces; the pieces are joined on the wire, not in memory."""


class Timer(Protocol):
    """A call that was set for later."""

    def cancel(self) -> None: ...


class Clock(Protocol):
    """A machine's two clocks.  They may drift and (the wall clock) jump."""

    def monotonic_ms(self) -> float:
        """Milliseconds since some moment; never runs backwards."""

    def wall_ms(self) -> int:
        """Milliseconds since 1970, as this machine believes."""

    async def sleep(self, delay_ms: float) -> None: ...

    def call_later(self, delay_ms: float, callback: Callable[..., object], *args: Any) -> Timer: ...


class Certificate(NamedTuple):
    """What a certificate of the cluster's own authority says of who showed it."""

    name: str
    is_node: bool
    """It was issued to a machine of the cluster, not to a user."""


class Connection(Protocol):
    """One end of a two-way stream of frames."""

    max_frame_bytes: int
    """A larger incoming frame closes the connection with a ``ProtocolError``; may be raised or
    lowered at any time (after the handshake of a bulk connection, for instance)."""

    @property
    def peer(self) -> str:
        """The other end, for error messages and the log."""

    @property
    def certificate(self) -> Certificate | None:
        """What the other end showed; ``None`` where there is no TLS."""

    def send(self, frames: Sequence[Frame]) -> None:
        """Hand over whole frames, in order, as one write.  Never blocks; silent once closed.
        The caller does not change the pieces any more: they may still be on their way."""

    def buffered_bytes(self) -> int:
        """What was sent and has not yet left this process."""

    async def drain(self) -> None:
        """Wait until ``buffered_bytes`` is below the transport's bound, or the end."""

    def close(self) -> None:
        """Close after what was sent has left; ``disconnected`` follows."""


class FrameReceiver(Protocol):
    """What a connection tells its owner.  Calls come from the loop, in this order."""

    def connected(self, connection: Connection) -> None: ...

    def frames_received(self, frames: Sequence[memoryview]) -> None:
        """All whole frames that came in one read, in order.  The memory is the receiver's."""

    def disconnected(self, error: Exception | None) -> None:
        """The last call.  ``error`` is ``None`` after an orderly end."""


class Listener(Protocol):
    """An address that accepts connections until ``close``; those it accepted live on."""

    @property
    def address(self) -> Address: ...

    def close(self) -> None: ...


class Network(Protocol):
    """Streams of length-prefixed frames between addresses.

    Neither world repeats, or promises to deliver, anything: a frame that was sent may be lost
    together with its connection (in the simulated world also alone, twice, or out of order).
    """

    async def listen(
        self, address: Address, accept: Callable[[], FrameReceiver], max_frame_bytes: int
    ) -> Listener:
        """Accept connections at ``address``; raises ``BadConfiguration`` if it is taken, or is
        off loopback without mutual TLS."""

    async def connect(
        self, address: Address, receiver: FrameReceiver, max_frame_bytes: int, timeout_ms: float
    ) -> Connection:
        """Open a connection; raises ``Unavailable`` if that fails before the deadline."""


class File(Protocol):
    """An open file.  What was written is on the disk only once ``sync`` has returned.

    A write that meets no space raises ``DiskFull``; any other failure raises ``DiskFailed``, after
    which nothing about the file may be assumed and the operation is not tried again.
    """

    def size(self) -> int: ...

    def read(self, offset: int, length: int) -> bytes:
        """Up to ``length`` bytes; fewer at the end of the file."""

    def write(self, offset: int, data: Buffer) -> None:
        """Into the page cache; a gap before ``offset`` reads as zeros."""

    async def write_and_sync(self, offset: int, data: Buffer) -> None:
        """``write`` and ``sync``; a large piece is written beside the loop, too."""

    async def sync(self) -> None:
        """Wait until all that was written before this call is on the disk."""

    def allocate(self, length: int) -> None:
        """Make the file at least ``length`` bytes long (it never shrinks); bytes never written
        read as zeros.  Reserves the space where the file system can, so that later writes do not
        meet ``DiskFull``."""

    def close(self) -> None: ...


class Disk(Protocol):
    """A directory tree of one process on one machine.  Paths are relative, with ``/``.

    A new, renamed or removed name is durable only after ``sync_directory`` of its folder.
    A missing file raises ``NotFound``.
    """

    def open(self, path: str, *, create: bool = False) -> File:
        """Open for reading and writing; ``create`` makes it when it is missing."""

    def exists(self, path: str) -> bool: ...

    def list(self, directory: str) -> list[str]:
        """Names in ``directory``, sorted; empty if it does not exist."""

    def make_directory(self, path: str) -> None:
        """With its parents; no error if it exists."""

    def rename(self, source: str, target: str) -> None:
        """Atomic; replaces ``target``."""

    def remove(self, path: str) -> None:
        """A file, or a directory with all it holds; no error if it is missing."""

    async def sync_directory(self, directory: str) -> None: ...

    def free_bytes(self) -> int: ...


TaskFunction: TypeAlias = Callable[[Disk, bytes], bytes]
"""What a task process runs: its own view of the node's disk, a request, and then a reply."""


class TaskProcess(Protocol):
    """A child process that runs user code, one request at a time, and can be lost at any time."""

    @property
    def pid(self) -> int: ...

    async def run(self, request: bytes) -> bytes:
        """The function's reply, or the ``QuorateError`` it raised; ``Unavailable`` if the process
        dies first (any other exception of the function is such a death).  A call that is
        cancelled kills the process."""

    def kill(self) -> None:
        """SIGKILL; a ``run`` that waits then fails."""


class Processes(Protocol):
    """Child processes.  They die with their parent, whatever kills it."""

    async def start(self, function: str, directory: str) -> TaskProcess:
        """Start a process that serves ``function`` (``"module:name"``, a ``TaskFunction``) with
        ``directory`` of this process's disk as the root of its own."""


class Trace(Protocol):
    """One line per event, for people and for the simulator."""

    def event(self, name: str, **facts: object) -> None:
        """Something happened.  ``name`` is lower-case words; facts are small and printable."""

    def error(self, sentence: str) -> None:
        """Something that an operator must read."""


@dataclass(slots=True)
class World:
    """All the ports of one process, and the tasks it runs."""

    clock: Clock
    network: Network
    disk: Disk
    random: random.Random
    processes: Processes
    trace: Trace
    stop: Callable[[BaseException], None]
    """What ends this process when one of its tasks fails unexpectedly."""
    _tasks: dict[asyncio.Task[Any], None] = field(default_factory=dict)

    def spawn(self, work: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
        """Run ``work`` beside the caller.  If it fails, the whole process stops: a task that dies
        unseen is how a service hangs."""
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks[task] = None
        task.add_done_callback(self._finished)
        return task

    def _finished(self, task: asyncio.Task[Any]) -> None:
        self._tasks.pop(task, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.stop(error)

    async def cancel_all(self) -> None:
        """Cancel what ``spawn`` started, newest first, and wait for it to end."""
        for task in reversed(list(self._tasks)):
            task.cancel()
        for task in list(self._tasks):
            try:
                await task
            except asyncio.CancelledError:
                continue
