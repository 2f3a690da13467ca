"""Lab 4 of 2025: the replicated state machine under the store, asked at its servers.

``Submit`` is ``Group.execute`` on a server: a command without a session, which only a leader takes.
"""

import asyncio
from collections.abc import Sequence

from labs.kv.basics import MAX_STATE_BYTES
from labs.kv.lab import KvLab, kv_lab

from quorate.base.codec import encode
from quorate.base.errors import Maybe, NotLeader, QuorateError
from quorate.base.ids import KV_GROUP
from quorate.kv.client import KvClient
from quorate.kv.core.commands import Add, Apply
from quorate.raft.messages import Propose
from quorate.raft.sessions import wrap
from quorate.rpc.client import RpcClient
from quorate.runtime.ports import World
from quorate.simulator.cluster import address
from quorate.simulator.lab.tester import AGREEMENT_MS, ELECTION_MS

RELEASE_MS = 1_000
LOG_TIMES = 2
MANY = 100


async def submit(lab: KvLab, server: int, by: int = 1) -> int | None:
    """The counter after it, or ``None``: the server did not have it done, as far as it knows."""
    group = lab.group(server)
    if group is None:
        return None
    [process] = lab.cluster.processes(lab.name(server))
    command = Apply([Add(b"counter", by)])
    work = group.execute(command, timeout_ms=AGREEMENT_MS)
    try:
        [value] = await process.run(asyncio.ensure_future, work)
    except (NotLeader, Maybe):
        return None
    return int(value)


async def at_leader(lab: KvLab, servers: Sequence[int], by: int = 1) -> int:
    """The labs' ``onePartition``: try the servers until one has it done."""
    while True:
        for server in servers:
            if lab.leads(server) and (value := await submit(lab, server, by)) is not None:
                return value
        await lab.sleep(50)


async def expect_counter(lab: KvLab, value: int) -> None:
    """All servers come to have it."""
    for _ in range(30):
        found = [lab.counter(server) for server in lab.servers]
        if found == [value] * len(found):
            return
        await lab.sleep(100)
    lab.demand(False, f"all servers have counted {value}, not {found}")


@kv_lab("4/2025", servers=3)
async def rsm_basic(lab: KvLab) -> None:
    """Ten increments, one after the other, on all servers."""
    for number in range(1, 11):
        lab.demand(await at_leader(lab, lab.servers) == number, "an increment adds one")
    await expect_counter(lab, 10)


@kv_lab("4/2025", servers=3)
async def rsm_concurrent(lab: KvLab) -> None:
    """Fifty increments at once: each has an answer of its own, and all are counted."""
    leader = await lab.one_leader()
    values = await asyncio.gather(*(submit(lab, leader) for _ in range(50)))
    told = sorted(value for value in values if value is not None)
    lab.demand(told == list(range(1, 51)), f"each increment has its own answer, not {told}")
    await expect_counter(lab, 50)


@kv_lab("4/2025", servers=3)
async def rsm_leader_failure(lab: KvLab) -> None:
    """A leader that is cut off is followed by another, and catches up."""
    await at_leader(lab, lab.servers)
    leader = await lab.one_leader()
    lab.disconnect(leader)
    others = [server for server in lab.servers if server != leader]
    lab.demand(await at_leader(lab, others) == 2, "the next leader goes on from there")
    lab.connect(leader)
    lab.demand(await at_leader(lab, lab.servers) == 3, "so do all together")
    await expect_counter(lab, 3)


@kv_lab("4/2025", servers=3, seeds=3)
async def rsm_leader_partition(lab: KvLab) -> None:
    """A hundred submits at a leader that is cut off: none is done, and all of them fail soon after
    it is back."""
    await at_leader(lab, lab.servers)
    leader = await lab.one_leader()
    lab.disconnect(leader)
    tries = [asyncio.ensure_future(submit(lab, leader, -1)) for _ in range(MANY)]
    await lab.sleep(10)
    others = [server for server in lab.servers if server != leader]
    lab.demand(await at_leader(lab, others) == 2, "the others go on")
    lab.connect(leader)
    healed_ms = lab.now_ms()
    values = await asyncio.gather(*tries)
    took_ms = lab.now_ms() - healed_ms
    lab.at_most("submits fail after the partition", round(took_ms), RELEASE_MS, "ms")
    lab.exactly("submits that were done", sum(value is not None for value in values), 0)
    await expect_counter(lab, 2)


