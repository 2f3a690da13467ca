"""The judge of list histories: it accepts what is linearizable and names what is not."""

import random
from collections.abc import Callable
from itertools import pairwise

import pytest

from quorate.base.check import Bug
from quorate.base.codec import encode
from quorate.base.machine import Meta, restore_all
from quorate.simulator.workloads.lists import (
    KEYS,
    Append,
    History,
    Lists,
    Operation,
    Read,
    judge,
)

FOREVER = float("inf")


def write(value: str, begin: float, end: float, outcome: str = "ok", key: str = "a") -> Operation:
    ended = end if outcome == "ok" else FOREVER
    return Operation("c1", key, value, begin, ended, outcome)


def read(seen: str, begin: float, end: float, outcome: str = "ok", key: str = "a") -> Operation:
    ended = end if outcome == "ok" else FOREVER
    return Operation("c2", key, None, begin, ended, outcome, seen.split())


def verdict(final: str, *operations: Operation) -> str | None:
    lists: dict[str, list[str]] = {key: [] for key in KEYS}
    lists["a"] = final.split()
    try:
        judge(History(list(operations)), lists)
    except Bug as bug:
        return str(bug)
    return None


GOOD: dict[str, tuple[str, list[Operation]]] = {
    "nothing happened": ("", []),
    "one after the other": ("x y", [write("x", 0, 1), write("y", 2, 3), read("x y", 4, 5)]),
    "at the same time, in either order": ("y x", [write("x", 0, 9), write("y", 1, 8)]),
    "one ends at the moment when the other begins": ("y x", [write("x", 0, 5), write("y", 5, 9)]),
    "an unknown one that took place": ("x", [write("x", 0, 1, "maybe"), read("x", 2, 3)]),
    "an unknown one that did not": ("", [write("x", 0, 1, "maybe"), read("", 2, 3)]),
    "an unknown one that takes place much later": (
        "y x",
        [write("x", 0, 1, "maybe"), read("", 2, 3), write("y", 4, 5), read("y x", 6, 7)],
    ),
    "a refused one": ("", [write("x", 0, 1, "fail")]),
    "a read during an append that sees it": ("x", [write("x", 0, 9), read("x", 1, 2)]),
    "a read during an append that does not": ("x", [write("x", 0, 9), read("", 1, 2)]),
    "two reads at once that see different lengths": (
        "x y",
        [write("x", 0, 9), write("y", 0, 9), read("x y", 1, 5), read("x", 2, 6)],
    ),
    "reads without an answer saw nothing": (
        "x",
        [write("x", 0, 1), read("", 2, 3, "maybe"), read("", 2, 3, "fail")],
    ),
    "other keys do not count": ("x", [write("x", 0, 1), read("", 2, 3, key="b")]),
}

BAD: dict[str, tuple[str, list[Operation], str]] = {
    "an acknowledged value is lost": ("", [write("x", 0, 1)], "x was acknowledged and is lost"),
    "lost from the middle": (
        "x z",
        [write("x", 0, 1), write("y", 2, 3), write("z", 4, 5)],
        "y was acknowledged and is lost",
    ),
    "a value is there twice": ("x x", [write("x", 0, 1)], "Exactly once: list a holds x twice"),
    "an unknown one is there twice": (
        "x y x",
        [write("x", 0, 1, "maybe"), write("y", 2, 3)],
        "Exactly once: list a holds x twice",
    ),
    "a refused value is there": ("x", [write("x", 0, 1, "fail")], "x was refused, and yet"),
    "a value that nobody appended": ("x", [], "list a holds x, which nobody appended"),
    "a value of another list": ("x", [write("x", 0, 1, key="b")], "which nobody appended"),
    "a read misses what was acknowledged before": (
        "x y",
        [write("x", 0, 1), write("y", 2, 3), read("x", 4, 5)],
        "a stale read of a by c2",
    ),
    "a read misses what an earlier read saw": (
        "x",
        [write("x", 0, 9), read("x", 1, 2), read("", 3, 4)],
        "a stale read of a by c2",
    ),
    "a read sees what was unknown, and a later one does not": (
        "x",
        [write("x", 0, 1, "maybe"), read("x", 2, 3), read("", 4, 5)],
        "a stale read of a by c2",
    ),
    "a read sees another order": (
        "x y",
        [write("x", 0, 9), write("y", 0, 9), read("y x", 1, 8)],
        "a read of a saw another order",
    ),
    "a read sees what is gone in the end": (
        "x",
        [write("x", 0, 1), write("y", 2, 3, "maybe"), read("x y", 4, 5)],
        "a read of a saw another order",
    ),
    "appended in the wrong order": (
        "y x",
        [write("x", 0, 1), write("y", 2, 3)],
        "y was appended before what ended before it began",
    ),
    "an unknown one before what ended before it began": (
        "y x",
        [write("x", 0, 1), write("y", 2, 3, "maybe")],
        "y was appended before what ended before it began",
    ),
    "a read sees what was only appended after it": (
        "x",
        [read("x", 0, 1), write("x", 2, 3)],
        "x was appended before what ended before it began",
    ),
}


