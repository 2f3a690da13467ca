"""My Raft.  Each method runs to its end before the next one is called; docs/LAB.md has the rules.

Run it with: quorate lab raft --core my_raft.py
"""

import pickle
from typing import Any


class Raft:
    """One server."""

    def __init__(self, host: Any) -> None:
        self.host = host  # host.me, host.peers, host.random, host.now_ms()
        self.term = 0
        self.is_leader = False
        if host.saved:  # what an earlier life of this server gave to host.persist()
            self.term = pickle.loads(host.saved)
        host.set_timer("election", 300 + 300 * host.random.random())

    def state(self) -> tuple[int, bool]:
        """The current term, and whether this server believes to lead."""
        return self.term, self.is_leader

    def start(self, command: Any) -> tuple[int, int] | None:
        """Append command if this server leads: (index, term).  Otherwise None."""
        return None

    def on_timer(self, name: str) -> None:
        """A timer of host.set_timer(name, after_ms) rings."""
        for peer in self.host.peers:
            self.host.send(peer, {"type": "vote", "term": self.term})

    def on_request(self, peer: int, request: Any) -> Any:
        """A peer's request: return the answer.  First host.persist(bytes) what it promises."""
        return {"term": self.term, "granted": False}

    def on_reply(self, peer: int, request: Any, reply: Any) -> None:
        """A peer has answered request.  Committed?  Then host.apply(index, command)."""

    def snapshot(self, index: int, snapshot: bytes) -> None:
        """The state machine's own, up to index: cut the log, host.persist(state, snapshot)."""
