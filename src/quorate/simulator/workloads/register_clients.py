"""Clients that collide on registers, strings and locks, judged by the linearizability checker.

Few keys, and operations drawn from what was last seen of them, by whomever: a compare-and-set
expects it, a lock is released by who believes to hold it.  Half of the time they look, and
sometimes a follower may answer.  An operation of unknown outcome stays open to the end.
"""

import asyncio
import itertools
import random
from collections.abc import Sequence
from dataclasses import dataclass, field

from quorate.base.check import Bug
from quorate.base.codec import Command
from quorate.base.errors import Maybe, QuorateError
from quorate.linearizability.history import Operation, Outcome, Verdict
from quorate.linearizability.judge import check_history
from quorate.linearizability.models import MODELS
from quorate.raft.client import GroupClient
from quorate.runtime.ports import World
from quorate.simulator.cluster import RaftCluster
from quorate.simulator.workloads.groups import PROGRESS_MS, GroupWorkload
from quorate.simulator.workloads.registers import (
    Acquire,
    Append,
    Cas,
    Read,
    Release,
    Value,
    Write,
)

KEYS = {"register": ("r1", "r2"), "kv": ("s1",), "lock": ("l1",)}
"""By model."""
SHARES = {"write": 2, "cas": 2, "append": 1, "lock": 1, "read": 3, "read anywhere": 3}
OPERATIONS = tuple(SHARES)
"""What a client does; ``read anywhere``: a follower may answer."""
VALUES = 5
"""Different numbers that are written: few, so that a compare-and-set finds one that came back."""
TIMEOUTS_MS = (300, 2_000, 5_000)
MAX_STEPS = 400_000
"""Of the search, for all that clients saw of one group; some seconds."""
NOT_JUDGED = "histories not judged"
"""What a report calls those that took more."""
NEEDED = (("write", "cas", "append"), ("read", "read anywhere"))
"""Of each, one operation at least is on, or there is nothing to judge."""


@dataclass(slots=True)
class Observed:
    """What all clients together saw of one group."""

    operations: list[Operation] = field(default_factory=list)
    seen: dict[str, Value] = field(default_factory=dict)
    """The last value of each key that somebody read or wrote."""

    def count(self, outcome: Outcome) -> int:
        return sum(operation.outcome is outcome for operation in self.operations)


class Player:
    """One client of one group: it draws operations and keeps the history of them."""

    def __init__(
        self, client: GroupClient, name: str, observed: Observed, rng: random.Random
    ) -> None:
        self._client = client
        self._name = name
        self._observed = observed
        self._rng = rng
        self._appended = 0
        self._session = 1
        self._holding: set[str] = set()
        """Locks that this client believes to hold."""

    @property
    def owner(self) -> str:
        """Who takes locks now: a new one each time that a lock was given back."""
        return f"{self._name}.{self._session}"

    async def play(self, kind: str) -> None:
        """One operation of a kind of ``OPERATIONS``."""
        rng, seen = self._rng, self._observed.seen
        if kind.startswith("read"):
            model = "register" if rng.random() < 0.75 else "kv"
            await self._read(model, rng.choice(KEYS[model]), anywhere=kind == "read anywhere")
        elif kind == "write":
            key, value = rng.choice(KEYS["register"]), rng.randrange(VALUES)
            await self._execute(Write(key, value), "write", key, value, value)
        elif kind == "cas":
            key, new = rng.choice(KEYS["register"]), rng.randrange(VALUES)
            held = seen.get(key)
            old = held if isinstance(held, int) else None
            await self._execute(Cas(key, old, new), "cas", key, (old, new), new)
        elif kind == "append":
            self._appended += 1
            key, text = rng.choice(KEYS["kv"]), f"{self._name}.{self._appended},"
            await self._execute(Append(key, text), "append", key, text, None)
        else:
            await self._lock(rng.choice(KEYS["lock"]))

    async def _lock(self, key: str) -> None:
        """Give back what is held; sometimes what perhaps is not, so that no lock is lost for good
        by an ``acquire`` of unknown outcome."""
        if key in self._holding or self._rng.random() < 0.3:
            outcome = await self._execute(Release(key, self.owner), "release", key, None, None)
            if outcome is not Outcome.INFO:
                self._holding.discard(key)
            if outcome is Outcome.OK:
                self._session += 1
            return
        outcome = await self._execute(Acquire(key, self.owner), "acquire", key, None, None)
        if outcome is not Outcome.FAIL:
            self._holding.add(key)

    async def _execute(
        self, command: Command[bool], f: str, key: str, argument: object, leaves: Value
    ) -> Outcome:
        operation = self._invoke(f, key, argument)
        try:
            done = await self._client.execute(command, timeout_ms=self._rng.choice(TIMEOUTS_MS))
        except Maybe:
            return operation.outcome
        except QuorateError:
            done = False
        if not done:
            operation.outcome = Outcome.FAIL
            return operation.outcome
        self._return(operation)
        if leaves is not None:
            self._observed.seen[key] = leaves
        return operation.outcome

    async def _read(self, model: str, key: str, *, anywhere: bool) -> None:
        operation = self._invoke("read" if model == "register" else "get", key, None)
        timeout_ms = self._rng.choice(TIMEOUTS_MS)
        try:
            found = await self._client.query(Read(key), timeout_ms=timeout_ms, anywhere=anywhere)
        except QuorateError:
            operation.outcome = Outcome.FAIL
            return
        operation.result = self._observed.seen[key] = found
        self._return(operation)

    async def look(self) -> None:
        """Once more a change, and what is there in the end: both are part of the history."""
        [key], text = KEYS["kv"], "reader,"
        operation = self._invoke("append", key, text)
        await self._client.execute(Append(key, text), timeout_ms=PROGRESS_MS)
        self._return(operation)
        for model in ("register", "kv"):
            for key in KEYS[model]:
                operation = self._invoke("read" if model == "register" else "get", key, None)
                found = await self._client.query(Read(key), timeout_ms=PROGRESS_MS)
                operation.result = found
                self._return(operation)

    def _invoke(self, f: str, key: str, argument: object) -> Operation:
        locks = f in MODELS["lock"].functions
        process = self.owner if locks else self._name
        operation = Operation(process, f, key, argument, _now_ms())
        self._observed.operations.append(operation)
        return operation

    def _return(self, operation: Operation) -> None:
        operation.returned = _now_ms()
        operation.outcome = Outcome.OK
        operation.where = f"{operation.invoked:.3f} ms to {operation.returned:.3f} ms"


