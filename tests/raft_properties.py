"""What must be true of all replicas of a ``RandomCluster`` together, after every step."""

from dataclasses import dataclass, field

from raft_cluster import Stepped

from quorate.base.ids import ReplicaId
from quorate.raft.core.entries import Entry
from quorate.raft.core.events import Read
from quorate.raft.core.replica import Role
from quorate.simulator.scenarios.hosts import Host


@dataclass(slots=True)
class Figure3:
    """The five safety properties; each check raises ``AssertionError`` with what it saw."""

    hosts: dict[ReplicaId, Host]
    leaders: dict[int, ReplicaId] = field(default_factory=dict)
    """By term: who was elected in it."""
    committed: list[tuple[int, Entry]] = field(default_factory=list)
    """From index 1 on: the term in which the entry was first known committed, and the entry."""
    applied: dict[int, Entry] = field(default_factory=dict)

    def election_safety(self, seen: Stepped) -> None:
        replica = seen.host.replica
        if replica.role is Role.LEADER:
            first = self.leaders.setdefault(replica.term, replica.replica)
            assert first == replica.replica, (
                f"{first} and {replica.replica} lead in term {replica.term}"
            )

    def leader_append_only(self, seen: Stepped) -> None:
        replica, before = seen.host.replica, seen.before
        if seen.event is not None and before.role is replica.role is Role.LEADER:
            kept = seen.host.log[: len(seen.log_before)]
            assert kept == seen.log_before, f"leader {replica.replica} changed its log"

    def log_matching(self, seen: Stepped) -> None:
        log = seen.host.log
        if log == seen.log_before:
            return
        for other in self.hosts.values():
            theirs = other.log
            for last in range(min(len(log), len(theirs)), 0, -1):
                if log[last - 1].term == theirs[last - 1].term:
                    assert log[:last] == theirs[:last], (
                        f"{seen.host.me} and {other.me} share entry {last} but not all before it"
                    )
                    break

    def leader_completeness(self, seen: Stepped) -> None:
        replica = seen.host.replica
        news = replica.commit_index > len(self.committed)
        log_here = seen.host.log if news else []
        for index in range(len(self.committed) + 1, replica.commit_index + 1):
            self.committed.append((replica.term, log_here[index - 1]))
        if not news and (replica.role is not Role.LEADER or seen.before.role is Role.LEADER):
            return
        for host in self.hosts.values():
            if host.replica.role is not Role.LEADER:
                continue
            log = host.log
            for index, (term, entry) in enumerate(self.committed, 1):
                assert term >= host.replica.term or log[index - 1 : index] == [entry], (
                    f"{host.me} leads in term {host.replica.term} without entry {index},"
                    f" committed in term {term}"
                )

    def state_machine_safety(self, seen: Stepped) -> None:
        replica = seen.host.replica
        first = 1 if seen.event is None else seen.before.commit_index + 1
        log = seen.host.log if first <= replica.commit_index else []
        for index in range(first, replica.commit_index + 1):
            entry = log[index - 1]
            applied = self.applied.setdefault(index, entry)
            assert applied == entry, f"{replica.replica} applies another entry at {index}"


@dataclass(slots=True)
class LatestConfiguration:
    """Raft §6: a replica obeys the latest configuration in its log, committed or not."""

    def __call__(self, seen: Stepped) -> None:
        replica, log = seen.host.replica, seen.host.log
        if seen.event is None or log != seen.log_before:
            latest = seen.host.configuration_of(log)
            assert replica.configuration == latest, (
                f"{seen.host.me} obeys {replica.configuration}, and its log says {latest}"
            )


@dataclass(slots=True)
class LinearizableReads:
    """Thesis §6.4: a read sees all that was committed, wherever, when it began."""

    begun: dict[int, int] = field(default_factory=dict)
    """By read: the highest index that was committed by then."""
    committed: int = 0

    def __call__(self, seen: Stepped) -> None:
        if isinstance(seen.event, Read):
            self.begun[seen.event.read] = self.committed
        for number, index in seen.reads:
            assert index >= self.begun[number], (
                f"read {number} at {seen.host.me} is answered from entry {index} on, and"
                f" {self.begun[number]} was committed when it began"
            )
        self.committed = max(self.committed, seen.host.replica.commit_index)
