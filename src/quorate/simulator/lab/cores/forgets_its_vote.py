"""Wrong: the vote is not on disk when it is given.

A server that votes, crashes and comes back within the same term votes again, perhaps for another:
two leaders in one term.
"""

import pickle

from quorate.simulator.lab.cores import simple


class Raft(simple.Raft):
    """``simple``, with a hole in what is persisted."""

    def persist(self, snapshot: bytes | None = None) -> None:
        if snapshot is not None:
            self.snapshot_bytes = snapshot
        nobody = 0
        state = [self.current_term, nobody, self.base, self.log]
        self.host.persist(pickle.dumps(state), snapshot)
