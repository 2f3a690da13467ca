"""Clients that collide on few keys, and draw from what was last seen of them, by whomever.

What a key is, its first letter says: ``r`` a register, ``s`` a string that is only appended to,
``l`` a lock.  A key is given up after some operations and the next takes its place (``r2.17`` after
``r2.16``): so strings stay short and the histories of single keys can be judged, however long the
run is.  An operation whose outcome is unknown stays open for ever.
"""

import asyncio
import itertools
import random
from collections import Counter
from collections.abc import Mapping

from quorate.base.errors import Maybe, QuorateError
from quorate.linearizability.history import Outcome
from quorate.torture.history import Recorder
from quorate.torture.target import Call, TargetClient, Value

SLOTS = {"r": 3, "s": 2, "l": 1}
"""How many keys of a kind are in use at a time."""
OPERATIONS_A_KEY = 120
SHARES = {"write": 2, "cas": 2, "append": 3, "lock": 1, "read": 2, "read anywhere": 3}
VALUES = 5
"""Different numbers that are written: few, so that a compare-and-set finds one that came back."""
TIMEOUTS_MS = (300, 1_000, 3_000)
AGAIN_S = 0.2
"""Before the last change is tried again: a store that had no room learns by and by that it has."""
PACE_MS = 50.0
"""The longest pause of a client between two operations."""


class Keys:
    """Which keys are in use, and what was last seen of them."""

    def __init__(self) -> None:
        self.seen: dict[str, Value] = {}
        self.used: dict[str, None] = {}
        """All that ever were, in order."""
        self._generation: Counter[str] = Counter()
        self._operations: Counter[str] = Counter()

    def draw(self, kind: str, rng: random.Random) -> str:
        """A key for one operation."""
        slot = f"{kind}{rng.randint(1, SLOTS[kind])}"
        self._operations[slot] += 1
        if self._operations[slot] > OPERATIONS_A_KEY:
            self._operations[slot] = 0
            self.seen.pop(self._key(slot), None)
            self._generation[slot] += 1
        key = self._key(slot)
        self.used[key] = None
        return key

    def _key(self, slot: str) -> str:
        return f"{slot}.{self._generation[slot]}"


class Player:
    """One client: it draws operations and has the history of them recorded."""

    def __init__(
        self, client: TargetClient, name: str, keys: Keys, recorder: Recorder, rng: random.Random
    ) -> None:
        self._client = client
        self._name = name
        self._keys = keys
        self._recorder = recorder
        self._rng = rng
        self._appended = 0
        self._turn = 1
        self._held: str | None = None
        """The lock that this client believes to hold, or may hold."""

    async def play(self, shares: Mapping[str, int]) -> None:
        """One operation after the other, until cancelled."""
        while True:
            [kind] = self._rng.choices(list(shares), list(shares.values()))
            await self.operation(kind)
            await asyncio.sleep(self._rng.uniform(0, PACE_MS) / 1000)

    async def operation(self, kind: str) -> None:
        """One of ``SHARES``, or ``delete``."""
        rng, keys = self._rng, self._keys
        if kind.startswith("read"):
            key = keys.draw("r" if rng.random() < 0.6 else "s", rng)
            f = "read" if key.startswith("r") else "get"
            outcome, found = await self._do(Call(self._name, f, key, None, kind != "read"))
            if outcome is Outcome.OK:
                keys.seen[key] = found
        elif kind == "append":
            await self.append(keys.draw("s", rng))
        elif kind == "lock":
            await self._lock()
        elif kind == "delete":
            key = keys.draw("r", rng)
            outcome, _ = await self._do(Call(self._name, "write", key))
            if outcome is Outcome.OK:
                keys.seen[key] = None
        else:
            key, new = keys.draw("r", rng), rng.randrange(VALUES)
            held = keys.seen.get(key)
            old = held if isinstance(held, int) else None
            argument = new if kind == "write" else (old, new)
            outcome, _ = await self._do(Call(self._name, kind, key, argument))
            if outcome is Outcome.OK:
                keys.seen[key] = new

    async def append(self, key: str) -> None:
        """One more text, which nobody else appends."""
        self._appended += 1
        await self._do(Call(self._name, "append", key, f"{self._name}.{self._appended},"))

    async def _lock(self) -> None:
        """Take a lock, or give back what is held.  Each holding has a name of its own."""
        owner = f"{self._name}.{self._turn}"
        if self._held is None:
            key = self._keys.draw("l", self._rng)
            outcome, _ = await self._do(Call(owner, "acquire", key))
            if outcome is not Outcome.FAIL:
                self._held = key
            return
        outcome, _ = await self._do(Call(owner, "release", self._held))
        if outcome is not Outcome.INFO:
            self._held = None
            self._turn += 1

    async def _do(self, call: Call) -> tuple[Outcome, Value]:
        self._recorder.invoke(call)
        found: Value = None
        try:
            done, found = await self._client.call(call, self._rng.choice(TIMEOUTS_MS))
            outcome = Outcome.OK if done else Outcome.FAIL
        except asyncio.CancelledError:
            self._recorder.end(call, Outcome.INFO)
            raise
        except Maybe:
            outcome = Outcome.INFO
        except QuorateError:
            outcome = Outcome.FAIL
        self._recorder.end(call, outcome, found)
        return outcome, found


async def look(client: TargetClient, keys: Keys, recorder: Recorder, timeout_ms: float) -> None:
    """Once more a change, and what every key holds in the end: all of it part of the history.
    Raises a ``QuorateError`` if one of them is not done in time."""
    for key in [key for key in keys.used if key[0] == "s"][-1:]:
        await _insist(client, "append", key, recorder, timeout_ms)
    for key in [key for key in keys.used if key[0] in "rs"]:
        await _insist(client, "read" if key[0] == "r" else "get", key, recorder, timeout_ms)


async def _insist(
    client: TargetClient, f: str, key: str, recorder: Recorder, timeout_ms: float
) -> None:
    """Until it is done; each attempt is an operation, and what it appends a text of its own."""
    now_s = asyncio.get_running_loop().time
    deadline_s = now_s() + timeout_ms / 1000
    for attempt in itertools.count(1):
        call = Call("reader", f, key, f"reader.{attempt}," if f == "append" else None)
        recorder.invoke(call)
        try:
            _, found = await client.call(call, timeout_ms)
            return recorder.end(call, Outcome.OK, found)
        except QuorateError as error:
            recorder.end(call, Outcome.INFO if isinstance(error, Maybe) else Outcome.FAIL)
            if now_s() > deadline_s:
                raise
        await asyncio.sleep(AGAIN_S)
