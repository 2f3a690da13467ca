"""The load of ``kv.py``: many requests in flight on few connections, to Redis' or ZooKeeper's door.

    python bench/kv_load.py resp|zookeeper PORT set|get CONNECTIONS WINDOW REQUESTS

Each connection keeps ``WINDOW`` requests in flight: for so many answers as one read brings, it
sends as many requests in one write.  Requests are made before the clock starts, so that the load
costs no more than it must: it prints ``ready``, begins at the first line of its standard input, and
prints a line of JSON.  An answer that is not the expected one counts as an error.

Values have 200 bytes.  To Redis' door requests go to 10,000 keys of 16 bytes at random; ZooKeeper's
peers in other benches have one key, and so has it here.
"""

import asyncio
import random
import struct
import sys
import time
from collections import deque
from typing import Protocol, cast

from loads import measured

from quorate.runtime.real.loop import run

KEYS = 10_000
VALUE = bytes(range(33, 233))
NODE = b"/key"
CONNECT_S = 10.0
SESSION_MS = 30_000
CREATE, GET_DATA, SET_DATA = 1, 4, 5
NODE_EXISTS = -110


class Speaker(Protocol):
    """A protocol, as far as this load needs it: all answers to its requests are of one size."""

    answer_bytes: int
    hello: bytes
    """What a connection begins with; its answer begins with its length, in four bytes."""

    def requests(self, count: int) -> bytes:
        """The next ``count``, as they go over the wire."""

    def wrong(self, answers: bytes) -> int:
        """How many of these whole answers are not as expected."""


class Resp:
    """SET or GET of keys that follow each other in a random order."""

    hello = b""

    def __init__(self, operation: str) -> None:
        names = [b"key:%012d" % number for number in range(KEYS)]
        random.shuffle(names)
        words: list[list[bytes]]
        if operation == "set":
            words, self._answer = [[b"SET", name, VALUE] for name in names], b"+OK\r\n"
        else:
            words, self._answer = [[b"GET", name] for name in names], _bulk(VALUE)
        self._requests = [b"*%d\r\n" % len(own) + b"".join(map(_bulk, own)) for own in words]
        self._next = 0
        self.answer_bytes = len(self._answer)

    def requests(self, count: int) -> bytes:
        at = self._next
        self._next = (at + count) % KEYS
        found = self._requests[at : at + count]
        return b"".join(found + self._requests[: count - len(found)])

    def wrong(self, answers: bytes) -> int:
        count = len(answers) // self.answer_bytes
        if answers == self._answer * count:
            return 0
        return count - sum(map(self._answer.__eq__, _cut(answers, self.answer_bytes)))


class ZooKeeper:
    """setData or getData of one znode."""

    _HEADER = struct.Struct(">iqi")
    """xid, zxid, error."""
    _STAT_BYTES = 68
    _ASKS = struct.pack(">iqiqi", 0, 0, SESSION_MS, 0, 16) + bytes(16 + 1)
    """For a new session: version, last zxid, timeout, session, password, read-only."""
    hello = len(_ASKS).to_bytes(4, "big") + _ASKS

    def __init__(self, operation: str) -> None:
        path = _sized(NODE)
        if operation == "set":
            self._request = self.request(SET_DATA, path + _sized(VALUE) + struct.pack(">i", -1))
            found = 0
        else:
            self._request = self.request(GET_DATA, path + b"\0")
            found = 4 + len(VALUE)
        self.answer_bytes = 4 + self._HEADER.size + found + self._STAT_BYTES

    def requests(self, count: int) -> bytes:
        return self._request * count

    def wrong(self, answers: bytes) -> int:
        headers = (answers[at + 4 : at + 20] for at in range(0, len(answers), self.answer_bytes))
        return sum(self._HEADER.unpack(header)[2] != 0 for header in headers)

    @staticmethod
    def request(kind: int, body: bytes) -> bytes:
        """All have one number: the server only gives it back."""
        return _sized(struct.pack(">ii", 1, kind) + body)

    @classmethod
    async def make_node(cls, port: int) -> None:
        """Create the znode, unless it is there."""
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        everybody = struct.pack(">ii", 1, 31) + _sized(b"world") + _sized(b"anyone")
        body = _sized(NODE) + _sized(VALUE) + everybody + struct.pack(">i", 0)
        writer.write(cls.hello + cls.request(CREATE, body))
        for _ in range(2):  # of the session, and of the request
            answer = await reader.readexactly(int.from_bytes(await reader.readexactly(4), "big"))
        error = cls._HEADER.unpack(answer[:16])[2]
        if error not in (0, NODE_EXISTS):
            raise SystemExit(f"ZooKeeper did not create {NODE.decode()}: error {error}")
        writer.close()


