"""What clients of Redis may send, and patterns for keys."""

from fuzz.target import Target, expect, framed, parts
from resp_store import Bench, command

from quorate.gateways.resp.parser import ARGUMENT_BYTES, Parser
from quorate.gateways.resp.patterns import pattern


def _taken(pieces: list[bytes]) -> tuple[list[list[bytes]], str]:
    parser, found, sent = Parser(), [], 0
    for piece in pieces:
        parser.feed(piece)
        sent += len(piece)
        while commands := parser.take(100):
            found += [list(words) for words in commands]
            expect(all(commands), "a command without a name")
        # Three bytes on the wire can be an argument, no fewer.
        expect(parser.held_bytes() <= sent * (1 + ARGUMENT_BYTES), "memory for what is not there")
    return found, parser.error


def _parser(data: bytes) -> None:
    """However the bytes are cut, they mean the same."""
    whole = _taken([data])
    expect(_taken([data[at : at + 3] for at in range(0, len(data), 3)]) == whole, "cut in threes")
    middle = len(data) // 2
    expect(_taken([data[:middle], data[middle:]]) == whole, "cut in two")


def _connection(data: bytes) -> None:
    """Whatever is sent, to a gateway with a password or without, in pieces."""
    bench = Bench(password="x" if data[:1] == b"p" else "")
    wire = bench.wire()
    for piece in parts(data)[:50]:
        if wire.is_closed:
            break
        answer = wire.send(piece)
        expect(answer == b"" or answer.endswith(b"\r\n"), "half an answer")
        expect(not wire.is_paused, "it waits for nothing")
        expect(len(answer) < 1000 * (len(piece) + 100_000), "answers without bound")
    if not wire.is_closed:
        wire.connection.closed()
    gateway = bench.gateway
    expect((gateway.held_bytes, gateway.unsent_bytes) == (0, 0), "bytes that nobody holds")
    expect(not gateway.connections, "a connection that nobody has")


def _pattern(data: bytes) -> None:
    """``PATTERN NEWLINE KEY``: matching ends, whatever the pattern is."""
    glob, _, key = data.partition(b"\n")
    pattern(glob[:300])(key[:300])


COMMANDS = [
    command("SET", "a", "1", "EX", 10, "NX", "GET") + command("GET", "a") + b"INCR n\r\n",
    command("MULTI") + command("INCR", "n") + command("EXPIRE", "n", 5, "GT") + command("EXEC"),
    command("WATCH", "a", "b") + command("UNWATCH") + command("DISCARD"),
    command("HELLO", 3, "AUTH", "default", "x", "SETNAME", "me") + command("INFO"),
    command("SCAN", 0, "MATCH", "a*[b-c]", "COUNT", 7, "TYPE", "string") + command("KEYS", "?*"),
    command("SETRANGE", "a", 5, "xyz") + command("GETRANGE", "a", -3, 100) + b"APPEND a b\r\n",
    command("MSET", "a", 1, "b", 2) + command("MGET", "a", "b", "c") + command("RENAME", "a", "b"),
    command("CLIENT", "REPLY", "SKIP") + b"COMMAND GETKEYS GET a\r\nRESET\r\n",
    command("EVALSHA", "c3f8721cbb97f72bc19e972846bd7aaf91901658", 1, "lock", "token"),
    command("INCRBYFLOAT", "a", "1.5e3") + command("GETEX", "a", "PXAT", 99),
    command("CONFIG", "GET", "*") + command("COPY", "a", "b", "REPLACE") + command("TTL", "a"),
    b'SET "a\\x41" \'b c\'\r\nPING\r\n*1\r\n$2147483648\r\n',
]  # fmt: skip

TARGETS = [
    Target("resp.parser", _parser, lambda: COMMANDS),
    Target(
        "resp.connection",
        _connection,
        lambda: [framed([each]) for each in COMMANDS] + [framed(COMMANDS)],
        framed=True,
        weight=2,
    ),
    Target("resp.pattern", _pattern, lambda: [b"a*[b-d]?\\*\nabc*", b"[^a]*x*y\nbxy"], weight=2),
]
