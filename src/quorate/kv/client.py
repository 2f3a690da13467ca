"""The store as its users see it from a program.

Rules:
* What changes something is done exactly once, however often it is sent and whoever leads
  (raft/client.py).  Where that cannot be known before the deadline the call raises ``Maybe``;
  ``Unavailable`` says that nothing was changed.
* Reads are linearizable.
* Every call ends within ``timeout_s``; ``within`` gives the same client with another one.
* A value that is too large for a command is sent ahead in pieces; one that is too large for a
  control frame is read over the bulk connection.
"""

from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from copy import copy
from typing import Any, Self

import msgspec

from quorate.base.codec import Command
from quorate.base.errors import BadInput, DeadlineExceeded, Maybe, QuorateError, Unavailable
from quorate.base.ids import KV_GROUP, Address
from quorate.kv.core.commands import (
    MAX_INLINE_BYTES,
    MAX_VALUE_BYTES,
    Add,
    AnyOperation,
    Append,
    Apply,
    AskStatistics,
    Clear,
    Delete,
    Entry,
    Expire,
    Fetch,
    HasRevision,
    HasValue,
    LookUp,
    Page,
    Persist,
    Put,
    PutMany,
    Range,
    Set,
    SetRange,
    Stage,
    Statistics,
    Transact,
    Value,
)
from quorate.kv.lock import Lock
from quorate.kv.messages import OpenView
from quorate.kv.transaction import (
    Bytes,
    Committed,
    Transaction,
    as_bytes,
    milliseconds,
    put_operation,
    replies_of,
)
from quorate.kv.viewing import View
from quorate.kv.watching import Watching
from quorate.raft.client import GroupClient, R
from quorate.rpc.client import RpcClient
from quorate.runtime.ports import World

TIMEOUT_S = 10.0
PAGE_ENTRIES = 1000


