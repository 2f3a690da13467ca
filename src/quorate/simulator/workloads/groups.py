"""What workloads of plain Raft groups have in common: clients, the last look, the judgement.

Clients are dealt to the groups one by one, so that several collide in each.  After the last fault
that ends, one more client changes something in every group and looks at all that is there: that
both succeed in time is progress, and what it sees is the end of the history.
"""

import random
from abc import ABC, abstractmethod

from quorate.base.check import Bug
from quorate.raft.client import GroupClient
from quorate.runtime.ports import World
from quorate.runtime.simulated.process import SimulatedProcess
from quorate.simulator.cluster import ClientWork, RaftCluster

CALM_MS = 6_000
"""How long the clients go on after the last fault."""
PROGRESS_MS = 8_000
"""Within this time after they have ended, every group must take a change and be readable."""


class GroupWorkload(ABC):
    """``clients`` of ``cluster``, each of one group."""

    def __init__(self, cluster: RaftCluster, clients: int, rng: random.Random) -> None:
        self.cluster = cluster
        self.notes: dict[str, int] = {}
        self._count = clients
        self._rng = rng
        self._clients: list[SimulatedProcess] = []

    def begin(self) -> None:
        """Start the clients, each on a machine of its own."""
        self._clients = [
            self.cluster.start_client(f"c{number}", self._client(number))
            for number in range(1, self._count + 1)
        ]

    def finish(self) -> None:
        """Demand progress, and judge."""
        simulation = self.cluster.simulation
        simulation.run_for(CALM_MS)
        for client in self._clients:
            client.kill()
        last = self.cluster.start_client("reader", self._last())
        try:
            simulation.run_until(lambda: not last.alive, PROGRESS_MS)
        except TimeoutError:
            raise Bug(f"Progress: no answer {PROGRESS_MS} ms after the last fault") from None
        if last.error is not None:
            raise Bug(f"Progress: {last.error}")
        for group in range(len(self.cluster.groups)):
            self.judge(group)

    def _client(self, number: int) -> ClientWork:
        rng = random.Random(self._rng.getrandbits(64))
        group = number % len(self.cluster.groups)

        async def work(world: World, clients: list[GroupClient]) -> None:
            await self.play(world, clients[group], group, f"c{number}", rng)

        return work

    def _last(self) -> ClientWork:
        async def work(world: World, clients: list[GroupClient]) -> None:
            for group, client in enumerate(clients):
                await self.look(world, client, group)

        return work

    @abstractmethod
    async def play(
        self, world: World, client: GroupClient, group: int, name: str, rng: random.Random
    ) -> None:
        """What the client ``name`` does to the group in place ``group``, to the end of the run."""

    @abstractmethod
    async def look(self, world: World, client: GroupClient, group: int) -> None:
        """Change something, and read all; an error means that there is no progress."""

    @abstractmethod
    def judge(self, group: int) -> None:
        """Raise ``Bug`` unless what clients saw of this group is possible."""
