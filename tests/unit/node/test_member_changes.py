"""Changes of a cluster's machines as a command asks for them: three voters, and two that join."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from quorate.base.errors import BadInput, Unavailable
from quorate.base.ids import GROUP_NAMES, NAMESPACE_GROUP, NodeId, node_of
from quorate.node.members import MemberChanges, moved, without
from quorate.node.messages import NodeEntry
from quorate.rpc.client import RpcClient
from quorate.rpc.handshake import Identity
from quorate.runtime.ports import World
from quorate.runtime.simulated.world import Simulation
from quorate.simulator.cluster import CLUSTER, RaftCluster, address

TIMEOUT_MS = 120_000.0
N1, N2, N3, N4, N5 = (NodeEntry(NodeId(k), f"n{k}", address(f"n{k}")) for k in range(1, 6))


class Scene:
    """What a command has in its hands, and the cluster behind it."""

    def __init__(self, world: World, cluster: RaftCluster) -> None:
        self.world = world
        self.cluster = cluster
        rpc = RpcClient(world, Identity(CLUSTER, NodeId(0), "client"))
        self.said: list[str] = []
        self.changes = MemberChanges(world, rpc, cluster.addresses, self.said.append, TIMEOUT_MS)

    async def kinds(self) -> list[tuple[list[int], list[int]]]:
        """The machines that vote, and those that learn, in each group."""
        found = (await self.changes.configurations()).values()
        return [(sorted(map(node_of, c.voters)), sorted(map(node_of, c.learners))) for c in found]


def play(work: Callable[[Scene], Awaitable[None]]) -> None:
    with Simulation(1) as simulation:
        cluster = RaftCluster(simulation, 5, groups=len(GROUP_NAMES), founders=3)
        cluster.found()

        async def main(world: World) -> None:
            scene = Scene(world, cluster)
            for machine in (N1, N2, N3):  # so they are called
                await scene.changes.all_groups(moved(machine), "has a name")
            scene.said.clear()
            await work(scene)

        process = simulation.machine("c").start_process("client", main)
        simulation.run_until(lambda: not process.alive, 600_000)
        if process.error is not None:
            raise process.error


def test_who_takes_the_place_of_a_learner_gets_no_vote() -> None:
    async def work(scene: Scene) -> None:
        await scene.changes.add(N4, learner=True)
        await scene.changes.replace(N4, N5)
        assert await scene.kinds() == [([1, 2, 3], [5])] * len(GROUP_NAMES)
        await scene.changes.replace(N3, N4)
        assert await scene.kinds() == [([1, 2, 4], [5])] * len(GROUP_NAMES)
        await scene.changes.replace(N3, N4)  # again, as after an interruption
        assert await scene.kinds() == [([1, 2, 4], [5])] * len(GROUP_NAMES)

    play(work)


def test_a_step_that_would_lose_the_majority_is_refused_at_once_and_changes_nothing() -> None:
    async def work(scene: Scene) -> None:
        scene.cluster.kill("n3")
        await scene.world.clock.sleep(5_000)  # somebody leads again, and n3 is silent
        began_ms = scene.world.clock.monotonic_ms()
        with pytest.raises(Unavailable) as caught:
            await scene.changes.all_groups(without(N2.node), "never")
        assert scene.world.clock.monotonic_ms() - began_ms < 5_000 < TIMEOUT_MS
        sentence = caught.value.message
        assert "group namespace is left as it is: a majority of the new voters would be" in sentence
        assert "[n3] do not answer; start those first" in sentence
        assert await scene.kinds() == [([1, 2, 3], [])] * len(GROUP_NAMES)

    play(work)


def test_a_step_that_only_a_moment_makes_dangerous_is_done() -> None:
    async def work(scene: Scene) -> None:
        leads = scene.cluster.leader(NAMESPACE_GROUP)
        silent, gone = (N3, N2) if leads != "n3" else (N2, N3)
        scene.cluster.kill(silent.name)
        await scene.world.clock.sleep(700)  # longer than an election timeout
        step = asyncio.create_task(scene.changes.all_groups(without(gone.node), "done"))
        await scene.world.clock.sleep(50)
        assert scene.said == []
        scene.cluster.start(silent.name)
        await step
        assert await scene.kinds() == [([1, silent.node], [])] * len(GROUP_NAMES)

    play(work)


def test_a_machine_without_a_vote_is_not_asked_to_lead_and_the_sentence_has_names() -> None:
    async def work(scene: Scene) -> None:
        await scene.changes.add(N4, learner=True)
        with pytest.raises(BadInput) as caught:
            await scene.changes.transfer(NAMESPACE_GROUP, "n4")
        assert caught.value.message == (
            "n4 has no vote in the group namespace, so it cannot lead it: name one that has (n1,"
            " n2, n3)."
        )
        for name in ("n2", "n3"):
            assert await scene.changes.transfer(NAMESPACE_GROUP, name) == name

    play(work)


def test_who_is_asked_to_lead_and_does_not_is_called_by_its_name() -> None:
    async def work(scene: Scene) -> None:
        now = (await scene.changes.configurations())[NAMESPACE_GROUP]
        leader = scene.cluster.leader(NAMESPACE_GROUP)
        other = next(name for name in now.names.values() if name != leader)
        scene.cluster.kill(other)
        with pytest.raises(Unavailable, match=f"{other} did not take over group namespace"):
            await scene.changes.transfer(NAMESPACE_GROUP, other)

    play(work)
