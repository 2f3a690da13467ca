"""The same commands to Redis and to us: the answers are the same, byte for byte.

Where they differ on purpose stands in ``redis_commands.txt``, with the reason, and must differ.
"""

import random
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from resp_store import Bench, Wire, command

from quorate.gateways.resp.inline import words

SCRIPT = Path(__file__).with_name("redis_commands.txt").read_text().splitlines()
PATIENCE_S = 10
NEAR_S = 30
"""Times to live are told of at two moments."""


class Redis:
    """A client of the real one."""

    def __init__(self, path: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(PATIENCE_S)
        self.socket.connect(path)
        self.file = self.socket.makefile("rb")

    def send(self, data: bytes) -> bytes:
        self.socket.sendall(data)
        return self.reply()

    def reply(self) -> bytes:
        """The next, whatever it consists of."""
        line = self.file.readline()
        kind, count = line[:1], line[1:-2]
        if kind in b"$=" and count != b"-1":
            return line + self.file.read(int(count) + 2)
        if kind in b"*~%" and count != b"-1":
            parts = int(count) * (2 if kind == b"%" else 1)
            return line + b"".join([self.reply() for _ in range(parts)])
        return line

    def until_closed(self, data: bytes) -> bytes:
        """All that it says, if nothing more follows ``data``."""
        self.socket.sendall(data)
        self.socket.shutdown(socket.SHUT_WR)
        return self.file.read()

    def close(self) -> None:
        self.file.close()
        self.socket.close()


@pytest.fixture(scope="module")
def redis_path() -> Iterator[str]:
    """Where a Redis listens that has nothing."""
    if shutil.which("redis-server") is None:
        pytest.skip("redis-server is not installed")
    told = subprocess.check_output(["redis-server", "--version"], timeout=PATIENCE_S)
    if b" v=7." not in told:
        pytest.skip("redis-server is not of version 7, whose answers are ours")
    with TemporaryDirectory() as folder:
        path = f"{folder}/socket"
        options = ["--port", "0", "--unixsocket", path, "--save", "", "--dir", folder]
        with subprocess.Popen(["redis-server", *options], stdout=subprocess.PIPE) as server:
            try:
                assert server.stdout is not None
                while b"eady to accept connections" not in (line := server.stdout.readline()):
                    assert line, "redis-server ended"
                yield path
            finally:
                server.terminate()


class Pair:
    """Two clients of each."""

    def __init__(self, path: str) -> None:
        self.bench = Bench()
        self.ours: list[Wire] = [self.bench.wire(), self.bench.wire()]
        self.theirs = [Redis(path), Redis(path)]
        self.theirs[0].send(command("FLUSHALL"))

    def answers(self, line: str) -> tuple[bytes, bytes]:
        """Ours and Redis'."""
        number = int(line.startswith("2> "))
        data = command(*words(line.removeprefix("2> ").encode()))
        self.bench.now_ms = time.time_ns() // 1_000_000
        return self.ours[number].send(data), self.theirs[number].send(data)

    def close(self) -> None:
        for client in self.theirs:
            client.close()


@pytest.fixture
def pair(redis_path: str) -> Iterator[Pair]:
    made = Pair(redis_path)
    yield made
    made.close()


def is_same(line: str, ours: bytes, theirs: bytes) -> bool:
    if line.startswith("TTL") and b":" == ours[:1] == theirs[:1]:
        return abs(int(ours[1:]) - int(theirs[1:])) < NEAR_S * (int(ours[1:]) > 0) + 1
    return ours == theirs


def test_each_command_is_answered_as_redis_does(pair: Pair) -> None:
    surprises, count = [], 0
    for line in SCRIPT:
        if not line or line.startswith("#"):
            continue
        text = line.removeprefix("~ ")
        ours, theirs = pair.answers(text)
        count += 1
        if is_same(text, ours, theirs) is line.startswith("~ "):
            surprises.append((line, ours, theirs))
    assert surprises == [] and count > 500


KEYS = ("a", "b", "c", "d")
VALUES = ("1", "-5", "hello", "9223372036854775807", "3.5", "x" * 50, '""', "10")
NUMBERS = ("0", "1", "-1", "5", "-3", "100", "abc", "9223372036854775807")
SECONDS = ("1000", "2000", "3000", "-1", "0", "100000")
MOMENTS = ("5", "20000000000", "30000000000", "40000000000")
SHAPES = (
    "SET k v", "SET k v NX", "SET k v XX GET", "SET k v KEEPTTL", "SET k v EX s", "SET k v PXAT 1",
    "SET k v EXAT 1 NX", "SET k v EXAT 99999999999 GET", "SET k v FOO", "GET k", "GETSET k v",
    "GETDEL k", "GETEX k", "GETEX k PERSIST", "GETEX k EX 1000", "GETEX k EXAT 1", "SETNX k v",
    "SETEX k s v", "INCR k", "INCRBY k n", "DECRBY k n", "APPEND k v", "STRLEN k",
    "GETRANGE k n n", "SETRANGE k n v", "MSET k v k v", "MSETNX k v k v", "MGET k k none",
    "DEL k k", "EXISTS k k", "TOUCH k", "TYPE k", "EXPIRE k s", "EXPIRE k s NX",
    "EXPIREAT k m XX LT", "EXPIREAT k m XX GT", "EXPIREAT k m LT", "EXPIREAT k m GT",
    "EXPIREAT k m LT GT", "PEXPIREAT k 99999999999999 GT", "PERSIST k", "TTL k", "RENAME k k",
    "RENAMENX k k", "COPY k k",
    "COPY k k REPLACE", "KEYS a", "SCAN 0 MATCH a COUNT 100", "PING", "MULTI", "EXEC", "EXEC",
    "DISCARD", "WATCH k", "UNWATCH", "2> SET k v", "2> DEL k", "2> EXPIRE k 1000",
)  # fmt: skip


@pytest.mark.parametrize("seed", range(3))
def test_commands_drawn_at_random_are_answered_as_redis_does(pair: Pair, seed: int) -> None:
    source = random.Random(seed)
    pools = {"k": KEYS, "v": VALUES, "n": NUMBERS, "s": SECONDS, "m": MOMENTS}
    history: list[tuple[str, bytes]] = []
    for _ in range(3_000):
        shape = source.choice(SHAPES).split()
        if pair.ours[0].connection.transaction and not {"KEYS", "1"}.isdisjoint(shape):
            continue  # KEYS is refused there, and a key whose end has passed is no touch here
        line = " ".join([source.choice(pools.get(word, (word,))) for word in shape])
        ours, theirs = pair.answers(line)
        assert is_same(line, ours, theirs), (line, ours, theirs, history[-20:])
        history.append((line, ours))


@pytest.mark.parametrize(
    "wire",
    [
        b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n:5\r\n",
        b"*-5\r\nPING\r\n",
        b"*0\r\nPING\r\n",
        b"*abc\r\n",
        b"*2147483648\r\n",
        b"*1\r\n$-1\r\n",
        b"*1\r\n$abc\r\n",
        b"*1\r\n$2147483648\r\n",
        b"*1\r\n$536870913\r\n",
        b"PING\nPING\r\n",
        b"\r\n\r\n  PING  \r\n",
        b'SET "a b" 1\r\nGET "a b"\r\nGET "\\x61 b"\r\n',
        b'SET "a"b 1\r\n',
        b"SET 'a\r\n",
        b"*1\r\n+PING\r\n",
        b"*01\r\n$4\r\nPING\r\n",
        b"*1\r\n$04\r\nPING\r\n",
        b"*+1\r\n$4\r\nPING\r\n",
        b"*\r\nPING\r\n",
        b"$4\r\nPING\r\n",
        b"x" * 70_000,
        b"*" + b"1" * 70_000,
        b"*1\r\n$" + b"1" * 70_000,
        b"POST / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"*1\r\n$4\r\nQUIT\r\n*1\r\n$4\r\nPING\r\n",
        b"MULTI\r\n*1\r\n$-1\r\n",
        b"CLIENT REPLY OFF\r\nPING\r\nCLIENT REPLY ON\r\nPING\r\n",
        b"CLIENT REPLY SKIP\r\nPING\r\nPING\r\n",
        b"MULTI\r\nPING\r\nRESET\r\nEXEC\r\n",
        b"MULTI\r\nQUIT\r\nPING\r\n",
        b"MULTI\r\nMULTI x\r\nSET never 1\r\nGET never\r\nEXEC\r\nGET never\r\n",
    ],
)
def test_any_bytes_are_answered_as_redis_does(redis_path: str, wire: bytes) -> None:
    theirs = Redis(redis_path)
    try:
        expected = theirs.until_closed(wire)
    finally:
        theirs.close()
    assert Bench().wire().send(wire) == expected