@pytest.mark.parametrize("name", GOOD)
def test_what_a_list_could_have_shown_is_accepted(name: str) -> None:
    final, operations = GOOD[name]
    assert verdict(final, *operations) is None


@pytest.mark.parametrize("name", BAD)
def test_what_no_list_could_have_shown_is_named(name: str) -> None:
    final, operations, sentence = BAD[name]
    assert sentence in (verdict(final, *operations) or "")


# Histories of a list that is real, and what becomes of them when something is changed.


def happened(rng: random.Random) -> tuple[History, dict[str, list[str]]]:
    """Three clients and one real list: each operation takes place at a moment within its call."""
    moments: list[tuple[float, Operation]] = []
    for client in ("c1", "c2", "c3"):
        now = 0.0
        for number in range(8):
            begin = now + rng.random()
            moment = begin + rng.random()
            now = moment + rng.random()
            value = f"{client}.{number}" if rng.random() < 0.6 else None
            outcome = rng.choice(("ok", "ok", "ok", "maybe", "fail"))
            ended = now if outcome == "ok" else FOREVER
            operation = Operation(client, "a", value, begin, ended, outcome)
            if outcome == "maybe" and rng.random() < 0.5:
                moment += rng.uniform(0, 20)  # after its client has given up
            moments.append((moment, operation))
    values: list[str] = []
    for _, operation in sorted(moments, key=lambda pair: pair[0]):
        if operation.value is None:
            operation.seen = list(values)
        elif operation.outcome == "ok" or (operation.outcome == "maybe" and rng.random() < 0.7):
            values.append(operation.value)
    return History([operation for _, operation in moments]), {"a": values, "b": [], "c": []}


@pytest.mark.parametrize("seed", range(100))
def test_what_really_happened_is_accepted(seed: int) -> None:
    judge(*happened(random.Random(seed)))


def lose_acknowledged(rng: random.Random, history: History, values: list[str]) -> bool:
    known = {operation.value: operation for operation in history.operations}
    acknowledged = [value for value in values if known[value].outcome == "ok"]
    if acknowledged:
        values.remove(rng.choice(acknowledged))
    return bool(acknowledged)


def repeat(rng: random.Random, history: History, values: list[str]) -> bool:
    if values:
        values.insert(rng.randrange(len(values) + 1), rng.choice(values))
    return bool(values)


def swap_ordered(rng: random.Random, history: History, values: list[str]) -> bool:
    """Two neighbours of which one ended before the other began."""
    known = {operation.value: operation for operation in history.operations}
    ordered = [
        position
        for position, (a, b) in enumerate(pairwise(values))
        if known[a].ended_ms < known[b].invoked_ms
    ]
    if ordered:
        position = rng.choice(ordered)
        values[position : position + 2] = reversed(values[position : position + 2])
    return bool(ordered)


def forget_in_read(rng: random.Random, history: History, values: list[str]) -> bool:
    """A read that no longer shows a value that was acknowledged before it began."""
    known = {operation.value: operation for operation in history.operations}
    stale = [
        operation
        for operation in history.operations
        if operation.value is None
        and operation.outcome == "ok"
        and operation.seen
        and known[operation.seen[-1]].ended_ms < operation.invoked_ms
    ]
    if stale:
        rng.choice(stale).seen.pop()
    return bool(stale)


def admit_refused(rng: random.Random, history: History, values: list[str]) -> bool:
    refused = [o.value for o in history.operations if o.value and o.outcome == "fail"]
    if refused:
        values.append(rng.choice(refused))
    return bool(refused)


@pytest.mark.parametrize(
    "change", [lose_acknowledged, repeat, swap_ordered, forget_in_read, admit_refused]
)
def test_whatever_is_changed_in_it_is_noticed(
    change: Callable[[random.Random, History, list[str]], bool],
) -> None:
    changed = 0
    for seed in range(100):
        rng = random.Random(seed)
        history, final = happened(rng)
        if change(rng, history, final["a"]):
            changed += 1
            with pytest.raises(Bug):
                judge(history, final)
    assert changed >= 20


# The machine.


def test_the_machine_is_restored_from_its_snapshot() -> None:
    machine, again = Lists(), Lists()
    meta = Meta(1, 1, 0)
    for key, value in (("a", "x"), ("b", "y"), ("a", "z")):
        machine.execute(meta, Append(key, value))
    stream = list(machine.snapshot())
    machine.execute(meta, Append("a", "later"))
    restore_all(again, stream)
    assert again.answer(Read("a")) == ["x", "z"]
    assert again.digest() != machine.digest()
    again.execute(meta, Append("a", "later"))
    assert again.digest() == machine.digest()
    assert again.query(encode(Read("c"))) == machine.query(encode(Read("c")))
