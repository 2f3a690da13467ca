"""The HTTP door: one answer to a request, and bounds that nobody gets beyond."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from io import StringIO

import pytest

from quorate.base.errors import BadConfiguration, Unavailable
from quorate.base.ids import Address
from quorate.node import http
from quorate.node.http import MAX_CONNECTIONS, Answer, HttpServer
from quorate.runtime.real.trace import RealTrace

GET = b"GET /page?x=1 HTTP/1.1\r\nHost: me\r\nAccept: text/plain\r\n\r\n"


class Client:
    """One connection to the door."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def ask(self, request: bytes) -> bytes:
        """All that is answered until the connection ends."""
        self.writer.write(request)
        return await self.ended()

    async def ended(self) -> bytes:
        """What came until the connection ended; nothing if it was cut."""
        try:
            async with asyncio.timeout(10):
                return await self.reader.read()
        except ConnectionError:
            return b""
        finally:
            self.writer.close()


class Site:
    """A door with a page that says what it was asked, one that fails, and one that waits."""

    def __init__(self) -> None:
        self.trace = StringIO()
        self.may_answer = asyncio.Event()
        self.asked = 0
        self.all_asked = asyncio.Event()
        """As many wait as there is room for."""
        self.cancelled = 0
        pages = {"/page": self.page, "/bug": self.bug, "/gone": self.gone, "/slow": self.slow}
        self.server = HttpServer(pages, RealTrace(self.trace))

    async def page(self, headers: Mapping[str, str]) -> Answer:
        return Answer(headers.get("accept", "none").encode())

    async def bug(self, headers: Mapping[str, str]) -> Answer:
        raise KeyError("a secret of the inside")

    async def gone(self, headers: Mapping[str, str]) -> Answer:
        raise Unavailable("the process is away")

    async def slow(self, headers: Mapping[str, str]) -> Answer:
        self.asked += 1
        if self.asked == MAX_CONNECTIONS:
            self.all_asked.set()
        try:
            await self.may_answer.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return Answer(b"at last")

    async def connect(self) -> Client:
        assert self.server._server is not None
        port = self.server._server.sockets[0].getsockname()[1]
        return Client(*await asyncio.open_connection("127.0.0.1", port))

    async def ask(self, request: bytes) -> bytes:
        return await (await self.connect()).ask(request)


def with_site(work: Callable[[Site], Awaitable[None]]) -> None:
    async def main() -> None:
        site = Site()
        await site.server.start(Address("127.0.0.1:0"), None)
        try:
            await work(site)
        finally:
            site.server.close()

    asyncio.run(main())


def test_a_page_is_answered_once_and_the_connection_ends() -> None:
    async def work(site: Site) -> None:
        answer = await site.ask(GET + GET)
        assert answer.startswith(b"HTTP/1.1 200 OK\r\n") and answer.endswith(b"\r\n\r\ntext/plain")
        assert answer.count(b"HTTP/1.1") == 1
        client = await site.connect()  # in pieces, as a network may bring it
        for byte in GET[:-1]:
            client.writer.write(bytes([byte]))
            await client.writer.drain()
        assert (await client.ask(GET[-1:])).endswith(b"text/plain")

    with_site(work)


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET /none HTTP/1.1\r\n\r\n", b"404 Not Found"),
        (b"POST /page HTTP/1.1\r\nContent-Length: 2\r\n\r\nhi", b"405 Method Not Allowed"),
        (b"GET /page\r\n\r\n", b"400 Bad Request"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"400 Bad Request"),
        (b"\x16\x03\x01\x02\x00\x01\xff\r\n\r\n", b"400 Bad Request"),
        (b"\r\n\r\n", b"400 Bad Request"),
        (b"GET /gone HTTP/1.1\r\n\r\n", b"503 Service Unavailable"),
        (b"GET /bug HTTP/1.1\r\n\r\n", b"500 Internal Server Error"),
        (b"GET /" + b"a" * 9_000 + b" HTTP/1.1\r\n\r\n", b"431 Request Header"),
        (b"GET /page HTTP/1.1\r\nA: " + b"a" * 9_000, b"431 Request Header"),
    ],
)
def test_what_is_no_good_request_gets_a_status_and_a_sentence(
    request_: bytes, status: bytes
) -> None:
    async def work(site: Site) -> None:
        answer = await site.ask(request_)
        assert answer.startswith(b"HTTP/1.1 " + status), answer
        assert answer.endswith(b"\n") and b"secret" not in answer
        assert ("secret" in site.trace.getvalue()) is (status[:3] == b"500")
        assert (await site.ask(GET)).startswith(b"HTTP/1.1 200")

    with_site(work)


def test_a_request_line_of_a_mebibyte_is_refused_before_it_has_all_come() -> None:
    async def work(site: Site) -> None:
        client = await site.connect()
        answer = await client.ask(b"GET /" + b"a" * (1 << 20))
        assert answer == b"" or answer.startswith(b"HTTP/1.1 431")
        assert not site.server._open
        assert (await site.ask(GET)).startswith(b"HTTP/1.1 200")

    with_site(work)


def test_who_sends_nothing_is_cut_at_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "DEADLINE_MS", 100.0)

    async def work(site: Site) -> None:
        silent, slow, waiting = [await site.connect() for _ in range(3)]
        slow.writer.write(GET[:10])
        waiting.writer.write(b"GET /slow HTTP/1.1\r\n\r\n")
        assert [await client.ended() for client in (silent, slow, waiting)] == [b""] * 3
        assert (site.asked, site.cancelled) == (1, 1)

    with_site(work)


def test_a_thousand_idle_connections_keep_nobody_out() -> None:
    async def work(site: Site) -> None:
        idle = [await site.connect() for _ in range(1_000)]
        assert len(site.server._open) <= MAX_CONNECTIONS
        assert (await site.ask(GET)).startswith(b"HTTP/1.1 200")
        assert len(site.server._open) <= MAX_CONNECTIONS
        for client in idle:
            client.writer.close()

    with_site(work)


def test_more_requests_at_once_than_there_is_room_for_are_refused_and_the_others_answered() -> None:
    async def work(site: Site) -> None:
        clients = [await site.connect() for _ in range(MAX_CONNECTIONS)]
        for client in clients:
            client.writer.write(b"GET /slow HTTP/1.1\r\n\r\n")
        async with asyncio.timeout(10):
            await site.all_asked.wait()
        assert (await site.ask(GET)).startswith(b"HTTP/1.1 503")
        site.may_answer.set()
        answers = [await client.ended() for client in clients]
        assert all(answer.endswith(b"at last") for answer in answers)
        assert (await site.ask(GET)).startswith(b"HTTP/1.1 200")

    with_site(work)


def test_off_loopback_it_is_refused_without_tls() -> None:
    async def main() -> None:
        server = HttpServer({}, RealTrace(StringIO()))
        with pytest.raises(BadConfiguration, match="needs mutual TLS"):
            await server.start(Address("0.0.0.0:0"), None)

    asyncio.run(main())
