"""Bounds: what is joined, what is refused, what waits, and what is dropped."""

import asyncio
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest
from unit.rpc.support import (
    ADDRESS,
    Echo,
    Echoed,
    Fetch,
    Hang,
    Hint,
    Pair,
    Store,
    frame,
    simulate,
    welcomed,
)

from quorate.base.errors import DeadlineExceeded, Maybe, Overloaded, Unavailable
from quorate.base.ids import Address
from quorate.rpc import client, server
from quorate.rpc.answer import Answer
from quorate.rpc.connection import HIGH_BACKLOG_BYTES
from quorate.rpc.frames import MAX_PAYLOAD_BYTES, REQUEST, decode_frame
from quorate.rpc.outgoing import ClientConnection
from quorate.runtime.ports import Frame
from quorate.runtime.simulated.network import SimulatedConnection


def control(pair: Pair) -> ClientConnection:
    connection = pair.client._control[ADDRESS].connection
    assert connection is not None
    return connection


@pytest.fixture
def writes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many frames each write of any connection had."""
    counts: list[int] = []
    send = SimulatedConnection.send

    def counted(self: SimulatedConnection, frames: Sequence[Frame]) -> None:
        counts.append(len(frames))
        send(self, frames)

    monkeypatch.setattr(SimulatedConnection, "send", counted)
    return counts


def test_requests_of_one_turn_leave_in_one_write_and_so_do_their_answers(
    writes: list[int],
) -> None:
    async def scenario(pair: Pair) -> None:
        await pair.client.call(ADDRESS, Echo(0), timeout_ms=1000)
        writes.clear()
        calls = [pair.client.call(ADDRESS, Echo(n), timeout_ms=1000) for n in range(64)]
        assert await asyncio.gather(*calls) == [Echoed(n, "value") for n in range(64)]
        assert writes == [64, 64]

    simulate(scenario)


def test_answers_that_come_later_in_one_turn_leave_in_one_write_too(writes: list[int]) -> None:
    async def scenario(pair: Pair) -> None:
        await pair.client.call(ADDRESS, Echo(0), timeout_ms=1000)
        calls = [pair.client.call(ADDRESS, Hang(n), timeout_ms=1000) for n in range(64)]
        answers = asyncio.gather(*calls)
        await pair.here.clock.sleep(50)
        writes.clear()

        async def answer() -> None:
            for number, future in pair.service.hanging.items():
                future.set_result(number)

        await pair.in_server(answer())
        assert await answers == list(range(64))
        assert writes == [64]

    simulate(scenario)


def test_calls_made_before_there_is_a_connection_share_the_one_that_is_made() -> None:
    async def scenario(pair: Pair) -> None:
        calls = [pair.client.call(ADDRESS, Echo(n), timeout_ms=1000) for n in range(20)]
        await asyncio.gather(*calls)
        assert len(pair.service.server._connections) == 1

    simulate(scenario)


def test_bulk_bytes_do_not_travel_on_the_control_connection() -> None:
    async def scenario(pair: Pair) -> None:
        await pair.client.call(ADDRESS, Echo(1), timeout_ms=1000)
        await pair.client.call_bulk(ADDRESS, Store(), [b"bytes"], timeout_ms=1000)
        assert len(pair.service.server._connections) == 2

    simulate(scenario)


def test_bulk_pieces_reach_the_transport_as_the_objects_they_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sent: list[Any] = []
    send = SimulatedConnection.send

    def watched(self: SimulatedConnection, frames: Sequence[Frame]) -> None:
        sent.extend(piece for frame in frames for piece in frame)
        send(self, frames)

    monkeypatch.setattr(SimulatedConnection, "send", watched)

    async def scenario(pair: Pair) -> None:
        piece = bytearray(100_000)
        await pair.client.call_bulk(ADDRESS, Store(), [piece], timeout_ms=1000)
        assert sum(part is piece for part in sent) == 1
        _, payload = await pair.client.call_bulk(ADDRESS, Fetch(1000), timeout_ms=1000)
        assert sum(getattr(part, "obj", None) is pair.service.block for part in sent) == 1
        # Received: a view into the whole frame, header included.
        assert len(memoryview(payload.obj)) > len(payload) == 1000

    simulate(scenario)


def test_a_server_takes_1024_calls_of_a_connection_and_refuses_more_at_once() -> None:
    async def scenario(pair: Pair) -> None:
        calls = [
            asyncio.ensure_future(pair.client.call(ADDRESS, Hang(n), timeout_ms=60_000))
            for n in range(server.MAX_CALLS_UNDER_WAY)
        ]
        await pair.here.clock.sleep(50)
        with pytest.raises(Overloaded, match="1024 calls"):
            await pair.client.call(ADDRESS, Echo(1), timeout_ms=1000)
        pair.service.hanging[0].set_result(7)
        assert await calls[0] == 7
        await pair.client.call(ADDRESS, Echo(1), timeout_ms=1000)
        for future in pair.service.hanging.values():
            if not future.done():
                future.set_result(8)
        assert set(await asyncio.gather(*calls[1:])) == {8}

    simulate(scenario)


def test_answers_that_never_come_give_their_places_back_when_nobody_waits_for_them() -> None:
    async def scenario(pair: Pair) -> None:
        pair.service.server.requests.handlers[Hang] = lambda request, call: Answer()
        calls = [
            asyncio.ensure_future(pair.client.call(ADDRESS, Hang(n), timeout_ms=1_000))
            for n in range(server.MAX_CALLS_UNDER_WAY)
        ]
        await pair.here.clock.sleep(50)
        with pytest.raises(Overloaded, match="1024 calls"):
            await pair.client.call(ADDRESS, Echo(1), timeout_ms=1000)
        await asyncio.gather(*calls, return_exceptions=True)
        await pair.here.clock.sleep(50)
        await pair.client.call(ADDRESS, Echo(1), timeout_ms=1000)

    simulate(scenario)


def test_a_server_bounds_the_payloads_of_calls_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "MAX_PAYLOAD_BYTES_UNDER_WAY", 2 * MAX_PAYLOAD_BYTES)

    async def scenario(pair: Pair) -> None:
        block = pair.service.block
        calls = [
            asyncio.ensure_future(
                pair.client.call_bulk(ADDRESS, Hang(n), [block], timeout_ms=60_000)
            )
            for n in range(2)
        ]
        await pair.here.clock.sleep(1000)
        assert sorted(pair.service.hanging) == [0, 1]
        with pytest.raises(Overloaded):
            await pair.client.call_bulk(ADDRESS, Store(), [b"x"], timeout_ms=1000)
        pair.service.hanging[0].set_result(7)
        await calls[0]
        assert (await pair.client.call_bulk(ADDRESS, Store(), [b"x"], timeout_ms=1000))[0] == 1
        calls[1].cancel()

    simulate(scenario)


def test_a_client_has_4096_calls_outstanding_to_an_address_and_no_more() -> None:
    async def scenario(pair: Pair) -> None:
        pair.faults.block("client", "server")
        calls = [
            asyncio.ensure_future(pair.client.call(ADDRESS, Echo(n), timeout_ms=500))
            for n in range(client.MAX_OUTSTANDING_CALLS)
        ]
        await asyncio.sleep(0)
        with pytest.raises(Overloaded, match="4096 calls"):
            await pair.client.call(ADDRESS, Echo(1), timeout_ms=500)
        with pytest.raises(Unavailable, match="nobody listens"):  # another address is not concerned
            await pair.client.call(type(ADDRESS)("client:nobody"), Echo(1), timeout_ms=500)
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        assert {type(outcome) for outcome in outcomes} == {DeadlineExceeded}
        pair.faults.heal()
        await pair.here.clock.sleep(3000)
        await pair.client.call(ADDRESS, Echo(1), timeout_ms=500)

    simulate(scenario)


def test_a_server_has_so_many_connections_and_refuses_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "MAX_CONNECTIONS", 2)

    async def scenario(pair: Pair) -> None:
        peers = [await welcomed(pair) for _ in range(2)]
        with pytest.raises(Overloaded, match="2 connections already"):
            await pair.client.call(ADDRESS, Echo(1), timeout_ms=1000)
        peers[0].connection.close()
        await pair.here.clock.sleep(20)
        await pair.client.call(ADDRESS, Echo(1), timeout_ms=1000)

    simulate(scenario)


def test_only_a_frame_that_was_handed_to_the_transport_makes_a_maybe() -> None:
    async def scenario(pair: Pair) -> None:
        await pair.client.call(ADDRESS, Echo(1), timeout_ms=1000)
        connection = control(pair)
        _, sent = connection.ask(Echo(2), (), 1000)
        connection.flush()
        _, unsent = connection.ask(Echo(3), (), 1000)
        connection.disconnected(None)
        assert type(sent.exception()) is Maybe
        assert type(unsent.exception()) is Unavailable
        with pytest.raises(Unavailable, match="lost before the call"):
            connection.ask(Echo(4), (), 1000)

    simulate(scenario)


def test_calls_wait_in_order_while_too_much_waits_to_leave(writes: list[int]) -> None:
    async def scenario(pair: Pair) -> None:
        await pair.client.call_bulk(ADDRESS, Echo(0), timeout_ms=1000)
        pair.faults.set_link("client", "server", bytes_per_ms=100_000)
        writes.clear()
        block = pair.service.block
        calls = [
            asyncio.ensure_future(
                pair.client.call_bulk(ADDRESS, Store(), [block], timeout_ms=60_000)
            )
            for _ in range(10)
        ]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        link = pair.client._bulk[ADDRESS]
        assert link.connection is not None
        assert link.connection.backlog_bytes() <= HIGH_BACKLOG_BYTES + MAX_PAYLOAD_BYTES + 1000
        results = await asyncio.gather(*calls)
        assert [size for size, _ in results] == [len(block)] * 10

        calls = [
            asyncio.ensure_future(pair.client.call_bulk(ADDRESS, Store(), [block], timeout_ms=100))
            for _ in range(10)
        ]
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        assert DeadlineExceeded in map(type, outcomes)  # never sent, and it says so

    simulate(scenario)


def test_a_server_begins_no_call_while_its_answers_are_not_being_read() -> None:
    async def scenario(pair: Pair) -> None:
        peer = await welcomed(pair, "bulk")
        pair.faults.set_link("server", "client", bytes_per_ms=10_000)
        for number in range(1, 11):
            peer.send(frame(REQUEST, Fetch(MAX_PAYLOAD_BYTES), number))
        peer.send(frame(REQUEST, Echo(1, "answer"), 11))
        await pair.here.clock.sleep(100)
        (connection,) = pair.service.server._connections.values()
        # The bound is judged before a call begins, and two may be on their way past it.
        most = HIGH_BACKLOG_BYTES + 2 * MAX_PAYLOAD_BYTES + 1000
        assert HIGH_BACKLOG_BYTES / 2 < connection.backlog_bytes() <= most
        assert pair.service.echoed == 0
        while len(peer.received) < 11:
            await pair.here.clock.sleep(100)
            assert connection.backlog_bytes() <= most
        assert pair.errors() == []
        numbers = [decode_frame(memoryview(r), bulk=True)[0].call_id for r in peer.received]
        assert sorted(numbers) == list(range(1, 12))

    simulate(scenario)


def test_a_peer_that_calls_and_never_reads_loses_its_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(server, "MAX_CALLS_UNDER_WAY", 16)

    async def scenario(pair: Pair) -> None:
        peer = await welcomed(pair, "bulk")
        pair.faults.set_link("server", "client", bytes_per_ms=1)
        for number in range(1, 40):
            peer.send(frame(REQUEST, Fetch(MAX_PAYLOAD_BYTES), number))
        await pair.here.clock.sleep(500)
        (line,) = pair.errors()
        assert "does not read the answers" in line
        assert pair.service.server._connections == {}

    simulate(scenario)


def test_a_notice_is_dropped_until_there_is_a_connection_and_then_delivered() -> None:
    async def scenario(pair: Pair) -> None:
        pair.client.notify(ADDRESS, Hint(1))
        assert pair.client.notices_dropped == 1
        await pair.here.clock.sleep(50)
        pair.client.notify(ADDRESS, Hint(2))
        await pair.here.clock.sleep(50)
        assert [hint.number for hint, _ in pair.service.hints] == [2]
        assert pair.service.hints[0][1].node == 2
        assert pair.client.notices_dropped == 1

    simulate(scenario)


def test_notices_are_dropped_and_counted_while_four_mebibytes_wait() -> None:
    async def scenario(pair: Pair) -> None:
        await pair.client.call(ADDRESS, Echo(1), timeout_ms=1000)
        pair.faults.set_link("client", "server", bytes_per_ms=10_000)
        for number in range(20):
            pair.client.notify(ADDRESS, Hint(number, "x" * 1_000_000))
            await pair.here.clock.sleep(1)
        assert pair.client.notices_dropped == 15
        await pair.here.clock.sleep(1000)
        assert [hint.number for hint, _ in pair.service.hints] == [0, 1, 2, 3, 4]
        pair.client.notify(ADDRESS, Hint(99))
        await pair.here.clock.sleep(50)
        assert pair.service.hints[-1][0].number == 99

    simulate(scenario)


def test_a_notice_handler_that_fails_is_a_traceback_in_the_trace_and_nothing_else() -> None:
    async def scenario(pair: Pair) -> None:
        def fail(notice: object, peer: object) -> None:
            raise ZeroDivisionError

        pair.service.server.notices.handlers[Hint] = fail
        await pair.client.call(ADDRESS, Echo(1), timeout_ms=1000)
        pair.client.notify(ADDRESS, Hint(1))
        await pair.client.call(ADDRESS, Echo(1), timeout_ms=1000)
        (line,) = pair.errors()
        assert "test.hint.1 failed" in line

    simulate(scenario)


def test_notices_to_the_dead_try_again_ever_more_rarely_and_calls_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    attempts: list[float] = []
    opened = ClientConnection.open

    async def counted(self: ClientConnection, timeout_ms: float) -> None:
        attempts.append(self.world.clock.monotonic_ms())
        await opened(self, timeout_ms)

    monkeypatch.setattr(ClientConnection, "open", counted)

    async def scenario(pair: Pair) -> None:
        pair.server_process.kill()
        for _ in range(2000):
            pair.client.notify(ADDRESS, Hint(1))
            await pair.here.clock.sleep(10)
        pauses = [after - before for before, after in pairwise(attempts)]
        assert 25 <= pauses[0] <= 70
        assert all(900 <= pause <= 2050 for pause in pauses[7:])
        assert 12 <= len(attempts) <= 25
        before = len(attempts)
        with pytest.raises(Unavailable):
            await pair.client.call(ADDRESS, Echo(1), timeout_ms=1000)
        assert len(attempts) == before + 1
        pair.start_server()
        await pair.here.clock.sleep(2100)
        pair.client.notify(ADDRESS, Hint(1))
        await pair.here.clock.sleep(50)
        pair.client.notify(ADDRESS, Hint(2))
        await pair.here.clock.sleep(50)
        assert [hint.number for hint, _ in pair.service.hints] == [2]

        pair.server_process.kill()  # what was long is short again
        before = len(attempts)
        for _ in range(30):
            pair.client.notify(ADDRESS, Hint(3))
            await pair.here.clock.sleep(10)
        assert len(attempts) >= before + 2

    simulate(scenario)


def test_ways_to_addresses_that_nobody_needs_any_more_are_given_up() -> None:
    """Peers name addresses: a notice to each of them must not leave something for ever."""

    async def scenario(pair: Pair) -> None:
        hanging = asyncio.ensure_future(pair.client.call(ADDRESS, Hang(1), timeout_ms=60_000))
        await pair.here.clock.sleep(50)
        used = control(pair)
        for number in range(3 * client.MAX_LINKS):
            pair.client.notify(Address(f"nowhere{number}:raft"), Hint(number))
            await pair.here.clock.sleep(1)
        assert len(pair.client._control) == client.MAX_LINKS
        assert control(pair) is used and not used.closed
        await pair.here.clock.sleep(10_000)
        assert len(pair.here._tasks) < 10  # nor does anything go on trying
        hanging.cancel()

    simulate(scenario)
