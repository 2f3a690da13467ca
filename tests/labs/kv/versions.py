"""Labs 2 of 2025: puts that name the version they replace, and locks.

A version is the key's revision: 0 is a key that is not there.  The labs' server applies a put that
it gets twice, twice: the second meets ``ErrVersion``, so their clerk says ``ErrMaybe`` once it has
tried again.  Ours applies it once; ``Maybe`` is left for who has no time to learn the outcome.
"""

import asyncio
from enum import Enum
from functools import partial

from labs.kv.lab import Clerk, KvLab, kv_lab

from quorate.base.errors import Maybe, Unavailable
from quorate.kv.client import KvClient
from quorate.kv.transaction import Transaction
from quorate.runtime.ports import World

SHORT_S = 0.06
"""A deadline that leaves no time for a second attempt, should a frame of the first be lost."""


LOCKING_MS = 2_000
BAD_LOCKING_MS = 5_000
"""Over a bad network."""


class Answer(Enum):
    """The labs' words."""

    OK = "OK"
    VERSION = "ErrVersion"
    NO_KEY = "ErrNoKey"
    MAYBE = "ErrMaybe"
    NOT_DONE = "not done"
    """Surely: the labs' clerk would go on."""


async def put(key: str, value: str, version: int, kv: KvClient) -> tuple[Answer, int]:
    """The answer, and the version that the key has now."""
    transaction = Transaction().if_revision(key, version).put(key, value).otherwise().get(key)
    try:
        done = await kv.commit(transaction)
    except Maybe:
        return Answer.MAYBE, 0
    except Unavailable:
        return Answer.NOT_DONE, 0
    if done.held:
        return Answer.OK, done.revision
    [found] = done.replies
    return (Answer.NO_KEY, 0) if found is None else (Answer.VERSION, found.revision)


@kv_lab("2/2025", servers=3)
async def reliable_put(lab: KvLab) -> None:
    """Each of the labs' answers, where it belongs."""
    clerk = lab.clerk()

    async def answer(key: str, value: str, version: int) -> Answer:
        return (await clerk.run(lambda kv: put(key, value, version, kv)))[0]

    entry = await clerk.run(lambda kv: kv.get("k"))
    lab.demand(entry is None, "a key that nobody has put is not there")
    lab.demand(await answer("k", "6.5840", 0) is Answer.OK, "a first put has version 0")
    entry = await clerk.run(lambda kv: kv.get("k"))
    lab.demand(entry is not None and entry.value == b"6.5840" and entry.revision > 0, "it is put")
    lab.demand(await answer("k", "x", 0) is Answer.VERSION, "an old version is ErrVersion")
    lab.demand(await answer("y", "x", 1) is Answer.NO_KEY, "a version of no key is ErrNoKey")
    missing = await clerk.run(lambda kv: kv.get("y"))
    lab.demand(missing is None, "what was refused is not there")


@kv_lab("2/2025", servers=3)
async def put_concurrent_reliable(lab: KvLab) -> None:
    """Ten clerks put the version they have seen, for a second: of each version one is taken."""
    taken = await _race(lab)
    lab.at_least("puts that were taken", len(taken), 10)


@kv_lab("2/2025", servers=3)
async def put_concurrent_unreliable(lab: KvLab) -> None:
    """The same over a bad network: that a put is sent again does not make it an ErrVersion."""
    lab.unreliable()
    taken = await _race(lab)
    lab.at_least("puts that were taken", len(taken), 2)


async def _race(lab: KvLab) -> list[int]:
    await lab.one_leader()
    taken: list[int] = []
    end_ms = lab.now_ms() + 1_000
    answers: list[Answer] = []

    async def racing(clerk: Clerk, number: int) -> None:
        version = 0
        while lab.now_ms() < end_ms:
            answer, version = await clerk.run(partial(put, "k", f"{number}", version))
            answers.append(answer)
            if answer is Answer.OK:
                taken.append(version)
            await lab.sleep(lab.random.uniform(0, lab.pace.pause_ms))

    await lab.all_clerks(10, racing)
    lab.demand(len(set(taken)) == len(taken), "no two clerks take the same version")
    entry = await lab.clerk().run(lambda kv: kv.get("k"))
    lab.demand(entry is not None and entry.revision == max(taken), "the last put is there")
    known = {Answer.OK, Answer.VERSION}
    lab.exactly("other answers", sum(a not in known for a in answers), 0)
    # Nothing else changes this store, so each revision is one put.
    lab.exactly("puts that were told", len(taken), lab.revision())
    return taken


