"""A machine that was made anew takes its old place, whatever happens on the way.

Its cluster grew from one machine: its configuration names nobody else.  It was node 1, is node 4 by
now, and stands where that does in the simulated cluster.
"""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from quorate.base.errors import BadConfiguration, ReplicaDamaged
from quorate.base.ids import GROUP_NAMES, NodeId, node_of
from quorate.node.bootstrap import founding_identity, new_cluster_id
from quorate.node.config import Addresses, Member, NodeConfig
from quorate.node.identity import NodeIdentity
from quorate.node.known import KNOWN_FILE, Known, KnownGroup
from quorate.node.members import MemberChanges, moved, without
from quorate.node.messages import NodeEntry
from quorate.node.rebuilding import REBUILD_FILE, Rebuilding, RebuildRecord
from quorate.rpc.client import RpcClient
from quorate.rpc.handshake import Identity
from quorate.runtime.ports import World
from quorate.runtime.record import write_record
from quorate.runtime.simulated.world import Simulation
from quorate.simulator.cluster import CLUSTER, RaftCluster, address

N1, N2, N3, NEW = (NodeEntry(NodeId(k), f"n{min(k, 4)}", address(f"n{k}")) for k in range(1, 5))
SELF = NodeEntry(NEW.node, "n1", NEW.rpc)
ADDRESSES = Addresses(SELF.rpc, "n1:2", "n1:3")
CONFIG = NodeConfig("n1", "/data", ADDRESSES, (Member("n1", SELF.rpc),))


def rebuilt() -> NodeIdentity:
    """Who the machine is by now."""
    cluster = new_cluster_id(["n1"], "0123456789abcdef01234567")
    founder = founding_identity("n1", ["n1"], cluster)
    return NodeIdentity(CLUSTER, SELF.node, "n1", founder.names, founder.groups, earlier=(N1.node,))


class Crash(Exception):
    """Power is lost."""


class Scene:
    """The data directory of the machine, and the cluster that it belongs to."""

    def __init__(self, world: World, cluster: RaftCluster) -> None:
        self.world = world
        self.cluster = cluster
        self.said: list[str] = []
        rpc = RpcClient(world, Identity(CLUSTER, NodeId(0), "client"))
        self.changes = MemberChanges(world, rpc, [N2.rpc, N3.rpc], self.said.append, 600_000)

    async def prepare(self) -> None:
        for machine in (N1, N2, N3):
            await self.changes.all_groups(moved(machine), "has a name")
        self.cluster.kill("n1")
        known = KnownGroup(1, (N1, N2, N3))
        record = Known(dict.fromkeys(GROUP_NAMES, known))
        await write_record(self.world.disk, KNOWN_FILE, record)
        await self.begin()

    async def begin(self) -> None:
        await write_record(self.world.disk, REBUILD_FILE, RebuildRecord(SELF.node, "a bit"))

    @property
    def is_unfinished(self) -> bool:
        return self.world.disk.exists(REBUILD_FILE)

    def start(self) -> Rebuilding:
        """Of the node."""
        return Rebuilding(self.world, CONFIG, rebuilt(), self.said.append)

    async def crash(self, patch: pytest.MonkeyPatch) -> None:
        """When all groups are changed, and before that is noted."""

        def remove(path: str) -> None:
            raise Crash

        patch.setattr(self.world.disk, "remove", remove)
        with pytest.raises(Crash):
            await self.start().finish()
        patch.undo()

    async def voters(self) -> list[list[NodeId]]:
        found = (await self.changes.configurations()).values()
        assert all(not configuration.learners for configuration in found)
        return [sorted(map(node_of, configuration.voters)) for configuration in found]


def play(work: Callable[[Scene], Awaitable[None]]) -> None:
    with Simulation(1) as simulation:
        cluster = RaftCluster(simulation, 4, groups=len(GROUP_NAMES), founders=3)
        cluster.found()

        async def main(world: World) -> None:
            scene = Scene(world, cluster)
            await scene.prepare()
            await work(scene)

        process = simulation.machine("c").start_process("supervisor", main)
        simulation.run_until(lambda: not process.alive, 600_000)
        if process.error is not None:
            raise process.error
        assert not process.alive


def test_it_takes_the_place_of_its_old_id_in_all_groups_and_is_not_asked_again() -> None:
    async def work(scene: Scene) -> None:
        rebuilding = scene.start()
        assert rebuilding.unfinished and rebuilding.needed
        await rebuilding.finish()
        assert not rebuilding.unfinished and not rebuilding.needed and not scene.is_unfinished
        assert await scene.voters() == [[2, 3, 4]] * len(GROUP_NAMES)
        assert scene.said[-1] == "n1 is rebuilt, and has its place in all groups again"
        assert not scene.start().unfinished

    play(work)


def test_a_crash_after_the_last_promotion_is_made_good_by_the_next_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def work(scene: Scene) -> None:
        await scene.crash(monkeypatch)
        assert scene.is_unfinished and await scene.voters() == [[2, 3, 4]] * len(GROUP_NAMES)
        before = await scene.changes.configurations()
        for _ in range(2):  # the second: the removal of the file was not synced
            await scene.begin()
            rebuilding = scene.start()
            assert rebuilding.unfinished
            await rebuilding.finish()
            assert not scene.is_unfinished
        assert await scene.changes.configurations() == before

    play(work)


def test_a_crash_between_two_groups_is_made_good_by_the_next_start() -> None:
    async def work(scene: Scene) -> None:
        rebuilding = asyncio.create_task(scene.start().finish())
        while not any("n1 is rebuilt" in sentence for sentence in scene.said):
            await scene.world.clock.sleep(1)
        rebuilding.cancel()
        await asyncio.gather(rebuilding, return_exceptions=True)
        first, *others = await scene.voters()
        assert (first, others) == ([2, 3, 4], [[1, 2, 3]] * (len(GROUP_NAMES) - 1))
        assert scene.is_unfinished
        await scene.start().finish()
        assert await scene.voters() == [[2, 3, 4]] * len(GROUP_NAMES) and not scene.is_unfinished

    play(work)


def test_who_was_removed_after_such_a_crash_does_not_come_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def work(scene: Scene) -> None:
        await scene.crash(monkeypatch)
        await scene.changes.all_groups(without(SELF.node), "removed")
        with pytest.raises(BadConfiguration, match="n1 was removed from the cluster"):
            await scene.start().finish()
        assert await scene.voters() == [[2, 3]] * len(GROUP_NAMES) and scene.is_unfinished

    play(work)


def test_it_waits_for_the_others_and_goes_on_when_they_are_there() -> None:
    async def work(scene: Scene) -> None:
        scene.cluster.kill("n2")
        finishing = asyncio.create_task(scene.start().finish())
        await scene.world.clock.sleep(70_000)  # longer than one attempt
        assert not finishing.done() and scene.is_unfinished
        scene.cluster.start("n2")
        await finishing
        assert await scene.voters() == [[2, 3, 4]] * len(GROUP_NAMES)

    play(work)


def test_a_machine_that_grew_alone_asks_those_that_joined_whether_it_is_a_member() -> None:
    async def work(scene: Scene) -> None:
        await scene.start().until_possible(ReplicaDamaged("a bit is wrong"))
        assert await scene.voters() == [[1, 2, 3]] * len(GROUP_NAMES), "that changes nothing"

    play(work)
