"""A machine that counts, in the session wrapper, and log entries for it one after the other."""

from collections.abc import Iterable, Iterator
from typing import Any

from quorate.base.codec import Command, Query, decode, encode, result_of
from quorate.base.errors import BadInput
from quorate.base.machine import Meta, TypedMachine, restore_all
from quorate.raft.sessions import OpenSession, SessionMachine, wrap


class Add(Command[int], tag="counter.add.1"):
    amount: int


class Read(Query[int], tag="counter.read.1"):
    pass


class Counter(TypedMachine):
    """Adds, answers with the sum, refuses to go below zero; remembers the metas it was given."""

    commands = (Add,)
    queries = (Read,)

    def __init__(self) -> None:
        super().__init__()
        self.sum = 0
        self.metas: list[Meta] = []
        self.deadline_ms: int | None = None

    def apply_batch(self, meta: Meta, commands: Any) -> list[bytes]:
        self.metas.append(meta)
        return super().apply_batch(meta, commands)

    def execute(self, meta: Meta, command: Any) -> object:
        if self.sum + command.amount < 0:
            raise BadInput(f"the sum would be {self.sum + command.amount}")
        self.sum += command.amount
        return self.sum

    def answer(self, query: Any) -> object:
        return self.sum

    def snapshot(self) -> Iterator[bytes]:
        return iter([encode(self.sum)])

    def restore(self, stream: Iterable[bytes]) -> Iterator[None]:
        [record] = stream
        self.sum = decode(record, int)
        yield

    def digest(self) -> int:
        return self.sum << 32

    def next_deadline_ms(self) -> int | None:
        return self.deadline_ms


class Bench:
    """A wrapped counter, and log entries one after the other."""

    def __init__(self) -> None:
        self.counter = Counter()
        self.machine = SessionMachine(self.counter)
        self.index = 0
        self.time_ms = 1_000_000

    def batch(self, *commands: bytes) -> list[bytes]:
        self.index += 1
        return self.machine.apply_batch(Meta(self.index, 1, self.time_ms), commands)

    def open(self) -> int:
        [outcome] = self.batch(encode(OpenSession()))
        session: int = result_of(outcome, int)
        return session

    def add(self, session: int, sequence: int, amount: int = 1, acknowledged: int = 0) -> int:
        [outcome] = self.batch(add(session, sequence, amount, acknowledged))
        result: int = result_of(outcome, int)
        return result

    def copy(self) -> "Bench":
        """A replica that has restored a snapshot of this one, cut in small pieces."""
        stream = b"".join(self.machine.snapshot())
        other = Bench()
        other.index, other.time_ms = self.index, self.time_ms
        restore_all(other.machine, [stream[i : i + 7] for i in range(0, len(stream), 7)])
        return other


def add(session: int, sequence: int, amount: int = 1, acknowledged: int = 0) -> bytes:
    return wrap(session, sequence, acknowledged, encode(Add(amount)))