@kv_lab("2/2025", servers=3)
async def unreliable_net(lab: KvLab) -> None:
    """One clerk, a hundred puts, a bad network: each is done once, whatever was sent again; who
    has no time to try again may hear ErrMaybe, and nobody else does."""
    clerk = lab.clerk()
    await lab.one_leader()
    version = 0

    async def attempt(number: int, within_s: float | None = None) -> Answer:
        nonlocal version
        before, value = version, f"{number}"

        async def work(kv: KvClient) -> tuple[Answer, int]:
            return await put("k", value, before, kv if within_s is None else kv.within(within_s))

        answer, now = await clerk.run(work)
        if answer is not Answer.OK:
            entry = await clerk.run(lambda kv: kv.get("k"))
            is_there = entry is not None and entry.value == value.encode()
            lab.demand(answer is Answer.MAYBE or not is_there, "what is refused is not there")
            now = entry.revision if entry is not None else 0
            lab.demand(now == before or is_there, "nobody else has put anything")
        version = now
        return answer

    answers = [await attempt(number, SHORT_S) for number in range(20)]
    lab.exactly("good network, 60 ms: OK", answers.count(Answer.OK), 20)
    lab.unreliable()
    answers = [await attempt(20 + number) for number in range(100)]
    lab.exactly("bad network, no limit: OK", answers.count(Answer.OK), 100)
    lab.exactly("versions of a hundred puts", lab.revision(), 120)
    answers = [await attempt(120 + number, SHORT_S) for number in range(20)]
    lab.at_least("bad network, 60 ms: ErrMaybe", answers.count(Answer.MAYBE), 1)
    lab.exactly("ErrVersion of one clerk alone", answers.count(Answer.VERSION), 0)


# Locks.


async def _locks(lab: KvLab, clerks: int, bad: bool) -> None:
    """Clerks take a lock, look whether they are alone, and give it back, for some seconds."""
    lab.unreliable(bad)
    await lab.one_leader()
    end_ms = lab.now_ms() + (BAD_LOCKING_MS if bad else LOCKING_MS)
    holders: list[str] = []
    tokens: list[int] = []

    async def locking(clerk: Clerk, number: int) -> int:
        return await clerk.run_with(lambda world, rpc, kv: critical(clerk.name, world, kv))

    async def critical(name: str, world: World, kv: KvClient) -> int:
        count = 0
        while lab.now_ms() < end_ms:
            lock = kv.lock("l", ttl_s=10)
            async with lock as token:
                holders.append(name)
                lab.demand(holders == [name], f"one holder at a time, not {' and '.join(holders)}")
                tokens.append(token.number)
                await asyncio.sleep(0.01)
                held = await kv.commit(Transaction().if_lock(token).put("holder", name))
                lab.demand(held.held, "who holds the lock may write under it")
                holders.remove(name)
            count += 1
        return count

    counts = await lab.all_clerks(clerks, locking)
    lab.demand(tokens == sorted(set(tokens)), "each holder's token is larger than all before")
    least = max(1, clerks // 2) if bad else 2 * clerks
    lab.at_least("times that the lock was held", sum(counts), least)


for _clerks in (1, 10):
    for _bad in (False, True):

        async def _body(lab: KvLab, clerks: int = _clerks, bad: bool = _bad) -> None:
            await _locks(lab, clerks, bad)

        _who = "one_client" if _clerks == 1 else "many_clients"
        _name = f"lock_{_who}_{'unreliable' if _bad else 'reliable'}"
        kv_lab("2/2025", servers=3, watches=True, name=_name)(_body)
