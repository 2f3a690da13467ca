"""Calls between two processes: answers, errors, deadlines, and what a failure says."""

import asyncio
from typing import Any

import pytest
from unit.rpc.support import (
    ADDRESS,
    CLIENT,
    Echo,
    Echoed,
    Fail,
    Fetch,
    Hang,
    Hint,
    Pair,
    Store,
    Unheard,
    simulate,
)

from quorate.base.check import Bug, check
from quorate.base.codec import Request
from quorate.base.errors import (
    BadInput,
    DeadlineExceeded,
    Fenced,
    Maybe,
    QuorateError,
    Unavailable,
)
from quorate.base.ids import Address
from quorate.rpc.client import RpcClient
from quorate.runtime.ports import Buffer

WAYS = ("value", "future", "coroutine")


@pytest.mark.parametrize("way", [*WAYS, "answer"])
def test_a_handler_answers_with_a_value_a_future_a_coroutine_or_an_answer(way: str) -> None:
    async def scenario(pair: Pair) -> None:
        reply = await pair.client.call(ADDRESS, Echo(7, way), timeout_ms=1000)
        assert reply == Echoed(7, way)
        (call,) = pair.service.calls
        assert call.peer == CLIENT
        assert 0 < call.remaining_ms <= 1001
        assert bytes(call.payload) == b""

    simulate(scenario)


@pytest.mark.parametrize("way", [*WAYS, "answer"])
def test_an_error_crosses_as_its_class_with_its_facts(way: str) -> None:
    async def scenario(pair: Pair) -> None:
        with pytest.raises(Fenced) as caught:
            await pair.client.call(ADDRESS, Fail("fenced", way), timeout_ms=1000)
        assert caught.value.message == "a newer holder has taken over"
        assert caught.value.details == {"token": 7}
        assert pair.errors() == []

    simulate(scenario)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("what", ["division", "unencodable"])
def test_a_bug_in_a_handler_is_an_internal_error_and_a_traceback_in_the_trace(
    what: str, way: str
) -> None:
    async def scenario(pair: Pair) -> None:
        for _ in range(2):  # the connection lives on
            with pytest.raises(QuorateError, match="internal error of raft of node 1") as caught:
                await pair.client.call(ADDRESS, Fail(what, way), timeout_ms=1000)
            assert type(caught.value) is QuorateError
        errors = pair.errors()
        assert len(errors) == 2
        assert "test.fail.1 failed" in errors[0]
        await pair.client.call(ADDRESS, Echo(1), timeout_ms=1000)

    simulate(scenario)


@pytest.mark.parametrize("way", WAYS)
def test_a_failed_check_in_a_handler_stops_the_process(way: str) -> None:
    async def scenario(pair: Pair) -> None:
        def later() -> object:
            check(False, "two leaders in one term")
            return 0

        service = pair.service
        service.server.requests.handlers[Hang] = lambda request, call: service.answer(way, later)
        await pair.client.call(ADDRESS, Hang(1), timeout_ms=1000)

    with pytest.raises(Bug, match="two leaders"):
        simulate(scenario)


def test_replies_that_are_plain_values_are_typed_too() -> None:
    async def scenario(pair: Pair) -> None:
        call = asyncio.ensure_future(pair.client.call(ADDRESS, Hang(3), timeout_ms=1000))
        await pair.here.clock.sleep(50)
        pair.service.hanging[3].set_result(11)
        assert await call == 11

    simulate(scenario)


def test_nobody_listens_is_unavailable() -> None:
    async def scenario(pair: Pair) -> None:
        with pytest.raises(Unavailable) as caught:
            await pair.client.call(Address("server:nobody"), Echo(1), timeout_ms=1000)
        assert not isinstance(caught.value, DeadlineExceeded)

    simulate(scenario)


def test_a_deadline_that_passes_before_the_call_was_sent_says_so() -> None:
    async def scenario(pair: Pair) -> None:
        pair.faults.block("client", "server")
        began_ms = pair.here.clock.monotonic_ms()
        with pytest.raises(DeadlineExceeded, match="could not be reached"):
            await pair.client.call(ADDRESS, Echo(1), timeout_ms=100)
        assert pair.here.clock.monotonic_ms() - began_ms == pytest.approx(100, abs=1)
        assert pair.service.echoed == 0

    simulate(scenario)


