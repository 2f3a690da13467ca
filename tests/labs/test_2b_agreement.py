"""Lab 2B: the log."""

import asyncio

from labs.harness import ELECTION_MS, Lab, lab_test

from quorate.raft.core.entries import Entry


@lab_test(servers=3)
async def test_basic_agreement(lab: Lab) -> None:
    """Three commands are numbers 1, 2 and 3; their entries follow the leader's no-op."""
    for position in (1, 2, 3):
        assert len(lab.history.order) == position - 1, "committed before it was proposed"
        await lab.one(position * 100, 3, retry=False)
    indexes = [index for index, _ in lab.history.order]
    [no_op] = {index - position for position, index in enumerate(indexes, 1)}
    lab.exactly("entries before the first command (the no-op)", no_op, 1)
    assert [value for _, value in lab.history.order] == [100, 200, 300]


@lab_test(servers=3)
async def test_rpc_bytes(lab: Lab) -> None:
    """Each command goes to each peer once."""
    first = await lab.one(99, 3, retry=False)
    before, size = lab.checker.traffic.copy(), 5_000
    for number in range(1, 11):
        entry = await lab.one(f"{number:0{size}}", 3, retry=False)
        assert entry.index == first.index + number
    traffic = lab.checker.traffic.since(before)
    lab.at_most("bytes for 10 × 5,000 B", traffic.bytes, 3 * 10 * size + 50_000, "B")
    # The labs leave room for a third copy; there are two followers.
    lab.at_most("the same, tighter: two copies", traffic.bytes, 2 * 10 * size + 10_000, "B")


@lab_test(servers=3)
async def test_follower_failure(lab: Lab) -> None:
    """Two of three agree, one of three never."""
    await lab.one(101, 3, retry=False)
    first = await lab.one_leader()
    lab.disconnect(lab.after(first, 1))
    await lab.one(102, 2, retry=False)
    await lab.sleep(ELECTION_MS)
    await lab.one(103, 2, retry=False)

    leader = await lab.one_leader()
    lab.disconnect(lab.after(leader, 1), lab.after(leader, 2))
    entry = await lab.start(leader, 104)
    assert entry is not None
    lab.exactly("position of the 4th command", lab.position(leader, entry), 4)
    await lab.sleep(2 * ELECTION_MS)
    lab.exactly("commits without a majority, in 2 s", len(lab.history.distinct), 3)


@lab_test(servers=3)
async def test_leader_failure(lab: Lab) -> None:
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


@lab_test(servers=3)
async def test_fail_agree(lab: Lab) -> None:
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


@lab_test(servers=5)
async def test_fail_no_agree(lab: Lab) -> None:
    """Two of five commit nothing; after they are five again, the next command is the second or the
    third."""
    await lab.one(10, 5, retry=False)
    leader = await lab.one_leader()
    away = [lab.after(leader, steps) for steps in (1, 2, 3)]
    lab.disconnect(*away)
    entry = await lab.start(leader, 20)
    assert entry is not None
    assert lab.position(leader, entry) == 2
    await lab.sleep(2 * ELECTION_MS)
    lab.exactly("commits without a majority, in 2 s", len(lab.history.distinct), 1)

    lab.connect(*away)
    leader = await lab.one_leader()
    entry = await lab.start(leader, 30)
    assert entry is not None
    lab.at_most("position of the next command", lab.position(leader, entry), 3)
    assert lab.position(leader, entry) >= 2
    await lab.one(1_000, 5)


@lab_test(servers=3)
async def test_concurrent_starts(lab: Lab) -> None:
    """Five commands that are proposed at once in one term are all there."""
    for attempt in range(5):
        if attempt:
            await lab.sleep(3_000)
        if await _concurrent_starts(lab, 1_000 * attempt):
            lab.at_most("tries", attempt + 1, 5)
            return
    raise AssertionError("the term changed each time")


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
    assert sorted(map(str, found)) == sorted(map(str, wanted))
    return True


@lab_test(servers=3)
async def test_rejoin(lab: Lab) -> None:
    """A leader that comes back with entries which nobody else has loses them."""
    await lab.one(101, 3)
    first = await lab.one_leader()
    lab.disconnect(first)
    for value in (102, 103, 104):
        assert await lab.start(first, value) is not None
    await lab.one(203, 2)

    second = await lab.one_leader()
    lab.disconnect(second)
    lab.connect(first)
    await lab.one(204, 2)
    lab.connect(second)
    await lab.one(205, 3)
    stale = {102, 103, 104}.intersection(lab.history.distinct)
    lab.exactly("stale entries committed", len(stale), 0)
    assert lab.history.distinct == [101, 203, 204, 205]


@lab_test(servers=5)
async def test_backup(lab: Lab) -> None:
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
    lab.at_most("appends refused, in all", lab.checker.traffic.refusals, 20)


async def _start_many(lab: Lab, leader: int) -> None:
    for _ in range(50):
        assert await lab.start(leader, lab.fresh()) is not None


@lab_test(servers=3)
async def test_count(lab: Lab) -> None:
    """Not too many requests: for an election, for agreement on ten commands, for nothing."""
    await lab.one_leader()
    lab.at_most("requests to elect a leader", lab.checker.traffic.requests, 30)
    assert lab.checker.traffic.requests >= 1
    for attempt in range(5):
        if attempt:
            await lab.sleep(3_000)
        if await _count_ten(lab):
            break
    else:
        raise AssertionError("the term changed each time")
    before = lab.checker.traffic.copy()
    await lab.sleep(ELECTION_MS)
    idle = lab.checker.traffic.since(before)
    lab.at_most("requests in an idle second", idle.requests, 60)
    # The lab's text: no more than ten heartbeats a second, to each of two followers.
    lab.at_most("the same, tighter: 10 heartbeats a second", idle.requests, 20)


async def _count_ten(lab: Lab) -> bool:
    """Whether the term stayed, so that the count is one."""
    leader = await lab.one_leader()
    before = lab.checker.traffic.copy()
    entries: list[Entry] = []
    for _ in range(11):
        entry = await lab.start(leader, lab.fresh())
        if entry is None or (entries and entry.term != entries[0].term):
            return False
        entries.append(entry)
    assert [entry.index - entries[0].index for entry in entries] == list(range(11))
    for number, entry in enumerate(entries):
        values = await lab.wait(entry.index, 3, entries[0].term)
        if values is None:
            return False
        assert values == [lab.last_value - 10 + number]
    if any(lab.term(server) != entries[0].term for server in lab.servers):
        return False
    spent = lab.checker.traffic.since(before)
    lab.at_most("requests for 10 commands", spent.requests, (10 + 1 + 3) * 3)
    return True
