"""Lists by key, to which clients append: the machine, the clients and the judge.

An append-only list remembers everything that was ever done to it, in order, so the judge needs no
search: a value is in the final list once if its append was answered, at most once if its outcome is
unknown, never if it was refused; and each read is a prefix of the final list that contains what had
been answered before it began and everything that an earlier read had shown.  That is
linearizability, for this type, and exactly-once beside it.
"""

import asyncio
import itertools
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from quorate.base.check import check
from quorate.base.checksum import SetDigest
from quorate.base.codec import Command, Query, decode, encode
from quorate.base.errors import Maybe, QuorateError
from quorate.base.machine import Meta, TypedMachine
from quorate.base.stream import pack_records, unpack_records
from quorate.raft.client import GroupClient
from quorate.runtime.ports import World

BALLAST_RECORD_BYTES = 64 * 1024


class Append(Command[int], tag="lists.append.1"):
    """Answered with the new length."""

    key: str
    value: str
    padding: bytes = b""
    """Makes the entry longer, so that it can be torn, and means nothing."""


class Read(Query[list[str]], tag="lists.read.1"):
    key: str


class Lists(TypedMachine):
    """The state machine: key → list of values."""

    commands = (Append,)
    queries = (Read,)

    def __init__(self, ballast_bytes: int = 0) -> None:
        """``ballast_bytes`` make snapshots longer, and mean nothing."""
        super().__init__()
        self._ballast_bytes = ballast_bytes
        self._lists: dict[str, list[str]] = {}
        self._digest = SetDigest()

    def execute(self, meta: Meta, command: Append) -> int:
        values = self._lists.setdefault(command.key, [])
        values.append(command.value)
        self._digest.add(encode((command.key, len(values), command.value)))
        return len(values)

    def answer(self, query: Read) -> list[str]:
        return list(self._lists.get(query.key, []))

    def snapshot(self) -> Iterator[bytes]:
        # A list only grows: how long it is now is all that has to be kept of it.
        frozen = [(key, values, len(values)) for key, values in self._lists.items()]
        ballast = encode(("", ["-" * BALLAST_RECORD_BYTES]))
        return pack_records(
            itertools.chain(
                itertools.repeat(ballast, self._ballast_bytes // BALLAST_RECORD_BYTES),
                (encode((key, values[:length])) for key, values, length in frozen),
            )
        )

    def restore(self, stream: Iterable[bytes]) -> Iterator[None]:
        lists: dict[str, list[str]] = {}
        digest = SetDigest()
        for record in unpack_records(stream):
            key, values = decode(record, tuple[str, list[str]])
            yield
            if key == "":
                continue
            lists[key] = values
            for position, value in enumerate(values, 1):
                digest.add(encode((key, position, value)))
        self._lists, self._digest = lists, digest

    def digest(self) -> int:
        return self._digest.value

    def next_deadline_ms(self) -> int | None:
        return None


@dataclass(slots=True)
class Operation:
    """One call of one client, as the client saw it.  Times in virtual ms."""

    client: str
    key: str
    value: str | None
    """``None`` for a read."""
    invoked_ms: float
    ended_ms: float = float("inf")
    outcome: str = "maybe"
    """``ok``, ``fail`` (surely not done) or ``maybe`` (open to the end)."""
    seen: list[str] = field(default_factory=list)
    """What a read returned."""


@dataclass(slots=True)
class History:
    """All operations of a run."""

    operations: list[Operation] = field(default_factory=list)

    def count(self, outcome: str) -> int:
        return sum(1 for operation in self.operations if operation.outcome == outcome)


KEYS = ("a", "b", "c")
READS = ("read", "read anywhere")
OPERATIONS = ("append", *READS)
"""What a client does; ``read anywhere``: a follower may answer."""


def now_ms() -> float:
    """True time: a client's own clock is not everybody's."""
    return asyncio.get_running_loop().time() * 1000


async def run_client(
    world: World,
    client: GroupClient,
    name: str,
    history: History,
    rng: random.Random,
    *,
    pace_ms: float = 30.0,
    off: Sequence[str] = (),
    padding_bytes: int = 0,
    operations: int | None = None,
) -> None:
    """Append and read, one after the other, until the process is stopped or has done enough.

    Between two operations it pauses up to ``pace_ms``; what is ``off`` it does not do.
    """

    shares = {"append": 6, "read": 1, "read anywhere": 1}
    kinds = [kind for kind in OPERATIONS if kind not in off]
    weights = [shares[kind] for kind in kinds]
    number = 0
    for count in itertools.count():
        if count == operations:
            return
        key = rng.choice(KEYS)
        value = None
        [kind] = rng.choices(kinds, weights)
        if kind == "append":
            number += 1
            value = f"{name}.{number}"
        operation = Operation(name, key, value, now_ms())
        history.operations.append(operation)
        try:
            timeout_ms = rng.choice((300, 2_000, 5_000))
            if value is None:
                operation.seen = await client.query(
                    Read(key), timeout_ms=timeout_ms, anywhere=kind == "read anywhere"
                )
            else:
                append = Append(key, value, bytes(rng.choice((0, padding_bytes))))
                await client.execute(append, timeout_ms=timeout_ms)
            operation.outcome = "ok"
            operation.ended_ms = now_ms()
        except Maybe:
            pass
        except QuorateError:
            operation.outcome = "fail"
        await world.clock.sleep(rng.uniform(0, pace_ms))


async def append_and_read_all(
    client: GroupClient, history: History, timeout_ms: float
) -> dict[str, list[str]]:
    """One more value, and the final lists, after the faults have ended: progress is part of the
    promise."""
    last = Operation("reader", KEYS[0], "reader.1", now_ms())
    history.operations.append(last)
    await client.execute(Append(KEYS[0], "reader.1"), timeout_ms=timeout_ms)
    last.outcome, last.ended_ms = "ok", now_ms()
    return {key: await client.query(Read(key), timeout_ms=timeout_ms) for key in KEYS}


def judge(history: History, final: dict[str, list[str]]) -> None:
    """Fail unless ``history`` is linearizable with ``final`` as its end."""
    for key in KEYS:
        operations = [operation for operation in history.operations if operation.key == key]
        _judge_key(key, operations, final[key])


def _judge_key(key: str, operations: list[Operation], final: list[str]) -> None:
    place = {value: position for position, value in enumerate(final)}
    twice = [value for position, value in enumerate(final) if place[value] != position]
    check(not twice, f"Exactly once: list {key} holds {', '.join(twice)} twice")
    known = {operation.value: operation for operation in operations if operation.value}
    for value in final:
        check(value in known, f"list {key} holds {value}, which nobody appended")
        check(known[value].outcome != "fail", f"{value} was refused, and yet it is in list {key}")
    for operation in known.values():
        if operation.outcome == "ok":
            check(operation.value in place, f"{operation.value} was acknowledged and is lost")
    _judge_order(key, operations, final, place)


def _judge_order(
    key: str, operations: list[Operation], final: list[str], place: dict[str, int]
) -> None:
    """Real time: what begins after something has ended comes after it."""
    ended = sorted((o for o in operations if o.outcome == "ok"), key=lambda o: o.ended_ms)
    begun = sorted(operations, key=lambda o: o.invoked_ms)
    position, length = 0, 0  # the final list's first ``length`` values were there by now
    for operation in begun:
        while position < len(ended) and ended[position].ended_ms < operation.invoked_ms:
            done = ended[position]
            shown = len(done.seen) if done.value is None else place[done.value] + 1
            length = max(length, shown)
            position += 1
        if operation.outcome != "ok" and operation.value not in place:
            continue
        if operation.value is None:
            seen = operation.seen
            check(seen == final[: len(seen)], f"Linearizable: a read of {key} saw another order")
            check(len(seen) >= length, f"Linearizable: a stale read of {key} by {operation.client}")
        else:
            check(
                place[operation.value] >= length,
                f"Linearizable: {operation.value} was appended before what ended before it began",
            )
