"""Each command's answer, in Redis' words."""

import pytest
from resp_store import Bench, Wire

NIL, OK = b"$-1\r\n", b"+OK\r\n"
SYNTAX = b"-ERR syntax error\r\n"
TOO_LONG = b"-ERR string exceeds maximum allowed size (proto-max-bulk-len)\r\n"
NOT_AN_INTEGER = b"-ERR value is not an integer or out of range\r\n"


def bulk(text: bytes) -> bytes:
    return b"$%d\r\n%b\r\n" % (len(text), text)


def number(value: int) -> bytes:
    return b":%d\r\n" % value


def arity(name: str) -> bytes:
    return f"-ERR wrong number of arguments for '{name}' command\r\n".encode()


@pytest.fixture
def wire() -> Wire:
    """``s`` is text, ``n`` a number, ``t`` ends in 100 s."""
    found = Bench().wire()
    found.send(b"SET s hello\r\nSET n 10\r\nSET t soon EX 100\r\n")
    return found


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        ("GET s", bulk(b"hello")),
        ("get s", bulk(b"hello")),
        ("gEt s", bulk(b"hello")),
        ("GET none", NIL),
        ("GET", arity("get")),
        ("get a b", arity("get")),
        ("SET a", arity("set")),
        ("SET a 1", OK),
        ("SET a 1 NX", OK),
        ("SET s 1 NX", NIL),
        ("SET a 1 XX", NIL),
        ("SET s 1 XX", OK),
        ("SET s 1 GET", bulk(b"hello")),
        ("SET s 1 NX GET", bulk(b"hello")),
        ("SET a 1 NX GET", NIL),
        ("SET a 1 NX XX", SYNTAX),
        ("SET a 1 EX 10 PX 10", SYNTAX),
        ("SET a 1 EX 10 KEEPTTL", SYNTAX),
        ("SET a 1 EX", SYNTAX),
        ("SET a 1 FOO", SYNTAX),
        ("SET a 1 EX x", NOT_AN_INTEGER),
        ("SET a 1 EX 0", b"-ERR invalid expire time in 'set' command\r\n"),
        ("SET a 1 PX -5", b"-ERR invalid expire time in 'set' command\r\n"),
        ("SET a 1 EX 9223372036854775807", b"-ERR invalid expire time in 'set' command\r\n"),
        ("SETEX a 0 v", b"-ERR invalid expire time in 'setex' command\r\n"),
        ("PSETEX a 0 v", b"-ERR invalid expire time in 'psetex' command\r\n"),
        ("SETEX a 10 v", OK),
        ("SETNX s 1", number(0)),
        ("SETNX a 1", number(1)),
        ("GETSET s 1", bulk(b"hello")),
        ("GETDEL s", bulk(b"hello")),
        ("GETEX s", bulk(b"hello")),
        ("GETEX s EX 10", bulk(b"hello")),
        ("GETEX s EX", SYNTAX),
        ("GETEX s EX 0", b"-ERR invalid expire time in 'getex' command\r\n"),
        ("MGET s none n", b"*3\r\n" + bulk(b"hello") + NIL + bulk(b"10")),
        ("MSET a 1 b", arity("mset")),
        ("MSETNX a 1 s 2", number(0)),
        ("MSETNX a 1 b 2", number(1)),
        ("APPEND s !", number(6)),
        ("APPEND a xy", number(2)),
        ("STRLEN s", number(5)),
        ("STRLEN none", number(0)),
        ("SETRANGE s 1 E", number(5)),
        ("SETRANGE s -1 E", b"-ERR offset is out of range\r\n"),
        ("SETRANGE a 8388608 E", TOO_LONG),
        ("GETRANGE s 1 -2", bulk(b"ell")),
        ("GETRANGE s 0 -9", bulk(b"h")),
        ("GETRANGE s -9 -9", bulk(b"h")),
        ("GETRANGE s -8 -9", bulk(b"")),
        ("SUBSTR s 0 0", bulk(b"h")),
        ("GETRANGE s x 1", NOT_AN_INTEGER),
        ("INCR n", number(11)),
        ("INCR a", number(1)),
        ("INCR s", NOT_AN_INTEGER),
        ("INCRBY n -20", number(-10)),
        ("INCRBY n 1.5", NOT_AN_INTEGER),
        ("INCRBY n 9223372036854775807", b"-ERR increment or decrement would overflow\r\n"),
        ("DECR n", number(9)),
        ("DECRBY n 3", number(7)),
        ("DECRBY n -9223372036854775808", b"-ERR decrement would overflow\r\n"),
        ("INCRBYFLOAT n 0.1", bulk(b"10.1")),
        ("INCRBYFLOAT n x", b"-ERR value is not a valid float\r\n"),
        ("INCRBYFLOAT s 1", b"-ERR value is not a valid float\r\n"),
    ],
)  # fmt: skip
def test_strings(wire: Wire, line: str, answer: bytes) -> None:
    assert wire.send(line.encode() + b"\r\n") == answer


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        ("DEL s n none s", number(2)),
        ("UNLINK s", number(1)),
        ("EXISTS s s none", number(2)),
        ("TOUCH s none", number(1)),
        ("TYPE s", b"+string\r\n"),
        ("TYPE none", b"+none\r\n"),
        ("RENAME s a", OK),
        ("RENAME none a", b"-ERR no such key\r\n"),
        ("RENAMENX s n", number(0)),
        ("RENAMENX s a", number(1)),
        ("COPY s a", number(1)),
        ("COPY s n", number(0)),
        ("COPY s n REPLACE", number(1)),
        ("COPY s a DB 0 REPLACE", number(1)),
        ("COPY s a DB 1", b"-ERR DB index is out of range\r\n"),
        ("COPY s s", b"-ERR source and destination objects are the same\r\n"),
        ("COPY s a FOO", SYNTAX),
        ("PERSIST t", number(1)),
        ("PERSIST s", number(0)),
        ("TTL t", number(100)),
        ("PTTL t", number(100_000)),
        ("TTL s", number(-1)),
        ("TTL none", number(-2)),
        ("EXPIRETIME t", number(1_700_000_100)),
        ("PEXPIRETIME t", number(1_700_000_100_000)),
        ("EXPIRETIME s", number(-1)),
        ("EXPIRE s 10", number(1)),
        ("EXPIRE none 10", number(0)),
        ("EXPIRE s -1", number(1)),
        ("EXPIRE s 10 NX", number(1)),
        ("EXPIRE t 10 NX", number(0)),
        ("EXPIRE s 10 XX", number(0)),
        ("EXPIRE t 10 XX", number(1)),
        ("EXPIRE t 10 GT", number(0)),
        ("EXPIRE t 1000 XX GT", number(1)),
        ("EXPIRE t 10 LT", number(1)),
        ("EXPIRE t 10 XX LT", number(1)),
        ("EXPIRE t 1000 LT XX", number(0)),
        ("EXPIRE s 10 XX LT", number(0)),
        ("EXPIRE s 10 GT", number(0)),
        ("EXPIRE s 10 LT", number(1)),
        ("EXPIRE s 10 FOO", b"-ERR Unsupported option foo\r\n"),
        (
            "EXPIRE s 10 NX XX",
            b"-ERR NX and XX, GT or LT options at the same time are not compatible\r\n",
        ),
        (
            "EXPIRE s 10 GT LT",
            b"-ERR GT and LT options at the same time are not compatible\r\n",
        ),
        ("EXPIRE s 9223372036854775807", b"-ERR invalid expire time in 'expire' command\r\n"),
        ("EXPIRE s x", NOT_AN_INTEGER),
        ("PEXPIRE s 10", number(1)),
        ("EXPIREAT s 1", number(1)),
        ("PEXPIREAT s 1700000200000", number(1)),
        ("DBSIZE", number(3)),
        ("KEYS *", b"*3\r\n" + bulk(b"n") + bulk(b"s") + bulk(b"t")),
        ("KEYS [st]", b"*2\r\n" + bulk(b"s") + bulk(b"t")),
        ("KEYS x*", b"*0\r\n"),
        ("SCAN 0", b"*2\r\n" + bulk(b"0") + b"*3\r\n" + bulk(b"n") + bulk(b"s") + bulk(b"t")),
        ("SCAN 0 MATCH s COUNT 100", b"*2\r\n" + bulk(b"0") + b"*1\r\n" + bulk(b"s")),
        ("SCAN 0 TYPE hash", b"*2\r\n" + bulk(b"0") + b"*0\r\n"),
        ("SCAN x", b"-ERR invalid cursor\r\n"),
        ("SCAN 0 COUNT 0", SYNTAX),
        ("SCAN 0 COUNT", SYNTAX),
        ("SCAN 0 COUNT x", NOT_AN_INTEGER),
        ("OBJECT ENCODING n", bulk(b"int")),
        ("OBJECT ENCODING s", bulk(b"embstr")),
        ("OBJECT ENCODING none", NIL),
        ("OBJECT REFCOUNT s", number(1)),
        ("OBJECT ENCODING", arity("object|encoding")),
        ("OBJECT FOO s", b"-ERR unknown subcommand 'FOO'. Try OBJECT HELP.\r\n"),
        ("FLUSHALL", OK),
        ("FLUSHDB ASYNC", OK),
        ("FLUSHDB FOO", SYNTAX),
        ("QUORATE.FENCE n", number(2)),
        ("QUORATE.FENCE t", number(3)),
        ("QUORATE.FENCE none", number(0)),
    ],
)
def test_keys(wire: Wire, line: str, answer: bytes) -> None:
    assert wire.send(line.encode() + b"\r\n") == answer


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        ("PING", b"+PONG\r\n"),
        ("PING hi", bulk(b"hi")),
        ("PING a b", arity("ping")),
        ("ECHO hi", bulk(b"hi")),
        ("SELECT 0", OK),
        ("SELECT 1", b"-ERR DB index is out of range\r\n"),
        ("SELECT x", NOT_AN_INTEGER),
        ("HELLO 4", b"-NOPROTO unsupported protocol version\r\n"),
        ("HELLO 2 FOO", b"-ERR Syntax error in HELLO option 'FOO'\r\n"),
        ("CLIENT ID", number(1)),
        ("CLIENT GETNAME", NIL),
        ("CLIENT SETNAME a", OK),
        ("CLIENT SETNAME", arity("client|setname")),
        (
            'CLIENT SETNAME "a b"',
            b"-ERR Client names cannot contain spaces, newlines or special characters.\r\n",
        ),
        ("CLIENT SETINFO LIB-NAME x", OK),
        ("CLIENT SETINFO FOO x", b"-ERR Unrecognized option 'FOO'\r\n"),
        ("CLIENT NO-EVICT ON", OK),
        ("CLIENT NO-TOUCH MAYBE", SYNTAX),
        ("CLIENT KILL 1", b"-ERR quorate does not have CLIENT KILL yet\r\n"),
        ("CLIENT FOO", b"-ERR unknown subcommand 'FOO'. Try CLIENT HELP.\r\n"),
        ("CONFIG GET save append*", b"*6\r\n$11\r\nappendfsync\r\n$6\r\nalways\r\n"
         b"$10\r\nappendonly\r\n$3\r\nyes\r\n$4\r\nsave\r\n$0\r\n\r\n"),
        ("CONFIG GET requirepass", b"*0\r\n"),
        ("CONFIG GET", arity("config|get")),
        ("CONFIG RESETSTAT", OK),
        ("COMMAND GETKEYS MSET a 1 b 2", b"*2\r\n" + bulk(b"a") + bulk(b"b")),
        ("COMMAND GETKEYS PING", b"-ERR The command has no key arguments\r\n"),
        ("COMMAND INFO nope", b"*1\r\n$-1\r\n"),
        ("COMMAND FOO", b"-ERR unknown subcommand 'FOO'. Try COMMAND HELP.\r\n"),
        ("TIME", b"*2\r\n$10\r\n1700000000\r\n$1\r\n0\r\n"),
        ("WAIT 1 100", number(1)),
        ("AUTH x", b"-ERR AUTH <password> called without any password configured for the "
         b"default user. Are you sure your configuration is correct?\r\n"),
        ("EVALSHA abc 0", b"-NOSCRIPT No matching script. Please use EVAL.\r\n"),
        ("SCRIPT EXISTS c3f8721cbb97f72bc19e972846bd7aaf91901658 abc", b"*2\r\n:1\r\n:0\r\n"),
        ("EXEC", b"-ERR EXEC without MULTI\r\n"),
        ("DISCARD", b"-ERR DISCARD without MULTI\r\n"),
        ("UNWATCH", OK),
        ("READONLY", OK),
        ("QUIT", OK),
        ("RESET", b"+RESET\r\n"),
        ("FOO a b", b"-ERR unknown command 'FOO', with args beginning with: 'a' 'b' \r\n"),
        ("HSET a b c", b"-ERR quorate does not have hashes (HSET) yet\r\n"),
        ("lpush a b", b"-ERR quorate does not have lists (LPUSH) yet\r\n"),
        ("ZADD a 1 b", b"-ERR quorate does not have sorted sets (ZADD) yet\r\n"),
        ("SUBSCRIBE a", b"-ERR quorate does not have publish and subscribe (SUBSCRIBE) yet\r\n"),
    ],
)  # fmt: skip
def test_the_rest(wire: Wire, line: str, answer: bytes) -> None:
    assert wire.send(line.encode() + b"\r\n") == answer


