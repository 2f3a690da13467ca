"""A replica whose state is not what the others have is found, ends, and stays down."""

import pytest

from quorate.base.errors import QuorateError, ReplicaDamaged
from quorate.base.ids import GroupId, ReplicaId
from quorate.raft.client import GroupClient
from quorate.raft.core.settings import Timing
from quorate.raft.digests import KEPT, Digests, Verdict
from quorate.runtime.ports import World
from quorate.runtime.simulated.world import Simulation
from quorate.simulator.cluster import RaftCluster
from quorate.simulator.workloads.registers import Read, Registers, Write

GROUP = GroupId(1)
VOTERS = (ReplicaId(1), ReplicaId(2), ReplicaId(3))


def test_what_a_majority_has_is_right() -> None:
    digests = Digests()
    digests.note(VOTERS[0], 256, 7)
    assert digests.verdict(VOTERS[0], 256, VOTERS) is Verdict.UNKNOWN
    digests.note(VOTERS[1], 256, 8)
    assert digests.verdict(VOTERS[0], 256, VOTERS) is Verdict.UNKNOWN  # one of two is wrong
    digests.note(VOTERS[2], 256, 8)
    verdicts = [digests.verdict(voter, 256, VOTERS) for voter in VOTERS]
    assert verdicts == [Verdict.DIVERGED, Verdict.EQUAL, Verdict.EQUAL]


def test_a_learner_is_judged_and_does_not_judge() -> None:
    digests = Digests()
    learners = [ReplicaId(number) for number in range(4, 9)]
    for learner in learners:
        digests.note(learner, 256, 1)
    digests.note(VOTERS[0], 256, 2)
    digests.note(VOTERS[1], 256, 2)
    assert digests.verdict(learners[0], 256, VOTERS) is Verdict.DIVERGED
    assert digests.verdict(VOTERS[0], 256, VOTERS) is Verdict.EQUAL


def test_only_so_many_indexes_are_remembered() -> None:
    digests = Digests()
    for number in range(KEPT + 1):
        for voter in VOTERS:
            digests.note(voter, number, 0)
    assert digests.verdict(VOTERS[0], 0, VOTERS) is Verdict.UNKNOWN
    assert digests.verdict(VOTERS[0], 1, VOTERS) is Verdict.EQUAL


async def _write(world: World, clients: list[GroupClient]) -> None:
    number = 0
    while True:
        number += 1
        try:
            await clients[0].execute(Write(f"k{number % 5}", str(number)), timeout_ms=5_000)
        except QuorateError:
            continue


def _a_liar(simulation: Simulation, leads: bool) -> tuple[RaftCluster, str]:
    """A cluster under load, and a node whose memory holds what nobody wrote."""
    cluster = RaftCluster(simulation, 3, timing=Timing(50, 300), machine=Registers)
    cluster.checker.judges = False  # it would see at once what replicas must find themselves
    cluster.found()
    cluster.start_client("c1", _write)
    simulation.run_for(2_000)
    leader = cluster.leader(GROUP)
    assert leader is not None
    name = leader if leads else next(other for other in cluster.names if other != leader)
    machine = cluster.raft_nodes[name].groups[GROUP].machine
    assert isinstance(machine, Registers)
    machine._set("nobody wrote this", "1")
    return cluster, name


def _liar_led(simulation: Simulation) -> tuple[RaftCluster, str, list[str]]:
    """The liar has every chance to lead, until it ends or clients have read what nobody wrote; what
    they read."""
    cluster, name = _a_liar(simulation, leads=False)
    seen: list[str] = []

    async def read(world: World, clients: list[GroupClient]) -> None:
        while True:
            try:
                found = await clients[0].query(Read("nobody wrote this"), timeout_ms=1_000)
            except QuorateError:
                continue
            if found is not None:
                seen.append(found)
            await world.clock.sleep(100)

    cluster.start_client("c2", read)
    for _ in range(60):
        if not cluster.is_up(name) or seen:
            break
        if cluster.leader(GROUP) != name:
            cluster.transfer(GROUP)
        simulation.run_for(500)
    return cluster, name, seen


def test_planted_where_digests_are_ignored_clients_read_what_nobody_wrote(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Digests, "verdict", lambda *_: Verdict.EQUAL)
    with Simulation(3) as simulation:
        cluster, name, seen = _liar_led(simulation)
        assert cluster.is_up(name)
        assert seen[0] == "1"


@pytest.mark.parametrize("leads", [True, False], ids=["the leader", "a follower"])
def test_a_replica_whose_memory_lied_ends_and_does_not_start_again(leads: bool) -> None:
    with Simulation(3) as simulation:
        cluster, name = _a_liar(simulation, leads)
        [process] = cluster.processes(name)
        simulation.run_until(lambda: not process.alive, 60_000)
        assert isinstance(process.error, ReplicaDamaged)
        others = [other for other in cluster.names if other != name]
        assert all(cluster.is_up(other) for other in others)
        cluster.start(name)
        simulation.run_for(1_000)
        [again] = cluster.processes(name)
        assert isinstance(again.error, ReplicaDamaged)
        assert "rebuilt from the others" in str(again.error)