def test_a_deadline_that_passes_after_the_call_was_sent_is_a_maybe_and_cancels_the_handler() -> (
    None
):
    async def scenario(pair: Pair) -> None:
        began_ms = pair.here.clock.monotonic_ms()
        with pytest.raises(Maybe) as caught:
            await pair.client.call(ADDRESS, Hang(1), timeout_ms=200)
        assert caught.value.details["sent"] == 1
        assert pair.here.clock.monotonic_ms() - began_ms == pytest.approx(200, abs=2)
        await pair.here.clock.sleep(10)
        assert pair.service.cancelled == [1]
        assert await pair.client.call(ADDRESS, Echo(1), timeout_ms=1000) == Echoed(1, "value")

    simulate(scenario)


def test_a_future_may_still_be_resolved_when_its_caller_has_given_up() -> None:
    async def scenario(pair: Pair) -> None:
        futures = []

        def propose(request: Hang, call: object) -> asyncio.Future[int]:
            futures.append(asyncio.get_running_loop().create_future())
            return futures[-1]

        pair.service.server.requests.handlers[Hang] = propose
        with pytest.raises(Maybe):
            await pair.client.call(ADDRESS, Hang(1), timeout_ms=100)
        await pair.here.clock.sleep(50)
        futures[0].set_result(1)
        call = asyncio.ensure_future(pair.client.call(ADDRESS, Hang(2), timeout_ms=1000))
        await pair.here.clock.sleep(50)
        await pair.client.close()
        with pytest.raises(Maybe):
            await call
        await pair.here.clock.sleep(50)
        futures[1].set_exception(ZeroDivisionError())

    simulate(scenario)


def test_a_connection_lost_after_sending_is_a_maybe_at_once() -> None:
    async def scenario(pair: Pair) -> None:
        call = asyncio.ensure_future(pair.client.call(ADDRESS, Hang(1), timeout_ms=60_000))
        await pair.here.clock.sleep(50)
        assert 1 in pair.service.hanging
        pair.server_process.kill()
        began_ms = pair.here.clock.monotonic_ms()
        with pytest.raises(Maybe, match=r"was lost .*test\.hang\.1 may have been executed"):
            await call
        assert pair.here.clock.monotonic_ms() - began_ms < 100
        pair.start_server()
        await pair.here.clock.sleep(10)
        assert await pair.client.call(ADDRESS, Echo(2), timeout_ms=1000) == Echoed(2, "value")

    simulate(scenario)


def test_a_caller_that_is_cancelled_is_forgotten_and_its_late_answer_ignored() -> None:
    async def scenario(pair: Pair) -> None:
        call = asyncio.ensure_future(pair.client.call(ADDRESS, Hang(1), timeout_ms=60_000))
        await pair.here.clock.sleep(50)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        connection = pair.client._control[ADDRESS].connection
        assert connection is not None
        assert connection._waiting == {}
        pair.service.hanging[1].set_result(5)
        await pair.here.clock.sleep(50)
        assert await pair.client.call(ADDRESS, Echo(1), timeout_ms=1000) == Echoed(1, "value")
        assert pair.errors("client/worker") == []

    simulate(scenario)


@pytest.mark.parametrize("request_", [Echo(1), Fail("fenced")])
def test_an_answer_in_the_turn_in_which_its_caller_is_cancelled_is_ignored(
    request_: Request[Any],
) -> None:
    async def scenario(pair: Pair) -> None:
        await pair.client.call(ADDRESS, Echo(1), timeout_ms=1000)
        connection = pair.client._control[ADDRESS].connection
        assert connection is not None
        _, future = connection.ask(request_, (), 1000)
        future.cancel()  # as a cancelled task does before it runs
        await pair.here.clock.sleep(50)
        assert connection._waiting == {}
        assert not connection.closed

    simulate(scenario)


def test_a_message_that_the_server_does_not_know_is_unavailable_and_harms_nothing() -> None:
    async def scenario(pair: Pair) -> None:
        with pytest.raises(Unavailable, match=r"raft of node 1 does not know .*test\.unheard\.1"):
            await pair.client.call(ADDRESS, Unheard(), timeout_ms=1000)
        await pair.client.call(ADDRESS, Echo(1), timeout_ms=1000)
        assert pair.errors() == []

    simulate(scenario)


