"""Labs 3A, 2 (2024) and 4B (2025): speed, one partition, one key for all."""

import asyncio

from labs.kv.lab import Clerk, KvLab, kv_lab

from quorate.simulator.lab.tester import ELECTION_MS

OPERATION_MS = 33.3
"""Three operations in each 100 ms, the labs' time between heartbeats."""
MAX_STATE_BYTES = 1_000


async def speed(lab: KvLab) -> None:
    """A thousand operations (in ``make test`` fewer), one after the other."""
    clerk = lab.clerk()
    await clerk.put("x", "")
    appended = ""
    began_ms = lab.now_ms()
    for number in range(lab.pace.operations):
        text = f"x 0 {number} y"
        await clerk.append("x", text)
        appended += text
    took_ms = lab.now_ms() - began_ms
    await clerk.expect("x", appended)
    lab.at_most("an operation takes", round(took_ms / lab.pace.operations, 2), OPERATION_MS, "ms")


kv_lab("3A", servers=3, name="speed_3A")(speed)
kv_lab("3B", servers=3, max_log_bytes=MAX_STATE_BYTES, name="speed_3B")(speed)


@kv_lab("3A", servers=3, seeds=2)
async def unreliable_one_key(lab: KvLab) -> None:
    """Five clerks append ten times each to one key over a bad network: all are there, once, each
    clerk's in order."""
    lab.unreliable()
    await lab.clerk().put("k", "")

    async def appending(clerk: Clerk, number: int) -> None:
        for count in range(10):
            await clerk.append("k", f"x {number} {count} y")

    await lab.all_clerks(5, appending)
    found = await lab.clerk().get("k")
    for number in range(5):
        expect_appends(lab, number, found, 10)
    lab.exactly("length of the value", len(found), 50 * len("x 0 0 y"), "B")


def expect_appends(lab: KvLab, clerk: int, found: str, count: int) -> None:
    """The labs' ``checkClntAppends``: each of ``count`` is there, once, in order."""
    last = -1
    for number in range(count):
        text = f"x {clerk} {number} y"
        place = found.find(text)
        lab.demand(place >= 0, f"nothing that was appended is missing; {text!r} is")
        lab.demand(found.find(text, place + 1) < 0, f"nothing is there twice; {text!r} is")
        lab.demand(place > last, f"appends of a clerk keep their order; {text!r} does not")
        last = place


@kv_lab("3A", servers=5, seeds=3)
async def one_partition(lab: KvLab) -> None:
    """A minority, which has the old leader, makes no progress; what was asked of it is done soon
    after all are connected."""
    clerk = lab.clerk()
    await clerk.put("1", "13")
    leader = await lab.one_leader()
    minority = [leader, lab.after(leader, 1)]
    majority = [server for server in lab.servers if server not in minority]
    lab.partition(majority, minority)
    inside, putting, getting = (lab.clerk(side) for side in (majority, minority, minority))
    await inside.put("1", "14")
    await inside.expect("1", "14")
    put = asyncio.ensure_future(putting.put("1", "15"))
    get = asyncio.ensure_future(getting.get("1"))
    await lab.sleep(1_000)
    lab.demand(not put.done() and not get.done(), "a minority answers nothing")
    await inside.expect("1", "14")
    await inside.put("1", "16")
    await inside.expect("1", "16")
    lab.heal()
    healed_ms = lab.now_ms()
    await asyncio.gather(put, get)
    took_ms = lab.now_ms() - healed_ms
    lab.at_most("done after the partition", round(took_ms), ELECTION_MS + 3_000, "ms")
    await clerk.expect("1", "15")
