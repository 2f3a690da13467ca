"""Shared directory syncs: nobody is told of a sync that began before his name was there."""

import asyncio

import pytest

from quorate.base.errors import DiskFailed
from quorate.gfs.group_sync import GroupSync
from quorate.runtime.ports import World
from quorate.runtime.simulated.world import Machine, Simulation

NAMES = 20


def test_callers_at_once_share_a_sync() -> None:
    with Simulation(1) as simulation:
        machine = simulation.machine("n1")
        machine.disk.faults.sync_ms = (10, 10)

        async def main(world: World) -> float:
            shared = GroupSync(world)
            began_ms = world.clock.monotonic_ms()
            await asyncio.gather(*(shared.sync("") for _ in range(NAMES)))
            return world.clock.monotonic_ms() - began_ms

        process = machine.start_process("p", main)
        simulation.run_until(lambda: not process.alive, 1_000)
        assert process.result == pytest.approx(10)


@pytest.mark.parametrize("seed", range(20))
def test_a_name_is_durable_when_its_own_sync_returns(seed: int) -> None:
    with Simulation(seed) as simulation:
        machine = simulation.machine("n1")
        promised: list[str] = []

        async def make(world: World, shared: GroupSync, name: str) -> None:
            await world.clock.sleep(simulation.random.uniform(0, 10))
            world.disk.open(name, create=True).close()
            await shared.sync("")
            promised.append(name)

        async def main(world: World) -> None:
            shared = GroupSync(world)
            await asyncio.gather(*(make(world, shared, f"f{n}") for n in range(NAMES)))
            await world.clock.sleep(1_000)

        machine.start_process("p", main)
        simulation.run_for(simulation.random.uniform(2, 15))
        machine.power_loss()
        left = names(machine)
        assert [name for name in promised if name not in left] == []


def names(machine: Machine) -> list[str]:
    async def main(world: World) -> list[str]:
        return world.disk.list("")

    process = machine.start_process("p", main)
    machine.simulation.run_until(lambda: not process.alive, 1_000)
    found: list[str] = process.result
    return found


def test_a_failed_sync_is_told_to_all_who_shared_it_and_to_no_other() -> None:
    with Simulation(1) as simulation:
        machine = simulation.machine("n1")

        async def main(world: World) -> None:
            shared = GroupSync(world)
            machine.disk.faults.fail_next_syncs = 1
            work = [shared.sync("") for _ in range(3)]
            for result in await asyncio.gather(*work, return_exceptions=True):
                assert isinstance(result, DiskFailed)
            await shared.sync("")

        process = machine.start_process("p", main)
        simulation.run_until(lambda: not process.alive, 1_000)
        assert process.error is None
