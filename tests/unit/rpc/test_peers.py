"""Peers that break the protocol lose their own connection, with one line, and harm nobody else."""

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from unit.rpc.support import (
    ADDRESS,
    CLIENT,
    CLUSTER,
    SERVER,
    Echo,
    Echoed,
    Hang,
    Hint,
    Pair,
    Raw,
    frame,
    hello,
    simulate,
    welcomed,
)

from quorate.base.codec import Request, decode, encode
from quorate.base.errors import BadConfiguration, ErrorInfo, Maybe, QuorateError, Unavailable
from quorate.base.ids import Address, ClusterId, NodeId
from quorate.rpc.client import RpcClient
from quorate.rpc.frames import (
    ERROR,
    HELLO,
    MAX_BULK_FRAME_BYTES,
    MAX_CONTROL_FRAME_BYTES,
    NOTICE,
    REPLY,
    REQUEST,
    WELCOME,
    decode_frame,
)
from quorate.rpc.handshake import Hello, Identity, Welcome
from quorate.runtime.ports import Frame

GARBAGE = b"GET / HTTP/1.1\r\nHost: quorate\r\n\r\n"


def refusal(peer: Raw) -> ErrorInfo:
    """The single frame that ``peer`` got: an error about its connection."""
    (received,) = peer.received
    header, _ = decode_frame(memoryview(received), bulk=False)
    assert (header.kind, header.call_id) == (ERROR, 0)
    info: ErrorInfo = decode(header.body, ErrorInfo)
    return info


