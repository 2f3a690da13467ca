"""From bytes to commands, whole or in pieces, well formed or not."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from resp_store import command

from quorate.gateways.resp.inline import words
from quorate.gateways.resp.malformed import Malformed
from quorate.gateways.resp.parser import (
    MAX_KEPT_BULK_BYTES,
    MAX_KEPT_BYTES,
    TAKE_BYTES,
    TOO_LARGE,
    Parser,
)


def taken(parser: Parser) -> list[list[bytes]]:
    found: list[list[bytes]] = []
    while commands := parser.take(1000):
        found += map(list, commands)
    return found


def parsed(*pieces: bytes) -> tuple[list[list[bytes]], str]:
    parser, found = Parser(), []
    for piece in pieces:
        parser.feed(piece)
        found += taken(parser)
    return found, parser.error


arguments = st.one_of(
    st.binary(max_size=20),
    st.sampled_from([b"", b"\r\n", b"*1\r\n$1\r\na\r\n", b"$3\r\n", b"x" * 5000, b"y" * 70_000]),
)
commands_sent = st.lists(st.lists(arguments, min_size=1, max_size=6), max_size=30)


@settings(max_examples=30, deadline=None)
@given(commands_sent, st.integers(0, 1 << 32))
def test_what_is_sent_is_found_however_it_is_cut(sent: list[list[bytes]], seed: int) -> None:
    wire = b"".join(command(*words) for words in sent)
    rng, pieces, at = random.Random(seed), [], 0
    while at < len(wire):
        size = rng.choice([1, 7, 100, 5000, 66_000, 300_000]) if len(wire) < 2000 else 9000
        pieces.append(wire[at : at + size])
        at += size
    assert parsed(*pieces) == (sent, "")
    assert parsed(wire) == (sent, "")


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.sampled_from(
            [b"*", b"$", b"1", b"3", b"-1", b"\r\n", b"\n", b"GET", b'"', b" ", b"*2\r\n"]
        )
        | st.binary(max_size=4),
        max_size=40,
    ),
    st.integers(1, 5),
)
def test_any_bytes_mean_the_same_however_they_are_cut(parts: list[bytes], size: int) -> None:
    wire = b"".join(parts)
    pieces = [wire[at : at + size] for at in range(0, len(wire), size)]
    assert parsed(*pieces) == parsed(wire)


def test_many_commands_of_one_shape_and_of_several() -> None:
    same = [[b"SET", b"key:%d" % n, b"v" * n] for n in range(50)]
    mixed = [[b"GET", b"a"], [b"SET", b"a", b"1"]] * 20
    for sent in (same, mixed, same + mixed):
        assert parsed(b"".join(command(*words) for words in sent)) == (sent, "")


def test_a_command_that_is_large_is_given_alone() -> None:
    parser = Parser()
    parser.feed(command("PING") + command("SET", "a", b"x" * 300_000) + command("PING"))
    sizes = []
    while commands := parser.take(1000):
        sizes.append((len(commands), parser.size))
    assert [count for count, _ in sizes] == [1, 1, 1]
    assert sizes[1][1] > 300_000 and sizes[2][1] < TAKE_BYTES


@pytest.mark.parametrize(
    ("wire", "error"),
    [
        (b"*x\r\n", "invalid multibulk length"),
        (b"*1048577\r\n", "invalid multibulk length"),
        (b"*4000000000\r\n$1\r\na\r\n", "invalid multibulk length"),
        (b"*99999999999999999999999\r\n", "invalid multibulk length"),
        (b"*1\r\n:5\r\n", "expected '$', got ':'"),
        (b"*1\r\n*1\r\n$1\r\na\r\n", "expected '$', got '*'"),
        (b"*1\r\n\x00\r\n", "expected '$', got '?'"),
        (b"*1\r\n$2147483648\r\n", "invalid bulk length"),
        (b"*1\r\n$-1\r\n", "invalid bulk length"),
        (b"*1\r\n$01\r\na\r\n", "invalid bulk length"),
        (b"*1\r\n$1\r\nabc\r\n", "expected a line end behind a bulk string"),
        (b"*" + b"1" * 70_000, "too big mbulk count string"),
        (b"*1\r\n$" + b"1" * 70_000, "too big bulk count string"),
        (b"x" * 70_000, "too big inline request"),
        (b'SET "a\n', "unbalanced quotes in request"),
        (b"SET 'a'b\n", "unbalanced quotes in request"),
    ],
)
def test_what_is_malformed_is_told_behind_what_came_before(wire: bytes, error: str) -> None:
    found, told = parsed(command("PING"), command("GET", "a") + wire + command("PING"))
    assert (found, told) == ([[b"PING"], [b"GET", b"a"]], error)


def test_headers_take_no_memory() -> None:
    parser = Parser()
    parser.feed(b"*1000000\r\n$500000000\r\n")
    assert parser.take(10) == [] and not parser.error
    assert parser.held_bytes() < 1000
    for _ in range(20):
        parser.feed(b"x" * 1_000_000)
        assert parser.take(10) == []
        assert parser.held_bytes() < 1000


@pytest.mark.parametrize("length", [MAX_KEPT_BULK_BYTES + 1, 20 << 20])
def test_an_argument_that_is_too_large_is_read_past(length: int) -> None:
    parser = Parser()
    parser.feed(b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$%d\r\n" % length)
    left = length
    while left:
        parser.feed(b"x" * min(left, 1 << 20))
        left -= min(left, 1 << 20)
        assert taken(parser) == [] and parser.held_bytes() < 1000
    parser.feed(b"\r\n" + command("PING"))
    assert taken(parser) == [[TOO_LARGE], [b"PING"]]


def test_a_command_of_many_large_arguments_is_read_past() -> None:
    parser, found = Parser(), []
    parser.feed(b"*6\r\n")
    for _ in range(6):
        parser.feed(b"$8000000\r\n" + b"x" * 8_000_000 + b"\r\n")
        found += taken(parser)
        assert parser.held_bytes() <= MAX_KEPT_BYTES
    assert found == [[TOO_LARGE]]


def test_a_large_value_comes_in_small_pieces_in_linear_time() -> None:
    parser = Parser()
    parser.feed(b"*2\r\n$4\r\nECHO\r\n$8000000\r\n")
    for _ in range(8000):
        parser.feed(b"x" * 1000)
        assert parser.take(10) == []
    parser.feed(b"\r\n")
    assert parser.take(10) == [[b"ECHO", b"x" * 8_000_000]]


@pytest.mark.parametrize(
    ("wire", "error"),
    [
        (command(*["a"] * 11), "unauthenticated multibulk length"),
        (b"*1\r\n$16385\r\n", "unauthenticated bulk length"),
    ],
)
def test_before_auth_the_bounds_are_narrow(wire: bytes, error: str) -> None:
    parser = Parser()
    parser.is_known = False
    parser.feed(wire)
    assert parser.take(1) == [] and parser.error == error


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"", []),
        (b"  SET  a 1\r", [b"SET", b"a", b"1"]),
        (b'SET "a b" \'c "d\'', [b"SET", b"a b", b'c "d']),
        (rb'"\x41\n\"\\\q" ' + rb"'\'\n'", [b'A\n"\\q', b"'\\n"]),
        (b'""', [b""]),
    ],
)
def test_a_line_is_words(line: bytes, expected: list[bytes]) -> None:
    assert words(line) == expected


@given(st.binary(max_size=60))
def test_any_line_is_words_or_refused(line: bytes) -> None:
    try:
        found = words(line)
    except Malformed:
        return
    assert sum(map(len, found)) <= len(line)