class KvClient:
    """Keys and values of the cluster whose nodes' "rpc" doors are ``addresses``."""

    def __init__(
        self,
        world: World,
        rpc: RpcClient,
        addresses: Sequence[Address],
        *,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        self._world = world
        self._rpc = rpc
        self._group = GroupClient(world, rpc, addresses, KV_GROUP)
        self._timeout_ms = timeout_s * 1000

    def within(self, timeout_s: float) -> Self:
        """This client with another deadline for its calls: ``await kv.within(0.5).get("a")``."""
        other = copy(self)
        other._timeout_ms = timeout_s * 1000
        return other

    # One key.

    async def get(self, key: Bytes) -> Entry | None:
        """The key with value, revision and end (``at_ms``; 0: none); ``None`` if it is absent."""
        return (await self.get_many([key]))[0]

    async def put(self, key: Bytes, value: Bytes, *, ttl_s: float | None = None) -> int:
        """Set it, for ``ttl_s`` seconds or for ever; gives its revision."""
        return int(await self.perform(put_operation(key, value, ttl_s)))

    async def delete(self, *keys: Bytes) -> int:
        """How many of them were there."""
        return int(await self.perform(Delete([as_bytes(key) for key in keys])))

    async def append(self, key: Bytes, value: Bytes) -> int:
        """The length of the whole value, in bytes."""
        return int(await self.perform(Append(as_bytes(key), as_bytes(value))))

    async def increment(self, key: Bytes, by: int = 1) -> int:
        """The sum; an absent key counts as 0.  ``BadInput`` if the value is no 64-bit integer."""
        return int(await self.perform(Add(as_bytes(key), by)))

    async def compare_and_set(self, key: Bytes, expected: Bytes | None, value: Bytes) -> int:
        """Set the key if its value is ``expected`` (``None``: if it is absent); gives its revision,
        or 0 if it was not so."""
        before = None if expected is None else as_bytes(expected)
        return await self._put_if(HasValue(as_bytes(key), before), value)

    async def put_if_revision(self, key: Bytes, revision: int, value: Bytes) -> int:
        """Set the key if nobody has changed it since ``revision`` (0: if it is absent); gives its
        new revision, or 0 if it was not so."""
        return await self._put_if(HasRevision(as_bytes(key), revision), value)

    async def _put_if(self, condition: HasValue | HasRevision, value: Bytes) -> int:
        transaction = Transaction().add(Put(condition.key, as_bytes(value)))
        transaction.conditions.append(condition)
        done = await self.commit(transaction)
        return done.revision if done.held else 0

    async def expire(self, key: Bytes, ttl_s: float) -> bool:
        """Give the key so long to live; false if it is absent."""
        return bool(await self.perform(Expire(as_bytes(key), milliseconds(ttl_s))))

    async def persist(self, key: Bytes) -> bool:
        """Let the key live for ever; false if it did."""
        return bool(await self.perform(Persist(as_bytes(key))))

    async def ttl(self, key: Bytes) -> float | None:
        """The seconds that the key has left by this machine's clock, ``inf`` if it has no end;
        ``None`` if it is absent."""
        entry = await self.get(key)
        if entry is None or not entry.at_ms:
            return None if entry is None else float("inf")
        return max(0.0, (entry.at_ms - self._world.clock.wall_ms()) / 1000)

    # Several keys.

    async def get_many(self, keys: Sequence[Bytes]) -> list[Entry | None]:
        """All as they were at one moment; ``TooLarge`` if they have more than 8 MiB together."""
        looks = [Fetch(as_bytes(key)) for key in keys]
        replies = await self._group.query(LookUp([*looks]), timeout_ms=self._timeout_ms)
        return replies_of(looks, replies)

    async def put_many(self, pairs: Mapping[Bytes, Bytes] | Iterable[tuple[Bytes, Bytes]]) -> int:
        """Set all of them in one step; gives the store's revision.  ``BadInput`` if they are more
        than 448 KiB together, not counting values of more than 256 KiB."""
        items = pairs.items() if isinstance(pairs, Mapping) else pairs
        both = [(as_bytes(key), as_bytes(value)) for key, value in items]
        return int(await self.perform(PutMany([*both])))

    async def commit(self, transaction: Transaction) -> Committed:
        """Do what ``transaction`` says, in one step that no other change comes between.

        An operation that cannot be done raises its error, and then nothing was changed.
        """
        end_ms = self._end_ms()
        then = [await self._sent_ahead(operation, end_ms) for operation in transaction.then]
        other = [await self._sent_ahead(operation, end_ms) for operation in transaction.other]
        done = await self._execute(Transact(transaction.conditions, then, other), end_ms)
        replies = replies_of(then if done.held else other, done.replies)
        return Committed(done.held, done.revision, replies)

    async def perform(self, operation: AnyOperation) -> Any:
        """Any one operation (kv/core/commands.py); what it gives stands there."""
        end_ms = self._end_ms()
        sent = await self._sent_ahead(operation, end_ms)
        replies = await self._execute(Apply([sent]), end_ms)
        return replies_of([operation], replies)[0]

    async def clear(self) -> int:
        """Delete everything; gives how many keys there were."""
        return int(await self.perform(Clear()))

    # Ranges.

    async def page(
        self,
        prefix: Bytes = b"",
        *,
        start: Bytes | None = None,
        end: Bytes | None = None,
        limit: int = PAGE_ENTRIES,
        values: bool = True,
    ) -> Page:
        """The first keys, in order, that begin with ``prefix`` and are from ``start`` to before
        ``end``, all at one moment: at most ``limit``, and about 512 KiB.  ``Page.more`` is the
        ``start`` of the next page, ``None`` after the last."""
        first, last = bounds_of(prefix, start, end)
        query = Range(first, last, limit, values)
        return await self._group.query(query, timeout_ms=self._timeout_ms)

    async def pages(
        self,
        prefix: Bytes = b"",
        *,
        start: Bytes | None = None,
        end: Bytes | None = None,
        limit: int = PAGE_ENTRIES,
        values: bool = True,
    ) -> AsyncIterator[Page]:
        """One page after the other, each as it is when it is read."""
        more: Bytes | None = as_bytes(start or b"")
        while more is not None:
            page = await self.page(prefix, start=more, end=end, limit=limit, values=values)
            yield page
            more = page.more

    async def scan(
        self,
        prefix: Bytes = b"",
        *,
        start: Bytes | None = None,
        end: Bytes | None = None,
        limit: int = PAGE_ENTRIES,
        values: bool = True,
    ) -> AsyncIterator[Entry]:
        """The keys of all ``pages``: what is there all the while is given, once."""
        pages = self.pages(prefix, start=start, end=end, limit=limit, values=values)
        async for page in pages:
            for entry in page.entries:
                yield entry

    # What goes on for longer.

    async def watch(
        self,
        key: Bytes | None = None,
        *,
        prefix: Bytes = b"",
        start: Bytes | None = None,
        end: Bytes | None = None,
        since: int | None = None,
    ) -> Watching:
        """The changes of one key, or of a range as in ``page``, after revision ``since``; if that
        is not given, from now on."""
        if key is not None:
            first: bytes = as_bytes(key)
            last: bytes | None = first + b"\0"
        else:
            first, last = bounds_of(prefix, start, end)
        if since is None:
            since = (await self.statistics()).revision
        return Watching(self._world, self._rpc, self._group, since, first, last)

    def lock(
        self,
        name: Bytes,
        *,
        ttl_s: float = 10.0,
        wait_s: float | None = None,
        on_lost: Callable[[], object] | None = None,
    ) -> Lock:
        """For ``async with``: the lock that is the key ``name`` (kv/lock.py).

        ``ttl_s`` is how long it stays taken after its holder died; ``wait_s`` how long to wait for
        it, by default until it is there; ``on_lost`` is called, in place of a cancellation, if it
        is lost.
        """
        return Lock(self._world, self, name, ttl_s, wait_s, on_lost)

    async def statistics(self) -> Statistics:
        """Of the whole store."""
        return await self._group.query(AskStatistics(), timeout_ms=self._timeout_ms)

    async def view(self) -> View:
        """The whole store as it is at one index of the log, and stays, held by one node."""
        # Ends are told by log time, which stands still while nobody writes: let it be now.
        await self._group.execute(Apply([]), timeout_ms=self._timeout_ms)
        last: QuorateError = Unavailable("no node holds a view of the store")
        end_ms, addresses = self._end_ms(), self._group.addresses
        for asked, address in enumerate(addresses):
            left_ms = end_ms - self._world.clock.monotonic_ms()
            timeout_ms = max(1.0, left_ms / (len(addresses) - asked))
            try:
                opened = await self._rpc.call(address, OpenView(), timeout_ms=timeout_ms)
            except (Unavailable, Maybe) as error:
                last = error
            else:
                return View(self._world, self._rpc, address, opened, self._timeout_ms)
        raise last

    # How it is done.

    def _end_ms(self) -> float:
        return self._world.clock.monotonic_ms() + self._timeout_ms

    async def _execute(self, command: Command[R], end_ms: float) -> R:
        left_ms = end_ms - self._world.clock.monotonic_ms()
        if left_ms <= 0:
            raise DeadlineExceeded("there was no time left to send this; nothing was changed")
        return await self._group.execute(command, timeout_ms=left_ms)

    async def _sent_ahead(self, operation: AnyOperation, end_ms: float) -> AnyOperation:
        """``operation`` with a number in place of each value that is too large for a command."""
        match operation:
            case Put() | Set() | Append() | SetRange():
                value = await self._upload(operation.value, end_ms)
                if value is not operation.value:
                    return msgspec.structs.replace(operation, value=value)
            case PutMany(pairs):
                sent = [(key, await self._upload(value, end_ms)) for key, value in pairs]
                return msgspec.structs.replace(operation, pairs=sent)
        return operation

    async def _upload(self, value: Value, end_ms: float) -> Value:
        if isinstance(value, int) or len(value) <= MAX_INLINE_BYTES:
            return value
        if len(value) > MAX_VALUE_BYTES:
            raise BadInput(f"a value of {len(value)} bytes; {MAX_VALUE_BYTES} at most")
        upload = self._world.random.getrandbits(62)
        for offset in range(0, len(value), MAX_INLINE_BYTES):
            piece = Stage(upload, offset, value[offset : offset + MAX_INLINE_BYTES])
            await self._execute(piece, end_ms)
        return upload


def bounds_of(prefix: Bytes, start: Bytes | None, end: Bytes | None) -> tuple[bytes, bytes | None]:
    """From where to where the keys lie that begin with ``prefix`` and are from ``start`` to before
    ``end``."""
    first, last = as_bytes(prefix), _after(as_bytes(prefix))
    if start is not None:
        first = max(first, as_bytes(start))
    if end is not None:
        last = as_bytes(end) if last is None else min(last, as_bytes(end))
    return first, last


def _after(prefix: bytes) -> bytes | None:
    """The first key behind all that begin with ``prefix``; ``None``: there is none."""
    stem = prefix.rstrip(b"\xff")
    return stem[:-1] + bytes([stem[-1] + 1]) if stem else None
