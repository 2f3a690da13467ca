"""Labs 3A and 3B: the generic test, in all its variants.

Three rounds.  In each some clerks put, append and get for a while, each on a key of its own or all
on any; meanwhile partitions are drawn anew every 1.0 to 1.2 s, and after it all servers may be shut
down and started.  In the end everything that was appended is there, once, in order, the history is
linearizable, and the log was cut.
"""

import asyncio
from dataclasses import dataclass

from labs.kv.basics import MAX_STATE_BYTES, expect_appends
from labs.kv.lab import Clerk, KvLab, kv_lab

from quorate.base.together import together
from quorate.simulator.lab.tester import ELECTION_MS

ROUNDS = 3
LOG_TIMES = 8
"""The log may be so many times ``MAX_STATE_BYTES``, once servers are idle."""


@dataclass(frozen=True, slots=True)
class Variant:
    clerks: int
    servers: int = 5
    unreliable: bool = False
    partitions: bool = False
    restarts: bool = False
    random_keys: bool = False
    snapshots: bool = False


VARIANTS = {
    "basic_3A": Variant(1),
    "concurrent_3A": Variant(5),
    "unreliable_3A": Variant(5, unreliable=True),
    "many_partitions_one_client_3A": Variant(1, partitions=True),
    "many_partitions_many_clients_3A": Variant(5, partitions=True),
    "persist_one_client_3A": Variant(1, restarts=True),
    "persist_concurrent_3A": Variant(5, restarts=True),
    "persist_concurrent_unreliable_3A": Variant(5, unreliable=True, restarts=True),
    "persist_partition_3A": Variant(5, partitions=True, restarts=True),
    "persist_partition_unreliable_3A": Variant(5, 5, True, True, True),
    "persist_partition_unreliable_linearizable_3A": Variant(15, 7, True, True, True, True),
    "snapshot_recover_3B": Variant(1, restarts=True, snapshots=True),
    "snapshot_recover_many_clients_3B": Variant(20, restarts=True, snapshots=True),
    "snapshot_unreliable_3B": Variant(5, unreliable=True, snapshots=True),
    "snapshot_unreliable_recover_3B": Variant(5, unreliable=True, restarts=True, snapshots=True),
    "snapshot_unreliable_recover_concurrent_partition_3B": Variant(
        5, 5, True, True, True, snapshots=True
    ),
    "snapshot_unreliable_recover_concurrent_partition_linearizable_3B": Variant(
        15, 7, True, True, True, True, True
    ),
}


class Round:
    """One of the three."""

    def __init__(self, lab: KvLab, variant: Variant) -> None:
        self._lab = lab
        self._variant = variant
        self._over = False

    async def run(self) -> list[int]:
        """How much each clerk has appended or put."""
        lab, partitions = self._lab, self._variant.partitions
        clerks = asyncio.ensure_future(lab.all_clerks(self._variant.clerks, self._play))
        partitioner = asyncio.ensure_future(self._partition()) if partitions else None
        await lab.sleep(lab.pace.round_s * 1000)
        self._over = True
        if partitioner is not None:
            await partitioner
            lab.heal()
            await lab.sleep(ELECTION_MS)
        if self._variant.restarts:
            await lab.restart_all()
        return await clerks

    async def _play(self, clerk: Clerk, number: int) -> int:
        lab, anywhere = self._lab, self._variant.random_keys
        draw, count, last = lab.random.randrange, 0, ""
        pause_ms = lab.pace.pause_ms * max(1.0, self._variant.clerks / 5)
        if not anywhere:
            await clerk.put(str(number), last)
        while not self._over:
            key = str(draw(self._variant.clerks) if anywhere else number)
            text = f"x {number} {count} y"
            if draw(1000) < 500:
                await clerk.append(key, text)
                last += text
                count += 1
            elif anywhere and draw(1000) < 100:
                await clerk.put(key, text)
                count += 1
            elif anywhere:
                await clerk.get(key)
            else:
                await clerk.expect(key, last)
            await lab.sleep(lab.random.uniform(0, pause_ms))
        return count

    async def _partition(self) -> None:
        lab = self._lab
        while not self._over:
            sides: tuple[list[int], list[int]] = ([], [])
            for server in lab.servers:
                sides[lab.random.randrange(2)].append(server)
            lab.partition(*sides)
            await lab.sleep(ELECTION_MS + lab.random.randrange(200))


async def generic(lab: KvLab, variant: Variant) -> None:
    lab.unreliable(variant.unreliable)
    looking = lab.clerk()
    for _ in range(ROUNDS):
        counts = await Round(lab, variant).run()
        found = await together(looking.get(str(number)) for number in range(variant.clerks))
        for number, count in enumerate(counts):
            if not variant.random_keys:
                expect_appends(lab, number, found[number], count)
        if variant.snapshots:
            bound = LOG_TIMES * MAX_STATE_BYTES
            lab.at_most("log after a round", lab.log_bytes(), bound, "B")
        else:
            lab.exactly("bytes of snapshots", lab.snapshot_bytes(), 0)


def _enter(name: str, variant: Variant) -> None:
    async def body(lab: KvLab) -> None:
        await generic(lab, variant)

    max_log_bytes = MAX_STATE_BYTES if variant.snapshots else None
    kv_lab(name[-2:], servers=variant.servers, max_log_bytes=max_log_bytes, name=name)(body)


for _name, _variant in VARIANTS.items():
    _enter(_name, _variant)
