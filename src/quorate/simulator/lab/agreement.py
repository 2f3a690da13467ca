"""Lab 2B: the log."""

import asyncio

from quorate.simulator.lab.history import Value
from quorate.simulator.lab.registry import lab_test
from quorate.simulator.lab.results import Broken
from quorate.simulator.lab.tester import ELECTION_MS, Lab, Started


async def taken(lab: Lab, leader: int, value: Value) -> Started:
    """The entry of ``value`` at a server that leads and, as the network of others goes, must."""
    entry = await lab.start(leader, value)
    if entry is None:
        raise Broken(f"{lab.name(leader)} has just led and takes a command; it did not")
    return entry


@lab_test("2B", servers=3)
async def basic_agreement(lab: Lab) -> None:
    """Three commands are numbers 1, 2 and 3; a no-op of their leader may precede them."""
    for position in (1, 2, 3):
        lab.demand(
            len(lab.history.order) == position - 1, "nothing is committed before it is proposed"
        )
        await lab.one(position * 100, 3, retry=False)
    indexes = [index for index, _ in lab.history.order]
    gaps = {index - position for position, index in enumerate(indexes, 1)}
    lab.demand(len(gaps) == 1, f"one leader's commands have indexes in a row, not {indexes}")
    lab.at_most("entries before the first command (a no-op)", gaps.pop(), 1)
    order = [value for _, value in lab.history.order]
    lab.demand(order == [100, 200, 300], f"100, 200 and 300 are applied in this order, not {order}")


@lab_test("2B", servers=3)
async def rpc_bytes(lab: Lab) -> None:
    """Each command goes to each peer once."""
    first = await lab.one(99, 3, retry=False)
    before, size = lab.traffic.copy(), 5_000
    for number in range(1, 11):
        entry = await lab.one(f"{number:0{size}}", 3, retry=False)
        lab.demand(
            entry.index == first.index + number,
            f"command {number} after index {first.index} follows without a gap, not at"
            f" {entry.index}",
        )
    traffic = lab.traffic.since(before)
    lab.at_most("bytes for 10 × 5,000 B", traffic.bytes, 3 * 10 * size + 50_000, "B")
    # The labs leave room for a third copy; there are two followers.
    lab.tighter("bytes for 10 × 5,000 B: two copies", traffic.bytes, 2 * 10 * size + 10_000, "B")


@lab_test("2B", servers=3)
async def follower_failure(lab: Lab) -> None:
    """Two of three agree, one of three never."""
    await lab.one(101, 3, retry=False)
    first = await lab.one_leader()
    lab.disconnect(lab.after(first, 1))
    await lab.one(102, 2, retry=False)
    await lab.sleep(ELECTION_MS)
    await lab.one(103, 2, retry=False)

    leader = await lab.one_leader()
    lab.disconnect(lab.after(leader, 1), lab.after(leader, 2))
    entry = await taken(lab, leader, 104)
    lab.exactly("position of the 4th command", lab.position(entry), 4)
    await lab.sleep(2 * ELECTION_MS)
    lab.exactly("commits without a majority, in 2 s", len(lab.history.distinct), 3)


@lab_test("2B", servers=3)
async def leader_failure(lab: Lab) -> None:
    """The others agree without their leader; when the next one is cut off too, nobody does."""
    await lab.one(101, 3, retry=False)
    first = await lab.one_leader()
    lab.disconnect(first)
    await lab.one(102, 2)
    await lab.sleep(ELECTION_MS)
    await lab.one(103, 2, retry=False)

    lab.disconnect(await lab.one_leader())
    for server in lab.servers:
        await lab.start(server, 104)
    await lab.sleep(2 * ELECTION_MS)
    lab.exactly("commands committed, the 4th not", len(lab.history.distinct), 3)


@lab_test("2B", servers=3)
async def fail_agree(lab: Lab) -> None:
    """A follower that comes back catches up."""
    await lab.one(101, 3, retry=False)
    leader = await lab.one_leader()
    lab.disconnect(lab.after(leader, 1))
    await lab.one(102, 2, retry=False)
    await lab.one(103, 2, retry=False)
    await lab.sleep(ELECTION_MS)
    await lab.one(104, 2, retry=False)
    await lab.one(105, 2, retry=False)

    lab.connect(lab.after(leader, 1))
    await lab.one(106, 3)
    await lab.sleep(ELECTION_MS)
    await lab.one(107, 3)
    lab.exactly("commands committed", len(lab.history.distinct), 7)


@lab_test("2B", servers=5)
async def fail_no_agree(lab: Lab) -> None:
    """Two of five commit nothing; after they are five again, the next command is the second or the
    third."""
    await lab.one(10, 5, retry=False)
    leader = await lab.one_leader()
    away = [lab.after(leader, steps) for steps in (1, 2, 3)]
    lab.disconnect(*away)
    entry = await taken(lab, leader, 20)
    lab.exactly("position of the second command", lab.position(entry), 2)
    await lab.sleep(2 * ELECTION_MS)
    lab.exactly("commits without a majority, in 2 s", len(lab.history.distinct), 1)

    lab.connect(*away)
    leader = await lab.one_leader()
    entry = await taken(lab, leader, 30)
    lab.at_most("position of the next command", lab.position(entry), 3)
    lab.at_least("position of the next command, at least", lab.position(entry), 2)
    await lab.one(1_000, 5)


