"""Calls over a network that loses, repeats, reorders, partitions; servers that crash."""

import asyncio
from collections import Counter

import pytest
from unit.rpc.support import (
    ADDRESS,
    Echo,
    Echoed,
    Hang,
    Hint,
    Pair,
    Store,
    frame,
    simulate,
    welcomed,
)

from quorate.base.errors import DeadlineExceeded, Maybe, QuorateError, Unavailable
from quorate.base.ids import Address
from quorate.rpc.frames import REQUEST
from quorate.rpc.server import MAX_LATE_CALLS


def damage(pair: Pair, *, loss: float, duplicate: float, reorder: float) -> None:
    for way in (("client", "server"), ("server", "client")):
        pair.faults.set_link(*way, loss=loss, duplicate=duplicate, reorder=reorder)


@pytest.mark.parametrize("seed", range(8))
def test_every_call_ends_by_its_deadline_with_its_own_answer_or_an_honest_error(seed: int) -> None:
    async def scenario(pair: Pair) -> None:
        damage(pair, loss=0.05, duplicate=0.2, reorder=0.2)
        outcomes: Counter[str] = Counter()
        clock = pair.here.clock

        async def one(number: int) -> None:
            way = ("value", "future", "coroutine", "answer")[number % 4]
            began_ms = clock.monotonic_ms()
            try:
                reply = await pair.client.call(ADDRESS, Echo(number, way), timeout_ms=300)
                assert reply == Echoed(number, way)
                outcomes["answered"] += 1
            except (Maybe, Unavailable) as error:
                outcomes[type(error).__name__] += 1
            assert clock.monotonic_ms() - began_ms <= 302

        async def some(first: int) -> None:
            for number in range(first, first + 50):
                await one(number)

        await asyncio.gather(*(some(1000 * caller) for caller in range(8)))
        assert outcomes["answered"] > 250
        assert outcomes["Maybe"] > 5
        assert sum(outcomes.values()) == 400
        # Repeated frames reach the handler again, and broken order breaks no connection.
        assert pair.errors() == []
        assert pair.errors("client/worker") == []

    simulate(scenario, seed)


def test_a_repeated_request_is_executed_once() -> None:
    async def scenario(pair: Pair) -> None:
        await pair.client.call(ADDRESS, Echo(0), timeout_ms=1000)
        damage(pair, loss=0, duplicate=1.0, reorder=0)
        for number in range(1, 11):
            reply = await pair.client.call(ADDRESS, Echo(number), timeout_ms=1000)
            assert reply == Echoed(number, "value")
        await pair.here.clock.sleep(200)
        assert pair.service.echoed == 11

    simulate(scenario)


def test_late_requests_are_executed_once_each_and_those_that_are_much_too_late_not_at_all() -> None:
    async def scenario(pair: Pair) -> None:
        peer = await welcomed(pair)
        late = 3 + MAX_LATE_CALLS
        for call_id in (1, 3, 2, 2, 3, 1, late, late - 1, late - 1, late, 4):
            peer.send(frame(REQUEST, Echo(call_id), call_id))
        await pair.here.clock.sleep(50)
        assert [call.remaining_ms for call in pair.service.calls] == [60_000] * 6
        peer.send(frame(REQUEST, Echo(1), late + MAX_LATE_CALLS + 2), frame(REQUEST, Echo(1), 5))
        await pair.here.clock.sleep(50)
        assert pair.service.echoed == 7

    simulate(scenario)


def test_bulk_calls_survive_the_same(seed: int = 3) -> None:
    async def scenario(pair: Pair) -> None:
        damage(pair, loss=0.02, duplicate=0.2, reorder=0.3)
        sizes = []
        for number in range(60):
            try:
                payload = [bytes([number]) * (1000 + number)]
                size, _ = await pair.client.call_bulk(ADDRESS, Store(), payload, timeout_ms=300)
                sizes.append(size == 1000 + number)
            except (Maybe, Unavailable):
                continue
        assert len(sizes) > 40
        assert all(sizes)

    simulate(scenario, seed)


def test_a_connection_that_is_silent_for_long_is_given_up_and_the_next_call_makes_a_new_one() -> (
    None
):
    async def scenario(pair: Pair) -> None:
        await pair.client.call(ADDRESS, Echo(1), timeout_ms=1000)
        first = pair.client._control[ADDRESS].connection
        pair.faults.block("server", "client")  # requests pass, answers do not
        lost: list[Address] = []
        pair.client.lost = lost.append
        began_ms = pair.here.clock.monotonic_ms()
        with pytest.raises(Maybe, match="no sign of life"):
            await pair.client.call(ADDRESS, Hang(1), timeout_ms=60_000)
        assert pair.events("connection given up") == 1
        assert lost == []  # nobody has reset it: silence is for election timeouts to judge
        assert pair.here.clock.monotonic_ms() - began_ms < 1_000
        pair.faults.heal()
        assert await pair.client.call(ADDRESS, Echo(3), timeout_ms=1000) == Echoed(3, "value")
        assert pair.client._control[ADDRESS].connection is not first
        assert pair.errors() == pair.errors("client/worker") == []

    simulate(scenario)


