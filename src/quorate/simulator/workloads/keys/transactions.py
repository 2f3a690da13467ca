"""Clients that transact: a bank, counters by reading and writing, keys that end, and a lock.

Each knows what must be there after what it does, from what was there before, from the revision and
from log time; that and the order of all transactions ``serial`` judges.
"""

from quorate.kv.core.commands import (
    Add,
    AnyOperation,
    Delete,
    DeleteEqual,
    Expire,
    ExpireEqual,
    Persist,
    Put,
    Set,
    When,
)
from quorate.simulator.workloads.keys.player import Player
from quorate.simulator.workloads.keys.record import (
    ACCOUNTS,
    ENDING,
    GUARDED,
    LOCK,
    SHARED,
    Tx,
    Version,
)

BALANCE = 100
"""Of an account that nobody has touched."""
TTLS_MS = (50, 300, 1_500, 10_000)
LOCK_MS = (200, 1_000, 4_000)
MOST = 3
"""A shared counter is deleted when it has got there: so it is absent often."""


def balance(version: Version | None) -> int:
    return BALANCE if version is None else int(version.value.split()[0])


class TransactionPlayer(Player):
    """Of several keys at once."""

    _owner = b""
    """Under which name this client last took the lock; nobody takes it under that name again."""
    _token = 0
    """The revision of the lock when this client last had it; 0: it does not believe to have it."""

    # A bank: what all accounts have together never changes.

    async def _audit(self) -> None:
        if self.rng.random() < 0.6:
            await self.fetch(ACCOUNTS)
        else:
            await self.transact("audit", ACCOUNTS)

    async def _transfer(self) -> None:
        found = await self.fetch(ACCOUNTS)
        if found is None:
            return
        source, target = self.rng.sample(ACCOUNTS, 2)
        before = {key: found.versions[key] for key in (source, target)}
        amount = self.rng.randint(1, 20)
        values = {
            source: b"%d %s" % (balance(before[source]) - amount, self.tag()),
            target: b"%d %s" % (balance(before[target]) + amount, self.tag()),
        }
        tx = await self.transact(
            "transfer",
            (source, target),
            [Put(key, value) for key, value in values.items()],
            revisions={key: it.revision if it else 0 for key, it in before.items()},
            touches=(source, target),
            values=tuple(values.values()),
        )
        if tx.held:
            tx.expected = {key: Version(it, tx.revision, 0) for key, it in values.items()}

    # Optimistic increments, as WATCH and EXEC have them.

    async def _increment(self) -> None:
        key = self.rng.choice(SHARED)
        found = await self.read_page(key)
        if found is None:
            return
        await self.world.clock.sleep(self.rng.choice((0, 0, self.rng.uniform(0, 60))))
        before = found.versions[key]
        number = int(before.value) if before is not None else 0
        value = b"%d" % (number + 1)
        tx = await self.transact(
            "increment",
            (key,),
            [Put(key, value) if number < MOST else Delete([key])],
            untouched={key: found.revision},
            touches=(key,),
            values=(value,),
        )
        if tx.held:
            tx.expected = {key: Version(value, tx.revision, 0) if number < MOST else None}

    async def _touch(self) -> None:
        """Made and deleted again, or only written again: both touch it."""
        key = self.rng.choice(SHARED)
        both: list[AnyOperation] = [Put(key, b"0"), Delete([key])]
        operations = both[: self.rng.choice((1, 2, 2))]
        tx = await self.transact("touch", (key,), operations, touches=(key,), values=(b"0",))
        if tx.held:
            tx.expected = {key: Version(b"0", tx.revision, 0) if len(operations) == 1 else None}

    # Keys that end.

    async def _end(self) -> None:
        key, rng = self.rng.choice(ENDING), self.rng
        ttl_ms, value = rng.choice(TTLS_MS), self.tag()
        kind = rng.choice(("set", "set", "keep", "expire", "persist", "look", "delete", "refused"))
        match kind:
            case "look":
                if rng.random() < 0.5:
                    await self.fetch((key,))
                else:
                    await self.transact("look", (key,))
                return
            case "refused":
                # The second operation is refused: not a number.  So nothing of it is done.
                operations: list[AnyOperation] = [
                    Put(key, value),
                    Put(ENDING[0], b"-"),
                    Add(ENDING[0], 1),
                ]
                tx = await self.transact("refused", (key,), operations)
                tx.expected = dict(tx.before)
                return
        of_kind: dict[str, AnyOperation] = {
            "set": Set(key, value, ttl_ms=ttl_ms),
            "keep": Set(key, value, keep_ttl=True),
            "expire": Expire(key, ttl_ms),
            "persist": Persist(key),
            "delete": Delete([key]),
        }
        values = (value,) if kind in ("set", "keep") else ()
        tx = await self.transact(kind, (key,), [of_kind[kind]], touches=(key,), values=values)
        if tx.held:
            tx.expected = {key: ended(kind, tx, key, value, ttl_ms)}

    # A lock, and a key that is written under it.

    async def _lock(self) -> None:
        if not self._token:
            return await self._acquire()
        kind = self.rng.choice(("write", "write", "extend", "release"))
        if kind == "write":
            return await self._write_guarded()
        ttl_ms, owner = self.rng.choice(LOCK_MS), self._owner
        extend = kind == "extend"
        operation = ExpireEqual(LOCK, owner, ttl_ms) if extend else DeleteEqual(LOCK, owner)
        tx = await self.transact(kind, (LOCK,), [operation], touches=(LOCK,))
        if not tx.held:
            if self.rng.random() < 0.5:
                self._token = 0
            return
        before = tx.before[LOCK]
        mine = before is not None and before.value == owner
        tx.expected = {LOCK: before}
        if mine:
            kept = Version(owner, tx.revision, tx.time_ms + ttl_ms)
            tx.expected = {LOCK: kept if extend else None}
        self._token = tx.revision if mine and extend else 0

    async def _acquire(self) -> None:
        self._owner, ttl_ms = self.tag(), self.rng.choice(LOCK_MS)
        operation = Set(LOCK, self._owner, ttl_ms=ttl_ms, when=When.ABSENT)
        tx = await self.transact(
            "acquire", (LOCK,), [operation], touches=(LOCK,), values=(self._owner,)
        )
        if tx.held:
            is_free = tx.before[LOCK] is None
            taken = Version(self._owner, tx.revision, tx.time_ms + ttl_ms)
            tx.expected = {LOCK: taken if is_free else tx.before[LOCK]}
            self._token = tx.revision if is_free else 0

    async def _write_guarded(self) -> None:
        value = b"%d" % self._token
        tx = await self.transact(
            "guarded write",
            (LOCK, GUARDED),
            [Put(GUARDED, value)],
            revisions={LOCK: self._token},
            touches=(GUARDED,),
            values=(value,),
        )
        if tx.held:
            tx.expected = {LOCK: tx.before[LOCK], GUARDED: Version(value, tx.revision, 0)}
        elif tx.returned is not None:
            self._token = 0


def ended(kind: str, tx: Tx, key: bytes, value: bytes, ttl_ms: int) -> Version | None:
    """What a change of this kind leaves of what ``tx`` found."""
    before = tx.before[key]
    match kind:
        case "set":
            return Version(value, tx.revision, tx.time_ms + ttl_ms)
        case "plain":
            return Version(value, tx.revision, 0)
        case "keep":
            return Version(value, tx.revision, before.at_ms if before is not None else 0)
        case "delete":
            return None
    if before is None or (kind == "persist" and not before.at_ms):
        return before
    return Version(before.value, tx.revision, tx.time_ms + ttl_ms if kind == "expire" else 0)
