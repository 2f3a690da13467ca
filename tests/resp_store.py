"""A ``KvService`` whose store is right here: each call is applied in the next turn of the loop.

For the gateway's tests: real commands on a real ``Store``, through the real encoding of
commands and replies, without a log.  It can be told to fail.
"""

import asyncio
import random
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

from quorate.base.codec import encode, result_of
from quorate.base.errors import QuorateError
from quorate.base.ids import Address
from quorate.base.machine import Meta
from quorate.gateways.resp.connection import RespConnection
from quorate.gateways.resp.door import RespDoor, start_resp
from quorate.gateways.resp.gateway import Gateway, RespSettings
from quorate.kv.core.commands import (
    MAX_COMMAND_BYTES,
    MAX_INLINE_BYTES,
    Apply,
    Stage,
    Transact,
    Transacted,
)
from quorate.kv.core.store import Store
from quorate.runtime.ports import World
from quorate.runtime.real.loop import run
from quorate.runtime.real.tls import TlsPaths
from quorate.runtime.real.world import close_world, real_world


class LocalService:
    """What ``KvService`` is to a gateway."""

    def __init__(self, now_ms: Callable[[], int], later: Callable[..., object]) -> None:
        self.store = Store()
        self.now_ms = now_ms
        self.later = later
        self.fails: QuorateError | None = None
        self.log: list[Any] = []
        """Every command that was applied."""
        self.applies = self.settles = 0
        self.uploads = 0
        self.group = SimpleNamespace(
            is_leader=True,
            leader_address="127.0.0.1:7400",
            term=3,
            configuration=SimpleNamespace(voters=(1, 2, 3)),
        )

    def command(self, command: Any, reply: Any) -> Any:
        data = encode(command)
        assert len(data) <= MAX_COMMAND_BYTES
        self.log.append(command)
        [outcome] = self.store.apply_batch(Meta(len(self.log), 1, self.now_ms()), [data])
        try:
            return result_of(outcome, reply)
        except QuorateError as error:
            return error

    def apply(self, operations: Sequence[Any], size: int, done: Callable[[Any], None]) -> None:
        assert operations
        self.applies += 1
        command = Apply(list(operations))
        assert len(encode(command)) <= size + 100
        self.later(lambda: done(self.fails or self.command(command, list[Any])))

    def transact(self, command: Transact, done: Callable[[Any], None]) -> None:
        self.later(lambda: done(self.fails or self.command(command, Transacted)))

    def settle(self, done: Callable[[Any], None]) -> None:
        self.settles += 1
        self.later(lambda: done(self.fails))

    async def stage(self, value: bytes) -> int:
        self.uploads += 1
        for offset in range(0, len(value), MAX_INLINE_BYTES):
            piece = value[offset : offset + MAX_INLINE_BYTES]
            outcome = self.fails or self.command(Stage(self.uploads, offset, piece), int)
            if isinstance(outcome, QuorateError):
                raise outcome
            await asyncio.sleep(0)
        return self.uploads


class Wire:
    """A transport that keeps what is written, and a connection on it."""

    def __init__(self, gateway: Gateway, turns: Callable[[], None]) -> None:
        self.written: list[bytes] = []
        self.is_closed = self.is_paused = self.was_aborted = False
        self.unsent = 0
        self._turns = turns
        self.connection = RespConnection(gateway, self, "127.0.0.1:1")
        gateway.admit(self.connection)

    def write(self, data: bytes) -> None:
        assert not self.is_closed
        self.written.append(data)

    def close(self) -> None:
        self.is_closed = True

    def abort(self) -> None:
        self.is_closed = self.was_aborted = True

    def pause_reading(self) -> None:
        assert not self.is_paused
        self.is_paused = True

    def resume_reading(self) -> None:
        assert self.is_paused
        self.is_paused = False

    def unsent_bytes(self) -> int:
        return self.unsent

    def send(self, data: bytes) -> bytes:
        """What comes back, when all is done."""
        self.connection.feed(data)
        self._turns()
        answer = b"".join(self.written)
        self.written.clear()
        return answer

    def do(self, *words: bytes | str | int) -> bytes:
        """What one command is answered with."""
        return self.send(command(*words))


def command(*words: bytes | str | int) -> bytes:
    """As clients write it."""
    parts = [word if isinstance(word, bytes) else str(word).encode() for word in words]
    return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%b\r\n" % (len(p), p) for p in parts)


class Bench:
    """A gateway without sockets: clock and turns are ours."""

    def __init__(self, password: str = "", max_clients: int = 100) -> None:
        self.now_ms = 1_700_000_000_000
        self.waiting: list[Callable[[], object]] = []
        self.timers: list[SimpleNamespace] = []
        self.service = LocalService(lambda: self.now_ms, self.waiting.append)
        clock = SimpleNamespace(
            wall_ms=lambda: self.now_ms, monotonic_ms=lambda: float(self.now_ms),
            call_later=self._call_later,
        )  # fmt: skip
        self.world: Any = SimpleNamespace(clock=clock, random=random.Random(1), spawn=self._spawn)
        self.gateway = Gateway(
            self.world,
            self.service,
            RespSettings(password, max_clients),  # type: ignore[arg-type]
        )

    def wire(self) -> Wire:
        return Wire(self.gateway, self.turns)

    def _call_later(self, delay_ms: float, work: Callable[..., object], *args: Any) -> Any:
        if delay_ms == 0:
            self.waiting.append(work)
        timer = SimpleNamespace(delay_ms=delay_ms, work=work, is_cancelled=False)
        timer.cancel = lambda: setattr(timer, "is_cancelled", True)
        self.timers.append(timer)
        return timer

    def _spawn(self, work: Any, name: str) -> None:
        def step() -> None:
            try:
                work.send(None)
            except StopIteration:
                return
            self.waiting.append(step)

        self.waiting.append(step)

    def turns(self) -> None:
        while self.waiting:
            self.waiting.pop(0)()


@contextmanager
def open_door(
    settings: RespSettings | None = None, tls: TlsPaths | None = None
) -> Iterator[tuple[int, LocalService]]:
    """A door on a real socket, its loop in a thread: its port, and the store behind it."""
    ready = threading.Event()
    found: dict[str, Any] = {}
    failures: list[BaseException] = []

    async def main() -> None:
        with TemporaryDirectory() as folder:
            loop = asyncio.get_running_loop()
            world: World = real_world(Path(folder), stop=failures.append)
            service = LocalService(world.clock.wall_ms, loop.call_soon)
            door: RespDoor = await start_resp(
                world,
                service,
                Address("127.0.0.1:0"),
                tls,
                settings or RespSettings(),  # type: ignore[arg-type]
            )
            stop = asyncio.Event()
            found.update(port=door.port, service=service, loop=loop, stop=stop, door=door)
            ready.set()
            await stop.wait()
            await door.close()
            await close_world(world)

    thread = threading.Thread(target=lambda: run(main))
    thread.start()
    assert ready.wait(5)
    try:
        yield found["port"], found["service"]
    finally:
        found["loop"].call_soon_threadsafe(found["stop"].set)
        thread.join(5)
        assert not thread.is_alive() and not failures