class Client(asyncio.Protocol):
    """One connection, and what is in flight on it."""

    def __init__(self, speaker: Speaker) -> None:
        self._speaker = speaker
        self._rest = b""
        self._sent: deque[tuple[float, int]] = deque()
        """When, and how many that are still unanswered; oldest first."""
        self.latencies_s: list[float] = []
        self.errors = 0
        self.opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.write(self._speaker.hello)
        if not self._speaker.hello:
            self.opened.set_result(None)

    def begin(self, requests: int, window: int) -> None:
        self._unanswered = self._unsent = requests
        self._send(window)

    def _send(self, count: int) -> None:
        count = min(count, self._unsent)
        if count:
            self._unsent -= count
            self._sent.append((time.perf_counter(), count))
            self._transport.write(self._speaker.requests(count))

    def data_received(self, data: bytes) -> None:
        data = self._rest + data
        if not self.opened.done():
            self._rest = data
            if len(data) >= 4 and len(data) == 4 + int.from_bytes(data[:4], "big"):
                self._rest = b""
                self.opened.set_result(None)
            return
        size = self._speaker.answer_bytes
        count = len(data) // size
        self._rest = data[count * size :]
        self.errors += self._speaker.wrong(data[: count * size])
        self._unanswered -= count
        now_s, left = time.perf_counter(), count
        while left:
            since_s, open_ = self._sent.popleft()
            answered = min(left, open_)
            self.latencies_s += [now_s - since_s] * answered
            left -= answered
            if open_ > answered:
                self._sent.appendleft((since_s, open_ - answered))
        if self._unanswered:
            self._send(count)
        else:
            self.done.set_result(None)

    def connection_lost(self, error: Exception | None) -> None:
        lost = RuntimeError(f"the connection was lost ({error}) behind {self._rest[:100]!r}")
        for future in (self.opened, self.done):
            if not future.done():
                future.set_exception(lost)

    def close(self) -> None:
        self._transport.close()


def _bulk(data: bytes) -> bytes:
    return b"$%d\r\n%b\r\n" % (len(data), data)


def _sized(data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + data


def _cut(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


async def connected(speaker: Speaker, port: int) -> Client:
    """Ready to begin."""
    loop = asyncio.get_running_loop()
    _, client = await loop.create_connection(lambda: Client(speaker), "127.0.0.1", port)
    await client.opened
    return client


async def all_of(clients: list[Client], requests: int, window: int) -> None:
    for number, client in enumerate(clients):
        own = requests // len(clients) + (number < requests % len(clients))
        client.begin(own, window)
    await asyncio.gather(*(client.done for client in clients))


async def load(
    system: str, port: int, operation: str, connections: int, window: int, requests: int
) -> None:
    """All of it; see the module."""
    speaker = ZooKeeper if system == "zookeeper" else Resp
    async with asyncio.timeout(CONNECT_S):
        if system == "zookeeper":
            await ZooKeeper.make_node(port)
        elif operation == "get":
            filler = await connected(Resp("set"), port)
            await all_of([filler], KEYS, KEYS // 10)
            filler.close()
        clients = [await connected(speaker(operation), port) for _ in range(connections)]
    await measured(clients, lambda: all_of(clients, requests, window))


def main() -> None:
    system, port, operation, connections, window, requests = sys.argv[1:]
    run(lambda: load(system, int(port), operation, int(connections), int(window), int(requests)))


if __name__ == "__main__":
    main()
