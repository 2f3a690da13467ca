"""A child process's side of ``child.py``: its life ends with its parent's."""

import asyncio
import os
import sys
from collections.abc import Callable

from quorate.runtime.real.parent_death import die_with_parent

__all__ = ["die_with_parent", "when_parent_ends"]


def when_parent_ends(stop: Callable[[], None]) -> None:
    """Call ``stop`` when standard input, a pipe that the parent never writes to, ends."""
    loop = asyncio.get_running_loop()
    descriptor = sys.stdin.fileno()

    def readable() -> None:
        if not os.read(descriptor, 4096):
            loop.remove_reader(descriptor)
            stop()

    loop.add_reader(descriptor, readable)