def _now_ms() -> float:
    """True time: a client's own clock is not everybody's."""
    return asyncio.get_running_loop().time() * 1000


class RegistersWorkload(GroupWorkload):
    """Clients of groups whose machine is ``Registers``.

    ``off``: operations that none of them does; ``operations``: how many each does at most.
    """

    def __init__(
        self,
        cluster: RaftCluster,
        clients: int,
        rng: random.Random,
        *,
        pace_ms: float = 30.0,
        off: Sequence[str] = (),
        operations: int | None = None,
    ) -> None:
        super().__init__(cluster, clients, rng)
        self.observed = [Observed() for _ in cluster.groups]
        self._pace_ms = pace_ms
        self._kinds = [kind for kind in OPERATIONS if kind not in off]
        self._operations = operations

    @property
    def acknowledged(self) -> int:
        return sum(observed.count(Outcome.OK) for observed in self.observed)

    @property
    def unknown(self) -> int:
        return sum(observed.count(Outcome.INFO) for observed in self.observed)

    async def play(
        self, world: World, client: GroupClient, group: int, name: str, rng: random.Random
    ) -> None:
        player = Player(client, name, self.observed[group], rng)
        shares = [SHARES[kind] for kind in self._kinds]
        for count in itertools.count():
            if count == self._operations:
                return
            [kind] = rng.choices(self._kinds, shares)
            await player.play(kind)
            await world.clock.sleep(rng.uniform(0, self._pace_ms))

    async def look(self, world: World, client: GroupClient, group: int) -> None:
        await Player(client, "reader", self.observed[group], self._rng).look()

    def judge(self, group: int) -> None:
        where = f"group {self.cluster.groups[group]}"
        if unjudged := judge(self.observed[group].operations, where):
            self.notes[NOT_JUDGED] = self.notes.get(NOT_JUDGED, 0) + unjudged


def judge(operations: Sequence[Operation], where: str) -> int:
    """Raise ``Bug`` unless each key's history is linearizable; gives how many models' histories
    were too hard to judge."""
    unjudged = 0
    for model, keys in KEYS.items():
        history = [operation for operation in operations if operation.key in keys]
        judgement = check_history(MODELS[model], history, lambda steps: steps >= MAX_STEPS)
        if judgement.verdict is Verdict.ILLEGAL:
            raise Bug(f"Linearizable: {where}: {judgement.detail}")
        unjudged += judgement.verdict is Verdict.UNKNOWN
    return unjudged
