"""A client of one group: exactly-once commands, linearizable queries, and the way to its leader.

A command keeps its sequence number through all attempts, so however often it is sent, to however
many leaders, the session wrapper applies it once.  Commands that set out in one turn of the loop
travel in one request: that is most of what makes many at a time cheap.  Every call ends before its
deadline: with the answer, with an error that says it was surely not done, or with ``Maybe``.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TypeVar

from quorate.base.check import check
from quorate.base.codec import Command, Query, Request, encode, reply_type, result_of
from quorate.base.errors import (
    BadConfiguration,
    BadInput,
    DeadlineExceeded,
    Maybe,
    NotLeader,
    ProtocolError,
    QuorateError,
    SessionExpired,
    TooLarge,
    Unavailable,
    error_from,
)
from quorate.base.ids import Address, GroupId
from quorate.raft.answers import propose
from quorate.raft.messages import MAX_PROPOSED, MAX_PROPOSED_BYTES, Ask, Propose
from quorate.raft.sessions import (
    MAX_COMMAND_BYTES,
    SESSION_IDLE_MS,
    OpenSession,
    wrap,
)
from quorate.rpc.client import RpcClient
from quorate.runtime.ports import World

R = TypeVar("R")

ATTEMPT_MS = 1_500
"""How long one attempt waits before the next address is asked."""
PAUSE_MS = 50
SILENT_MS = 250
"""An attempt that fails after so long met silence: who is stopped or cut off refuses nothing."""
AVOID_MS = 1_000
"""For so long after that, the address is not asked again, whoever says that it leads."""
MAX_LEARNT = 64
"""Addresses beside those that a client was given."""
MAX_OUTSTANDING = 256
"""Commands of one client under way; a further one waits for its turn."""


class _Joined:
    """Commands that travel in one request, and who waits for each."""

    def __init__(self, group: GroupId) -> None:
        self.request = Propose(group, [])
        self._futures: list[asyncio.Future[bytes]] = []
        self._bytes = 0

    def has_room(self, command: bytes) -> bool:
        room_bytes = MAX_PROPOSED_BYTES - self._bytes
        return len(self._futures) < MAX_PROPOSED and len(command) <= room_bytes

    def add(self, command: bytes) -> "asyncio.Future[bytes]":
        future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self.request.commands.append(command)
        self._bytes += len(command)
        self._futures.append(future)
        return future

    def answer(self, outcomes: list[bytes]) -> None:
        if len(outcomes) != len(self._futures):
            return self.fail(Maybe(f"{len(outcomes)} answers to {len(self._futures)} commands"))
        for future, outcome in zip(self._futures, outcomes, strict=True):
            if not future.done():
                future.set_result(outcome)

    def fail(self, error: QuorateError) -> None:
        for future in self._futures:
            if not future.done():
                # A fresh one for each who waits: raising adds to an exception's traceback.
                future.set_exception(error_from(error.info()))


class GroupClient:
    """Finds the leader of ``group`` among ``addresses`` and keeps one session with it."""

    def __init__(
        self, world: World, rpc: RpcClient, addresses: Sequence[Address], group: GroupId
    ) -> None:
        check(addresses, "a client needs an address")
        self._world = world
        self._rpc = rpc
        self._addresses = list(addresses)
        self._learnt: list[Address] = []
        """Of the group's members, as the last redirect told: machines come and go."""
        self._group = group
        self._target = self._addresses[0]
        self._silent: Address | None = None
        """Who met the last attempt with silence, and until when it is avoided."""
        self._silent_until_ms = 0.0
        self._session: int | None = None
        self._used_ms = 0.0
        """When a command last had the session."""
        self._opening = asyncio.Lock()
        self._sequence = 0
        self._asked = 0
        """Queries that any replica may answer."""
        self._outstanding: dict[tuple[int, int], None] = {}
        """Session and sequence of the commands under way, in order."""
        self._turn = asyncio.Semaphore(MAX_OUTSTANDING)
        self._joined: dict[tuple[Address, float], _Joined] = {}
        """By address and time: what has been joined in this turn."""

    async def execute(self, command: Command[R], *, timeout_ms: float) -> R:
        """Have ``command`` applied exactly once, and its result.

        Raises the command's own error; ``Unavailable`` (or ``DeadlineExceeded``) if it was surely
        not applied; ``Maybe`` if that cannot be known.
        """
        deadline_ms = self._world.clock.monotonic_ms() + timeout_ms
        body = encode(command)
        if len(body) > MAX_COMMAND_BYTES:
            # Here, since the server refuses it together with all that travels with it.
            raise BadInput(
                f"a command of {len(body)} bytes; at most {MAX_COMMAND_BYTES} fit"
                " an entry of the log: do less at a time"
            )
        try:
            async with asyncio.timeout(timeout_ms / 1000):
                await self._turn.acquire()
        except TimeoutError:
            raise DeadlineExceeded("too many commands of this client are under way") from None
        try:
            session = await self._open(deadline_ms)
            outcome = await self._numbered(session, body, deadline_ms)
        finally:
            self._turn.release()
        try:
            result: R = result_of(outcome, reply_type(type(command)))
        except SessionExpired:
            if self._session == session:
                self._session = None  # the next command opens a new one
            raise
        return result

    async def query(self, query: Query[R], *, timeout_ms: float, anywhere: bool = False) -> R:
        """A linearizable answer, or ``Unavailable``; one that does not fit a control frame comes
        over the bulk connection, and is ``TooLarge`` if it does not fit there either.

        ``anywhere``: from any replica, which asks the leader only how far it must have come: spares
        the leader work, and costs the network's way once more.
        """
        request = Ask(self._group, encode(query), anywhere)
        deadline_ms = self._world.clock.monotonic_ms() + timeout_ms
        ask = self._somebody if anywhere else self._leader
        try:
            outcome = await ask(partial(self._call, request), deadline_ms)
        except TooLarge:
            outcome = await ask(partial(self._call_bulk, request), deadline_ms)
        result: R = result_of(outcome, reply_type(type(query)))
        return result

    async def call_leader(self, request: Request[R], *, timeout_ms: float) -> R:
        """A request that only the process of the group's leader answers.

        It may be sent several times, so its handler must be idempotent.
        """
        deadline_ms = self._world.clock.monotonic_ms() + timeout_ms
        reply: R = await self._leader(partial(self._call, request), deadline_ms)
        return reply

    @property
    def addresses(self) -> list[Address]:
        """Those that were given, and what was learnt of the group's members since."""
        return list(dict.fromkeys((*self._addresses, *self._learnt)))

    @property
    def leader(self) -> Address:
        """Who is asked next: after an answer, who gave it."""
        return self._target

    async def _open(self, deadline_ms: float) -> int:
        """The session; opened if there is none, or if it may expire before it is used again."""
        now_ms = self._world.clock.monotonic_ms()
        try:
            # Also the wait for another's opening, which may have more time than this call.
            async with asyncio.timeout(max(0.0, deadline_ms - now_ms) / 1000), self._opening:
                if now_ms - self._used_ms > SESSION_IDLE_MS / 2:
                    self._session = None
                if self._session is None:
                    # A repeated opening leaves a session that nobody uses, and that expires.
                    request = Propose(self._group, [encode(OpenSession())])
                    outcomes = await self._leader(partial(self._call, request), deadline_ms)
                    if len(outcomes) != 1:
                        raise ProtocolError(f"{len(outcomes)} answers to one command")
                    self._session = result_of(outcomes[0], int)
                    self._sequence = 0
                self._used_ms = max(self._used_ms, now_ms)
                return self._session
        except TimeoutError:
            raise DeadlineExceeded(f"no session with group {self._group} in time") from None

    async def _numbered(self, session: int, body: bytes, deadline_ms: float) -> bytes:
        self._sequence += 1
        sequence = self._sequence
        self._outstanding[session, sequence] = None
        try:
            first = next(number for own, number in self._outstanding if own == session)
            acknowledged = first - 1
            command = wrap(session, sequence, acknowledged, body)
            attempt = partial(self._propose, command)
            return await self._leader(attempt, deadline_ms, changes=True)
        finally:
            self._outstanding.pop((session, sequence), None)

    async def _call(self, request: Request[R], target: Address, timeout_ms: float) -> R:
        return await self._rpc.call(target, request, timeout_ms=timeout_ms)

    async def _call_bulk(self, request: Request[R], target: Address, timeout_ms: float) -> R:
        return (await self._rpc.call_bulk(target, request, timeout_ms=timeout_ms))[0]

    async def _propose(self, command: bytes, target: Address, timeout_ms: float) -> bytes:
        """One attempt at ``command``, joined with the others of this turn."""
        joined = self._joined.get((target, timeout_ms))
        if joined is None or not joined.has_room(command):
            joined = self._joined[target, timeout_ms] = _Joined(self._group)
            self._world.spawn(self._send_joined(joined, target, timeout_ms), "propose")
        return await joined.add(command)

    async def _send_joined(self, joined: "_Joined", target: Address, timeout_ms: float) -> None:
        if self._joined.get((target, timeout_ms)) is joined:
            del self._joined[target, timeout_ms]
        try:
            sent = propose(self._world, self._rpc, target, joined.request, timeout_ms=timeout_ms)
            joined.answer(await sent)
        except QuorateError as error:
            joined.fail(error)

    async def _leader(
        self,
        attempt: Callable[[Address, float], Awaitable[R]],
        deadline_ms: float,
        *,
        changes: bool = False,
    ) -> R:
        """Ask whoever leads, again and again until the deadline; an attempt gets the address and
        what time it has."""
        uncertain = followed = False
        last: Exception | None = None
        while (now_ms := self._world.clock.monotonic_ms()) < deadline_ms:
            target = self._target
            try:
                return await attempt(target, min(deadline_ms - now_ms, ATTEMPT_MS))
            except NotLeader as error:
                last = error
                leader, members = error.details.get("leader"), error.details.get("members")
                if isinstance(members, str) and members:
                    self._learnt = [Address(a) for a in members.split()[:MAX_LEARNT]]
                if isinstance(leader, str) and leader != target and not self._avoids(leader):
                    self._target = Address(leader)
                    followed = not followed  # at once, unless the last hint led nowhere
                    if followed:
                        continue
                else:
                    self._turn_from(target)
            except (Maybe, Unavailable) as error:
                uncertain, last = uncertain or isinstance(error, Maybe), error
                failed_ms = self._world.clock.monotonic_ms()
                if failed_ms - now_ms >= SILENT_MS:
                    self._silent, self._silent_until_ms = target, failed_ms + AVOID_MS
                self._turn_from(target)
            except QuorateError as error:
                if isinstance(error, BadConfiguration) and target not in self._addresses:
                    last = error  # a hint led out of this cluster: whoever gave it is wrong
                    self._turn_from(target)
                # An answer, but of another attempt than the one of which nothing is known; and a
                # plain error is one that its server did not foresee.
                elif changes and (uncertain or type(error) is QuorateError):
                    raise Maybe(f"an attempt may have been applied: {error.message}") from error
                else:
                    raise
            await self._world.clock.sleep(PAUSE_MS)
        sentence = f"no answer from the leader of group {self._group}: {last}"
        if uncertain and changes:
            raise Maybe(sentence)
        raise DeadlineExceeded(sentence)

    async def _somebody(
        self, attempt: Callable[[Address, float], Awaitable[R]], deadline_ms: float
    ) -> R:
        """Ask one after the other for what changes nothing."""
        last: Exception | None = None
        while (remaining_ms := deadline_ms - self._world.clock.monotonic_ms()) > 0:
            self._asked += 1
            target = self._addresses[self._asked % len(self._addresses)]
            try:
                timeout_ms = min(remaining_ms, ATTEMPT_MS)
                return await attempt(target, timeout_ms)
            except (Unavailable, Maybe, NotLeader) as error:
                last = error
            await self._world.clock.sleep(PAUSE_MS)
        raise DeadlineExceeded(f"no answer from any replica of group {self._group}: {last}")

    def _turn_from(self, target: Address) -> None:
        """Ask the next address, unless somebody has already turned."""
        if self._target == target:
            addresses = self.addresses
            position = addresses.index(target) + 1 if target in addresses else 0
            turned = [*addresses[position:], *addresses[:position]]
            self._target = next((a for a in turned if not self._avoids(a)), turned[0])

    def _avoids(self, address: str) -> bool:
        return address == self._silent and self._world.clock.monotonic_ms() < self._silent_until_ms
