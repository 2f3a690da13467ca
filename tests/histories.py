"""Histories for tests: written as one line an operation, drawn at random, and tried by brute force.

``made`` plays clients on one real, correct object: each operation takes effect at a moment within
its call, so the history is linearizable; ``spoil`` changes one thing in it.
"""

import random
from collections.abc import Iterator, Sequence
from itertools import combinations, permutations
from typing import Any

from quorate.linearizability.history import Operation, Outcome


def operation(
    text: str, begin: float, end: float, outcome: str = "ok", process: str | int = 1, key: str = "x"
) -> Operation:
    """``read 1``, ``write 1``, ``cas 1 2``, ``get ab``, ``put ab``, ``append ab``, ``acquire``."""
    f, *words = text.split()
    values: list[Any] = [int(word) if word.isdecimal() else word for word in words]
    argument: object = tuple(values) if f == "cas" else values[0] if values else None
    reads = f in ("read", "get")
    ok = outcome == "ok"
    return Operation(
        process,
        f,
        key,
        None if reads else argument,
        begin,
        end if ok else None,
        Outcome(outcome),
        argument if reads and ok else None,
    )


def play(model: str, state: Any, o: Operation) -> tuple[bool, Any]:
    """One operation on a real object: whether it succeeds, and the state after it.

    Of a read the result is filled in.
    """
    if o.f in ("read", "get"):
        o.result = state
        return True, state
    if o.f in ("write", "put"):
        return True, o.argument
    if o.f == "append":
        return True, state + o.argument
    if o.f == "cas":
        old, new = o.argument  # type: ignore[misc]
        return (True, new) if old == state else (False, state)
    if o.f == "acquire":
        return (True, o.process) if state is None else (False, state)
    return (True, None) if state == o.process else (False, state)


def draw(model: str, rng: random.Random, state: Any, name: str, values: int) -> tuple[str, Any]:
    """A function and its argument, such as a client that knows ``state`` would call."""
    if model == "lock":
        return ("release" if state == name else "acquire"), None
    if rng.random() < 0.4:
        return ("read" if model == "register" else "get"), None
    value = rng.randrange(values)
    if model == "kv":
        return rng.choice(("append", "append", "put")), f"{value}."
    if rng.random() < 0.4:
        return "cas", (state if rng.random() < 0.7 else rng.randrange(values), value)
    return "write", value


def made(
    model: str,
    rng: random.Random,
    *,
    clients: int,
    count: int,
    keys: int = 1,
    values: int = 5,
    lost: float = 0.0,
) -> list[Operation]:
    """A linearizable history of ``count`` operations; ``lost`` is how many get no answer."""
    states: dict[str, Any] = {f"k{n}": "" if model == "kv" else None for n in range(keys)}
    free = {f"p{n}": 0.0 for n in range(clients)}
    history: list[Operation] = []
    under_way: list[tuple[float, int, Operation, float]] = []  # by the moment of the effect
    while len(history) < count or under_way:
        name = min(free, key=lambda name: free[name])
        if len(history) < count and (not under_way or free[name] <= min(under_way)[0]):
            key = rng.choice(list(states))
            begin = free[name] + rng.random() * 0.2
            effect = begin + rng.expovariate(1)
            end = effect + rng.expovariate(1)
            free[name] = end + 0.001
            f, argument = draw(model, rng, states[key], name, values)
            o = Operation(name, f, key, argument, begin)
            under_way.append((effect, len(history), o, end))
            history.append(o)
            continue
        under_way.remove(soonest := min(under_way))
        o, end = soonest[2:]
        if lost and rng.random() < lost:
            if rng.random() < 0.5:  # it took effect, and nobody was told
                states[o.key] = play(model, states[o.key], o)[1]  # type: ignore[index]
            o.result = None
            continue
        done, states[o.key] = play(model, states[o.key], o)  # type: ignore[index]
        o.outcome = Outcome.OK if done else Outcome.FAIL
        o.returned = end if done else None
    return history


def spoil(history: Sequence[Operation], rng: random.Random, values: int = 5) -> None:
    """Change what one operation shows.  The history may be linearizable all the same."""
    o = rng.choice(history)
    kind = rng.randrange(3)
    if kind == 0 and o.f == "read":
        o.result = rng.randrange(values)
    elif kind == 0 and o.f == "get":
        o.result = str(o.result or "") + f"{rng.randrange(values)}."
    elif kind == 1 and o.returned is not None:
        o.returned = o.invoked + (o.returned - o.invoked) * rng.random() * 0.3
    elif o.outcome is Outcome.FAIL:
        o.outcome, o.returned = Outcome.OK, o.invoked + rng.random()


def by_force(model: str, history: Sequence[Operation]) -> bool:
    """Whether some order of some of the operations explains all that was seen: the definition."""
    keys = {o.key for o in history}
    return all(_one_key(model, [o for o in history if o.key == key]) for key in keys)


def _one_key(model: str, history: Sequence[Operation]) -> bool:
    needed = [o for o in history if o.outcome is Outcome.OK]
    perhaps = [o for o in history if o.outcome is Outcome.INFO and o.f not in ("read", "get")]
    return any(
        _in_real_time(order) and _explains(model, order)
        for chosen in _subsets(perhaps)
        for order in permutations([*needed, *chosen])
    )


def _subsets(operations: Sequence[Operation]) -> Iterator[tuple[Operation, ...]]:
    for size in range(len(operations) + 1):
        yield from combinations(operations, size)


def _in_real_time(order: Sequence[Operation]) -> bool:
    return not any(
        after.returned is not None and after.returned < before.invoked
        for position, before in enumerate(order)
        for after in order[position + 1 :]
    )


def _explains(model: str, order: Sequence[Operation]) -> bool:
    state: Any = "" if model == "kv" else None
    for o in order:
        seen = o.result
        done, state = play(model, state, o)
        shown, o.result = o.result, seen
        if (
            not done
            or (o.f == "read" and shown != seen)
            or (o.f == "get" and shown != (seen or ""))
        ):
            return False
    return True
