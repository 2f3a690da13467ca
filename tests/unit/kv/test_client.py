"""The client of the store, against simulated nodes."""

import asyncio

import pytest
from node_clients import run_user

from quorate.base.errors import BadInput, DeadlineExceeded, Fenced, NotFound, TooLarge
from quorate.base.ids import Address
from quorate.kv.client import KvClient, bounds_of
from quorate.kv.core import history
from quorate.kv.core.commands import Changed, Entry, Kind
from quorate.kv.transaction import Transaction
from quorate.kv.watching import Watching
from quorate.simulator.cluster import User

LARGE = bytes(range(256)) * (8 << 12)  # 8 MiB


def test_each_operation_does_what_its_name_says() -> None:
    async def work(user: User) -> None:
        kv = user.kv
        first = await kv.put("a", "1")
        assert await kv.get("a") == Entry(b"a", b"1", first)
        assert await kv.get("b") is None
        assert await kv.increment("a", 41) == 42
        assert await kv.append("a", b"!") == 3
        assert await kv.compare_and_set("a", "1", "x") == 0
        second = await kv.compare_and_set("a", "42!", "x")
        assert second == first + 3
        assert await kv.compare_and_set("b", None, "new") == second + 1
        assert await kv.put_if_revision("a", first, "y") == 0
        assert await kv.put_if_revision("a", second, "y") == second + 2
        assert await kv.put_if_revision("a", 0, "z") == 0
        await kv.put_many({"c": "3", b"d": b"4"})
        found = await kv.get_many(["a", "none", "d"])
        assert [entry and entry.value for entry in found] == [b"y", None, b"4"]
        assert await kv.delete("c", "none", "d") == 2
        with pytest.raises(BadInput, match="not an integer"):
            await kv.increment("a")
        assert (await kv.statistics()).keys == 2
        assert await kv.clear() == 2

    run_user(1, work)


def test_a_key_is_gone_when_its_time_is_over() -> None:
    async def work(user: User) -> None:
        kv = user.kv
        await kv.put("a", "1", ttl_s=5)
        left_s = await kv.ttl("a")
        assert left_s is not None and 4 < left_s < 5.1
        await user.world.clock.sleep(5_200)
        assert await kv.get("a") is None and await kv.ttl("a") is None
        await kv.put("a", "1")
        assert await kv.ttl("a") == float("inf")
        assert await kv.expire("a", 5) and not await kv.expire("b", 5)
        assert await kv.persist("a") and not await kv.persist("a")
        with pytest.raises(BadInput, match="no time to live"):
            await kv.put("a", "1", ttl_s=0)

    run_user(2, work)


def test_a_scan_gives_each_key_of_a_prefix_or_range_once_and_in_order() -> None:
    async def work(user: User) -> None:
        kv = user.kv
        keys = [f"k{number:03d}" for number in range(50)]
        await kv.put_many({key: key for key in reversed(keys)} | {"j": "", "l": "", "\xff": ""})
        assert [entry.key.decode() async for entry in kv.scan("k", limit=7)] == keys
        page = await kv.page(start="k010", end="k020", limit=4, values=False)
        assert [entry.key for entry in page.entries] == [b"k010", b"k011", b"k012", b"k013"]
        assert page.more == b"k014" and page.entries[0].value == b""
        rest = await kv.page(start=page.more, end="k020")
        assert len(rest.entries) == 6 and rest.more is None
        assert len([page async for page in kv.pages(limit=10)]) == 6

    run_user(3, work)


def test_a_prefix_ends_before_the_first_key_that_does_not_begin_with_it() -> None:
    assert bounds_of(b"a", None, None) == (b"a", b"b")
    assert bounds_of(b"a\xff", None, None) == (b"a\xff", b"b")
    assert bounds_of(b"\xff\xff", None, None) == (b"\xff\xff", None)
    assert bounds_of(b"", None, None) == (b"", None)
    assert bounds_of("k", "k5", "m") == (b"k5", b"l")


