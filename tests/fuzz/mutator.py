"""Mutation that knows how our inputs are built: bytes, msgpack trees, and rows of parts.

Coverage-guided engines find byte-level paths by themselves; what they rarely find is a well-formed
message with one lie in it.  So half of all mutations change one node of a msgpack tree: another
type, a number at an edge, text that is no text, nesting without end.
"""

import random
from collections.abc import Sequence
from typing import Any

import msgspec
from fuzz.target import framed, parts

NUMBERS = (0, 1, 2, 3, 4, 5, 7, -1, 127, 255, 256, 65535, 1 << 31, 1 << 32, (1 << 63) - 1, 1 << 63)
VALUES: tuple[Any, ...] = (
    *NUMBERS,
    (1 << 64) - 1,
    -(1 << 63),
    None,
    True,
    1.5,
    float("nan"),
    "",
    "/",
    "/..",
    "a\0b",
    "\x1b[2J\n",
    "é" * 300,
    "a" * 5000,
    b"",
    b"\xff" * 9,
    [],
    {},
    {"a": [1]},
    [[]] * 20,
    msgspec.Raw(b"\xa2\xff\xfe"),  # text that is not UTF-8
    msgspec.Raw(b"\x91" * 3000 + b"\xc0"),  # deeper than any stack
    msgspec.Raw(b"\xdd\xff\xff\xff\xff"),  # an array that claims to be long
    msgspec.Raw(b"\xc7\x05\x03abcde"),  # an extension
    msgspec.Raw(b"\xc1"),  # never used
)
_ENDS = (1, 2, 4, 8)


def mutated(data: bytes, corpus: Sequence[bytes], rng: random.Random, rows: bool) -> bytes:
    """A neighbour of ``data``; ``corpus`` lends pieces, ``rows`` says that inputs are framed."""
    for _ in range(rng.choice((1, 1, 1, 2, 3, 6))):
        if rows and rng.random() < 0.85:
            data = _row(parts(data), corpus, rng)
        else:
            data = _message(data, corpus, rng)
    return data


def _row(row: list[bytes], corpus: Sequence[bytes], rng: random.Random) -> bytes:
    if not row:
        return rng.choice(corpus)
    at = rng.randrange(len(row))
    chance = rng.random()
    if chance < 0.7:
        row[at] = _message(row[at], parts(rng.choice(corpus)) or [b""], rng)
    elif chance < 0.78:
        del row[at]
    elif chance < 0.86:
        row.insert(rng.randrange(len(row) + 1), row[at])
    elif chance < 0.92:
        other = rng.randrange(len(row))
        row[at], row[other] = row[other], row[at]
    else:
        lent = parts(rng.choice(corpus)) or [b""]
        row[at:at] = lent[rng.randrange(len(lent)) :][:4]
    return framed(row)


def _message(data: bytes, corpus: Sequence[bytes], rng: random.Random) -> bytes:
    if rng.random() < 0.5:
        for skip in (0, 1):
            tree = _tree(data[skip:])
            if isinstance(tree, list | dict):
                try:
                    numbers = _numbers(tree)
                    if numbers and rng.random() < 0.2:
                        tree = _everywhere(tree, rng.choice(numbers), rng.choice(NUMBERS))
                    else:
                        tree = _changed(tree, rng)
                except RecursionError:
                    break  # nested deeper than we can follow; its bytes will do
                return data[:skip] + _encoded(tree, data[skip:])
    return _bytes(data, corpus, rng)


def _tree(data: bytes) -> Any:
    try:
        return msgspec.msgpack.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def _encoded(tree: Any, otherwise: bytes) -> bytes:
    try:
        return msgspec.msgpack.encode(tree)
    except (TypeError, ValueError, OverflowError, RecursionError):
        return otherwise


def _changed(tree: Any, rng: random.Random) -> Any:
    """``tree`` with one node changed; most often a leaf."""
    if isinstance(tree, list) and tree and rng.random() < 0.9:
        at = rng.randrange(len(tree))
        chance = rng.random()
        if chance < 0.84:
            tree[at] = _changed(tree[at], rng)
        elif chance < 0.9:
            del tree[at]
        elif chance < 0.95:
            tree.insert(at, tree[at])
        else:
            tree.append(rng.choice(VALUES))
        return tree
    if isinstance(tree, dict) and tree and rng.random() < 0.9:
        key = rng.choice(list(tree))
        tree[key] = _changed(tree[key], rng)
        return tree
    if isinstance(tree, int) and not isinstance(tree, bool) and rng.random() < 0.6:
        return tree + rng.choice((-2, -1, 1, 2, 1 << 32, -(1 << 32)))
    if isinstance(tree, bytes) and rng.random() < 0.6:
        return _message(tree, [b""], rng)
    return rng.choice(VALUES)


def _numbers(tree: Any) -> list[int]:
    if isinstance(tree, list):
        return [number for part in tree for number in _numbers(part)]
    return [tree] if type(tree) is int else []


def _everywhere(tree: Any, old: int, new: int) -> Any:
    """``new`` wherever ``old`` stands: a lie that agrees with itself."""
    if isinstance(tree, list):
        return [_everywhere(part, old, new) for part in tree]
    return new if tree == old and type(tree) is int else tree


def _bytes(data: bytes, corpus: Sequence[bytes], rng: random.Random) -> bytes:
    at = rng.randrange(len(data) + 1)
    end = min(len(data), at + rng.choice((1, 2, 4, 16, 64)))
    match rng.randrange(8):
        case 0:
            return data[:at]
        case 1:
            return data[:at] + data[end:]
        case 2:
            return data[:at] + data[at:end] * 2 + data[end:]
        case 3:
            return data[:at] + rng.randbytes(end - at) + data[end:]
        case 4:
            size = rng.choice(_ENDS)
            number = rng.choice(NUMBERS) % (1 << 8 * size)
            edge = number.to_bytes(size, rng.choice(("big", "little")))
            return data[:at] + edge + data[at + size :]
        case 5:
            lent = rng.choice(corpus)
            start = rng.randrange(len(lent) + 1)
            return data[:at] + lent[start:]
        case 6:
            return data[:at] + rng.randbytes(rng.choice((1, 2, 5, 40))) + data[at:]
        case _:
            if at == len(data):
                return data + b"\0"
            return data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :]
