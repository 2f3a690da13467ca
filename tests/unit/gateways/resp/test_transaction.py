"""MULTI, EXEC and WATCH: all or nothing, in one entry of the log."""

import pytest
from resp_store import Bench, Wire, command

from quorate.base.errors import Maybe, Unavailable
from quorate.gateways.resp.transaction import MAX_WATCHED
from quorate.kv.core.commands import Transact

OK, QUEUED = b"+OK\r\n", b"+QUEUED\r\n"
ABORTED = b"-EXECABORT Transaction discarded because of previous errors.\r\n"


@pytest.fixture
def bench() -> Bench:
    return Bench()


@pytest.fixture
def wire(bench: Bench) -> Wire:
    return bench.wire()


def test_exec_is_one_entry_of_reads_and_changes(bench: Bench, wire: Wire) -> None:
    wire.do("SET", "t", "x", "EX", 100)
    bench.service.log.clear()
    queued = [("GET", "a"), ("SET", "a", 1), ("PING",), ("INCR", "t"), ("TTL", "t"), ("GET", "a")]
    answer = wire.send(
        command("MULTI") + b"".join(command(*words) for words in queued) + command("EXEC")
    )
    assert answer == OK + QUEUED * 6 + (
        b"*6\r\n$-1\r\n+OK\r\n+PONG\r\n-ERR value is not an integer or out of range\r\n"
        b":100\r\n$1\r\n1\r\n"
    )
    assert [type(each) for each in bench.service.log] == [Transact]


@pytest.mark.parametrize(
    "touch",
    [
        [("SET", "k", 2)],
        [("SET", "k", 1)],
        [("DEL", "k")],
        [("DEL", "k"), ("SET", "k", 1)],
        [("EXPIRE", "k", 100)],
        [("FLUSHALL",)],
    ],
)
@pytest.mark.parametrize("was_there", [True, False])
def test_exec_does_nothing_if_a_watched_key_was_touched(
    bench: Bench, wire: Wire, touch: list[tuple[str, ...]], was_there: bool
) -> None:
    wire.do("SET", "other", 1)
    if was_there:
        wire.do("SET", "k", 1)
    other = bench.wire()
    assert wire.do("WATCH", "x", "k") == OK
    before = bench.service.store.state.revision
    for words in touch:
        other.do(*words)
    changed = bench.service.store.state.revision != before
    key_changed = changed and (was_there or touch[-1][0] in ("SET", "FLUSHALL"))
    wire.do("MULTI")
    wire.do("SET", "mine", 1)
    assert (wire.do("EXEC") == b"*-1\r\n") is key_changed
    assert (other.do("EXISTS", "mine") == b":0\r\n") is key_changed
    wire.do("MULTI")
    assert wire.do("EXEC") == b"*0\r\n", "what was watched is forgotten"


def test_a_key_that_was_made_and_deleted_again_was_touched(bench: Bench, wire: Wire) -> None:
    other = bench.wire()
    wire.do("WATCH", "k")
    other.do("SET", "k", 1)
    other.do("DEL", "k")
    wire.do("HELLO", 3)
    wire.do("MULTI")
    assert wire.do("EXEC") == b"_\r\n"


@pytest.mark.parametrize("forget", [("UNWATCH",), ("DISCARD",), ("RESET",)])
def test_what_is_forgotten_is_no_condition(
    bench: Bench, wire: Wire, forget: tuple[str, ...]
) -> None:
    wire.do("WATCH", "k")
    bench.wire().do("SET", "k", 1)
    if forget != ("UNWATCH",):
        wire.do("MULTI")
    wire.do(*forget)
    wire.do("MULTI")
    assert wire.do("EXEC") == b"*0\r\n"


def test_the_first_watch_of_a_key_counts(bench: Bench, wire: Wire) -> None:
    wire.do("WATCH", "k")
    bench.wire().do("SET", "k", 1)
    wire.do("WATCH", "k")
    wire.do("MULTI")
    assert wire.do("EXEC") == b"*-1\r\n"


def test_a_watch_that_failed_lets_exec_do_nothing(bench: Bench, wire: Wire) -> None:
    bench.service.fails = Unavailable("no leader")
    assert wire.do("WATCH", "k").startswith(b"-UNAVAILABLE")
    bench.service.fails = None
    answer = wire.send(command("MULTI") + command("SET", "k", 1) + command("EXEC"))
    assert answer == OK + QUEUED + ABORTED
    assert bench.service.log == []