def test_values_of_8_mib_go_in_and_out_by_every_way() -> None:
    async def work(user: User) -> None:
        kv = user.kv
        watching = await kv.watch("large")
        await kv.put("large", LARGE)
        found = await kv.get("large")
        assert found is not None and found.value == LARGE
        assert (await kv.page()).entries == [found]
        assert (await anext(watching)).value == LARGE
        await kv.put_many({"x": LARGE[: 1 << 20], "y": b"small"})
        assert await kv.append("x", LARGE[: 1 << 20]) == 2 << 20
        done = await kv.commit(Transaction().if_absent("z").put("z", LARGE).get("x"))
        assert done.held and len(done.replies[1].value) == 2 << 20
        with pytest.raises(TooLarge):
            await kv.get_many(["large", "z"])
        with pytest.raises(BadInput, match="8388609 bytes"):
            await kv.put("a", LARGE + b"x")
        with pytest.raises(BadInput, match="do less at a time"):
            await kv.put_many({str(number): b"x" * 200_000 for number in range(3)})
        assert await kv.get("a") is None and await kv.get("0") is None

    run_user(4, work)


def test_a_transaction_is_done_whole_or_not_at_all() -> None:
    async def work(user: User) -> None:
        kv = user.kv
        await kv.put_many({"from": "100", "to": "1"})
        move = Transaction().if_value("from", "100").put("from", "90").increment("to", 10)
        move.otherwise().get("from").get("none")
        done = await kv.commit(move)
        assert done.held and done.replies == [done.revision, 11]
        again = await kv.commit(move)
        assert not again.held and again.replies == [Entry(b"from", b"90", done.revision), None]
        with pytest.raises(BadInput):
            await kv.commit(Transaction().delete("from").put("to", "x").increment("to"))
        assert [entry and entry.value for entry in await kv.get_many(["from", "to"])] == [
            b"90",
            b"11",
        ]
        since = (await kv.statistics()).revision
        await kv.put("seen", "1")
        await kv.delete("seen")
        assert not (await kv.commit(Transaction().if_untouched("seen", since))).held

    run_user(5, work)


def test_a_watch_tells_every_change_once_and_goes_on_where_it_was() -> None:
    async def work(user: User) -> None:
        kv = user.kv
        since = await kv.put("k/0", "0")
        watching = await kv.watch(prefix="k/", since=since)
        single = await kv.watch("k/1")
        await kv.put("k/1", "1")
        await kv.put("other", "x")
        await kv.commit(Transaction().put("k/1", "2").delete("k/0"))
        events = [await anext(watching) for _ in range(3)]
        seen = [(event.key, event.kind) for event in events]
        assert seen == [(b"k/1", Kind.PUT), (b"k/1", Kind.PUT), (b"k/0", Kind.DELETE)]
        assert [(await anext(single)).value for _ in range(2)] == [b"1", b"2"]
        assert await watching.events(0.2) == []
        half = await kv.watch(prefix="k/", since=since)
        assert (await anext(half)).value == b"1"
        assert (await anext(half)).value == b"2"
        rest = await kv.watch(prefix="k/", since=half.revision)
        assert (await anext(rest)).value == b"2"  # what was half given comes whole
        assert await kv.clear() == 2
        assert (await anext(watching)).kind is Kind.CLEAR

    run_user(6, work)


