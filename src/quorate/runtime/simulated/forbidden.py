"""What code under simulation must not touch: real clocks, entropy, threads, sockets, processes.

While the loop runs, the functions below raise ``NotInSimulation``, wherever they are called from.
Code that took a reference before (``from time import monotonic``) is not caught by this; the
determinism tests are the second net.
"""

import os
import random
import socket
import subprocess
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from quorate.base.check import Bug


class NotInSimulation(Bug):
    """Simulated code reached for the real world; a bug, so nothing swallows it."""


_CLOCKS = (
    "time time_ns monotonic monotonic_ns perf_counter perf_counter_ns process_time "
    "process_time_ns thread_time thread_time_ns clock_gettime clock_gettime_ns sleep"
)
_RANDOM = (
    "random uniform randint randrange choice choices sample shuffle getrandbits randbytes seed "
    "expovariate gauss normalvariate betavariate triangular"
)

_FORBIDDEN: list[tuple[Any, str, str]] = [
    (time, _CLOCKS, "use world.clock"),
    (random, _RANDOM, "use world.random"),
    (random.SystemRandom, "random getrandbits randbytes", "use world.random"),
    (os, "urandom getrandom", "use world.random"),
    (uuid, "uuid1 uuid4", "use world.random"),
    # Constructors rather than classes, which others inherit from or test instances against.
    (socket.socket, "__init__", "use world.network"),
    (socket, "socketpair create_connection create_server", "use world.network"),
    (threading.Thread, "start", "use world.spawn"),
    (subprocess.Popen, "__init__", "use world.processes"),
    (os, "fork posix_spawn system", "use world.processes"),
]
"""Owner, names, advice.  ``secrets`` stands on ``SystemRandom``."""


def refuse(name: str, instead: str) -> Callable[..., Any]:
    """A stand-in for ``name`` that says what to use instead."""

    def refused(*args: object, **kwargs: object) -> Any:
        raise NotInSimulation(f"{name} was called in the simulated world: {instead}")

    return refused


def _seed_needed(real_seed: Callable[..., None]) -> Callable[..., None]:
    def seed(self: random.Random, a: Any = None, version: int = 2) -> None:
        if a is None:
            raise NotInSimulation("random.Random without a seed was made in the simulated world")
        real_seed(self, a, version)

    return seed


def _replacements() -> list[tuple[Any, str, Any]]:
    replacements: list[tuple[Any, str, Any]] = []
    for owner, names, instead in _FORBIDDEN:
        for name in names.split():
            label = f"{getattr(owner, '__name__', owner)}.{name}"
            replacements.append((owner, name, refuse(label, instead)))
    replacements.append((random.Random, "seed", _seed_needed(random.Random.seed)))
    return replacements


_REPLACEMENTS = _replacements()


@contextmanager
def forbidden() -> Iterator[None]:
    """Refuse the real world inside the ``with`` block, and restore it whatever happens."""
    originals = [(owner, name, vars(owner)[name]) for owner, name, _ in _REPLACEMENTS]
    try:
        for owner, name, replacement in _REPLACEMENTS:
            setattr(owner, name, replacement)
        yield
    finally:
        for owner, name, original in originals:
            setattr(owner, name, original)
