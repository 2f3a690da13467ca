"""What every client of the store has: its ways there, and how it keeps the history.

There are two ways: our own protocol, with a session, which repeats until the outcome is known or
the time is over; and a node's ``KvService`` (``cluster.Through``), which is asked once.  Half of
the time it is that of who leads, as far as this client knows: of what is under way there when the
leader is deposed nobody knows the outcome.
"""

import random
from collections.abc import Sequence
from typing import Any, TypeVar

from quorate.base.codec import Command, encode, reply_type, result_of
from quorate.base.errors import Maybe, QuorateError
from quorate.kv.core.commands import (
    AnyOperation,
    Apply,
    Condition,
    ExpiresAt,
    Fetch,
    HasRevision,
    LookUp,
    Page,
    Put,
    Range,
    Set,
    Transact,
    Untouched,
)
from quorate.kv.core.commands import (
    Look as LookOperation,
)
from quorate.linearizability.history import Operation, Outcome
from quorate.raft.client import GroupClient
from quorate.rpc.client import RpcClient
from quorate.runtime.ports import World
from quorate.simulator.workloads.keys.cluster import KvCluster, Through
from quorate.simulator.workloads.keys.record import (
    CLOCK,
    CLOCK_TTL_MS,
    Change,
    Look,
    Seen,
    Tx,
    now_ms,
    version,
)

R = TypeVar("R")

PADDED = b"padding"
"""Nobody reads it.  It is written beside another: what takes several sectors may be torn.
"""
TIMEOUTS_MS = (300, 1_000, 3_000)
SESSION, SERVICE = "session", "service"
WAYS = (SESSION, SERVICE)