@kv_lab("4/2025", servers=3)
async def rsm_restart_replay(lab: KvLab) -> None:
    """A hundred increments are there after all servers were shut down and started."""
    for _ in range(MANY):
        await at_leader(lab, lab.servers)
    await lab.restart_all()
    lab.demand(await at_leader(lab, lab.servers) == MANY + 1, "a restart loses nothing")
    await expect_counter(lab, MANY + 1)


@kv_lab("4/2025", servers=3)
async def rsm_shutdown(lab: KvLab) -> None:
    """Shutting all servers down releases who waits for them: it hears that nobody knows."""
    leader = await lab.one_leader()
    await at_leader(lab, lab.servers)
    lab.disconnect(leader)  # so that nothing is committed any more
    clerk = lab.clerk()

    async def waiting(world: World, rpc: RpcClient, kv: KvClient) -> str:
        command = wrap(0, 0, 0, encode(Apply([Add(b"counter", 1)])))
        door = address(lab.name(leader))
        try:
            await rpc.call(door, Propose(KV_GROUP, [command]), timeout_ms=AGREEMENT_MS)
        except QuorateError as error:
            return error.code
        return "done"

    waiters = [asyncio.ensure_future(clerk.run_with(waiting)) for _ in range(MANY)]
    await lab.sleep(100)
    lab.demand(not any(waiter.done() for waiter in waiters), "a leader that is cut off answers not")
    shut_ms = lab.now_ms()
    for name in lab.cluster.names:
        lab.cluster.kill(name)
    codes = await asyncio.gather(*waiters)
    took_ms = lab.now_ms() - shut_ms
    lab.at_most("waiters are released after", round(took_ms), RELEASE_MS, "ms")
    lab.exactly("waiters that hear ErrMaybe", codes.count(Maybe.code), MANY)


@kv_lab("4/2025", servers=3)
async def rsm_restart_submit(lab: KvLab) -> None:
    """Twice all servers go down and come back, with a hundred increments at once in between."""
    for number in range(MANY):
        lab.demand(await at_leader(lab, lab.servers) == number + 1, "an increment adds one")
    await lab.restart_all()
    lab.demand(await at_leader(lab, lab.servers) == MANY + 1, "a restart loses nothing")
    leader = await lab.one_leader()
    values = await asyncio.gather(*(submit(lab, leader) for _ in range(MANY)))
    done = sum(value is not None for value in values)
    lab.exactly("of a hundred at once, done", done, MANY)
    await lab.restart_all()
    lab.demand(await at_leader(lab, lab.servers) == 2 * MANY + 2, "a restart loses nothing")
    await expect_counter(lab, 2 * MANY + 2)


@kv_lab("4/2025", servers=3, max_log_bytes=MAX_STATE_BYTES)
async def rsm_snapshot(lab: KvLab) -> None:
    """The log never has more than twice its bound, and snapshots bring everything back."""
    log_bytes = 0
    for _ in range(MANY):
        await at_leader(lab, lab.servers)
        log_bytes = max(log_bytes, lab.log_bytes())
    lab.at_most("log", log_bytes, LOG_TIMES * MAX_STATE_BYTES, "B")
    lab.at_least("snapshots taken", min(map(lab.snapshots_taken, lab.servers)), 3)
    await lab.restart_all()
    lab.demand(await at_leader(lab, lab.servers) == MANY + 1, "a restart loses nothing")
    await lab.sleep(ELECTION_MS)
    await expect_counter(lab, MANY + 1)
