"""The store as those in its own process use it: gateways, and the server of our own protocol.

Rules:
* What comes in one turn of the loop goes into the log together, in the order of its coming:
  operations that follow each other as one command, a transaction as a command of its own.
* It is sent to one leader, once.  Only an answer that surely nothing was done (``NotLeader``,
  ``Unavailable``) is followed by another attempt; where that cannot be known the outcome is
  ``Maybe``, and whoever asked must say so.
* A read waits until this replica has everything that was committed when it came (raft/group.py),
  and is then answered from the state here: it costs the leader little, wherever it comes in.
  Reads that come while others wait for that are asked for together, behind those: as many share
  one round between the nodes as come during the one before.
* Everything ends within ``TIMEOUT_MS``.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from quorate.base.codec import encode, result_of
from quorate.base.errors import (
    DeadlineExceeded,
    Maybe,
    NotLeader,
    Overloaded,
    QuorateError,
    Unavailable,
    error_from,
)
from quorate.base.sometimes import sometimes
from quorate.kv.core.commands import (
    MAX_COMMAND_BYTES,
    MAX_INLINE_BYTES,
    MAX_OPERATIONS,
    AnyOperation,
    Apply,
    Stage,
    Transact,
    Transacted,
)
from quorate.kv.core.store import Store
from quorate.raft.answers import propose
from quorate.raft.group import Group
from quorate.raft.messages import MAX_PROPOSED, MAX_PROPOSED_BYTES, Propose
from quorate.raft.sessions import wrap
from quorate.rpc.client import RpcClient
from quorate.runtime.ports import Timer, World

TIMEOUT_MS = 5_000.0
PAUSE_MS = 20.0
"""Before a leader is looked for again."""

Done: TypeAlias = Callable[[Any], None]
"""Told once: what was asked for, or the ``QuorateError`` that came instead."""


class _Command:
    """One command in the log, and who asked for what of it."""

    __slots__ = ("askers", "data", "reply")

    def __init__(self, data: bytes, reply: Any, askers: list[tuple[int, Done]]) -> None:
        self.data = data
        self.reply = reply
        """The type of its reply; if that is a list, ``askers`` share it."""
        self.askers = askers

    def resolve(self, outcome: bytes) -> None:
        try:
            reply = result_of(outcome, self.reply)
        except QuorateError as error:
            return self.fail(error)
        if not isinstance(reply, list):
            return self.askers[0][1](reply)
        position = 0
        for count, done in self.askers:
            done(reply[position : position + count])
            position += count

    def fail(self, error: QuorateError) -> None:
        for _, done in self.askers:
            done(error_from(error.info()))


class _Batch:
    """Commands that travel together."""

    def __init__(self, service: "KvService") -> None:
        self._service = service
        self.commands: list[_Command] = []
        self.bytes = 0
        self.deadline_ms = 0.0
        self.timer: Timer | None = None

    def has_room(self, command: bytes) -> bool:
        return len(self.commands) < MAX_PROPOSED and self.bytes + len(command) <= MAX_PROPOSED_BYTES

    def data(self) -> list[bytes]:
        return [command.data for command in self.commands]

    def resolve(self, value: list[bytes]) -> None:
        if len(value) != len(self.commands):
            return self.end(Maybe(f"{len(value)} answers to {len(self.commands)} commands"))
        commands = self._over()
        for command, outcome in zip(commands, value, strict=False):
            command.resolve(outcome)

    def fail(self, error: QuorateError) -> None:
        """The replica here answers so."""
        if isinstance(error, NotLeader):
            self._service.forward(self)
        else:
            self.end(error)

    def end(self, error: QuorateError) -> None:
        if isinstance(error, Maybe):
            sometimes("outcome of a gateway's commands unknown")
        for command in self._over():
            command.fail(error)

    def late(self) -> None:
        """Nobody knows what becomes of it."""
        self.end(Maybe(f"the store did not answer within {TIMEOUT_MS / 1000:.0f} s"))

    def _over(self) -> list[_Command]:
        if self.timer is not None:
            self.timer.cancel()
        commands, self.commands = self.commands, []
        return commands


class KvService:
    """One node's way to the store."""

    def __init__(self, world: World, rpc: RpcClient, group: Group, store: Store) -> None:
        self.store = store
        self.group = group
        self._world = world
        self._rpc = rpc
        self._operations: list[AnyOperation] = []
        self._askers: list[tuple[int, Done]] = []
        self._bytes = 0
        """Of the operations that wait to become a command."""
        self._batches: list[_Batch] = []
        self._readers: list[Done] = []
        self._read_until_ms = 0.0
        """The deadline of the first of them."""
        self._is_settling = False
        self._is_due = False

    # Changes.

    def apply(self, operations: Sequence[AnyOperation], size: int, done: Done) -> None:
        """Have ``operations``, of about ``size`` bytes, done in order, each by itself, at most
        once; ``done`` gets the list of their replies."""
        if self._bytes + size > MAX_COMMAND_BYTES or (
            len(self._operations) + len(operations) > MAX_OPERATIONS
        ):
            self._close_operations()
        self._operations += operations
        self._askers.append((len(operations), done))
        self._bytes += size
        self._later()

    def transact(self, command: Transact, done: Done) -> None:
        """As one entry of the log, at most once; ``done`` gets the ``Transacted``."""
        self._close_operations()
        self._add(encode(command), Transacted, [(1, done)])

    async def stage(self, value: bytes) -> int:
        """Send a value that is too large for a command ahead; gives what stands for it."""
        upload = self._world.random.getrandbits(62)
        for offset in range(0, len(value), MAX_INLINE_BYTES):
            piece = Stage(upload, offset, value[offset : offset + MAX_INLINE_BYTES])
            future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
            self._close_operations()
            self._add(encode(piece), int, [(1, _into(future))])
            await future
        return upload

    def _close_operations(self) -> None:
        """What has come so far is one command."""
        if self._operations:
            data = encode(Apply(self._operations))
            self._operations, askers, self._bytes = [], self._askers, 0
            self._askers = []
            self._add(data, list[Any], askers)

    def _add(self, data: bytes, reply: Any, askers: list[tuple[int, Done]]) -> None:
        wrapped = wrap(0, 0, 0, data)
        if not self._batches or not self._batches[-1].has_room(wrapped):
            self._batches.append(_Batch(self))
        batch = self._batches[-1]
        batch.commands.append(_Command(wrapped, reply, askers))
        batch.bytes += len(wrapped)
        self._later()

    def _send(self, batch: _Batch) -> None:
        clock = self._world.clock
        batch.deadline_ms = clock.monotonic_ms() + TIMEOUT_MS
        batch.timer = clock.call_later(TIMEOUT_MS, batch.late)
        try:
            self.group.submit_all(batch.data(), batch)
        except NotLeader:
            self.forward(batch)
        except Overloaded as error:
            batch.end(error)

    def forward(self, batch: _Batch) -> None:
        """To who leads; the replica here does not."""
        self._world.spawn(self._forward(batch), "forward to the leader")

    async def _forward(self, batch: _Batch) -> None:
        last: QuorateError = Unavailable(f"group {self.group.name} has no leader")
        if self.group.is_leader:  # it hands over, and takes nothing meanwhile
            sometimes("commands offered to a leader that hands over")
            await self._world.clock.sleep(PAUSE_MS)
        while (left_ms := batch.deadline_ms - self._world.clock.monotonic_ms()) > PAUSE_MS:
            leader = self.group.leader_address
            if self.group.is_leader:
                try:
                    return self.group.submit_all(batch.data(), batch)
                except NotLeader as error:
                    last = error
                except Overloaded as error:
                    return batch.end(error)
            elif leader is not None:
                try:
                    request = Propose(self.group.group, batch.data())
                    sent = propose(self._world, self._rpc, leader, request, timeout_ms=left_ms)
                    return batch.resolve(await sent)
                except Overloaded as error:
                    return batch.end(error)
                except Unavailable as error:
                    sometimes("commands forwarded again")
                    last = error
                except QuorateError as error:
                    return batch.end(error if isinstance(error, Maybe) else Maybe(error.message))
            await self._world.clock.sleep(PAUSE_MS)
        batch.end(DeadlineExceeded(f"nothing was changed: {last.message}"))

    # Reads.

    def settle(self, done: Done) -> None:
        """``done`` gets ``None`` when the state here has all that was committed before this call,
        or why that cannot be."""
        if not self._readers:
            self._read_until_ms = self._world.clock.monotonic_ms() + TIMEOUT_MS
        self._readers.append(done)
        self._later()

    def _settle(self, readers: list[Done], deadline_ms: float) -> None:
        def told(future: "asyncio.Future[bytes]") -> None:
            self._is_settling = False
            if self._readers:
                self._later()
            error = None if future.cancelled() else future.exception()
            left_ms = deadline_ms - self._world.clock.monotonic_ms()
            if isinstance(error, Unavailable) and left_ms > PAUSE_MS:
                self._world.clock.call_later(PAUSE_MS, self._settle, readers, deadline_ms)
                return
            for done in readers:
                done(error)

        try:
            future = self.group.ask(None, anywhere=True)
        except Overloaded as error:
            for done in readers:
                done(error)
        else:
            self._is_settling = True
            future.add_done_callback(told)

    # A turn.

    def _later(self) -> None:
        if not self._is_due:
            self._is_due = True
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        self._close_operations()
        self._is_due = False
        batches, self._batches = self._batches, []
        for batch in batches:
            self._send(batch)
        if self._readers and not self._is_settling:
            readers, self._readers = self._readers, []
            self._settle(readers, self._read_until_ms)


def _into(future: "asyncio.Future[Any]") -> Done:
    """A ``Done`` for who awaits."""

    def done(value: Any) -> None:
        if future.done():
            return
        if isinstance(value, QuorateError):
            future.set_exception(value)
        else:
            future.set_result(value)

    return done
