"""What the servers of a lab apply, as a state machine of the product."""

from collections.abc import Iterable, Iterator

from quorate.base.codec import Command, Query
from quorate.base.machine import Meta, TypedMachine
from quorate.base.stream import pack_records, unpack_records
from quorate.simulator.lab.history import Applied, Value


class Put(Command[int], tag="labs.put.1"):
    """Answered with its position: 1 for the first command of all."""

    value: Value


class CountCommands(Query[int], tag="labs.count.1"):
    """How many commands were applied."""


class LabMachine(TypedMachine):
    """Commands go to ``state``, which compares itself with what others have applied."""

    commands = (Put,)
    queries = (CountCommands,)

    def __init__(self, state: Applied) -> None:
        super().__init__()
        self._state = state

    def execute(self, meta: Meta, command: Put) -> int:
        self._state.apply(meta.index, command.value)
        return self._state.count

    def answer(self, query: CountCommands) -> int:
        return self._state.count

    def snapshot(self) -> Iterator[bytes]:
        return pack_records([self._state.snapshot()])

    def restore(self, stream: Iterable[bytes]) -> Iterator[None]:
        for record in unpack_records(stream):
            self._state.restore(record)
            yield

    def digest(self) -> int:
        return self._state.digest

    def next_deadline_ms(self) -> int | None:
        return None
