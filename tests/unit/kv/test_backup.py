"""Backup and restore, against simulated nodes; the file is in memory."""

import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from node_clients import run_user

from quorate.base.errors import (
    AlreadyExists,
    BadInput,
    CorruptData,
    Fenced,
    NotFound,
    Overloaded,
    QuorateError,
)
from quorate.base.ids import KV_GROUP
from quorate.kv import backup as module
from quorate.kv import views
from quorate.kv.backup import MARKER, Read, Source, back_up, restore, verify
from quorate.kv.client import KvClient
from quorate.kv.core.commands import Skip
from quorate.kv.messages import OpenView
from quorate.kv.viewing import View
from quorate.kv.watching import Watching
from quorate.runtime.simulated.world import Simulation
from quorate.simulator.cluster import NodeCluster, User, address

LARGE = bytes(range(256)) * 2400  # 600 KiB: sent ahead, and a piece with others


def source_of(data: bytes) -> Source:
    @asynccontextmanager
    async def opened() -> AsyncIterator[Read]:
        file = io.BytesIO(data)

        async def read(length: int) -> bytes:
            return file.read(length)

        yield read

    return opened


async def backed_up(kv: KvClient) -> bytes:
    pieces = list[bytes]()

    async def write(data: bytes) -> None:
        pieces.append(data)

    await back_up(kv, write)
    return b"".join(pieces)


async def fill(kv: KvClient) -> dict[bytes, bytes]:
    pairs = {b"%05d" % number: b"%d" % number for number in range(5_000)}
    for start in range(0, 5_000, 2_500):
        await kv.put_many(list(pairs.items())[start : start + 2_500])
    for name in (b"x", b"y", b"z"):
        await kv.put(name, LARGE)
        pairs[name] = LARGE
    return pairs


async def everything(kv: KvClient) -> dict[bytes, bytes]:
    return {entry.key: entry.value async for entry in kv.scan(limit=10_000)}


def test_a_restored_store_has_the_same_keys_values_and_time_left() -> None:
    async def work(user: User) -> None:
        kv, clock = user.kv, user.world.clock
        pairs = await fill(kv)
        await kv.put("short", "gone", ttl_s=1)
        await kv.put("long", "here", ttl_s=100)
        await clock.sleep(1_500)
        data = await backed_up(kv)
        found = await verify(source_of(data))
        assert found.footer.entries == len(pairs) + 1
        await kv.put("later", "not in it")
        await clock.sleep(50_000)
        with pytest.raises(AlreadyExists, match="holds keys"):
            await restore(kv, source_of(data))
        told = list[int]()
        assert await restore(kv, source_of(data), replace=True, progress=told.append) == found
        assert sum(told) == found.footer.entries
        assert await everything(kv) == pairs | {b"long": b"here"}
        left_s = await kv.ttl("long")
        assert left_s is not None and 95 < left_s < 100

    run_user(1, work)


def test_a_view_tells_ends_by_log_time_whatever_the_clock_of_its_node_says() -> None:
    with Simulation(3) as simulation:
        nodes = NodeCluster(simulation)
        nodes.found()

        async def work(user: User) -> None:
            await user.kv.put("short", "here", ttl_s=100)
            followers = [name for name in nodes.names if name != nodes.leader(KV_GROUP)]
            for name in followers:
                simulation.machine(name).clock.jump_wall(3_600_000)
            await user.world.clock.sleep(20_000)
            await user.kv.put("other", "key")
            for name in followers:
                opened = await user.rpc.call(address(name), OpenView(), timeout_ms=5_000)
                view = View(user.world, user.rpc, address(name), opened, 5_000)
                [piece] = [piece async for piece in view.pieces()]
                found = {it.key: it.at_ms for it in module._decoded(piece, list[module.Entry])}
                assert found.keys() == {b"short", b"other"}
                assert 79_000 < found[b"short"] < 81_000

        process = nodes.start_user("client", work)
        simulation.run_until(lambda: not process.alive, 60_000)
        if process.error is not None:
            raise process.error


def test_the_time_left_of_a_key_in_a_backup_is_right_although_nobody_writes() -> None:
    async def work(user: User) -> None:
        await user.kv.put("long", "here", ttl_s=100)
        await user.world.clock.sleep(50_000)
        data = await backed_up(user.kv)
        await restore(user.kv, source_of(data), replace=True)
        left_s = await user.kv.ttl("long")
        assert left_s is not None and 48 < left_s < 50

    run_user(4, work)


def test_a_backup_is_of_one_moment_whatever_changes_while_it_is_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(views.Views, "piece_bytes", 10_000)

    async def work(user: User) -> None:
        kv = user.kv
        await kv.put_many({f"{number:03d}": "before" + "x" * 100 for number in range(500)})
        view = await kv.view()
        pieces = view.pieces()
        seen = [await anext(pieces)]
        await kv.put_many({f"{number:03d}": "after" for number in range(0, 500, 2)})
        await kv.delete("499")
        seen += [piece async for piece in pieces]
        entries = [entry for piece in seen for entry in module._decoded(piece, list[module.Entry])]
        assert len(seen) > 5 and len(entries) == view.opened.keys == 500
        assert all(entry.value.startswith(b"before") for entry in entries)
        await view.close()

    run_user(2, work)