def test_other_scripts_are_refused_by_name(wire: Wire) -> None:
    assert b"runs no Lua scripts (EVAL)" in wire.do("EVAL", "return 1", 0)
    assert b"runs no Lua scripts (EVAL)" in wire.do("SCRIPT", "LOAD", "return 1")


def test_an_unknown_command_is_told_in_one_short_line(wire: Wire) -> None:
    answer = wire.do("x\r\n" * 1000, "a" * 1000, "b" * 1000)
    assert answer.count(b"\r\n") == 1 and len(answer) < 400


def test_resp3_has_its_own_nil_maps_and_sets(wire: Wire) -> None:
    assert wire.do("HELLO", 3).startswith(b"%7\r\n$6\r\nserver\r\n")
    assert wire.do("GET", "none") == b"_\r\n"
    assert wire.do("CONFIG", "GET", "save") == b"%1\r\n$4\r\nsave\r\n$0\r\n\r\n"
    assert b"~2\r\n+readonly\r\n+fast\r\n" in wire.do("COMMAND", "INFO", "GET")
    assert wire.do("INFO", "cluster").startswith(b"=")
    assert wire.do("HELLO", 2).startswith(b"*14\r\n")
    assert wire.do("GET", "none") == NIL


def test_info_says_what_clients_look_for(wire: Wire) -> None:
    answer = wire.do("INFO")
    for fact in (b"redis_version:7.", b"loading:0", b"role:master", b"db0:keys=3,expires=1"):
        assert fact in answer
    assert b"redis_version" not in wire.do("INFO", "replication")