@lab_test("2B", servers=3)
async def concurrent_starts(lab: Lab) -> None:
    """Five commands that are proposed at once in one term are all there."""
    for attempt in range(5):
        if attempt:
            await lab.sleep(3_000)
        if await _concurrent_starts(lab, 1_000 * attempt):
            lab.at_most("tries", attempt + 1, 5)
            return
    raise Broken("a term lasts while nothing fails; in five tries it changed each time")


async def _concurrent_starts(lab: Lab, base: int) -> bool:
    """Whether the term stayed, so that the attempt says something."""
    leader = await lab.one_leader()
    first = await lab.start(leader, base + 1)
    if first is None:
        return False
    wanted = [base + 100 + number for number in range(5)]
    entries = await asyncio.gather(*(lab.start(leader, value) for value in wanted))
    started = [entry for entry in entries if entry is not None and entry.term == first.term]
    if any(lab.term(server) != first.term for server in lab.servers):
        return False
    found: list[object] = []
    for index in sorted({entry.index for entry in started}):
        values = await lab.wait(index, 3, first.term)
        if values is None:
            return False
        found += values
    lab.demand(
        sorted(map(str, found)) == sorted(map(str, wanted)),
        f"commands that are started at once are all committed: {wanted}, not {found}",
    )
    return True


@lab_test("2B", servers=3)
async def rejoin(lab: Lab) -> None:
    """A leader that comes back with entries which nobody else has loses them."""
    await lab.one(101, 3)
    first = await lab.one_leader()
    lab.disconnect(first)
    for value in (102, 103, 104):
        await taken(lab, first, value)
    await lab.one(203, 2)

    second = await lab.one_leader()
    lab.disconnect(second)
    lab.connect(first)
    await lab.one(204, 2)
    lab.connect(second)
    await lab.one(205, 3)
    stale = {102, 103, 104}.intersection(lab.history.distinct)
    lab.exactly("stale entries committed", len(stale), 0)
    order = lab.history.distinct
    lab.demand(order == [101, 203, 204, 205], f"101, 203, 204, 205 are committed, not {order}")


@lab_test("2B", servers=5)
async def backup(lab: Lab) -> None:
    """Leaders with 50 entries that conflict come back, twice: backing up must be fast."""
    await lab.one(lab.fresh(), 5)
    first = await lab.one_leader()
    near, far = [lab.after(first, k) for k in (0, 1)], [lab.after(first, k) for k in (2, 3, 4)]
    lab.disconnect(*far)
    await _start_many(lab, first)
    await lab.sleep(ELECTION_MS / 2)
    lab.disconnect(*near)

    lab.connect(*far)
    for _ in range(50):
        await lab.one(lab.fresh(), 3)
    second = await lab.one_leader()
    other = far[0] if second != far[0] else far[1]
    lab.disconnect(other)
    await _start_many(lab, second)
    await lab.sleep(ELECTION_MS / 2)

    lab.disconnect(*lab.servers)
    lab.connect(*near, other)
    for _ in range(50):
        await lab.one(lab.fresh(), 3)
    lab.connect(*lab.servers)
    await lab.one(lab.fresh(), 5)
    lab.exactly("commands committed", len(lab.history.distinct), 102)
    # The labs know slow back-up by its time; one entry at a time would be refused 50 times and
    # more by each follower.
    lab.tighter("appends refused, in all", lab.traffic.refusals, 20)


async def _start_many(lab: Lab, leader: int) -> None:
    for _ in range(50):
        await taken(lab, leader, lab.fresh())


@lab_test("2B", servers=3)
async def count(lab: Lab) -> None:
    """Not too many requests: for an election, for agreement on ten commands, for nothing."""
    await lab.one_leader()
    lab.at_most("requests to elect a leader", lab.traffic.requests, 30)
    lab.demand(lab.traffic.requests >= 1, "an election needs a request for votes")
    for attempt in range(5):
        if attempt:
            await lab.sleep(3_000)
        if await _count_ten(lab):
            break
    else:
        raise Broken("a term lasts while nothing fails; in five tries it changed each time")
    before = lab.traffic.copy()
    await lab.sleep(ELECTION_MS)
    idle = lab.traffic.since(before)
    lab.at_most("requests in an idle second", idle.requests, 60)
    # The lab's text: no more than ten heartbeats a second, to each of two followers.
    lab.at_most("the same: 10 heartbeats a second to each of two", idle.requests, 20)


async def _count_ten(lab: Lab) -> bool:
    """Whether the term stayed, so that the count is one."""
    leader = await lab.one_leader()
    before = lab.traffic.copy()
    entries: list[Started] = []
    for _ in range(11):
        entry = await lab.start(leader, lab.fresh())
        if entry is None or (entries and entry.term != entries[0].term):
            return False
        entries.append(entry)
    offsets = [entry.index - entries[0].index for entry in entries]
    lab.demand(offsets == list(range(11)), "one leader's commands have indexes in a row")
    for number, entry in enumerate(entries):
        values = await lab.wait(entry.index, 3, entries[0].term)
        if values is None:
            return False
        wanted = [lab.last_value - 10 + number]
        lab.demand(values == wanted, f"{wanted} is committed at its index, not {values}")
    if any(lab.term(server) != entries[0].term for server in lab.servers):
        return False
    spent = lab.traffic.since(before)
    lab.at_most("requests for 10 commands", spent.requests, (10 + 1 + 3) * 3)
    return True