class Player:
    """One client; ``ways`` are those of ``WAYS`` that are on."""

    def __init__(
        self,
        cluster: KvCluster,
        world: World,
        client: GroupClient,
        name: str,
        seen: Seen,
        rng: random.Random,
        ways: Sequence[str] = WAYS,
    ) -> None:
        self.world = world
        self.client = client
        self.rpc: RpcClient = cluster.rpc(world)
        self.addresses = cluster.addresses
        self.names = cluster.names
        self.name = name
        self.seen = seen
        self.rng = rng
        self._padding = [Put(PADDED, b"-" * cluster.padding_bytes)] if cluster.padding_bytes else []
        self._ways = ways
        self._drawn = 0

    async def play(self, kind: str) -> None:
        """What it can do has the names of its methods."""
        await getattr(self, f"_{kind}")()

    def tag(self) -> bytes:
        """What nobody else writes, and this client never again."""
        self._drawn += 1
        return f"{self.name}.{self._drawn}".encode()

    # Ways.

    async def execute(self, command: Command[R]) -> R:
        timeout_ms = self.rng.choice(TIMEOUTS_MS)
        if self.rng.choice(self._ways) == SESSION:
            return await self.client.execute(command, timeout_ms=timeout_ms)
        found: R = await self._through(command, timeout_ms)
        return found

    async def look(self, operations: list[LookOperation]) -> list[Any]:
        timeout_ms = self.rng.choice(TIMEOUTS_MS)
        query = LookUp(operations)
        if self.rng.choice(self._ways) == SESSION:
            anywhere = self.rng.random() < 0.5
            return await self.client.query(query, timeout_ms=timeout_ms, anywhere=anywhere)
        found: list[Any] = await self._through(query, timeout_ms)
        return found

    async def _through(self, body: Any, timeout_ms: float) -> Any:
        leads = self.rng.random() < 0.5
        address = self.client.leader if leads else self.rng.choice(self.addresses)
        outcome = await self.rpc.call(address, Through(encode(body)), timeout_ms=timeout_ms)
        kind: Any = type(body)
        return result_of(outcome, reply_type(kind))

    async def apply(self, operation: AnyOperation) -> Any:
        """One operation by itself; raises ``Refused`` if that is its reply."""
        reply, *_ = await self.execute(Apply([operation, *self._padding]))
        if isinstance(reply, dict):
            raise Refused(reply["message"])
        return reply

    # What is kept.

    def invoke(self, f: str, key: str, argument: object) -> Operation:
        operation = Operation(self.name, f, key, argument, now_ms())
        self.seen.operations.append(operation)
        return operation

    def returns(self, operation: Operation) -> None:
        operation.returned = now_ms()
        operation.outcome = Outcome.OK
        operation.where = f"{operation.invoked:.3f} ms to {operation.returned:.3f} ms"

    def changed(self, revision: int, key: bytes, value: bytes | None) -> None:
        self.seen.changes.append(Change(revision, key, value, now_ms()))

    async def fetch(self, keys: Sequence[bytes]) -> Look | None:
        """Keys at one moment."""
        invoked = now_ms()
        try:
            found = await self.look([Fetch(key) for key in keys])
        except QuorateError:
            return None
        versions = dict(zip(keys, map(version, found), strict=True))
        look = Look(self.name, invoked, now_ms(), versions)
        self.seen.looks.append(look)
        return look

    async def read_page(self, key: bytes) -> Look | None:
        """One key, and the revision of the store at that moment."""
        invoked = now_ms()
        query, anywhere = Range(key, key + b"\0"), self.rng.random() < 0.5
        timeout_ms = self.rng.choice(TIMEOUTS_MS)
        try:
            page = await self.client.query(query, timeout_ms=timeout_ms, anywhere=anywhere)
        except QuorateError:
            return None
        look = Look(self.name, invoked, now_ms(), {key: None}, page.revision)
        add_page(look, page)
        self.seen.looks.append(look)
        return look

    async def transact(
        self,
        what: str,
        keys: Sequence[bytes],
        operations: Sequence[AnyOperation] = (),
        *,
        untouched: dict[bytes, int] | None = None,
        revisions: dict[bytes, int] | None = None,
        touches: Sequence[bytes] = (),
        values: Sequence[bytes] = (),
        whole: bool = True,
    ) -> Tx:
        """Do ``operations`` on ``keys`` if the conditions hold."""
        clock: list[AnyOperation]
        conditions: list[Condition] = [Untouched(k, r) for k, r in (untouched or {}).items()]
        conditions += [HasRevision(key, r) for key, r in (revisions or {}).items()]
        clock = [Set(CLOCK, b"", ttl_ms=CLOCK_TTL_MS), ExpiresAt(CLOCK)]
        fetch: list[LookOperation] = [Fetch(key) for key in keys]
        command = Transact(
            conditions, [*clock, *fetch, *operations, *fetch], [*clock, *fetch], whole=whole
        )
        tx = Tx(self.name, what, tuple(keys), now_ms(), tuple(touches), values=tuple(values))
        tx.untouched, tx.revisions = untouched or {}, revisions or {}
        self.seen.txs.append(tx)
        try:
            reply = await self.execute(command)
        except Maybe:
            return tx
        except QuorateError:
            tx.outcome = Outcome.FAIL
            return tx
        count, found = len(keys), reply.replies
        tx.revision, tx.held = reply.revision, reply.held
        tx.time_ms = found[1] - CLOCK_TTL_MS
        tx.before = dict(zip(keys, map(version, found[2 : 2 + count]), strict=True))
        tx.after = tx.before
        if tx.held:
            tx.after = dict(zip(keys, map(version, found[len(found) - count :]), strict=True))
            tx.replies = found[2 + count : len(found) - count]
        self.done(tx)
        return tx

    def done(self, tx: Tx) -> None:
        """It was answered, and says what it found and left."""
        tx.returned, tx.outcome = now_ms(), Outcome.OK
        for key in tx.touches if tx.held else ():
            last = tx.after.get(key)
            if tx.before.get(key) != last:
                self.changed(tx.revision, key, None if last is None else last.value)


class Refused(QuorateError):
    """An operation was refused by itself."""

    code = "refused"


def add_page(look: Look, page: Page) -> None:
    for entry in page.entries:
        look.versions[entry.key] = version((entry.value, entry.revision, entry.at_ms))
