"""What the servers of a lab apply: a tiny machine, and the one order that all of them must keep.

The labs' tester reads each server's apply channel, in order, and compares.  Here the replicated
state machine itself is the witness: ``History`` knows what was applied first at each position, and
every machine that applies something compares itself with it.  The state that is replicated (and
goes into snapshots) is small, as in the labs: how many commands, the last one's index, and a hash
over all of them in order.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import TypeAlias

from quorate.base.check import check
from quorate.base.checksum import stable_hash
from quorate.base.codec import Command, Query, decode, encode
from quorate.base.machine import Meta, TypedMachine
from quorate.base.stream import pack_records, unpack_records

Value: TypeAlias = int | str


class Put(Command[int], tag="labs.put.1"):
    """Answered with its position: 1 for the first command of all."""

    value: Value


class CountCommands(Query[int], tag="labs.count.1"):
    """How many commands were applied."""


class History:
    """Everything that any server has ever applied, and the servers' machines."""

    def __init__(self) -> None:
        self.order: list[tuple[int, Value]] = []
        """Index and value of each command, in order."""
        self.values: dict[int, list[Value]] = {}
        """By index: the commands of that entry."""
        self.snapshots: Counter[str] = Counter()
        """By server: how many it has taken."""
        self.starts = 0
        """Lives that began from a snapshot of the server's own."""
        self.installs = 0
        """Snapshots that took the place of a state."""
        self.machines: dict[str, LabMachine] = {}
        """The machine of each server's latest life."""
        self._digests = [0]

    @property
    def distinct(self) -> list[Value]:
        """The values in order, each once: whoever tries again may have it committed twice."""
        return list(dict.fromkeys(value for _, value in self.order))

    def machine_of(self, server: str) -> "LabMachine":
        """An empty machine, for a life that begins."""
        machine = self.machines[server] = LabMachine(self, server)
        return machine

    def applied(self, server: str, position: int, index: int, value: Value) -> int:
        """``server`` applies ``value`` as its command number ``position + 1``; the new digest."""
        if position == len(self.order):
            self.order.append((index, value))
            self.values.setdefault(index, []).append(value)
            link = encode((self._digests[-1], index, value))
            self._digests.append(stable_hash(link))
        check(
            self.order[position] == (index, value),
            f"{server} applies {value!r} of entry {index} as its command {position + 1}; others"
            f" applied {self.order[position]} there",
        )
        return self._digests[position + 1]

    def digest(self, commands: int) -> int:
        """Of the state after so many commands."""
        check(commands < len(self._digests), f"nobody has applied {commands} commands")
        return self._digests[commands]


class LabMachine(TypedMachine):
    """Counts and hashes commands, in order and without a gap, and says so to the history."""

    commands = (Put,)
    queries = (CountCommands,)

    def __init__(self, history: History, server: str) -> None:
        super().__init__()
        self.count = 0
        self.last_index = 0
        self._digest = 0
        self._history = history
        self._server = server

    def execute(self, meta: Meta, command: Put) -> int:
        check(meta.index >= self.last_index, f"{self._server} applies {meta.index} after a later")
        self._digest = self._history.applied(self._server, self.count, meta.index, command.value)
        self.count += 1
        self.last_index = meta.index
        return self.count

    def answer(self, query: CountCommands) -> int:
        return self.count

    def snapshot(self) -> Iterator[bytes]:
        self._history.snapshots[self._server] += 1
        return pack_records([encode((self.count, self.last_index, self._digest))])

    def restore(self, stream: Iterable[bytes]) -> Iterator[None]:
        if self.count:
            self._history.installs += 1
        else:
            self._history.starts += 1
        for record in unpack_records(stream):
            self.count, self.last_index, self._digest = decode(record, tuple[int, int, int])
            yield
        right = self._digest == self._history.digest(self.count)
        check(right, f"{self._server} restores a state that nobody had")

    def digest(self) -> int:
        return self._digest

    def next_deadline_ms(self) -> int | None:
        return None
