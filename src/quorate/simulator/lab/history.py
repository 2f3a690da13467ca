"""What the servers of a lab apply, and the one order that all of them must keep.

The labs' tester reads each server's apply channel, in order, and compares.  So does ``History``: it
knows what was applied first at each position, and each server's ``Applied`` state compares itself
with it.  The state that is replicated (and goes into snapshots) is small, as in the labs: how many
commands, the last one's index, and a hash over all of them in order.
"""

from collections import Counter
from typing import TypeAlias

from quorate.base.checksum import stable_hash
from quorate.base.codec import decode, encode
from quorate.base.errors import QuorateError
from quorate.simulator.lab.results import Broken

Value: TypeAlias = int | str


class History:
    """Everything that any server has ever applied, and the servers' states."""

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
        self.states: dict[str, Applied] = {}
        """Of each server's latest life."""
        self._digests = [0]

    @property
    def distinct(self) -> list[Value]:
        """The values in order, each once: whoever tries again may have it committed twice."""
        return list(dict.fromkeys(value for _, value in self.order))

    def begin(self, server: str) -> "Applied":
        """An empty state, for a life that begins."""
        state = self.states[server] = Applied(self, server)
        return state

    def applied(self, server: str, position: int, index: int, value: Value) -> int:
        """``server`` applies ``value`` as its command number ``position + 1``; the new digest."""
        if position == len(self.order):
            self.order.append((index, value))
            self.values.setdefault(index, []).append(value)
            link = encode((self._digests[-1], index, value))
            self._digests.append(stable_hash(link))
        if self.order[position] != (index, value):
            first_index, first = self.order[position]
            raise Broken(
                "State Machine Safety (figure 3): all servers apply the same commands in the same"
                f" order, but {server} applies {value!r:.40} at index {index} as its command"
                f" {position + 1}, where another has applied {first!r:.40} at index {first_index}"
            )
        return self._digests[position + 1]

    def is_right(self, commands: int, digest: int) -> bool:
        """Whether ``digest`` is that of the state after so many commands."""
        return commands < len(self._digests) and self._digests[commands] == digest


class Applied:
    """The state of one life of a server: it counts and hashes commands, in order, without a gap."""

    def __init__(self, history: History, server: str) -> None:
        self.count = 0
        self.last_index = 0
        self.digest = 0
        self._history = history
        self._server = server

    def apply(self, index: int, value: Value) -> None:
        if index < self.last_index:
            raise Broken(
                f"entries are applied in order, but {self._server} applies index {index} after"
                f" index {self.last_index}"
            )
        self.digest = self._history.applied(self._server, self.count, index, value)
        self.count += 1
        self.last_index = index

    def snapshot(self) -> bytes:
        self._history.snapshots[self._server] += 1
        return encode((self.count, self.last_index, self.digest))

    def restore(self, snapshot: bytes) -> None:
        if self.count:
            self._history.installs += 1
        else:
            self._history.starts += 1
        try:
            count, last_index, digest = decode(snapshot, tuple[int, int, int])
        except (QuorateError, ValueError):
            raise Broken(f"{self._server} restores bytes that are no snapshot") from None
        if not self._history.is_right(count, digest):
            raise Broken(f"{self._server} restores a snapshot of a state that nobody had")
        self.count, self.last_index, self.digest = count, last_index, digest
