"""Clients of single keys: registers, strings and a counter, each operation by itself; and scans.

A register is written, compared and set, taken away; what a client expects is what was last seen of
it.  A value may come in pieces.
"""

import itertools

from quorate.base.errors import Maybe, QuorateError
from quorate.kv.core.commands import (
    Add,
    Append,
    Apply,
    Delete,
    Get,
    HasValue,
    Put,
    PutMany,
    Scan,
    Set,
    Stage,
    Take,
    Transact,
    When,
)
from quorate.linearizability.history import Operation, Outcome
from quorate.simulator.workloads.keys.player import TIMEOUTS_MS, Player
from quorate.simulator.workloads.keys.record import COUNTER, KEYS, STANDING, Scanned

VALUES = tuple(map(str, range(10, 14)))
"""Different numbers that are written: few, so that a compare-and-set finds one that came back."""
SCANNED = 4
"""Keys that are asked for at a time."""


class PlainPlayer(Player):
    """Of one key at a time."""

    async def _read(self) -> None:
        model = self.rng.choice(("register", "register", "kv"))
        key = self.rng.choice(KEYS[model])
        operation = self.invoke("read" if model == "register" else "get", key, None)
        try:
            [value] = await self.look([Get(key.encode())])
        except QuorateError:
            operation.outcome = Outcome.FAIL
            return
        operation.result = None if value is None else bytes(value).decode()
        self.returns(operation)
        if model == "register":
            self.seen.held[key] = operation.result

    async def _write(self) -> None:
        key, value = self.rng.choice(KEYS["register"]), self.rng.choice(VALUES)
        name, text = key.encode(), value.encode()
        operation = self.invoke("write", key, value)
        try:
            if self.rng.random() < 0.25:
                upload = await self._staged(text)
                revision = await self.apply(Put(name, upload))
            elif self.rng.random() < 0.25:
                [revision, _] = await self.apply(Set(name, text, give=True))
            else:
                revision = await self.apply(Put(name, text))
        except QuorateError as error:
            return self._failed(operation, error)
        self.returns(operation)
        self.changed(revision, name, text)
        self.seen.held[key] = value

    async def _staged(self, value: bytes) -> int:
        """Sent ahead; raises nothing but what surely was not done to any key."""
        upload = self.rng.getrandbits(62)
        try:
            for offset in range(len(value)):
                piece = Stage(upload, offset, value[offset : offset + 1])
                await self.client.execute(piece, timeout_ms=self.rng.choice(TIMEOUTS_MS))
        except Maybe as error:
            raise QuorateError(error.message) from None
        return upload

    async def _cas(self) -> None:
        key, new = self.rng.choice(KEYS["register"]), self.rng.choice(VALUES)
        old, name = self.seen.held.get(key), key.encode()
        operation = self.invoke("cas", key, (old, new))
        try:
            if old is None:
                revision, _ = await self.apply(Set(name, new.encode(), when=When.ABSENT))
                held = bool(revision)
            else:
                condition = HasValue(name, old.encode())
                reply = await self.execute(Transact([condition], [Put(name, new.encode())]))
                held, revision = reply.held, reply.revision
        except QuorateError as error:
            return self._failed(operation, error)
        if not held:
            operation.outcome = Outcome.FAIL
            return
        self.returns(operation)
        self.changed(revision, name, new.encode())
        self.seen.held[key] = new

    async def _delete(self) -> None:
        key = self.rng.choice(KEYS["register"])
        operation = self.invoke("write", key, None)
        try:
            if self.rng.random() < 0.5:
                await self.apply(Delete([key.encode()]))
            else:
                value = await self.apply(Take(key.encode()))
                operation.f, operation.argument = "cas", (value and value.decode(), None)
        except QuorateError as error:
            return self._failed(operation, error)
        self.returns(operation)
        self.seen.held[key] = None

    async def _append(self) -> None:
        [key], text = KEYS["kv"], f"{self.tag().decode()},"
        fresh = self.rng.random() < 0.1  # or it grows for ever
        operation = self.invoke("put" if fresh else "append", key, text)
        name, data = key.encode(), text.encode()
        try:
            await self.apply(Put(name, data) if fresh else Append(name, data))
        except QuorateError as error:
            return self._failed(operation, error)
        self.returns(operation)

    async def _add(self) -> None:
        operation = self.invoke("add", COUNTER, 1)
        try:
            operation.result = await self.apply(Add(COUNTER.encode(), 1))
        except QuorateError as error:
            return self._failed(operation, error)
        self.returns(operation)

    async def _scan(self) -> None:
        """From the beginning to the end, or until it cannot go on."""
        if not self.seen.standing:
            await self._stand()
        there, found = self.seen.standing, list[bytes]()
        cursor = 0
        for step in itertools.count():
            try:
                cursor, keys = await self.apply(Scan(cursor, SCANNED))
            except QuorateError:
                return
            found += keys
            if not cursor or step == 100:
                break
        self.seen.scans.append(Scanned(self.name, found, there))

    async def _stand(self) -> None:
        pairs: list[tuple[bytes, bytes | int]] = [(key, b"here") for key in STANDING]
        try:
            await self.execute(Apply([PutMany(pairs)]))
        except QuorateError:
            return
        self.seen.standing = STANDING

    def _failed(self, operation: Operation, error: QuorateError) -> None:
        if not isinstance(error, Maybe):
            operation.outcome = Outcome.FAIL
