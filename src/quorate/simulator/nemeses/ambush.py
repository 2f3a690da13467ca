"""Lying in wait for whoever fetches a snapshot, and for whoever sends it.

What survives a crash between a snapshot's coming and the log's hearing of it is decided in a few
milliseconds that random blows hardly ever meet.  So this one watches for them.  Now and then the
bit flips that only a snapshot on its way can show: in the file that it is read from.
"""

import random
from collections.abc import Callable
from functools import partial
from typing import Protocol

from quorate.simulator.nemeses.damage import Rot
from quorate.simulator.nemeses.faults import Ambush, SlowDisk

BLOW_MS = 80.0
"""From a snapshot's offer to the blow, on average, where it is struck on its way."""
PATIENCE_MS = 2_000.0
"""To wait so long, otherwise, until the snapshot is installed."""
ROT_SHARE = 0.3
"""Of the snapshots' offers: a bit flips in the sender's file, and nobody is struck."""
STALL_MS = 10.0
"""What is written so soon after the offer, or the installing, comes late."""
STALLS = SlowDisk(at_ms=0, for_ms=0, target="", share=1.0, stall_ms=(300.0, 1_500.0))


class Arms(Protocol):
    """What an ambush may do: the nemesis."""

    rot: Rot

    def later(self, delay_ms: float, act: Callable[[], None]) -> None: ...

    def stall(self, number: int, name: str, how: SlowDisk | None) -> None:
        """Have the syncs of a machine stall from now on; ``None``: no longer."""

    def strike(self, name: str, down_ms: float) -> bool:
        """Take its power; whether it had any."""


class Lurking:
    """One ambush at work."""

    def __init__(
        self, fault: Ambush, rng: random.Random, arms: Arms, struck: Callable[[], None]
    ) -> None:
        """``struck`` hears of each blow that had an effect."""
        self._number = fault.number
        self._left = fault.strikes
        self._rng = rng
        self._arms = arms
        self._struck = struck
        self._victim = ""
        self._on_the_way = False
        self.over = False

    def seen(self, name: str, installed: bool) -> None:
        """A node was offered a snapshot that it needs, or has installed it."""
        if not installed and not self._victim and self._left:
            self._left -= 1
            if self._rng.random() < ROT_SHARE and self._arms.rot.strike(name, self._rng):
                self._struck()
                return
            self._victim, self._on_the_way = name, self._rng.random() < 0.5
            self._stall(name)
            if self._on_the_way:
                self._arms.later(self._rng.expovariate(1 / BLOW_MS), partial(self._strike, name))
            else:
                self._arms.later(PATIENCE_MS, partial(self._give_up, self._left))
        elif installed and name == self._victim and not self._on_the_way:
            self._on_the_way = True  # the blow is: another group's snapshot brings no second one
            self._stall(name)
            self._arms.later(self._rng.uniform(0, STALL_MS), partial(self._strike, name))

    def _stall(self, name: str) -> None:
        self._arms.stall(self._number, name, STALLS)
        self._arms.later(STALL_MS, lambda: self._arms.stall(self._number, name, None))

    def _give_up(self, left: int) -> None:
        if self._left == left:  # nobody else since
            self._victim = ""

    def _strike(self, name: str) -> None:
        self._victim = ""
        if not self.over and self._arms.strike(name, self._rng.uniform(1, 300)):
            self._struck()
