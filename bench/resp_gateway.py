"""What the gateway for Redis clients costs by itself: parsing, dispatch and answers, without a log.

CPU time of a command, in process: no sockets, and a service that has done everything at once.
Beside it the least that a server in Python can do: ``hiredis`` before a dict.

Run: ``python bench/resp_gateway.py``
"""

import tempfile
import time
from asyncio import run
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import hiredis

from quorate.base.codec import encode
from quorate.base.machine import Meta
from quorate.gateways.resp.connection import RespConnection
from quorate.gateways.resp.gateway import Gateway, RespSettings
from quorate.kv.core.commands import Apply, Put
from quorate.kv.core.store import Store
from quorate.runtime.real.world import close_world, real_world

KEY, VALUE = b"key:000000000001", b"x" * 200
REPEATS, COMMANDS = 300, 200


class DoneAtOnce:
    """A service whose every change has happened."""

    def __init__(self) -> None:
        self.store = Store()
        self.store.apply_batch(Meta(1, 1, 1), [encode(Apply([Put(KEY, VALUE)]))])

    def apply(self, operations: Sequence[Any], size: int, done: Callable[[Any], None]) -> None:
        done([1] * len(operations))

    def settle(self, done: Callable[[Any], None]) -> None:
        done(None)


class Nowhere:
    """A transport that leads nowhere."""

    def write(self, data: bytes) -> None:
        pass


class Floor:
    """The least."""

    def __init__(self) -> None:
        self.reader = hiredis.Reader()
        self.values = {KEY: VALUE}

    def feed(self, data: bytes) -> bytes:
        self.reader.feed(data)
        out = []
        while (words := self.reader.gets()) is not False:
            if words[0] == b"GET":
                value = self.values[words[1]]
                out.append(b"$%d\r\n%b\r\n" % (len(value), value))
            elif words[0] == b"SET":
                self.values[words[1]] = words[2]
                out.append(b"+OK\r\n")
            else:
                out.append(b":1\r\n")
        return b"".join(out)


def least_us(feed: Callable[[bytes], object], data: bytes, commands: int) -> float:
    """Of a command, in the quietest of many moments."""
    rounds = max(1, COMMANDS // commands)
    least = float("inf")
    for _ in range(REPEATS):
        began = time.perf_counter()
        for _ in range(rounds):
            feed(data)
        least = min(least, time.perf_counter() - began)
    return least / rounds / commands * 1e6


def command(*words: bytes) -> bytes:
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(w), w) for w in words)


async def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        world = real_world(Path(folder))
        service: Any = DoneAtOnce()
        transport: Any = Nowhere()
        connection = RespConnection(Gateway(world, service, RespSettings()), transport, "")
        print("command   pipelined   gateway µs   hiredis and a dict µs")
        for words in ((b"SET", KEY, VALUE), (b"GET", KEY), (b"INCR", b"n"), (b"DEL", b"none")):
            for pipelined in (1, 16, 64):
                data = command(*words) * pipelined
                ours = least_us(connection.feed, data, pipelined)
                floor = least_us(Floor().feed, data, pipelined)
                name = words[0].decode()
                print(f"{name:<9} {pipelined:>9} {ours:>12.2f} {floor:>23.2f}")
        await close_world(world)


if __name__ == "__main__":
    run(main())
