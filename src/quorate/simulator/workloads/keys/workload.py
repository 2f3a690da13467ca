"""Clients and watchers of the key/value store, as a workload."""

import random
from collections.abc import Sequence
from typing import cast

from quorate.base.check import Bug, check
from quorate.base.errors import NotFound, QuorateError
from quorate.kv.core.commands import Append, Apply, Fetch, Get, LookUp, Range, Set
from quorate.kv.messages import Watch
from quorate.linearizability.history import Outcome, Verdict
from quorate.linearizability.judge import check_history
from quorate.linearizability.models import MODELS
from quorate.raft.client import GroupClient
from quorate.runtime.ports import World
from quorate.simulator.cluster import ClientWork
from quorate.simulator.workloads.groups import CALM_MS, PROGRESS_MS, GroupWorkload
from quorate.simulator.workloads.keys.cluster import KvCluster
from quorate.simulator.workloads.keys.counting import judge_counter
from quorate.simulator.workloads.keys.local_reads import LocalPlayer, judge_glances
from quorate.simulator.workloads.keys.player import WAYS, Player, add_page
from quorate.simulator.workloads.keys.record import (
    COUNTER,
    ENDING,
    KEYS,
    TRANSACTED,
    Look,
    Seen,
    now_ms,
)
from quorate.simulator.workloads.keys.resp_clients import WATCHED, judge_resp
from quorate.simulator.workloads.keys.resp_keys import RespKeysPlayer
from quorate.simulator.workloads.keys.serial import judge_transactions
from quorate.simulator.workloads.keys.told import judge_by, judge_watches
from quorate.simulator.workloads.keys.transactions import TransactionPlayer
from quorate.simulator.workloads.keys.viewing import ViewPlayer
from quorate.simulator.workloads.keys.watching import Watcher, note
from quorate.simulator.workloads.register_clients import MAX_STEPS, NOT_JUDGED

SHARES = {
    "read": 4,
    "write": 2,
    "cas": 2,
    "delete": 1,
    "append": 1,
    "add": 1,
    "scan": 1,
    "audit": 2,
    "transfer": 2,
    "increment": 2,
    "touch": 1,
    "end": 3,
    "lock": 3,
    "pipeline": 4,
    "exec": 2,
    "poke": 2,
    "pay": 2,
    "hold": 2,
    "fade": 3,
    "walk": 1,
    "glance": 2,
    "view": 1,
}
"""What a client does."""
OPERATIONS = (*SHARES, *WAYS)
CHANGES = ("write", "append", "add", "touch", "end", "lock", "pipeline", "pay", "fade")
NEEDED = (CHANGES, WAYS)
TTL_MS = 300
GONE_MS = 4_000
"""Within this time a key that ends after ``TTL_MS`` is gone, although nobody writes."""
PAUSE_MS = 50.0


class KeysPlayer(RespKeysPlayer, LocalPlayer, TransactionPlayer, ViewPlayer):
    """One client."""


