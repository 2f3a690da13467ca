"""Clients of simulated nodes: one that runs to its end, and what most of them do."""

from collections.abc import Callable, Coroutine
from typing import Any

from quorate.runtime.simulated.world import Simulation
from quorate.simulator.cluster import NodeCluster, User


def run_user(seed: int, work: Callable[[User], Coroutine[Any, Any, None]]) -> None:
    """Run ``work`` as a client of three nodes; raises what it raised."""
    with Simulation(seed) as simulation:
        nodes = NodeCluster(simulation)
        nodes.found()
        process = nodes.start_user("client", work)
        simulation.run_until(lambda: not process.alive, 120_000)
        if process.error is not None:
            raise process.error


async def put(user: User, files: list[tuple[str, bytes]]) -> None:
    for path, data in files:
        writer = await user.files.create(path)
        await writer.write(data)
        await writer.close()


async def read_output(user: User, folder: str) -> list[bytes]:
    return [await user.files.read(status.path) for status in await user.files.list(folder)]
