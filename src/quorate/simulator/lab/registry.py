"""The lab tests by name: one implementation of each, for whatever stands behind a ``Lab``."""

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, TypeAlias

from quorate.simulator.lab.tester import Lab

Body: TypeAlias = Callable[[Lab], Coroutine[Any, Any, None]]


@dataclass(frozen=True, slots=True)
class LabTest:
    """A test: what it is called, what it needs, and what it does."""

    part: str
    """``2A`` to ``2D``, as in the course; ``swarm`` beyond it."""
    name: str
    promise: str
    servers: int
    seeds: int
    """How many show enough."""
    snapshots: bool
    """Whether servers take a snapshot every ten commands."""
    body: Body


ALL: dict[str, LabTest] = {}
"""Every test of the parts that were imported, in the order of the course."""


def lab_test(
    part: str, servers: int, *, seeds: int = 5, snapshots: bool = False
) -> Callable[[Body], Body]:
    """Enter a coroutine function into the table; its first paragraph is its promise."""

    def decorate(body: Body) -> Body:
        promise = " ".join((body.__doc__ or "").split())
        ALL[body.__name__] = LabTest(part, body.__name__, promise, servers, seeds, snapshots, body)
        return body

    return decorate