BROKEN: dict[str, list[Frame]] = {
    "garbage": [(GARBAGE,)],
    "nothing but a length": [(b"\0\0",)],
    "a reply": [frame(REPLY, 1, 1)],
    "an error": [frame(ERROR, ErrorInfo("error", "no"), 1)],
    "a welcome": [frame(WELCOME, Welcome(CLIENT))],
    "a request with fields of wrong types": [frame(REQUEST, ["test.echo.1", "seven"], 1)],
    "a request without a tag": [frame(REQUEST, 5, 1)],
    "a notice with fields of wrong types": [frame(NOTICE, ["test.hint.1", "seven"])],
    "a notice that its handler does not take": [frame(NOTICE, Hint(-1))],
    "a payload on a control connection": [frame(REQUEST, Echo(1), 1, [b"bytes"])],
    "a frame above the limit": [(bytes(MAX_CONTROL_FRAME_BYTES + 1),)],
    "garbage between requests": [
        frame(REQUEST, Echo(1), 1),
        (GARBAGE,),
        frame(REQUEST, Echo(1), 2),
    ],
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_frame_closes_its_connection_with_one_line_and_no_other(name: str) -> None:
    async def scenario(pair: Pair) -> None:
        hanging = asyncio.ensure_future(pair.client.call(ADDRESS, Hang(1), timeout_ms=60_000))
        peer = await welcomed(pair)
        peer.send(*BROKEN[name])
        await peer.end
        (line,) = pair.errors()
        assert line.startswith("closed the connection with worker of node 2 at client/worker: ")
        assert await pair.client.call(ADDRESS, Echo(2), timeout_ms=1000) == Echoed(2, "value")
        pair.service.hanging[1].set_result(3)
        assert await hanging == 3
        assert pair.errors() == [line]

    simulate(scenario)


def test_a_message_with_an_enormous_name_is_answered_shortly() -> None:
    async def scenario(pair: Pair) -> None:
        peer = await welcomed(pair)
        peer.send(frame(REQUEST, ["\n" * 1_000_000], 1))
        await pair.here.clock.sleep(100)
        assert len(peer.received.pop()) < 1000
        assert pair.errors() == []

    simulate(scenario)


def test_a_bulk_frame_may_be_large_but_not_larger_than_its_limit() -> None:
    async def scenario(pair: Pair) -> None:
        peer = await welcomed(pair, "bulk")
        peer.send(frame(REQUEST, Echo(1), 1, [bytes(MAX_BULK_FRAME_BYTES - 100)]))
        await pair.here.clock.sleep(500)
        assert pair.service.echoed == 1
        peer.send(frame(REQUEST, Echo(1), 2, [bytes(MAX_BULK_FRAME_BYTES + 1)]))
        await peer.end
        assert len(pair.errors()) == 1

    simulate(scenario)


@pytest.mark.parametrize(
    ("first", "sentence"),
    [
        ((GARBAGE,), "a frame"),
        (frame(REQUEST, Echo(1), 1), "must be hello"),
        (hello(version=9), "speaks version 9: run the same release of quorate on both"),
        (hello(channel="video"), "cannot be read"),
        (hello(channel="v" * 3_000), "cannot be read"),
        (hello(identity=Identity(CLUSTER, NodeId(3), "r" * 33)), "cannot be read"),
        (hello(identity=Identity(ClusterId("x" * 65), NodeId(3), "raft")), "cannot be read"),
        (hello(identity=Identity(ClusterId("x" * 32), NodeId(3), "raft")), "wrong address or data"),
    ],
)
def test_who_does_not_say_hello_properly_is_told_why_and_closed(
    first: Frame, sentence: str
) -> None:
    async def scenario(pair: Pair) -> None:
        peer = await pair.raw()
        peer.send(first, frame(REQUEST, Echo(1), 1))
        await peer.end
        (line,) = pair.errors()
        assert line.startswith("closed the connection with an unknown peer at client/worker: ")
        assert sentence in line
        if first != (GARBAGE,):
            assert sentence in refusal(peer).message
        assert pair.service.echoed == 0

    simulate(scenario)


def test_a_connection_that_says_nothing_is_closed_after_two_seconds() -> None:
    async def scenario(pair: Pair) -> None:
        began_ms = pair.here.clock.monotonic_ms()
        peer = await pair.raw()
        await peer.end
        assert pair.here.clock.monotonic_ms() - began_ms == pytest.approx(2000, abs=20)
        assert "no hello came" in refusal(peer).message
        assert len(pair.errors()) == 1

    simulate(scenario)


def test_a_connection_that_ends_without_a_word_is_not_worth_a_line() -> None:
    async def scenario(pair: Pair) -> None:
        peer = await pair.raw()
        peer.connection.close()
        await pair.here.clock.sleep(5000)
        assert pair.errors() == []

    simulate(scenario)


def test_a_client_of_another_cluster_learns_so_in_one_sentence() -> None:
    async def scenario(pair: Pair) -> None:
        stranger = RpcClient(pair.here, Identity(ClusterId("x" * 32), NodeId(3), "raft"))
        with pytest.raises(BadConfiguration) as caught:
            await stranger.call(ADDRESS, Echo(1), timeout_ms=1000)
        assert caught.value.message == (
            f"{ADDRESS}: this is raft of node 1 of cluster {CLUSTER}, and the caller belongs to "
            f"cluster {'x' * 32}: one of the two has a wrong address or data directory"
        )

    simulate(scenario)


def test_a_client_that_knows_no_cluster_yet_is_served() -> None:
    async def scenario(pair: Pair) -> None:
        client = RpcClient(pair.here, Identity(ClusterId(""), NodeId(0), "client"))
        assert await client.call(ADDRESS, Echo(1), timeout_ms=1000) == Echoed(1, "value")

    simulate(scenario)


class RawServer(Raw):
    """Answers a hello with a welcome, and each request with the next of ``answers``."""

    def __init__(self, identity: Identity, *answers: Frame) -> None:
        super().__init__()
        self.identity = identity
        self.answers = list(answers)

    def frames_received(self, frames: Sequence[memoryview]) -> None:
        for received in frames:
            header, _ = decode_frame(received, bulk=True)
            if header.kind == HELLO:
                self.send(frame(WELCOME, Welcome(self.identity)))
            elif self.answers:
                self.send(self.answers.pop(0))


async def ask_raw(pair: Pair, identity: Identity, request: Request[Any], *answers: Frame) -> Any:
    """What a client gets from a server that sends ``answers``, listening in the same process."""
    address = Address("client:raw")
    listener = await pair.here.network.listen(
        address, lambda: RawServer(identity, *answers), 1 << 20
    )
    try:
        return await pair.client.call(address, request, timeout_ms=5000)
    finally:
        listener.close()


@pytest.mark.parametrize(
    "answer",
    [
        (GARBAGE,),
        frame(REPLY, ["not", "an", "echo"], 1),
        frame(ERROR, "not an error", 1),
        frame(REQUEST, Echo(1), 1),
        frame(REPLY, Echoed(1, "x"), 1, [b"payload"]),
        frame(ERROR, ErrorInfo("protocol_error", "this client sent nonsense"), 0),
    ],
)
def test_a_server_that_answers_nonsense_leaves_a_maybe_and_a_closed_connection(
    answer: Frame,
) -> None:
    async def scenario(pair: Pair) -> None:
        with pytest.raises(Maybe, match="was lost"):
            await ask_raw(pair, SERVER, Echo(1), answer)
        told = b"nonsense" in b"".join(answer)
        assert len(pair.errors("client/worker")) == (0 if told else 1)

    simulate(scenario)


def test_an_error_whose_facts_bear_odd_names_is_still_that_error() -> None:
    async def scenario(pair: Pair) -> None:
        odd = ErrorInfo("unheard_of", "something new", {"message": "x", "self": 1})
        with pytest.raises(QuorateError, match="something new") as caught:
            await ask_raw(pair, SERVER, Echo(1), frame(ERROR, odd, 1))
        assert caught.value.details == {"message": "x", "self": 1}

    simulate(scenario)


def test_answers_that_nobody_waits_for_are_ignored() -> None:
    async def scenario(pair: Pair) -> None:
        right = b"".join(frame(REPLY, Echoed(1, "x"), 1))
        late = b"".join(frame(REPLY, ["anything"], 77))
        peer = RawServer(SERVER)
        address = Address("client:raw")
        await pair.here.network.listen(address, lambda: peer, 1 << 20)
        call = asyncio.ensure_future(pair.client.call(address, Echo(1), timeout_ms=5000))
        await pair.here.clock.sleep(50)
        peer.send((late,), (right,), (right,), frame(WELCOME, Welcome(SERVER)))
        assert await call == Echoed(1, "x")
        await pair.here.clock.sleep(50)
        assert not peer.end.done()
        assert pair.errors("client/worker") == []

    simulate(scenario)


def test_the_client_refuses_a_server_of_another_cluster() -> None:
    async def scenario(pair: Pair) -> None:
        elsewhere = Identity(ClusterId("x" * 32), NodeId(1), "raft")
        with pytest.raises(BadConfiguration, match="belongs to cluster"):
            await ask_raw(pair, elsewhere, Echo(1))

    simulate(scenario)


def test_a_server_that_never_welcomes_is_unavailable() -> None:
    async def scenario(pair: Pair) -> None:
        address = Address("client:raw")
        peers: list[Raw] = []

        def accept() -> Raw:
            peers.append(Raw())
            return peers[-1]

        await pair.here.network.listen(address, accept, 1 << 20)
        with pytest.raises(Unavailable, match="sent no welcome"):
            await pair.client.call(address, Echo(1), timeout_ms=5000)
        await peers[0].end

    simulate(scenario)


def test_a_repeated_hello_is_ignored() -> None:
    async def scenario(pair: Pair) -> None:
        peer = await welcomed(pair)
        peer.send(hello(), frame(REQUEST, Echo(4), 9))
        await pair.here.clock.sleep(50)
        (received,) = peer.received
        header, _ = decode_frame(memoryview(received), bulk=False)
        assert (header.kind, header.call_id) == (REPLY, 9)
        assert decode(header.body, Echoed) == Echoed(4, "value")

    simulate(scenario)


def test_an_unknown_notice_is_ignored() -> None:
    async def scenario(pair: Pair) -> None:
        peer = await welcomed(pair)
        peer.send(frame(NOTICE, ["test.new.9", 1]), frame(REQUEST, Echo(4), 9))
        await pair.here.clock.sleep(50)
        assert len(peer.received) == 1
        assert pair.errors() == []

    simulate(scenario)


def test_welcome_and_hello_stay_readable_for_older_releases() -> None:
    """The first field of a hello is the version, and it is an array, for ever."""
    body = msgspec.msgpack.decode(encode(Hello(3, "bulk", CLIENT)))
    assert body[:2] == [3, "bulk"]