def test_a_watch_tells_what_is_too_large_for_an_answer_in_pieces_from_any_node(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ask = Watching._ask

    async def ask_the_next(self: Watching, timeout_ms: float) -> Changed | None:
        answers.append(await ask(self, timeout_ms))
        self._target += 1
        return answers[-1]

    answers = list[Changed | None]()
    monkeypatch.setattr(Watching, "_ask", ask_the_next)

    async def work(user: User) -> None:
        kv = user.kv
        watching = await kv.watch()
        large = Transaction().put("a", LARGE).put("b", LARGE[:100]).put("c", LARGE[: 4 << 20])
        revision = (await kv.commit(large)).revision
        events = await watching.events(60)
        assert [(event.revision, event.key) for event in events] == [
            (revision, b"a"),
            (revision, b"b"),
            (revision, b"c"),
        ]
        assert events[0].value == LARGE and watching.revision == revision
        assert [bool(answer and answer.is_piece) for answer in answers].count(True) == 2
        for name, length in ("d", 300_000), ("e", 200_000), ("f", 8 << 20):
            await kv.put(name, LARGE[:length])
        told = list[bytes]()
        while len(told) < 3:
            told += [event.key for event in await watching.events(60)]
        assert told == [b"d", b"e", b"f"]

    run_user(14, work)


def test_a_watch_whose_past_is_forgotten_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "MAX_BYTES", 10_000)

    async def work(user: User) -> None:
        kv = user.kv
        busy = await kv.watch("busy", since=0)
        quiet = await kv.watch("quiet")
        waiting = user.world.spawn(quiet.events(60), "quiet watch")
        await user.world.clock.sleep(100)
        for _ in range(6):
            await kv.put("busy", LARGE[:3000])
        with pytest.raises(NotFound, match="is forgotten"):
            await busy.events(5)
        await kv.put("quiet", "1")
        assert [event.value for event in await waiting] == [b"1"]  # nothing of its own was

    run_user(7, work)


def test_one_at_a_time_has_a_lock_and_each_has_a_larger_token() -> None:
    async def work(user: User) -> None:
        kv, numbers, inside = user.kv, list[int](), list[int]()

        async def one(number: int) -> None:
            async with kv.lock("lock", ttl_s=3) as token:
                inside.append(number)
                assert inside == [number]
                await user.world.clock.sleep(4_000)  # longer than its time to live
                done = await kv.commit(Transaction().if_lock(token).increment("count"))
                assert done.held
                numbers.append(token.number)
                inside.remove(number)

        await asyncio.gather(*(one(number) for number in range(3)))
        assert numbers == sorted(set(numbers)) and len(numbers) == 3
        with pytest.raises(DeadlineExceeded):
            async with kv.lock("lock"), kv.lock("lock", wait_s=0.5):
                raise AssertionError
        assert await kv.get("lock") is None

    run_user(8, work)


def test_a_lost_lock_ends_the_work_and_its_token_is_refused() -> None:
    async def work(user: User) -> None:
        kv = user.kv
        with pytest.raises(Fenced, match="was lost"):
            async with kv.lock("lock", ttl_s=3) as token:
                await kv.delete("lock")
                await user.world.clock.sleep(60_000)
                raise AssertionError
        async with kv.lock("lock") as newer:
            assert newer.number > token.number
            assert not (await kv.commit(Transaction().if_lock(token).put("x", "late"))).held
            assert (await kv.commit(Transaction().if_lock(newer).put("x", "now"))).held

    run_user(9, work)


def test_a_lock_of_no_possible_name_is_refused_and_ends_nothing_else() -> None:
    async def work(user: User) -> None:
        for length in (100_000, 600_000):
            with pytest.raises(BadInput):
                await user.kv.lock(b"x" * length).acquire()
        await user.world.clock.sleep(1_000)
        assert await user.kv.put("a", "1")

    run_user(15, work)


def test_who_wants_to_go_on_is_called_when_a_lock_is_lost() -> None:
    async def work(user: User) -> None:
        kv, calls = user.kv, list[str]()
        with pytest.raises(Fenced):
            async with kv.lock("lock", ttl_s=3, on_lost=lambda: calls.append("lost")):
                await kv.delete("lock")
                await user.world.clock.sleep(2_000)
                assert calls == ["lost"]

    run_user(10, work)


def test_a_call_has_its_own_deadline() -> None:
    async def work(user: User) -> None:
        nobody = KvClient(user.world, user.rpc, [Address("nowhere:raft")], timeout_s=60)
        began_ms = user.world.clock.monotonic_ms()
        with pytest.raises(DeadlineExceeded):
            await nobody.within(0.3).get("a")
        assert user.world.clock.monotonic_ms() - began_ms < 400

    run_user(10, work)
