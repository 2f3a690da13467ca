"""A store whose disks fill: it refuses to grow before anything breaks, and opens again."""

from collections.abc import Iterator

import pytest

from quorate.base.errors import StoreFull
from quorate.base.ids import KV_GROUP
from quorate.kv import keeper
from quorate.kv.core import room
from quorate.raft.core.settings import Limits
from quorate.raft.snapshots import output
from quorate.runtime.simulated.world import Simulation
from quorate.simulator.cluster import NodeCluster, User

VALUE = bytes(100_000)
LIMITS = Limits(snapshot_log_bytes=256 << 10, retained_log_bytes=64 << 10)


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """As segments and snapshots of the simulated log are: a 128th."""
    monkeypatch.setattr(room, "RESERVE_BYTES", 8 << 20)
    monkeypatch.setattr(room, "LIFT_BYTES", 512 << 10)
    monkeypatch.setattr(output, "RESERVED_BYTES", 512 << 10)


@pytest.fixture
def simulation() -> Iterator[Simulation]:
    with Simulation(11) as simulation:
        yield simulation


def founded(simulation: Simulation) -> NodeCluster:
    nodes = NodeCluster(simulation, limits=LIMITS)
    nodes.found()
    simulation.run_until(lambda: nodes.leader(KV_GROUP) is not None, 10_000)
    return nodes


def finish(simulation: Simulation, nodes: NodeCluster, client: object) -> None:
    simulation.run_until(lambda: not client.alive, 300_000)  # type: ignore[attr-defined]
    error = client.error  # type: ignore[attr-defined]
    if error is not None:
        raise error
    assert all(map(nodes.is_up, nodes.names))


async def fill(user: User) -> int:
    """Put until that is refused; how many were not."""
    for number in range(1_000):
        try:
            await user.kv.put(f"{number:04d}", VALUE)
        except StoreFull as error:
            assert "too little space is left on n" in error.message
            return number
        await user.world.clock.sleep(200)
    raise AssertionError("nothing was refused")


async def until_open(user: User) -> None:
    while True:
        try:
            await user.kv.put("again", VALUE)
        except StoreFull:
            await user.world.clock.sleep(500)
        else:
            return


def test_a_store_refuses_to_grow_before_a_disk_is_full_and_opens_by_itself(
    simulation: Simulation,
) -> None:
    nodes = founded(simulation)
    for name in nodes.names:
        disk = simulation.machine(name).disk
        disk.faults.capacity_bytes = disk.used_bytes + (16 << 20)

    async def work(user: User) -> None:
        count = await fill(user)
        assert count > 10
        for _ in range(100):  # it is full, however often one tries
            with pytest.raises(StoreFull):
                await user.kv.put("more", VALUE)
            await user.world.clock.sleep(50)
        assert (await user.kv.statistics()).restricted
        found = await user.kv.get("0001")
        assert found is not None and found.value == VALUE
        await user.kv.put("0001", b"smaller")
        for number in range(count):
            await user.kv.delete(f"{number:04d}")
        await until_open(user)
        assert not (await user.kv.statistics()).restricted

    finish(simulation, nodes, nodes.start_user("client", work))


def test_one_small_disk_is_enough_and_a_machine_that_is_gone_is_forgotten(
    simulation: Simulation,
) -> None:
    nodes = founded(simulation)
    small = next(name for name in nodes.names if name != nodes.leader(KV_GROUP))
    disk = simulation.machine(small).disk
    disk.faults.capacity_bytes = disk.used_bytes + (10 << 20)

    async def work(user: User) -> None:
        await fill(user)
        nodes.kill(small)
        gone_ms = user.world.clock.monotonic_ms()
        await user.world.clock.sleep(10_000)
        with pytest.raises(StoreFull):
            await user.kv.put("more", VALUE)
        await until_open(user)
        passed_ms = user.world.clock.monotonic_ms() - gone_ms
        assert keeper.FORGET_MS - 5_000 < passed_ms < keeper.FORGET_MS + 10_000
        nodes.start(small)

    finish(simulation, nodes, nodes.start_user("client", work))


def test_a_new_leader_does_not_open_the_store_before_it_has_heard_who_is_full(
    simulation: Simulation,
) -> None:
    nodes = founded(simulation)
    leader = nodes.leader(KV_GROUP)
    assert leader is not None
    disk = simulation.machine(leader).disk
    disk.faults.capacity_bytes = disk.used_bytes + (10 << 20)

    async def work(user: User) -> None:
        await fill(user)
        nodes.kill(leader)
        await user.world.clock.sleep(10_000)
        assert nodes.leader(KV_GROUP) not in (None, leader)
        with pytest.raises(StoreFull):
            await user.kv.put("more", VALUE)
        disk.faults.capacity_bytes = 1 << 40
        nodes.start(leader)
        await until_open(user)

    finish(simulation, nodes, nodes.start_user("client", work))