def test_every_command_tells_of_itself(wire: Wire) -> None:
    count = int(wire.do("COMMAND", "COUNT")[1:])
    assert wire.do("COMMAND").startswith(b"*%d\r\n" % count)
    assert wire.do("COMMAND", "DOCS").startswith(b"*%d\r\n" % (2 * count))
    assert wire.do("COMMAND", "LIST").startswith(b"*%d\r\n" % count)


def test_a_key_ends_by_log_time_and_is_shown_by_the_later_clock(wire: Wire) -> None:
    bench = wire.connection.gateway.world
    assert wire.do("PTTL", "t") == number(100_000)
    wire.connection.gateway.service.now_ms()
    clock = bench.clock
    clock.wall_ms = lambda: 1_700_000_200_000
    assert wire.do("PTTL", "t") == number(0)
    assert wire.do("GET", "t") == bulk(b"soon")


@pytest.mark.parametrize("end", ["EXAT 1", "PXAT 1", "PXAT 1700000000000"])
def test_a_value_whose_end_has_passed_is_set_and_gone(wire: Wire, end: str) -> None:
    assert wire.send(f"SET new x {end}\r\nEXISTS new\r\n".encode()) == OK + number(0)
    assert wire.send(f"SET s x {end} GET\r\nGET s\r\n".encode()) == bulk(b"hello") + NIL
    assert wire.send(f"SET t x {end} NX\r\nSET none x {end} XX\r\n".encode()) == NIL + NIL
    assert wire.send(f"SET t x {end} XX\r\nTTL t\r\n".encode()) == OK + number(-2)


def test_a_scan_gives_each_key_that_is_there_all_the_while_once(wire: Wire) -> None:
    for each in range(25):
        wire.do("SET", f"key{each:02}", 1)
    cursor, found = b"0", []
    while True:
        lines = wire.do("SCAN", cursor, "MATCH", "key*", "COUNT", 7).split(b"\r\n")
        cursor = lines[2]
        found += lines[5::2]
        wire.do("SET", f"new{len(found)}", 1)
        if cursor == b"0":
            break
    assert [key for key in found if key] == [b"key%02d" % each for each in range(25)]
