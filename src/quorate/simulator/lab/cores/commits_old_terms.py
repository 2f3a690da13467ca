"""Wrong: commits an entry of an old term as soon as a majority has it (figure 8).

A server that lacks the entry, but has a later one of a higher term, may still be elected, and then
replaces what was committed.
"""

from quorate.simulator.lab.cores import simple


class Raft(simple.Raft):
    """``simple``, without the last line of figure 2's rules for leaders."""

    def commit_counted(self) -> None:
        self.commit_to(self.counted())
