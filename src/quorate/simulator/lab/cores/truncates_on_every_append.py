"""Wrong: an append removes whatever follows it, also where nothing conflicts.

An old request that was overtaken by a newer one takes away entries that this server has already
acknowledged; they may be committed by then, and nobody else of the majority need survive.
"""

from typing import Any

from quorate.simulator.lab.cores import simple


class Raft(simple.Raft):
    """``simple``, which reads figure 2's "delete the existing entry" as "delete the rest"."""

    def merge(self, prev: int, entries: list[list[Any]]) -> None:
        del self.log[prev + 1 - self.base :]
        self.log += entries
        self.persist()
