"""The load of ``appends.py``: what redis-benchmark is to a Redis server, in our own protocol.

    python bench/append_load.py ADDRESS CONNECTIONS PIPELINE COMMANDS

Each connection is a client with a session of its own and sends ``PIPELINE`` puts in one request, as
``GroupClient`` does with those of one turn, then waits for their answers.  Frames are made before
the clock starts, so that the load costs no more than it must: it prints ``ready``, begins at the
first line of its standard input, and prints a line of JSON.  An answer that is not the expected
bytes counts as an error.
"""

import asyncio
import random
import sys
import time
from typing import cast

from append_node import CLUSTER, GROUP, Put
from loads import measured

from quorate.base.codec import decode, encode, outcome_of, result_of
from quorate.base.ids import Address, NodeId
from quorate.raft.messages import Propose
from quorate.raft.sessions import OpenSession, wrap
from quorate.rpc.frames import CONNECTION, HELLO, REPLY, REQUEST, decode_frame, encode_frame
from quorate.rpc.handshake import PROTOCOL_VERSION, Hello, Identity
from quorate.runtime.real.loop import run
from quorate.runtime.real.network import split_address

TIMEOUT_MS = 10_000
KEYS = 100_000
VALUE = bytes(range(200))


def framed(kind: int, call_id: int, timeout_ms: int, body: object) -> bytes:
    """A frame as it goes over the wire."""
    pieces, size = encode_frame(kind, call_id, timeout_ms, body)
    return size.to_bytes(4, "big") + b"".join(pieces)


def put(session: int, sequence: int, acknowledged: int) -> bytes:
    """One put, as it goes into the log."""
    key = b"key:%012d" % random.randrange(KEYS)
    return wrap(session, sequence, acknowledged, encode(Put(key, VALUE)))


class Client(asyncio.Protocol):
    """One connection and its session."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._received = b""
        self.opened: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.errors = 0
        self.latencies_s: list[float] = []
        self._batches: list[tuple[bytes, bytes, int]] = []
        identity = Identity(CLUSTER, NodeId(0), "client")
        self._transport.write(
            framed(HELLO, CONNECTION, 0, Hello(PROTOCOL_VERSION, "control", identity))
        )

    def prepare(self, session: int, commands: int, pipeline: int) -> None:
        """Make all frames: what is sent, and what is expected, batch by batch; last first."""
        for first in range(1, commands + 1, pipeline):
            numbers = range(first, min(first + pipeline, commands + 1))
            puts = [put(session, number, first - 1) for number in numbers]
            call_id = 2 + len(self._batches)
            sent = framed(REQUEST, call_id, TIMEOUT_MS, Propose(GROUP, puts))
            expected = framed(REPLY, call_id, 0, [outcome_of(None)] * len(puts))
            self._batches.append((sent, expected, len(puts)))
        self._batches.reverse()

    def begin(self) -> None:
        if not self._batches:
            self.done.set_result(None)
            return
        sent, self._expected, self._count = self._batches.pop()
        self._since_s = time.perf_counter()
        self._transport.write(sent)

    def data_received(self, data: bytes) -> None:
        self._received += data
        if not self.opened.done():
            self._open()
        elif self._received == self._expected:
            self._next()
        elif not self._expected.startswith(self._received):
            self._judge()

    def _next(self) -> None:
        self._received = b""
        self.latencies_s.append(time.perf_counter() - self._since_s)
        self.begin()

    def _frames(self) -> list[memoryview]:
        """The whole frames received so far."""
        frames, at, data = [], 0, self._received
        while at + 4 <= len(data):
            end = at + 4 + int.from_bytes(data[at : at + 4], "big")
            if end > len(data):
                break
            frames.append(memoryview(data)[at + 4 : end])
            at = end
        return frames

    def _open(self) -> None:
        """After the welcome ask for a session; its answer is the second frame."""
        frames = self._frames()
        if len(frames) == 1:
            request = Propose(GROUP, [encode(OpenSession())])
            self._transport.write(framed(REQUEST, 1, TIMEOUT_MS, request))
        elif len(frames) == 2:
            header, _ = decode_frame(frames[1], bulk=False)
            if header.kind != REPLY:
                self.opened.set_exception(RuntimeError(f"no session: {bytes(frames[1])!r}"))
                return
            self._received = b""
            [outcome] = decode(header.body, list[bytes])
            self.opened.set_result(result_of(outcome, int))

    def _judge(self) -> None:
        """Other bytes than those expected: once the answer is there, how much of it is wrong?"""
        frames = self._frames()
        if not frames:
            return
        header, _ = decode_frame(frames[0], bulk=False)
        outcomes = decode(header.body, list[bytes]) if header.kind == REPLY else []
        self.errors += self._count - outcomes.count(outcome_of(None))
        self._next()

    def connection_lost(self, error: Exception | None) -> None:
        for future in (self.opened, self.done):
            if not future.done():
                future.set_exception(RuntimeError(f"the connection was lost: {error}"))

    def close(self) -> None:
        self._transport.close()


async def load(address: Address, connections: int, pipeline: int, commands: int) -> None:
    """All of it; see the module."""
    host, port = split_address(address)
    loop = asyncio.get_running_loop()
    clients = [(await loop.create_connection(Client, host, port))[1] for _ in range(connections)]
    for number, client in enumerate(clients):
        own = commands // connections + (number < commands % connections)
        client.prepare(await client.opened, own, pipeline)

    async def work() -> None:
        for client in clients:
            client.begin()
        await asyncio.gather(*(client.done for client in clients))

    await measured(clients, work)


def main() -> None:
    address, connections, pipeline, commands = sys.argv[1:]
    run(lambda: load(Address(address), int(connections), int(pipeline), int(commands)))


if __name__ == "__main__":
    main()
