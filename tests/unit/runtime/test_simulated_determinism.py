"""One seed, one run: whatever the Python process around it."""

import os
import random
import subprocess
import sys
from pathlib import Path

from quorate.base.ids import Address
from quorate.runtime.ports import Connection, World
from quorate.runtime.simulated.world import Simulation

ROOT = Path(__file__).parents[3]


class Echo:
    """Answers every frame and counts in the trace what comes."""

    def __init__(self, world: World, answers: bool) -> None:
        self.world = world
        self.answers = answers
        self.connection: Connection | None = None

    def connected(self, connection: Connection) -> None:
        self.connection = connection

    def frames_received(self, frames: list[memoryview]) -> None:
        self.world.trace.event("got", frames=len(frames), first=bytes(frames[0]).decode())
        if self.answers and self.connection is not None:
            self.connection.send([[b"re:", frame] for frame in frames])

    def disconnected(self, error: Exception | None) -> None:
        self.world.trace.event("ended", error=error)


async def node(world: World) -> None:
    name = world.trace._process.machine  # type: ignore[attr-defined]
    await world.network.listen(Address(f"{name}:door"), lambda: Echo(world, True), 1_000)
    file = world.disk.open("log", create=True)
    world.trace.event("starts", bytes=file.size())
    peers = {f"n{number}" for number in range(1, 6)} - {name}
    for peer in sorted(peers):
        world.spawn(talk(world, Address(f"{peer}:door")), f"talk to {peer}")
    while True:
        await world.clock.sleep(world.random.uniform(5, 50))
        await file.write_and_sync(file.size(), b"entry")


async def talk(world: World, address: Address) -> None:
    while True:
        try:
            end = Echo(world, False)
            near = await world.network.connect(address, end, 1_000, 200)
            for number in range(world.random.randrange(20)):
                near.send([[b"%d" % number]])
                await world.clock.sleep(10)
            near.close()
        except Exception as error:
            world.trace.event("no connection", error=error)
            await world.clock.sleep(20)


def run(seed: int) -> str:
    with Simulation(seed) as simulation:
        machines = [simulation.machine(f"n{number}") for number in range(1, 6)]
        link = simulation.faults.default
        link.loss = link.duplicate = link.reorder = 0.1
        for machine in machines:
            machine.start_process("node", node)
        for _ in range(20):
            simulation.run_for(100)
            victim = simulation.random.choice(machines)
            if simulation.random.random() < 0.5:
                victim.power_loss()
            else:
                victim.processes["node"].kill()
            simulation.faults.partition([victim.name], ["n1", "n2"])
            simulation.run_for(100)
            simulation.faults.heal()
            victim.start_process("node", node)
        return f"{simulation.digest()} {simulation.trace.digest()} {simulation.loop.steps}"


def test_a_seed_gives_the_same_run_again_and_another_seed_another() -> None:
    first = run(5)
    random.seed(99)
    litter = [object() for _ in range(1_000)]
    assert run(5) == first
    assert run(6) != first
    assert litter


def test_a_seed_gives_the_same_run_in_processes_that_hash_differently() -> None:
    code = "import sys; sys.path[:0] = ['src', 'tests/unit/runtime']\n"
    code += "from test_simulated_determinism import run; print(run(5))"
    outputs = [
        subprocess.run(
            [sys.executable, "-c", code],
            cwd=ROOT,
            env=os.environ | {"PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
            timeout=120,
        ).stdout.strip()
        for hash_seed in ("1", "2")
    ]
    assert outputs[0] == outputs[1] == run(5)
