"""Clients of Raft groups that append to lists (lists.py), as a workload."""

import random
from collections.abc import Sequence

from quorate.base.check import Bug
from quorate.raft.client import GroupClient
from quorate.runtime.ports import World
from quorate.runtime.simulated.process import SimulatedProcess
from quorate.simulator.cluster import ClientWork, RaftCluster
from quorate.simulator.workloads.lists import History, judge, read_all, run_client

CALM_MS = 6_000
"""How long the clients go on after the last fault."""
PROGRESS_MS = 8_000
"""Within this time after they have ended, every list must be readable."""


class ListsWorkload:
    """``clients`` that append to the lists of one group each, and read them.

    ``off``: operations that none of them does; ``operations``: how many each does at most.
    """

    def __init__(
        self,
        cluster: RaftCluster,
        clients: int,
        rng: random.Random,
        *,
        pace_ms: float = 30.0,
        off: Sequence[str] = (),
        padding_bytes: int = 0,
        operations: int | None = None,
    ) -> None:
        self.cluster = cluster
        self.notes: dict[str, int] = {}
        self._histories = [History() for _ in cluster.groups]
        self._count = clients
        self._rng = rng
        self._pace_ms = pace_ms
        self._off = off
        self._padding_bytes = padding_bytes
        self._operations = operations
        self._clients: list[SimulatedProcess] = []

    @property
    def acknowledged(self) -> int:
        return sum(history.count("ok") for history in self._histories)

    @property
    def unknown(self) -> int:
        return sum(history.count("maybe") for history in self._histories)

    def begin(self) -> None:
        names = [f"c{number}" for number in range(1, self._count + 1)]
        self._clients = [self.cluster.start_client(name, self._client(name)) for name in names]

    def finish(self) -> None:
        simulation = self.cluster.simulation
        simulation.run_for(CALM_MS)
        for client in self._clients:
            client.kill()
        final: list[dict[str, list[str]]] = []
        reader = self.cluster.start_client("reader", self._reader(final))
        try:
            simulation.run_until(lambda: not reader.alive, PROGRESS_MS)
        except TimeoutError:
            raise Bug(f"Progress: no answer {PROGRESS_MS} ms after the last fault") from None
        if reader.error is not None:
            raise Bug(f"Progress: {reader.error}")
        for history, lists in zip(self._histories, final, strict=True):
            judge(history, lists)

    def _client(self, name: str) -> ClientWork:
        rng = random.Random(self._rng.getrandbits(64))

        async def work(world: World, clients: list[GroupClient]) -> None:
            group = rng.randrange(len(clients))
            await run_client(
                world,
                clients[group],
                name,
                self._histories[group],
                rng,
                pace_ms=self._pace_ms,
                off=self._off,
                padding_bytes=self._padding_bytes,
                operations=self._operations,
            )

        return work

    def _reader(self, final: list[dict[str, list[str]]]) -> ClientWork:
        async def work(world: World, clients: list[GroupClient]) -> None:
            for client in clients:
                final.append(await read_all(client, PROGRESS_MS))

        return work
