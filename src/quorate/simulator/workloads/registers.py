"""Registers, strings and locks by key: a small state machine for the linearizability checker.

What a key is, its first letter says: ``r1`` a register, ``s1`` a string, ``l1`` a lock.  They are
the models of quorate.linearizability, so what clients saw of them can be judged by search.
"""

from collections.abc import Iterable, Iterator

from quorate.base.checksum import SetDigest
from quorate.base.codec import Command, Query, decode, encode
from quorate.base.machine import Meta, TypedMachine
from quorate.base.stream import pack_records, unpack_records

Value = int | str | None


class Write(Command[bool], tag="registers.write.1"):
    """Always answered with true, as is ``Append``."""

    key: str
    value: int


class Cas(Command[bool], tag="registers.cas.1"):
    """Write ``new`` if the register holds ``old``; answered with whether it did."""

    key: str
    old: int | None
    new: int


class Append(Command[bool], tag="registers.append.1"):
    key: str
    value: str


class Acquire(Command[bool], tag="registers.acquire.1"):
    """Answered with whether the lock was free, and is the owner's now."""

    key: str
    owner: str


class Release(Command[bool], tag="registers.release.1"):
    """Answered with whether it was the owner's, and is free now."""

    key: str
    owner: str


class Read(Query[Value], tag="registers.read.1"):
    """What is there: a number, a string, an owner, or nothing."""

    key: str


class Registers(TypedMachine):
    """The state machine: key → value."""

    commands = (Write, Cas, Append, Acquire, Release)
    queries = (Read,)

    def __init__(self) -> None:
        super().__init__()
        self._values: dict[str, Value] = {}
        self._digest = SetDigest()

    def execute(self, meta: Meta, command: Write | Cas | Append | Acquire | Release) -> bool:
        key = command.key
        held = self._values.get(key)
        expected, new = held, held
        if isinstance(command, Write):
            new = command.value
        elif isinstance(command, Append):
            new = f"{held or ''}{command.value}"
        elif isinstance(command, Cas):
            expected, new = command.old, command.new
        elif isinstance(command, Acquire):
            expected, new = None, command.owner
        else:
            expected, new = command.owner, None
        if held == expected:
            self._set(key, new)
        return held == expected

    def answer(self, query: Read) -> Value:
        return self._values.get(query.key)

    def snapshot(self) -> Iterator[bytes]:
        return pack_records(map(encode, list(self._values.items())))

    def restore(self, stream: Iterable[bytes]) -> Iterator[None]:
        values: dict[str, Value] = {}
        digest = SetDigest()
        for record in unpack_records(stream):
            key, value = decode(record, tuple[str, Value])
            values[key] = value
            digest.add(encode((key, value)))
            yield
        self._values, self._digest = values, digest

    def digest(self) -> int:
        return self._digest.value

    def next_deadline_ms(self) -> int | None:
        return None

    def _set(self, key: str, value: Value) -> None:
        """Nothing and no key are one state."""
        before = self._values.pop(key, None)
        if before is not None:
            self._digest.remove(encode((key, before)))
        if value is not None:
            self._values[key] = value
            self._digest.add(encode((key, value)))