def test_a_backup_waits_for_a_place_that_takes_its_time() -> None:
    async def work(user: User) -> None:
        await fill(user.kv)
        written = list[bytes]()

        async def write(data: bytes) -> None:
            await user.world.clock.sleep(15_000)
            written.append(data)

        done = await back_up(user.kv, write)
        assert await verify(source_of(b"".join(written))) == done

    run_user(8, work)


def test_a_damaged_or_cut_file_is_refused_before_anything_is_changed() -> None:
    async def work(user: User) -> None:
        kv = user.kv
        await kv.put_many({f"{number}": "x" * 50 for number in range(200)})
        data = await backed_up(kv)
        before = (await kv.statistics()).revision

        async def refused(bad: bytes) -> QuorateError:
            with pytest.raises((CorruptData, BadInput)) as caught:
                await restore(kv, source_of(bad), replace=True)
            return caught.value

        for end in {0, 5, 17, 25, 40, len(data) // 2, len(data) - 1}:
            assert "." not in (await refused(data[:end])).message
        for position in range(0, len(data), 97):
            await refused(data[:position] + bytes([data[position] ^ 4]) + data[position + 1 :])
        await refused(data + data[17:])
        assert "version 2" in str(await refused(data.replace(b"backup 1", b"backup 2")))
        assert (await kv.statistics()).revision == before

    run_user(3, work)


def test_an_interrupted_restore_goes_on_and_the_store_says_that_it_is_not_complete(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "BATCH_ENTRIES", 700)

    async def work(user: User) -> None:
        kv = user.kv
        pairs = await fill(kv)
        data = await backed_up(kv)
        await kv.clear()
        other = await backed_up(kv)

        def stop(count: int) -> None:
            if count:
                raise InterruptedError

        with pytest.raises(InterruptedError):
            await restore(kv, source_of(data), progress=stop)
        assert await kv.get(MARKER) is not None
        assert len(await everything(kv)) == 701
        with pytest.raises(AlreadyExists, match="not finished"):
            await restore(kv, source_of(other))
        monkeypatch.setattr(module, "BATCH_ENTRIES", 300)  # as another version might have it
        told = list[int]()
        await restore(kv, source_of(data), progress=told.append)
        assert told[0] == 700 and sum(told) == len(pairs)
        assert await everything(kv) == pairs

    run_user(4, work)


def test_a_restored_store_gives_no_revision_that_the_other_may_have_given() -> None:
    async def work(user: User) -> None:
        kv = user.kv
        await fill(kv)
        async with kv.lock("lock") as early:
            data = await backed_up(kv)
        since = await kv.put("later", "not in it")  # whoever has this as a token may come yet
        waiting = user.world.spawn(missed(await kv.watch("later")), "watch")
        await kv.clear()
        await restore(kv, source_of(data))  # as into another cluster: the file alone counts
        entry = await kv.get(b"00000")
        assert entry is not None and entry.revision > early.number + module.SKIPPED
        await kv.delete("lock")
        async with kv.lock("lock") as late:
            assert late.number > since > early.number
        await waiting
        await missed(await kv.watch("later", since=since + 1_000))
        again = (await kv.statistics()).revision
        assert await kv.perform(Skip(since)) == again  # never back

    async def missed(watching: Watching) -> None:
        with pytest.raises(NotFound, match="is forgotten"):
            while True:
                await watching.events(60)

    run_user(7, work)


def test_two_restores_at_a_time_do_not_mix() -> None:
    async def work(user: User) -> None:
        kv = user.kv
        await fill(kv)
        data = await backed_up(kv)
        await kv.clear()
        ended = list[str]()

        async def one() -> None:
            try:
                await restore(kv, source_of(data))
            except (Fenced, AlreadyExists) as error:
                ended.append(error.code)

        first, second = (user.world.spawn(one(), "restore") for _ in range(2))
        await first
        await second
        assert len(ended) == 1

    run_user(5, work)


def test_a_node_holds_few_views_and_drops_those_whose_client_has_gone() -> None:
    async def work(user: User) -> None:
        kv = user.kv
        await kv.put("a", "1")
        held = [await kv.view() for _ in range(3 * views.MAX_VIEWS)]
        with pytest.raises(Overloaded, match="are read from this node"):
            await kv.view()
        await user.world.clock.sleep(views.IDLE_MS + 1_000)
        with pytest.raises(NotFound, match="begin the backup again"):
            await anext(held[0].pieces())
        closed = await kv.view()
        await closed.close()
        with pytest.raises(NotFound):
            await anext(closed.pieces())

    run_user(6, work)
