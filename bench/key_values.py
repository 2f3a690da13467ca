"""A small key/value machine, for benches of the log under it."""

from collections.abc import Iterable, Iterator

from quorate.base.checksum import SetDigest
from quorate.base.codec import Command, Query, decode, encode
from quorate.base.frozen import FreezableMap
from quorate.base.machine import RECORDS_PER_PAUSE, Meta, TypedMachine
from quorate.base.stream import pack_records, unpack_records


class Put(Command[int], tag="bench.put.1"):
    """Answered with the number of keys."""

    key: bytes
    value: bytes


class PutMany(Command[int], tag="bench.put_many.1"):
    """The same for many, in one command."""

    pairs: list[tuple[bytes, bytes]]


class Get(Query[bytes | None], tag="bench.get.1"):
    key: bytes


class KeyValues(TypedMachine):
    """Key → value."""

    commands = (Put, PutMany)
    queries = (Get,)

    def __init__(self) -> None:
        super().__init__()
        self._values: FreezableMap[bytes, bytes] = FreezableMap()
        self._digest = SetDigest()

    def execute(self, meta: Meta, command: Put | PutMany) -> int:
        if isinstance(command, Put):
            self._put(command.key, command.value)
        else:
            for key, value in command.pairs:
                self._put(key, value)
        return len(self._values)

    def _put(self, key: bytes, value: bytes) -> None:
        before = self._values.get(key)
        if before is not None:
            self._digest.remove(key + before)
        self._values[key] = value
        self._digest.add(key + value)

    def answer(self, query: Get) -> bytes | None:
        return self._values.get(query.key)

    def snapshot(self) -> Iterator[bytes]:
        return pack_records(map(encode, self._values.freeze()))

    def restore(self, stream: Iterable[bytes]) -> Iterator[None]:
        yield from self._values.clear()
        self._digest = SetDigest()
        for number, record in enumerate(unpack_records(stream)):
            key, value = decode(record, tuple[bytes, bytes])
            self._put(key, value)
            if number % RECORDS_PER_PAUSE == 0:
                yield

    def digest(self) -> int:
        return self._digest.value

    def next_deadline_ms(self) -> int | None:
        return None
