"""Order, batches, errors and bounds of one connection."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from resp_store import Bench, Wire, command

from quorate.base.errors import Maybe, Overloaded, Unavailable
from quorate.gateways.resp import connection as connection_module
from quorate.gateways.resp import gateway as gateway_module
from quorate.gateways.resp.gateway import MAX_HELD_BYTES
from quorate.kv.core.commands import MAX_INLINE_BYTES, MAX_VALUE_BYTES, Apply, Stage


@pytest.fixture
def bench() -> Bench:
    return Bench()


@pytest.fixture
def wire(bench: Bench) -> Wire:
    return bench.wire()


# Batches.


def test_commands_of_one_read_are_one_command_in_the_log_and_one_write(
    bench: Bench, wire: Wire
) -> None:
    wire.connection.feed(
        command("SET", "a", 1) + command("PING") + command("GET", "a") + command("INCR", "a")
    )
    bench.turns()
    assert wire.written == [b"+OK\r\n+PONG\r\n$1\r\n1\r\n:2\r\n"]
    assert [type(each) for each in bench.service.log] == [Apply]
    assert bench.service.settles == 0


def test_reads_alone_do_not_go_through_the_log(bench: Bench, wire: Wire) -> None:
    wire.connection.feed(command("GET", "a") * 3 + command("PING") + command("EXISTS", "a"))
    bench.turns()
    assert wire.written == [b"$-1\r\n" * 3 + b"+PONG\r\n:0\r\n"]
    assert (bench.service.log, bench.service.settles) == ([], 1)


def test_what_needs_no_store_asks_nobody(bench: Bench, wire: Wire) -> None:
    wire.connection.feed(command("PING") + command("ECHO", "x") + command("FOO"))
    assert wire.written[0].startswith(b"+PONG\r\n$1\r\nx\r\n-ERR unknown command 'FOO'")
    assert not bench.waiting


def test_one_batch_is_under_way_and_the_next_gathers(bench: Bench, wire: Wire) -> None:
    for each in range(5):
        wire.connection.feed(command("INCR", "a"))
        assert len(bench.waiting) == 1, each
    bench.turns()
    assert wire.written == [b":1\r\n", b":2\r\n:3\r\n:4\r\n:5\r\n"]


def test_a_readonly_connection_reads_what_is_here(bench: Bench, wire: Wire) -> None:
    assert wire.do("READONLY") == b"+OK\r\n"
    wire.connection.feed(command("GET", "a"))
    assert (wire.written, bench.service.settles) == ([b"$-1\r\n"], 0)
    assert wire.do("READWRITE").endswith(b"+OK\r\n")
    wire.do("GET", "a")
    assert bench.service.settles == 1


def test_a_command_that_stands_alone_ends_the_batch_before_it(bench: Bench, wire: Wire) -> None:
    answer = wire.send(
        command("SET", "a", 1) + command("HELLO", 3) + command("GET", "x") + command("KEYS", "*")
    )
    assert answer.startswith(b"+OK\r\n%7") and answer.endswith(b"_\r\n*1\r\n$1\r\na\r\n")


words_sent = st.sampled_from(
    [("PING",), ("SET", "a", "1"), ("GET", "a"), ("INCR", "a"), ("KEYS", "*"), ("MULTI",),
     ("EXEC",), ("WATCH", "a"), ("FOO",), ("GET",), ("CLIENT", "ID"), ("HSET", "a"), ("DISCARD",)]
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(st.lists(words_sent, max_size=25))
def test_a_pipeline_is_answered_as_the_same_commands_one_by_one(
    sent: list[tuple[str, ...]],
) -> None:
    together, single = Bench().wire(), Bench().wire()
    expected = b"".join(single.do(*words) for words in sent)
    assert together.send(b"".join(command(*words) for words in sent)) == expected


@settings(max_examples=50, deadline=None)
@given(st.lists(st.binary(max_size=30) | words_sent.map(lambda words: command(*words)), max_size=8))
def test_no_bytes_break_it_or_make_it_hang(pieces: list[bytes]) -> None:
    wire = Bench().wire()
    for piece in pieces:
        if not wire.is_closed:
            wire.send(piece)
    if not wire.is_closed:
        # Whatever was begun ends, at the latest with what is no RESP.
        wire.send(b"\r\n*1\r\n:\r\n" + b"\0" * 70_000)
        connection = wire.connection
        assert wire.is_closed or connection._parser._left


# Outcomes.


def test_an_unknown_outcome_is_maybe_and_the_end(bench: Bench, wire: Wire) -> None:
    bench.service.fails = Maybe("the leader did not answer")
    wire.connection.feed(command("PING") + command("INCR", "a") + command("INCR", "a"))
    wire.connection.feed(command("INCR", "a"))
    bench.turns()
    assert b"".join(wire.written) == b"+PONG\r\n-MAYBE the leader did not answer\r\n"
    assert wire.is_closed and bench.service.log == []
    assert not bench.gateway.connections


@pytest.mark.parametrize("error", [Unavailable("no leader"), Overloaded("nothing was changed: x")])
def test_what_was_surely_not_done_is_told_and_the_connection_stays(
    bench: Bench, wire: Wire, error: Unavailable
) -> None:
    bench.service.fails = error
    answer = wire.send(command("PING") + command("INCR", "a") + command("GET", "a"))
    assert answer.startswith(b"+PONG\r\n-UNAVAILABLE nothing was changed: ")
    assert answer.count(b"nothing was changed") == 2
    assert wire.do("GET", "a").startswith(b"-UNAVAILABLE")
    assert wire.do("KEYS", "*").startswith(b"-UNAVAILABLE")
    bench.service.fails = None
    assert wire.do("INCR", "a") == b":1\r\n"


def test_a_read_has_no_unknown_outcome(bench: Bench, wire: Wire) -> None:
    bench.service.fails = Maybe("a change of leader")
    assert wire.do("GET", "a").startswith(b"-UNAVAILABLE")
    assert not wire.is_closed


def test_a_full_store_says_what_a_full_redis_says(bench: Bench, wire: Wire) -> None:
    full = {"code": "store_full", "message": "full"}
    bench.service.command = lambda *_: [full]  # type: ignore[method-assign]
    assert wire.do("SET", "a", 1) == (
        b"-OOM command not allowed when used memory > 'maxmemory'.\r\n"
    )


def test_a_client_that_left_is_told_nothing(bench: Bench, wire: Wire) -> None:
    wire.connection.feed(command("INCR", "a"))
    wire.connection.closed()
    bench.turns()
    assert wire.written == [] and len(bench.service.log) == 1


# Large values.


@pytest.mark.parametrize("length", [100_000, 300_000, MAX_VALUE_BYTES])
def test_a_large_value_comes_back(bench: Bench, wire: Wire, length: int) -> None:
    value = bytes(range(256)) * (length // 256)
    assert wire.do("SET", "a", value) == b"+OK\r\n"
    assert wire.do("GET", "a") == b"$%d\r\n%b\r\n" % (len(value), value)
    assert (length > MAX_INLINE_BYTES) is any(isinstance(each, Stage) for each in bench.service.log)


def test_many_values_that_are_large_together(bench: Bench, wire: Wire) -> None:
    pairs = [part for each in range(20) for part in (f"k{each}", b"%d" % each * 30_000)]
    assert wire.do("MSET", *pairs) == b"+OK\r\n"
    assert wire.do("STRLEN", "k7") == b":30000\r\n"


def test_pieces_that_cannot_be_sent_change_nothing(bench: Bench, wire: Wire) -> None:
    bench.service.fails = Maybe("a change of leader")
    assert wire.do("SET", "a", b"x" * 1_000_000).startswith(b"-UNAVAILABLE nothing was changed")
    assert not wire.is_closed


def test_pieces_that_are_gone_before_they_are_used_change_nothing_and_may_be_sent_again(
    bench: Bench, wire: Wire
) -> None:
    async def stage(value: bytes) -> int:
        return 7  # log time has jumped meanwhile, and the store has dropped it

    bench.service.stage = stage  # type: ignore[method-assign]
    answer = wire.do("SET", "a", b"x" * 1_000_000)
    assert answer.startswith(b"-UNAVAILABLE nothing was changed: the pieces of this value")
    assert wire.do("GET", "a") == b"$-1\r\n" and not wire.is_closed


def test_what_no_entry_can_hold_is_refused(wire: Wire) -> None:
    answer = wire.do("DEL", *[b"k" * 100 + b"%d" % each for each in range(5000)])
    assert b"ERR a command has" in answer and b"bytes at most" in answer
    assert b"proto-max-bulk-len" in wire.do("SET", "a", b"x" * (MAX_VALUE_BYTES + 1))
    assert wire.do("PING") == b"+PONG\r\n"


@pytest.mark.parametrize("length", [40_000, 1 << 20])
def test_a_key_that_is_too_long_is_refused_wherever_it_would_be_kept(
    bench: Bench, wire: Wire, length: int
) -> None:
    key = b"k" * length
    wire.do("SET", "a", 1)
    told = b"-ERR a key of %d bytes; 32768 at most\r\n" % length
    changes: list[tuple[str | bytes, ...]] = [("SET", key, "1"), ("APPEND", key, "1")]
    changes += [("INCR", key), ("MSET", "b", "1", key, "1"), ("SETNX", key, "1")]
    changes += [("RENAME", "a", key), ("COPY", "a", key), ("SETRANGE", key, "0", "x")]
    for words in changes:
        assert wire.do(*words) == told, words[0]
    for name in ("GET", "TYPE", "TTL", "MGET", "EXISTS"):
        assert not wire.do(name, key).startswith(b"-"), name
    assert wire.do("KEYS", key) == b"*0\r\n"
    assert wire.do("WATCH", key) == b"+OK\r\n" or length > 65_536
    assert wire.do("DBSIZE") == b":1\r\n" and bench.gateway.held_bytes < 100_000


def test_reads_among_changes_do_not_give_more_than_an_entry_should(
    bench: Bench, wire: Wire
) -> None:
    wire.do("SET", "large", b"x" * 5_000_000)
    bench.service.log.clear()
    answer = wire.send(command("INCR", "a") + command("GET", "large") * 4 + command("INCR", "a"))
    assert answer.startswith(b":1\r\n$5000000\r\n") and answer.endswith(b"x\r\n:2\r\n")
    assert len(answer) > 20_000_000
    assert max(len(each.operations) for each in bench.service.log) == 2


# Bounds.


def test_it_stops_reading_while_much_waits(bench: Bench, wire: Wire) -> None:
    wire.connection.feed(command("INCR", "a"))
    for _ in range(5):
        wire.connection.feed(command("INCR", "a") * 3000)
    assert wire.is_paused
    bench.turns()
    assert not wire.is_paused
    assert b"".join(wire.written).count(b":") == 15_001


def test_answers_wait_until_they_leave(
    bench: Bench, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    wire.do("SET", "a", b"x" * 200_000)
    write = wire.write

    def stalling(data: bytes) -> None:
        write(data)
        wire.unsent += len(data)
        wire.connection.stalled()

    monkeypatch.setattr(wire, "write", stalling)
    wire.connection.feed(command("GET", "a") * 100)
    bench.turns()
    assert len(b"".join(wire.written)) < 1_000_000
    assert bench.gateway.unsent_bytes >= 0
    for _ in range(200):
        wire.unsent = 0
        wire.connection.resumed()
    assert b"".join(wire.written) == (b"$200000\r\n" + b"x" * 200_000 + b"\r\n") * 100
    assert bench.gateway.unsent_bytes == 0


def test_who_never_reads_is_cut_off(bench: Bench, wire: Wire) -> None:
    wire.unsent = 1000
    wire.connection.stalled()
    [timer] = bench.timers
    wire.unsent = 900  # some has left: that is slow, not dead
    timer.work()
    assert not wire.was_aborted
    bench.timers[-1].work()
    assert wire.was_aborted and not bench.gateway.connections
    assert bench.gateway.unsent_bytes == 0


def test_while_answers_do_not_leave_nothing_more_is_done_or_read(bench: Bench, wire: Wire) -> None:
    wire.connection.stalled()
    for _ in range(5):
        wire.connection.feed(command("INCR", "a") * 3000)
    assert wire.is_paused and not bench.waiting
    wire.connection.resumed()
    bench.turns()
    assert not wire.is_paused and b"".join(wire.written).count(b":") == 15_000


def test_all_connections_together_hold_a_bounded_number_of_bytes(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection_module, "MAX_HELD_BYTES", 3_000_000)
    wires = [bench.wire() for _ in range(4)]
    for each in wires:
        each.connection.feed(b"*2\r\n$4\r\nECHO\r\n$8000000\r\n" + b"x" * 900_000)
    assert [each.is_closed for each in wires] == [False, False, False, True]
    assert b"too many bytes wait on this node" in b"".join(wires[3].written)
    assert wires[0].send(b"x" * 7_100_000 + b"\r\n").startswith(b"$8000000\r\nxx")
    assert 1_800_000 < bench.gateway.held_bytes < 1_900_000
    for each in wires:
        each.connection.closed()
    assert bench.gateway.held_bytes == 0
    assert MAX_HELD_BYTES > 3_000_000


def test_unread_answers_of_all_connections_are_bounded(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection_module, "MAX_UNSENT_BYTES", 2500)
    wires = [bench.wire() for _ in range(3)]
    for each in wires:
        each.unsent = 1000
        each.connection.stalled()
    assert [each.was_aborted for each in wires] == [False, False, True]
    assert gateway_module.MAX_UNSENT_BYTES > 2500


def test_malformed_input_is_told_and_ends_the_connection(wire: Wire) -> None:
    assert wire.send(command("PING") + b"*1\r\n:5\r\n" + command("PING")) == (
        b"+PONG\r\n-ERR Protocol error: expected '$', got ':'\r\n"
    )
    assert wire.is_closed


@pytest.mark.parametrize("line", [b"POST / HTTP/1.1\r\n", b"Host: localhost\r\n"])
def test_a_browser_gets_nowhere(bench: Bench, wire: Wire, line: bytes) -> None:
    assert wire.send(line + b"\r\nSET a 1\r\n") == b""
    assert wire.is_closed and not bench.service.log


# Who may.


def test_nothing_is_done_before_auth() -> None:
    bench = Bench(password="secret")
    wire = bench.wire()
    no = b"-NOAUTH Authentication required.\r\n"
    assert wire.send(command("SET", "a", 1) + command("FOO") + command("MULTI")) == no * 3
    assert wire.do("HELLO", 3).startswith(b"-NOAUTH HELLO must be called with")
    wrong = b"-WRONGPASS invalid username-password pair or user is disabled.\r\n"
    assert wire.do("AUTH", "wrong") == wrong
    assert wire.do("AUTH", "other", "secret") == wrong
    assert wire.do("AUTH", "a", "b", "c") == b"-ERR syntax error\r\n"
    assert wire.send(command("AUTH", "secret") + command("GET", "a")) == b"+OK\r\n$-1\r\n"
    assert wire.do("RESET") == b"+RESET\r\n"
    assert wire.do("GET", "a") == no
    assert b"proto" in wire.do("HELLO", 3, "AUTH", "default", "secret", "SETNAME", "me")
    assert wire.do("CLIENT", "GETNAME") == b"$2\r\nme\r\n"
    assert bench.service.log == []


def test_client_reply_off_and_skip(wire: Wire) -> None:
    assert wire.send(command("CLIENT", "REPLY", "SKIP") + command("PING") * 2) == b"+PONG\r\n"
    assert wire.send(command("CLIENT", "REPLY", "OFF") + command("INCR", "a") * 3) == b""
    assert wire.do("CLIENT", "REPLY", "ON") == b"+OK\r\n"
    assert wire.do("GET", "a") == b"$1\r\n3\r\n"
    assert wire.do("CLIENT", "REPLY", "FOO") == b"-ERR syntax error\r\n"


def test_connections_have_numbers_and_are_listed(bench: Bench) -> None:
    first, second = bench.wire(), bench.wire()
    assert first.do("CLIENT", "ID") == b":1\r\n" and second.do("CLIENT", "ID") == b":2\r\n"
    second.do("CLIENT", "SETINFO", "LIB-NAME", "mine")
    listed = first.do("CLIENT", "LIST")
    assert listed.count(b"id=") == 2 and b"lib-name=mine" in listed
    assert first.do("CLIENT", "LIST", "ID", 2, 9).count(b"id=") == 1
    second.connection.closed()
    assert first.do("CLIENT", "LIST").count(b"id=") == 1


def test_an_answer_that_is_too_large_is_refused_alone(bench: Bench, wire: Wire) -> None:
    wire.do("SET", "large", b"x" * 8_000_000)
    for count in (9, 20):
        answer = wire.send(command("MGET", *["large"] * count) + command("PING"))
        assert answer.startswith(b"-ERR ") and answer.endswith(b"\r\n+PONG\r\n")
        assert b"ask for fewer" in answer
