"""What goes wrong between machines, as settings that a nemesis changes while the cluster runs.

A direction ``(source, target)`` of two machines may be blocked (one-way partitions are partitions)
and may have its own ``Link``; all others share ``Faults.default``.  Processes of one machine talk
over ``Faults.loopback``, which is never blocked.
"""

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any


@dataclass(slots=True)
class Link:
    """One direction between two machines.  Probabilities are per frame."""

    delay_ms: tuple[float, float] = (0.1, 1.0)
    """The range a batch's one-way delay is drawn from."""
    bytes_per_ms: float = 125_000.0
    """1 Gbit/s."""
    loss: float = 0.0
    duplicate: float = 0.0
    reorder: float = 0.0
    reorder_ms: tuple[float, float] = (1.0, 50.0)
    """How much later a reordered or duplicated frame arrives."""

    def delay_s(self, source: random.Random) -> float:
        low, high = self.delay_ms
        return (low + (high - low) * source.random()) / 1000.0

    def late_s(self, source: random.Random) -> float:
        return source.uniform(*self.reorder_ms) / 1000.0


@dataclass(slots=True)
class Faults:
    """The state of all links."""

    default: Link = field(default_factory=Link)
    loopback: Link = field(default_factory=lambda: Link(delay_ms=(0.02, 0.1), bytes_per_ms=1e6))
    links: dict[tuple[str, str], Link] = field(default_factory=dict)
    on_unblock: Callable[[], None] = lambda: None
    """Set by the network, which then lets go what waited for the partition to heal."""
    blocked: set[tuple[str, str]] = field(default_factory=set)
    """The directions in which nothing passes."""

    def link(self, source: str, target: str) -> Link:
        if source == target:
            return self.loopback
        return self.links.get((source, target), self.default)

    def set_link(self, source: str, target: str, **changes: Any) -> None:
        """Give one direction settings of its own: those of now with ``changes``."""
        self.links[source, target] = replace(self.link(source, target), **changes)

    def is_blocked(self, source: str, target: str) -> bool:
        return (source, target) in self.blocked and source != target

    def block(self, source: str, target: str) -> None:
        """Drop what ``source`` sends to ``target``, one way, from now on."""
        self.blocked.add((source, target))

    def unblock(self, source: str, target: str) -> None:
        self.blocked.discard((source, target))
        self.on_unblock()

    def partition(self, *sides: Iterable[str]) -> None:
        """Block both ways between any two machines on different ``sides``."""
        groups: Sequence[list[str]] = [sorted(side) for side in sides]
        for side in groups:
            for other in groups:
                if side is not other:
                    self.blocked.update((a, b) for a in side for b in other)

    def heal(self) -> None:
        """Unblock everything; other faults stay as they are."""
        self.blocked.clear()
        self.on_unblock()