class KeysWorkload(GroupWorkload):
    """``off``: operations that no client does, and ways that none goes; ``operations``: how many
    each does at most."""

    def __init__(
        self,
        cluster: KvCluster,
        clients: int,
        rng: random.Random,
        *,
        pace_ms: float = 30.0,
        off: Sequence[str] = (),
        operations: int | None = None,
    ) -> None:
        super().__init__(cluster, clients, rng)
        self.seen = Seen()
        self._kv = cluster
        self._pace_ms = pace_ms
        self._kinds = [kind for kind in SHARES if kind not in off]
        self._ways = [way for way in WAYS if way not in off]
        self._operations = operations
        self._calm_ms = 0.0

    @property
    def acknowledged(self) -> int:
        return self.seen.count(Outcome.OK)

    @property
    def unknown(self) -> int:
        return self.seen.count(Outcome.INFO)

    def begin(self) -> None:
        super().begin()
        for number in range(1, self._rng.choice((1, 2, 3)) + 1):
            work = self._watcher(f"w{number}")
            self._clients.append(self.cluster.start_client(f"w{number}", work))

    def finish(self) -> None:
        self._calm_ms = self.cluster.simulation.now_ms()
        super().finish()

    def _watcher(self, name: str) -> ClientWork:
        rng = random.Random(self._rng.getrandbits(64))

        async def work(world: World, clients: list[GroupClient]) -> None:
            watcher = Watcher(self._kv, world, clients[0], name, self.seen, rng)
            await watcher.follow(self._pace_ms)

        return work

    async def play(
        self, world: World, client: GroupClient, group: int, name: str, rng: random.Random
    ) -> None:
        player = KeysPlayer(self._kv, world, client, name, self.seen, rng, self._ways)
        shares = [SHARES[kind] for kind in self._kinds]
        left = self._operations
        while left != 0:
            [kind] = rng.choices(self._kinds, shares)
            await player.play(kind)
            await world.clock.sleep(rng.uniform(0, self._pace_ms))
            left = left if left is None else left - 1

    # The end.

    async def look(self, world: World, client: GroupClient, group: int) -> None:
        player = Player(self._kv, world, client, "reader", self.seen, self._rng)
        await self._look_at_all(player)
        await self._let_end(player)
        for watcher in dict.fromkeys(told.client for told in self.seen.told):
            await self._hear_all(player, watcher)

    async def _look_at_all(self, player: Player) -> None:
        """Once more a change, and what is there in the end: both are part of the history."""
        client = player.client
        [key], text = KEYS["kv"], "reader,"
        operation = player.invoke("append", key, text)
        command = Apply([Append(key.encode(), text.encode())])
        await client.execute(command, timeout_ms=PROGRESS_MS)
        player.returns(operation)
        invoked = now_ms()
        page = await client.query(Range(b"", None, 10_000), timeout_ms=PROGRESS_MS)
        check(page.more is None, "all keys do not fit a page: mend this workload")
        self.seen.final = Look(
            "reader", invoked, now_ms(), dict.fromkeys(TRANSACTED), page.revision
        )
        add_page(self.seen.final, page)
        for model, keys in KEYS.items():
            for key in keys:
                operation = player.invoke("read" if model == "register" else "get", key, None)
                query = LookUp([Get(key.encode())])
                [found] = await client.query(query, timeout_ms=PROGRESS_MS)
                operation.result = None if found is None else bytes(found).decode()
                player.returns(operation)

    async def _let_end(self, player: Player) -> None:
        """A key ends although nobody writes any more."""
        client, key = player.client, ENDING[0]
        await client.execute(Apply([Set(key, b"last", ttl_ms=TTL_MS)]), timeout_ms=PROGRESS_MS)
        last_ms = now_ms() + GONE_MS
        while (await client.query(LookUp([Fetch(key)]), timeout_ms=PROGRESS_MS))[0] is not None:
            check(now_ms() < last_ms, f"Ends: {key!r} is there {GONE_MS} ms after it was to end")
            await player.world.clock.sleep(PAUSE_MS)

    async def _hear_all(self, player: Player, watcher: str) -> None:
        """What a watcher was not told yet, it is told now."""
        told = [told for told in self.seen.told if told.client == watcher][-1]
        final = cast(Look, self.seen.final)
        last_ms, leader = now_ms() + PROGRESS_MS, player.client.leader
        for number in range(1_000_000):
            if told.revision >= final.revision:
                return
            address = player.addresses[number % len(player.addresses)] if number else leader
            request = Watch(told.revision, told.start, told.end)
            try:
                note(told, await player.rpc.call(address, request, timeout_ms=1_200))
            except NotFound:
                return
            except QuorateError:
                await player.world.clock.sleep(PAUSE_MS)
            check(now_ms() < last_ms, f"Watch: nobody tells {watcher} of {told.revision + 1}")

    def judge(self, group: int) -> None:
        seen = self.seen
        for model, keys in [*KEYS.items(), ("register", (WATCHED,))]:
            history = [operation for operation in seen.operations if operation.key in keys]
            judgement = check_history(MODELS[model], history, lambda steps: steps >= MAX_STEPS)
            if judgement.verdict is Verdict.ILLEGAL:
                raise Bug(f"Linearizable: {judgement.detail}")
            if judgement.verdict is Verdict.UNKNOWN:
                self.notes[NOT_JUDGED] = self.notes.get(NOT_JUDGED, 0) + 1
        final = cast(Look, seen.final)
        counted = final.versions.get(COUNTER.encode())
        additions = [operation for operation in seen.operations if operation.key == COUNTER]
        judge_counter(additions, int(counted.value) if counted is not None else 0)
        judge_resp(seen)
        judge_glances(seen.glances, seen.txs)
        judge_transactions(seen.txs, [*seen.looks, final], seen.changes)
        for scan in seen.scans:
            for key in scan.there:
                times = scan.found.count(key)
                check(times == 1, f"Scan: {scan.client} was given {key!r} {times} times")
        end_ms = self._calm_ms + CALM_MS
        judge_watches(seen, self._calm_ms, end_ms)
        judge_by(self._kv.revisions, seen)