def test_a_call_that_takes_long_does_not_cost_its_connection_while_the_other_end_lives() -> None:
    async def scenario(pair: Pair) -> None:
        with pytest.raises(Maybe):
            await pair.client.call(ADDRESS, Hang(1), timeout_ms=20_000)
        assert pair.events("connection given up") == 0

    simulate(scenario)


def test_one_slow_call_does_not_cost_a_connection_on_which_others_are_answered() -> None:
    async def scenario(pair: Pair) -> None:
        await pair.client.call(ADDRESS, Echo(1), timeout_ms=1000)
        for number in range(6):
            with pytest.raises(Maybe):
                await pair.client.call(ADDRESS, Hang(number), timeout_ms=600)
            await pair.client.call(ADDRESS, Echo(1), timeout_ms=1000)
        assert pair.events("connection given up") == 0

    simulate(scenario)


def test_many_short_deadlines_in_a_short_silence_do_not_cost_a_connection() -> None:
    async def scenario(pair: Pair) -> None:
        await pair.client.call(ADDRESS, Echo(1), timeout_ms=1000)
        await pair.here.clock.sleep(60_000)  # idle is not silent: nobody waits
        pair.faults.block("server", "client")
        for number in range(20):
            with pytest.raises(Maybe):
                await pair.client.call(ADDRESS, Hang(number), timeout_ms=20)
        assert pair.events("connection given up") == 0

    simulate(scenario)


def test_a_lost_hello_costs_one_attempt(seed: int = 5) -> None:
    async def scenario(pair: Pair) -> None:
        pair.faults.set_link("client", "server", loss=1.0)
        with pytest.raises(Unavailable, match="sent no welcome"):
            await pair.client.call(ADDRESS, Echo(1), timeout_ms=5000)
        pair.faults.set_link("client", "server", loss=0.0)
        assert await pair.client.call(ADDRESS, Echo(1), timeout_ms=1000) == Echoed(1, "value")

    simulate(scenario, seed)


@pytest.mark.parametrize("seed", range(4))
def test_crashes_and_partitions_leave_no_call_without_an_end(seed: int) -> None:
    async def scenario(pair: Pair) -> None:
        outcomes: Counter[str] = Counter()
        clock = pair.here.clock
        until_ms = clock.monotonic_ms() + 20_000

        async def caller(number: int) -> None:
            while clock.monotonic_ms() < until_ms:
                began_ms = clock.monotonic_ms()
                try:
                    await pair.client.call(ADDRESS, Echo(number, "future"), timeout_ms=500)
                    outcomes["answered"] += 1
                except QuorateError as error:
                    assert isinstance(error, Maybe | Unavailable)
                    outcomes[type(error).__name__] += 1
                assert clock.monotonic_ms() - began_ms <= 502
                pair.client.notify(ADDRESS, Hint(number))
                await clock.sleep(20)

        async def nemesis() -> None:
            for round_number in range(6):
                await clock.sleep(1000)
                pair.faults.block(*(("client", "server"), ("server", "client"))[round_number % 2])
                await clock.sleep(1500)
                pair.faults.heal()
                await clock.sleep(200)
                pair.server_process.kill()
                await clock.sleep(300)
                pair.start_server()

        await asyncio.gather(nemesis(), *(caller(number) for number in range(6)))
        assert outcomes["answered"] > 500
        assert outcomes["Maybe"] > 5
        assert outcomes["Unavailable"] + outcomes["DeadlineExceeded"] > 20
        assert len(pair.service.hints) > 0
        reply = await pair.client.call(ADDRESS, Echo(1), timeout_ms=3000)
        assert reply == Echoed(1, "value")

    simulate(scenario, seed)


def test_a_call_to_the_other_side_of_a_partition_that_never_heals_ends_too() -> None:
    async def scenario(pair: Pair) -> None:
        pair.faults.partition(["client"], ["server"])
        with pytest.raises(DeadlineExceeded):
            await pair.client.call(ADDRESS, Echo(1), timeout_ms=700)
        with pytest.raises(Unavailable):
            await pair.client.call(ADDRESS, Echo(1), timeout_ms=7000)

    simulate(scenario)
