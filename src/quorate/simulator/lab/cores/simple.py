"""A whole Raft in one file, written to be read: the paper's figures 2 and 13, and fast back-up.

Everything that happens to a server is one of its methods; each runs to its end before the next one
begins, so there are no locks.  What must survive is persisted before anything is sent.  What this
core leaves out, and ``raft/core`` has: pre-votes, leases and reads, batches and flow control, a
leader that steps down when nobody answers.
"""

import pickle
from dataclasses import dataclass
from typing import Any

from quorate.simulator.lab.host import Host

HEARTBEAT_MS = 100
ELECTION_MS = 300
MAX_ENTRIES = 50
"""In one request: a server that was away for long catches up in pieces."""


@dataclass
class RequestVote:
    term: int
    last_index: int
    last_term: int


@dataclass
class Vote:
    term: int
    granted: bool


@dataclass
class AppendEntries:
    term: int
    prev_index: int
    prev_term: int
    entries: list[list[Any]]
    """Each a term and a command."""
    commit_index: int


@dataclass
class Appended:
    term: int
    success: bool
    conflict_index: int = 0
    """Where the leader should try next."""


@dataclass
class InstallSnapshot:
    term: int
    index: int
    index_term: int
    snapshot: bytes


class Raft:
    """One server."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.current_term = 0
        self.voted_for = 0
        self.base = 0
        """The index that the snapshot stands for; the log begins behind it."""
        self.log: list[list[Any]] = [[0, None]]
        """``log[i]`` is the entry at index ``base + i``; of the first only the term is known."""
        if host.saved:
            self.current_term, self.voted_for, self.base, self.log = pickle.loads(host.saved)
        self.snapshot_bytes = host.snapshot
        self.commit_index = self.last_applied = self.base
        self.role = "follower"
        self.votes: set[int] = set()
        self.next_index: dict[int, int] = {}
        self.match_index: dict[int, int] = {}
        self.reset_election_timer()

    # What the tester asks.

    def state(self) -> tuple[int, bool]:
        return self.current_term, self.role == "leader"

    def start(self, command: Any) -> tuple[int, int] | None:
        if self.role != "leader":
            return None
        self.log.append([self.current_term, command])
        self.persist()
        self.replicate()
        return self.last_index, self.current_term

    def snapshot(self, index: int, snapshot: bytes) -> None:
        """The state machine's own: what it stands for is cut from the log (§7)."""
        if index > self.base:
            self.log = [[self.term_at(index), None], *self.log[index - self.base + 1 :]]
            self.base = index
            self.persist(snapshot)

    def timeline(self) -> dict[str, Any]:
        """For the picture of a failure alone."""
        return {
            "role": self.role,
            "voted_for": self.voted_for,
            "commit_index": self.commit_index,
            "first_index": self.base + 1,
            "terms": [term for term, _ in self.log[1:]],
        }

    # Time.

    def on_timer(self, name: str) -> None:
        if name == "heartbeat" and self.role == "leader":
            self.replicate()
            self.host.set_timer("heartbeat", HEARTBEAT_MS)
        elif name == "election" and self.role != "leader":
            self.campaign()

    def reset_election_timer(self) -> None:
        """A random time for each election, so that split votes are rare (§5.2)."""
        self.host.set_timer("election", ELECTION_MS + self.host.random.random() * ELECTION_MS)

    def campaign(self) -> None:
        """A new term, a vote for itself, and a request to all others (§5.2)."""
        self.role = "candidate"
        self.current_term += 1
        self.voted_for = self.host.me
        self.votes = {self.host.me}
        self.persist()
        self.reset_election_timer()
        for peer in self.host.peers:
            last_term = self.term_at(self.last_index)
            self.host.send(peer, RequestVote(self.current_term, self.last_index, last_term))

    # Requests, each answered by what the method returns.

    def on_request(self, peer: int, request: Any) -> Any:
        if request.term > self.current_term:
            self.become_follower(request.term)
        match request:
            case RequestVote():
                return self.on_request_vote(peer, request)
            case AppendEntries():
                return self.on_append_entries(request)
            case InstallSnapshot():
                return self.on_install_snapshot(request)

    def on_request_vote(self, peer: int, request: RequestVote) -> Vote:
        """One vote a term, and only for a log that is as up to date as this one (§5.4.1)."""
        mine = (self.term_at(self.last_index), self.last_index)
        up_to_date = (request.last_term, request.last_index) >= mine
        free = self.voted_for in (0, peer)
        granted = request.term == self.current_term and free and up_to_date
        if granted:
            self.voted_for = peer
            self.persist()
            self.reset_election_timer()
        return Vote(self.current_term, granted)

    def on_append_entries(self, request: AppendEntries) -> Appended:
        if request.term < self.current_term:
            return Appended(self.current_term, False)
        self.role = "follower"  # a candidate has lost to the sender
        self.reset_election_timer()
        prev, entries = request.prev_index, request.entries
        if prev < self.base:  # the snapshot stands for the first of them: they match
            entries = entries[self.base - prev :]
            prev = self.base
        elif prev > self.last_index:
            return Appended(self.current_term, False, self.last_index + 1)
        elif self.term_at(prev) != request.prev_term:
            return Appended(self.current_term, False, self.first_of_term(prev))
        self.merge(prev, entries)
        # Not beyond what this request has shown to match.
        known = min(request.commit_index, prev + len(entries))
        self.commit_to(known)
        return Appended(self.current_term, True)

    def merge(self, prev: int, entries: list[list[Any]]) -> None:
        """Put ``entries`` behind index ``prev``.  Only a conflict removes what is there: requests
        overtake each other, and an old one says nothing about what came later (§5.3)."""
        for offset, entry in enumerate(entries):
            index = prev + 1 + offset
            if index > self.last_index or self.term_at(index) != entry[0]:
                del self.log[index - self.base :]
                self.log += entries[offset:]
                self.persist()
                return

    def on_install_snapshot(self, request: InstallSnapshot) -> Appended:
        """Figure 13."""
        if request.term < self.current_term:
            return Appended(self.current_term, False)
        self.role = "follower"
        self.reset_election_timer()
        if request.index > self.commit_index:
            same = request.index <= self.last_index and (
                self.term_at(request.index) == request.index_term
            )
            rest = self.log[request.index - self.base + 1 :] if same else []
            self.log = [[request.index_term, None], *rest]
            self.base = self.commit_index = self.last_applied = request.index
            self.persist(request.snapshot)
            self.host.apply_snapshot(request.index, request.snapshot)
        return Appended(self.current_term, True)

    # Answers.

    def on_reply(self, peer: int, request: Any, reply: Any) -> None:
        if reply.term > self.current_term:
            self.become_follower(reply.term)
        if request.term != self.current_term:
            return  # the answer to a question of an earlier term
        if isinstance(request, RequestVote):
            if self.role == "candidate" and reply.granted:
                self.votes.add(peer)
                if len(self.votes) >= self.majority:
                    self.lead()
        elif self.role == "leader":
            self.on_appended(peer, request, reply)

    def on_appended(self, peer: int, request: Any, reply: Appended) -> None:
        if isinstance(request, InstallSnapshot):
            matched = request.index
        else:
            matched = request.prev_index + len(request.entries)
        if reply.success:
            self.match_index[peer] = max(self.match_index[peer], matched)
            self.next_index[peer] = max(self.next_index[peer], self.match_index[peer] + 1)
            self.commit_counted()
            if len(getattr(request, "entries", [])) == MAX_ENTRIES:
                self.replicate_to(peer)  # there is more
        elif request.prev_index == self.next_index[peer] - 1:  # not an old one, late
            self.next_index[peer] = reply.conflict_index
            self.replicate_to(peer)

    # Roles.

    def become_follower(self, term: int) -> None:
        """A higher term clears the vote (§5.1)."""
        if self.role == "leader":
            self.reset_election_timer()
        self.role = "follower"
        self.current_term = term
        self.voted_for = 0
        self.persist()

    def lead(self) -> None:
        self.role = "leader"
        self.next_index = dict.fromkeys(self.host.peers, self.last_index + 1)
        self.match_index = dict.fromkeys(self.host.peers, 0)
        self.on_timer("heartbeat")

    # Replication and commitment.

    def replicate(self) -> None:
        for peer in self.host.peers:
            self.replicate_to(peer)

    def replicate_to(self, peer: int) -> None:
        """What it may lack; nothing is a heartbeat.  If that was cut, the snapshot."""
        prev = self.next_index[peer] - 1
        term = self.current_term
        if prev < self.base:
            install = InstallSnapshot(term, self.base, self.term_at(self.base), self.snapshot_bytes)
            self.host.send(peer, install)
            return
        first = prev + 1 - self.base
        entries = self.log[first : first + MAX_ENTRIES]
        request = AppendEntries(term, prev, self.term_at(prev), entries, self.commit_index)
        self.host.send(peer, request)

    def commit_counted(self) -> None:
        """What a majority has, if it is of this term: entries of earlier terms are committed with
        it, and never by counting (§5.4.2, figure 8)."""
        index = self.counted()
        if self.term_at(index) == self.current_term:
            self.commit_to(index)

    def counted(self) -> int:
        """The highest index that a majority has."""
        has = sorted([self.last_index, *self.match_index.values()], reverse=True)
        return max(has[self.majority - 1], self.base)

    def commit_to(self, index: int) -> None:
        """All up to ``index`` is committed: apply it, in order."""
        self.commit_index = max(self.commit_index, index)
        while self.last_applied < self.commit_index:
            self.last_applied += 1
            self.host.apply(self.last_applied, self.log[self.last_applied - self.base][1])

    # The log, and the disk.

    @property
    def last_index(self) -> int:
        return self.base + len(self.log) - 1

    @property
    def majority(self) -> int:
        return (len(self.host.peers) + 1) // 2 + 1

    def term_at(self, index: int) -> int:
        term: int = self.log[index - self.base][0]
        return term

    def first_of_term(self, index: int) -> int:
        """Where the term of the entry at ``index`` begins: a leader that backs up to there skips
        the whole term with one refusal (§5.3, end)."""
        term = self.term_at(index)
        while index > self.base + 1 and self.term_at(index - 1) == term:
            index -= 1
        return index

    def persist(self, snapshot: bytes | None = None) -> None:
        """Figure 2, "persistent state", and the snapshot if that is new."""
        if snapshot is not None:
            self.snapshot_bytes = snapshot
        state = [self.current_term, self.voted_for, self.base, self.log]
        self.host.persist(pickle.dumps(state), snapshot)
