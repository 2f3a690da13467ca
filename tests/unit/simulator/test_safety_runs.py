"""The safety checker sees whole runs of pure cores, step by step, and accuses nobody wrongly."""

import pytest
from raft_cluster import RandomCluster

from quorate.base.check import Bug
from quorate.base.checksum import stable_hash
from quorate.base.codec import encode
from quorate.base.ids import GroupId
from quorate.raft.core.events import Effects, Event, SnapshotInstalled
from quorate.raft.core.replica import Replica
from quorate.simulator.checkers.safety import SafetyChecker
from quorate.simulator.planted.bugs import BUGS
from quorate.simulator.scenarios.hosts import Host

GROUP = GroupId(1)
STEPS = 5_000


def run_watched(seed: int) -> SafetyChecker:
    """A random cluster whose replicas apply what they commit; the state is what was applied."""
    checker = SafetyChecker()
    cluster = RandomCluster(seed)

    def watch(host: Host) -> None:
        take = host.take
        life: list[Replica] = [host.replica]
        seen = [0]

        def watched(event: Event, now_ms: float) -> tuple[Effects, list[object]]:
            if host.replica is not life[0]:
                life[0], seen[0] = host.replica, 0
                restored(host)
            effects, letters = take(event, now_ms)
            checker.stepped(GROUP, host.replica, event, effects)
            if isinstance(event, SnapshotInstalled) and effects.cut is not None:
                restored(host)
            for index in range(seen[0] + 1, len(host.applied) + 1):
                checker.applied(GROUP, host.me, host.applied[index - 1], digest(host, index))
            seen[0] = len(host.applied)
            return effects, list(letters)

        def restored(host: Host) -> None:
            seen[0] = index = host.replica.commit_index
            if index:
                term = host.applied[index - 1].term
                checker.restored(GROUP, host.me, index, term, digest(host, index))

        host.take = watched  # type: ignore[assignment, method-assign]

    def digest(host: Host, index: int) -> int:
        return stable_hash(encode(host.applied[:index]))

    for host in cluster.hosts.values():
        watch(host)
    cluster.run(STEPS)
    return checker


def test_healthy_replicas_under_all_faults_are_not_accused() -> None:
    checkers = [run_watched(seed) for seed in range(20)]
    assert sum(checker.steps for checker in checkers) > 20_000
    assert sum(checker.elections for checker in checkers) > 100


def test_committing_an_old_terms_entry_by_counting_is_seen() -> None:
    [bug] = [bug for bug in BUGS if "by counting" in bug.name]
    with bug.planted(), pytest.raises(Bug, match="an old term's entry was committed by counting"):
        for seed in range(30):
            run_watched(seed)
