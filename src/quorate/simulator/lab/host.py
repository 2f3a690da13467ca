"""What a learner's core can do to the world: the whole of it.

``docs/LAB.md`` says it to learners.  A ``Host`` is one life of one server; what it does when that
life is over has no effect.  Wrong arguments raise in the core, which is how it learns its line.
"""

import random
from typing import Any, Protocol

from quorate.runtime.ports import Timer


class Wires(Protocol):
    """What a host needs of whoever runs it."""

    def send(self, request: Any, peer: int) -> None:
        """Send a request."""

    def persist(self, state: bytes, snapshot: bytes | None) -> None:
        """Keep this."""

    def apply(self, index: int, command: Any) -> None:
        """A command is committed."""

    def apply_snapshot(self, index: int, snapshot: bytes) -> None:
        """A snapshot stands for all commands up to here."""

    def rings(self, name: str) -> None:
        """A timer rings."""


class Host:
    """Given to ``Raft(host)``: who it is, what it had persisted, and what it can do."""

    def __init__(
        self,
        me: int,
        servers: int,
        saved: bytes,
        snapshot: bytes,
        source: random.Random,
        clock: Any,
        wires: Wires,
    ) -> None:
        self.me = me
        """This server's number, from 1."""
        self.peers = [server for server in range(1, servers + 1) if server != me]
        """The others' numbers."""
        self.saved = saved
        """What ``persist`` was last given by an earlier life; empty in the first."""
        self.snapshot = snapshot
        """The same of the snapshot.  The state machine has restored it already."""
        self.random = source
        """The only source of chance: a ``random.Random``."""
        self._clock = clock
        self._wires = wires
        self._timers: dict[str, Timer] = {}

    def now_ms(self) -> float:
        """Time, by this machine's clock."""
        now: float = self._clock.monotonic_ms()
        return now

    def send(self, peer: int, request: Any) -> None:
        """Send ``request`` (a copy of it) to ``peer``, whose ``on_request`` answers it; the answer
        comes to ``on_reply``.  Either may be lost, late, doubled or overtaken."""
        if peer not in self.peers:
            raise ValueError(f"send() to server {peer!r}: the peers of {self.me} are {self.peers}")
        self._wires.send(request, peer)

    def persist(self, state: bytes, snapshot: bytes | None = None) -> None:
        """On disk when it returns, in one piece; without ``snapshot`` the last one stays."""
        if not isinstance(state, bytes) or not isinstance(snapshot, bytes | None):
            raise TypeError("persist() takes bytes: persist(state) or persist(state, snapshot)")
        self._wires.persist(state, snapshot)

    def apply(self, index: int, command: Any) -> None:
        """``command`` is committed at ``index``: in order, each once in a life."""
        self._wires.apply(index, command)

    def apply_snapshot(self, index: int, snapshot: bytes) -> None:
        """Put ``snapshot``, which came from the leader, in the place of the state: it stands for
        all commands up to ``index``."""
        if not isinstance(snapshot, bytes):
            raise TypeError("apply_snapshot() takes an index and the bytes of a snapshot")
        self._wires.apply_snapshot(index, snapshot)

    def set_timer(self, name: str, after_ms: float) -> None:
        """``on_timer(name)`` is called once, after so long; the timer of that name that was set
        before is not."""
        self.cancel_timer(name)
        self._timers[name] = self._clock.call_later(max(0.0, after_ms), self._wires.rings, name)

    def cancel_timer(self, name: str) -> None:
        """It does not ring, if it is set."""
        timer = self._timers.pop(name, None)
        if timer is not None:
            timer.cancel()