def test_what_is_too_large_is_refused_on_the_side_that_made_it() -> None:
    async def scenario(pair: Pair) -> None:
        with pytest.raises(BadInput, match=r"request test\.echo\.1 has 3\d{6} bytes"):
            await pair.client.call(ADDRESS, Echo(1, filler="x" * 3_000_000), timeout_ms=1000)
        with pytest.raises(BadInput, match="reply str has 2"):
            await pair.client.call(ADDRESS, Fail("huge"), timeout_ms=1000)
        with pytest.raises(BadInput, match="error ErrorInfo has 2"):
            await pair.client.call(ADDRESS, Fail("hugely"), timeout_ms=1000)
        await pair.client.call(ADDRESS, Echo(1), timeout_ms=1000)
        assert pair.service.echoed == 1

    simulate(scenario)


def test_bulk_bytes_go_there_and_back() -> None:
    async def scenario(pair: Pair) -> None:
        block = pair.service.block
        pieces: list[Buffer] = [block[:1000], memoryview(block)[1000:]]
        size, nothing = await pair.client.call_bulk(ADDRESS, Store(), pieces, timeout_ms=1000)
        assert size == len(block) == 8 << 20
        assert bytes(nothing) == b""
        assert pair.service.stored == [block]

        word, payload = await pair.client.call_bulk(ADDRESS, Fetch(5_000_001), timeout_ms=1000)
        assert word == "here"
        assert isinstance(payload, memoryview)
        assert payload == block[:5_000_001]

    simulate(scenario)


def test_a_bulk_request_on_the_control_connection_is_handled_without_payload() -> None:
    async def scenario(pair: Pair) -> None:
        assert await pair.client.call(ADDRESS, Store(), timeout_ms=1000) == 0
        assert await pair.client.call(ADDRESS, Fetch(100), timeout_ms=1000) == "here"
        reply, payload = await pair.client.call_bulk(ADDRESS, Echo(1), timeout_ms=1000)
        assert (reply, bytes(payload)) == (Echoed(1, "value"), b"")

    simulate(scenario)


def test_closing_the_client_ends_its_calls() -> None:
    async def scenario(pair: Pair) -> None:
        sent = asyncio.ensure_future(pair.client.call(ADDRESS, Hang(1), timeout_ms=60_000))
        await pair.here.clock.sleep(50)
        pair.faults.block("client", "server")
        unsent = asyncio.ensure_future(pair.client.call_bulk(ADDRESS, Hang(2), timeout_ms=60_000))
        await pair.here.clock.sleep(50)
        await pair.client.close()
        with pytest.raises(Maybe):
            await sent
        with pytest.raises(Unavailable):
            await unsent
        with pytest.raises(Unavailable, match="closed here"):
            await pair.client.call(ADDRESS, Echo(1), timeout_ms=1000)
        pair.client.notify(ADDRESS, Hint(1))
        assert pair.client.notices_dropped == 1

    simulate(scenario)


def test_closing_the_server_ends_its_calls_and_connections() -> None:
    async def scenario(pair: Pair) -> None:
        call = asyncio.ensure_future(pair.client.call(ADDRESS, Hang(1), timeout_ms=60_000))
        await pair.here.clock.sleep(50)
        await pair.in_server(pair.service.server.close())
        with pytest.raises(Maybe):
            await call
        assert pair.service.cancelled == [1]
        with pytest.raises(Unavailable):
            await pair.client.call(ADDRESS, Echo(1), timeout_ms=1000)

    simulate(scenario)


def test_a_handler_that_is_given_up_by_its_own_side_is_a_maybe() -> None:
    async def scenario(pair: Pair) -> None:
        call = asyncio.ensure_future(pair.client.call(ADDRESS, Hang(1), timeout_ms=60_000))
        await pair.here.clock.sleep(50)
        pair.service.hanging[1].cancel()
        with pytest.raises(Maybe, match="gave up"):
            await call

    simulate(scenario)


def test_clients_of_one_process_do_not_share_connections() -> None:
    async def scenario(pair: Pair) -> None:
        other = RpcClient(pair.here, CLIENT)
        hanging = asyncio.ensure_future(other.call(ADDRESS, Hang(1), timeout_ms=60_000))
        await pair.client.call(ADDRESS, Echo(1), timeout_ms=1000)
        await pair.client.close()
        await pair.here.clock.sleep(50)
        pair.service.hanging[1].set_result(1)
        assert await hanging == 1

    simulate(scenario)
