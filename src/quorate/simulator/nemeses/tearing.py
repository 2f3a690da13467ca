"""Tearing a group apart at the moment in which its members change.

Of three voters one stays and two new ones come.  As soon as the leader has the change in its log,
nothing of it reaches the other old voters any more; some time later the leader dies, and the old
and the new do not hear each other.  So the old ones are a majority of the old configuration, and
know no other; the new ones one of the new.  With a joint configuration (Raft §6, figure 10) only
one of the two sides can decide anything.
"""

import random
from collections.abc import Callable
from typing import Protocol

from quorate.simulator.nemeses.links import Direction, both_ways

KEPT_MS = (5.0, 400.0)
"""So long the leader goes on with the new voters alone."""


class Hands(Protocol):
    """What tearing may do: the nemesis."""

    def later(self, delay_ms: float, act: Callable[[], None]) -> None: ...

    def cut(self, number: int, directions: list[Direction]) -> None:
        """What does not pass, on behalf of the fault of this number, from now on."""

    def strike(self, name: str, down_ms: float) -> bool:
        """Take a machine's power; whether it had any."""


class Tear:
    """One change that is torn."""

    def __init__(
        self,
        number: int,
        leader: str,
        old: list[str],
        new: list[str],
        rng: random.Random,
        hands: Hands,
    ) -> None:
        """``old`` and ``new``: the voters before and after, without the leader and each other."""
        self._number = number
        self._leader = leader
        self._old = old
        self._new = new
        self._rng = rng
        self._hands = hands
        self._begun = False
        self.over = False

    def configured(self, name: str, voters: set[str]) -> None:
        """A node obeys a configuration with these voters."""
        if name == self._leader and voters.issuperset(self._new) and not self._begun:
            self._begun = True
            self._hands.cut(self._number, both_ways([name], self._old))
            self._hands.later(self._rng.uniform(*KEPT_MS), self._part)

    def _part(self) -> None:
        if not self.over:
            self._hands.cut(self._number, both_ways(self._old, self._new))
            self._hands.strike(self._leader, self._rng.uniform(300, 3_000))
