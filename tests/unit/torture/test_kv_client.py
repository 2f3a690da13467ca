"""What a plain Redis client of torture makes of answers, of their absence, and of lies."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from resp_store import open_door

from quorate.base.errors import Maybe, QuorateError, Unavailable
from quorate.base.ids import Address
from quorate.torture.kv_client import WIDE_EACH, KvClient, Seen
from quorate.torture.target import Call, Value

Found = tuple[bool, Value] | type[QuorateError]
TIMEOUT_MS = 5_000.0


async def outcome(client: KvClient, call: Call, timeout_ms: float = TIMEOUT_MS) -> Found:
    try:
        return await client.call(call, timeout_ms)
    except QuorateError as error:
        return type(error)


def of_all(port: int, seen: Seen, *calls: Call) -> list[Found]:
    """What one client finds, call after call."""

    async def ask() -> list[Found]:
        client = KvClient([Address(f"127.0.0.1:{port}")], None, seen)
        try:
            return [await outcome(client, call) for call in calls]
        finally:
            await client.close()

    return asyncio.run(ask())


def test_each_operation_of_the_models_is_done_by_redis_commands() -> None:
    seen = Seen()
    with open_door() as (port, _):
        found = of_all(
            port,
            seen,
            Call("a", "read", "r"),
            Call("a", "cas", "r", (None, 1)),
            Call("a", "cas", "r", (None, 2)),
            Call("a", "cas", "r", (1, 3)),
            Call("a", "cas", "r", (1, 4)),
            Call("a", "read", "r"),
            Call("a", "write", "r", None),
            Call("a", "read", "r"),
            Call("a", "append", "s", "x,"),
            Call("a", "append", "s", "y,"),
            Call("a", "get", "s"),
            Call("a", "acquire", "l"),
            Call("b", "acquire", "l"),
            Call("b", "release", "l"),
            Call("a", "release", "l"),
            Call("b", "acquire", "l"),
        )
    done, refused = (True, None), (False, None)
    assert found[:6] == [done, done, refused, done, refused, (True, 3)]
    assert found[6:11] == [done, done, done, done, (True, "x,y,")]
    assert found[11:] == [done, refused, refused, done, done]
    assert seen.findings == [] and seen.token("l") > 0 and seen.token("lease of l") > 0


def test_a_wide_number_goes_ahead_of_its_operation_and_is_read_as_the_number_that_it_is() -> None:
    writes = [Call("a", "write", "r", 1), Call("a", "cas", "r", (1, 3))] * WIDE_EACH
    with open_door() as (port, service):
        assert set(of_all(port, Seen(), *writes)) == {(True, None)}
        assert service.uploads > 0
        assert of_all(port, Seen(), Call("a", "read", "r")) == [(True, 3)]


def test_maybe_is_unknown_of_a_change_a_refusal_is_none_and_another_error_a_finding() -> None:
    write, read, seen = Call("a", "write", "r", 1), Call("a", "read", "r"), Seen()
    with open_door() as (port, service):
        service.fails = Maybe("who knows")
        assert of_all(port, seen, write, read) == [Maybe, Unavailable]
        service.fails = Unavailable("no leader")
        assert of_all(port, seen, write, read) == [Unavailable, Unavailable]
        assert seen.findings == []
        service.fails = None
        assert of_all(port, seen, Call("a", "append", "r", "x" * (9 << 20))) == [Unavailable]
    [finding] = seen.findings
    assert finding.startswith("append of r was answered: ERR ")


Peer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()
    writer.close()


async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n")
    writer.close()


async def babble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 400 Bad Request\r\n")
    await reader.read()
    writer.close()


@pytest.mark.parametrize(("peer", "findings"), [(hang, 0), (hang_up, 0), (babble, 1)])
def test_what_was_sent_and_not_answered_is_unknown_if_it_may_have_changed_something(
    peer: Peer, findings: int
) -> None:
    async def ask() -> None:
        seen = Seen()
        server = await asyncio.start_server(peer, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        client = KvClient([Address(f"127.0.0.1:{port}")], None, seen)
        assert await outcome(client, Call("a", "append", "s", "x,"), 100) is Maybe
        assert len(seen.findings) == findings
        assert await outcome(client, Call("a", "get", "s"), 100) is Unavailable
        # Nothing but WATCH and GET has left when the answer to these stays away.
        assert await outcome(client, Call("a", "cas", "r", (1, 2)), 100) is Unavailable
        server.close()
        assert await outcome(client, Call("a", "append", "s", "x,"), 100) is Unavailable

    asyncio.run(ask())


def test_a_fencing_token_that_does_not_grow_is_a_finding() -> None:
    seen = Seen()
    seen.told("l", 7, seen.token("l"))
    seen.told("l", 9, seen.token("l"))
    assert seen.findings == [] and seen.token("l") == 9
    seen.told("l", 9, seen.token("l"))
    assert seen.findings == ["fence: l was taken with token 9 after 9"]
