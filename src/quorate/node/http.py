"""The smallest HTTP server that cannot be made to grow: GET, one answer, the end.

It serves the figures of a node to whoever watches it, so it must be the last thing to fail.  A web
framework has more to bound than this has lines, and the standard library's server takes a thread
for each connection, or lets one slow client hold up all others.

Bounds, and what happens at them:
* A request, from its connection to the last byte of its answer, takes ``DEADLINE_MS``; then its
  connection is cut.
* Its head has ``MAX_HEAD_BYTES``: 431.  A body is not read.
* ``MAX_CONNECTIONS``: of those whose request is not there yet the oldest is cut, so that who only
  holds connections open keeps nobody out; if all are being answered, a new one gets 503.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import NamedTuple, cast

from quorate.base.check import Bug
from quorate.base.errors import QuorateError
from quorate.base.ids import Address
from quorate.runtime.ports import Trace
from quorate.runtime.real.network import open_server
from quorate.runtime.real.tls import TlsContexts

MAX_CONNECTIONS = 32
MAX_HEAD_BYTES = 8 << 10
DEADLINE_MS = 5_000.0
TEXT = "text/plain; charset=utf-8"

_REASONS = {
    200: "OK",
    400: "Bad Request",
    404: "Not Found",
    405: "Method Not Allowed",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    503: "Service Unavailable",
}


class Answer(NamedTuple):
    """What a page says."""

    body: bytes
    status: int = 200
    content_type: str = TEXT


Page = Callable[[Mapping[str, str]], Awaitable[Answer]]
"""Given the headers of a request, their names in lower case."""


class HttpServer:
    """Serves ``pages`` by path."""

    def __init__(self, pages: Mapping[str, Page], trace: Trace) -> None:
        self.pages = pages
        self.trace = trace
        self._server: asyncio.Server | None = None
        self._open: dict[_Connection, None] = {}

    async def start(self, address: Address, tls: TlsContexts | None) -> None:
        """Listen; raises ``BadConfiguration`` if that cannot be."""
        self._server = await open_server(address, lambda: _Connection(self), tls)

    def close(self) -> None:
        """Stop listening and drop all connections."""
        if self._server is not None:
            self._server.close()
        for connection in list(self._open):
            connection.cut()

    def admit(self, connection: "_Connection") -> bool:
        """Whether there is room; who has waited longest without a request makes some."""
        if len(self._open) >= MAX_CONNECTIONS:
            idle = next((other for other in self._open if other.is_idle), None)
            if idle is None:
                return False
            idle.cut()
            self.forget(idle)
        self._open[connection] = None
        return True

    def forget(self, connection: "_Connection") -> None:
        self._open.pop(connection, None)


class _Connection(asyncio.Protocol):
    """One request and its answer."""

    def __init__(self, server: HttpServer) -> None:
        self._server = server
        self._head = bytearray()
        self._answering: asyncio.Task[None] | None = None
        self._answered = False

    @property
    def is_idle(self) -> bool:
        """Its request is not there yet."""
        return self._answering is None and not self._answered

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        loop = asyncio.get_running_loop()
        self._deadline = loop.call_later(DEADLINE_MS / 1000, self.cut)
        if not self._server.admit(self):
            self._finish(_sentence(503, "too many requests at once; try again"))

    def connection_lost(self, exc: Exception | None) -> None:
        self._deadline.cancel()
        self._server.forget(self)
        if self._answering is not None:
            self._answering.cancel()

    def data_received(self, data: bytes) -> None:
        if not self.is_idle:
            return  # a body, or a second request: the connection ends with this answer
        self._head += data
        end = self._head.find(b"\r\n\r\n")
        if (end if end >= 0 else len(self._head)) > MAX_HEAD_BYTES:
            self._head.clear()
            self._finish(_sentence(431, f"the head of a request has {MAX_HEAD_BYTES} bytes"))
        elif end >= 0:
            head = bytes(self._head[:end]).decode("latin-1")
            self._head.clear()
            self._answering = asyncio.get_running_loop().create_task(self._answer(head))

    def cut(self) -> None:
        """End it at once."""
        self._transport.abort()

    async def _answer(self, head: str) -> None:
        try:
            answer = await self._page(head)
        except QuorateError as error:
            answer = _sentence(503, error.message)
        except (Exception, Bug) as error:  # a bug of a page must not take the machine down
            self._server.trace.error(f"a page failed: {error!r}")
            answer = _sentence(500, "internal error: the trace of this node has more")
        self._finish(answer)

    async def _page(self, head: str) -> Answer:
        first, *lines = head.split("\r\n")
        words = first.split(" ")
        if len(words) != 3 or not words[2].startswith("HTTP/1."):
            return _sentence(400, "this is no HTTP/1.1 request")
        page = self._server.pages.get(words[1].partition("?")[0])
        if page is None:
            return _sentence(404, f"here are {', '.join(self._server.pages)}")
        if words[0] != "GET":
            return _sentence(405, "this page takes GET")
        headers = {}
        for line in lines:
            name, _, value = line.partition(":")
            headers[name.strip().lower()] = value.strip()
        return await page(headers)

    def _finish(self, answer: Answer) -> None:
        self._answered = True
        allow = "Allow: GET\r\n" if answer.status == 405 else ""
        head = (
            f"HTTP/1.1 {answer.status} {_REASONS[answer.status]}\r\n{allow}"
            f"Content-Type: {answer.content_type}\r\nContent-Length: {len(answer.body)}\r\n"
            "Cache-Control: no-store\r\nConnection: close\r\n\r\n"
        )
        self._transport.write(head.encode("latin-1") + answer.body)
        self._transport.close()


def _sentence(status: int, sentence: str) -> Answer:
    return Answer(f"{sentence}\n".encode(), status)