@pytest.mark.parametrize(
    "wrong",
    [
        ("FOO",),
        ("GET",),
        ("HSET", "a", "b", "c"),
        ("KEYS", "*"),
        ("OBJECT", "FREQ", "a"),
        ("EVAL", "return 1", "0"),
        ("MULTI", "x"),
        ("WATCH",),
        ("DISCARD", "x"),
        ("EXEC", "x"),
    ],
)
def test_a_command_that_cannot_be_queued_lets_exec_do_nothing(
    bench: Bench, wire: Wire, wrong: tuple[str, ...]
) -> None:
    wire.do("MULTI")
    wire.do("SET", "a", 1)
    assert wire.do(*wrong).startswith(b"-ERR ")
    assert wire.do("SET", "a", 1) == QUEUED
    assert wire.do("EXEC") == ABORTED
    assert bench.service.log == [] and wire.do("GET", "a") == b"$-1\r\n"


def test_what_follows_a_misspelt_exec_or_watch_is_not_done_outside_of_the_transaction(
    bench: Bench, wire: Wire
) -> None:
    for wrong in ("MULTI x", "WATCH", "DISCARD x", "EXEC x", "RESET x"):
        told = wire.send(f"MULTI\r\n{wrong}\r\nSET a 1\r\nGET a\r\nEXEC\r\n".encode())
        assert told.startswith(OK + b"-ERR wrong number of arguments"), wrong
        assert told.endswith(QUEUED + QUEUED + ABORTED), wrong
    assert bench.service.log == []


def test_wrong_arguments_are_an_error_among_the_answers_of_exec(wire: Wire) -> None:
    told = wire.send(b"MULTI\r\nSET a 1\r\nSET a 2 EX\r\nINCRBY a x\r\nGET a\r\nEXEC\r\n")
    assert told == OK + QUEUED * 4 + (
        b"*4\r\n+OK\r\n-ERR syntax error\r\n"
        b"-ERR value is not an integer or out of range\r\n$1\r\n1\r\n"
    )


def test_what_may_not_be_in_a_transaction(wire: Wire) -> None:
    wire.do("MULTI")
    assert wire.do("MULTI") == b"-ERR MULTI calls can not be nested\r\n"
    assert wire.do("WATCH", "a") == b"-ERR WATCH inside MULTI is not allowed\r\n"
    assert wire.do("EXEC") == b"*0\r\n"


def test_quit_and_reset_leave_a_transaction(bench: Bench, wire: Wire) -> None:
    wire.do("MULTI")
    assert wire.send(command("SET", "a", 1) + command("RESET") + command("GET", "a")) == (
        QUEUED + b"+RESET\r\n$-1\r\n"
    )
    wire.do("MULTI")
    assert wire.do("QUIT") == OK and wire.is_closed


def test_an_unknown_outcome_of_exec_is_maybe_and_the_end(bench: Bench, wire: Wire) -> None:
    wire.send(command("MULTI") + command("INCR", "a"))
    bench.service.fails = Maybe("a change of leader")
    assert wire.do("EXEC") == b"-MAYBE a change of leader\r\n" and wire.is_closed


def test_a_multi_of_a_million_commands_takes_bounded_memory(bench: Bench, wire: Wire) -> None:
    wire.do("MULTI")
    piece = command("GET", "k") * 1_000
    refusals = 0
    for _ in range(1_000):
        answer = wire.send(piece)
        refusals += answer.count(b"-ERR a transaction has")
        assert answer.count(b"\r\n") == 1_000
        assert bench.gateway.held_bytes < 8_000_000
    assert refusals == 1, "and QUEUED to all others"
    assert bench.gateway.held_bytes < 1000
    assert wire.do("EXEC") == ABORTED and bench.service.log == []
    assert wire.do("SET", "a", 1) == OK


def test_large_values_of_a_transaction_are_sent_ahead(bench: Bench, wire: Wire) -> None:
    wire.do("MULTI")
    for each in range(4):
        assert wire.do("SET", f"k{each}", b"x" * 300_000) == QUEUED
    assert bench.gateway.held_bytes > 1_200_000
    assert wire.do("EXEC") == b"*4\r\n" + OK * 4
    assert bench.service.uploads == 4 and bench.gateway.held_bytes == 0
    assert wire.do("STRLEN", "k3") == b":300000\r\n"


def test_the_bytes_of_a_transaction_are_bounded(wire: Wire) -> None:
    wire.do("MULTI")
    answers = [wire.do("SET", "k", b"x" * 5_000_000) for _ in range(8)]
    assert any(answer.startswith(b"-ERR a transaction has") for answer in answers)
    assert wire.do("EXEC") == ABORTED


def test_watched_keys_are_bounded(wire: Wire) -> None:
    assert wire.do("WATCH", *[f"k{each}" for each in range(MAX_WATCHED + 1)]).startswith(b"-ERR a ")
    wire.do("MULTI")
    assert wire.do("EXEC") == ABORTED


def test_answers_of_exec_are_bounded(bench: Bench, wire: Wire) -> None:
    wire.do("SET", "large", b"x" * 8_000_000)
    bench.service.log.clear()
    wire.send(command("MULTI") + command("GET", "large") * 10)
    assert wire.do("EXEC").startswith(b"-EXECABORT nothing was done: the answers have more than")
    assert bench.service.log == []
