"""Clients of Raft groups that append to lists (lists.py), as a workload."""

import random
from collections.abc import Sequence

from quorate.raft.client import GroupClient
from quorate.runtime.ports import World
from quorate.simulator.cluster import RaftCluster
from quorate.simulator.workloads.groups import PROGRESS_MS, GroupWorkload
from quorate.simulator.workloads.lists import History, append_and_read_all, judge, run_client


class ListsWorkload(GroupWorkload):
    """Clients that append to the lists of one group each, and read them.

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
        super().__init__(cluster, clients, rng)
        self._histories = [History() for _ in cluster.groups]
        self._final: dict[int, dict[str, list[str]]] = {}
        self._pace_ms = pace_ms
        self._off = off
        self._padding_bytes = padding_bytes
        self._operations = operations

    @property
    def acknowledged(self) -> int:
        return sum(history.count("ok") for history in self._histories)

    @property
    def unknown(self) -> int:
        return sum(history.count("maybe") for history in self._histories)

    async def play(
        self, world: World, client: GroupClient, group: int, name: str, rng: random.Random
    ) -> None:
        await run_client(
            world,
            client,
            name,
            self._histories[group],
            rng,
            pace_ms=self._pace_ms,
            off=self._off,
            padding_bytes=self._padding_bytes,
            operations=self._operations,
        )

    async def look(self, world: World, client: GroupClient, group: int) -> None:
        history = self._histories[group]
        self._final[group] = await append_and_read_all(client, history, PROGRESS_MS)

    def judge(self, group: int) -> None:
        judge(self._histories[group], self._final[group])
