"""What the operations mean: the register, the key/value map and the lock.

A model is a sequential specification (``apply``, plain and slow, which explains) and a table of
numbers (``tabulate``, which the search runs on).  In the table an operation is legal in the one
state that it ``expects``, or in ``ANY``, and leaves the state that it ``becomes``.

Two states that no operation of the history can tell apart are one number.  Above all, ``DARK``
stands for each state that nobody who looks has seen: a value that no read returned and no
compare-and-set expected.  In the dark nothing is legal but what is legal always, and it lasts until
somebody overwrites; so thousands of wrong orders fall together into one configuration.
"""

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from quorate.base.check import Bug
from quorate.linearizability.history import Operation, Outcome
from quorate.linearizability.strings import DARK, Prefixes

ANY = -1
"""Legal in every state."""
COMPUTED = -1
"""The state that is left depends on the one before: ask ``Table.extend``."""
_MAX_LENGTHS = 64
"""Of strings; a history with more of them is searched with less foresight."""
REFUSED = object()
"""What ``Model.apply`` gives for an operation that is not legal in this state."""


@dataclass(slots=True)
class Table:
    """The operations of one key, by their position, as numbers of states."""

    initial: int
    expects: list[int]
    becomes: list[int]
    extend: Callable[[int, int], int]
    """(state, operation) → state, where ``becomes`` is ``COMPUTED``."""
    leads: Callable[[int, int], bool]
    """Whether states that are ``COMPUTED`` may lead from one state to another."""
    expected: list[int] | None
    """By state: how many operations expect it; when the last is placed, the state goes dark.
    ``None`` where ``last`` says it."""
    last: list[int]
    """By state: the position of the last operation, of those that returned, that expects it or
    what can grow from it; when all up to there are placed, the state goes dark."""
    last_whole: list[int]
    """The same, of those that expect just this state."""
    unseen: list[int]
    """By operation that is ``COMPUTED``: the position of the last that could tell that it took
    place; when all up to there are placed, nobody sees it any more."""
    kinds: list[list[int]]
    """Operations that do the same, sorted: what the following two speak of, by number."""
    beginnings: Mapping[int, Sequence[int]]
    """By expected state: the kinds that a way there from elsewhere can begin with; a state of which
    that is not known is left out."""
    endings: Mapping[int, Sequence[int]]
    """The same of what such a way can end with."""


class Model(ABC):
    """A sequential specification of one key."""

    name: str
    functions: tuple[str, ...]
    reads: tuple[str, ...] = ()
    """The functions that only look; without an answer they say nothing."""
    initial: Any = None

    @abstractmethod
    def apply(self, state: Any, operation: Operation) -> Any:
        """The state after ``operation``, or ``REFUSED``."""

    @abstractmethod
    def tabulate(self, operations: Sequence[Operation]) -> Table:
        """The table of the operations of one key, each ``OK`` or ``INFO``."""

    @abstractmethod
    def describe(self, state: Any) -> str:
        """A state as the end of a sentence: "the register holds 5"."""

    def show(self, operation: Operation) -> str:
        """An operation in a few words: ``write 5``, ``read → 5``."""
        if operation.f in self.reads:
            known = operation.outcome is Outcome.OK
            return f"{operation.f} → {text_of(operation.result) if known else '?'}"
        if operation.argument is None and operation.f not in ("write", "put"):
            return operation.f
        return f"{operation.f} {text_of(operation.argument)}"


class _Exact(Model):
    """A model whose operations each know one state before (or any) and one state after."""

    @abstractmethod
    def effect(self, operation: Operation) -> tuple[Any, Any]:
        """The state that is expected (or ``REFUSED``: any will do) and the state that is left."""

    def apply(self, state: Any, operation: Operation) -> Any:
        expects, becomes = self.effect(operation)
        legal = expects is REFUSED or identity(expects) == identity(state)
        return becomes if legal else REFUSED

    def tabulate(self, operations: Sequence[Operation]) -> Table:
        effects = [self.effect(operation) for operation in operations]
        numbers: dict[Hashable, int] = {}
        expected, last = [0], [-1]
        for position, (expects, _) in enumerate(effects):
            if expects is not REFUSED:
                number = numbers.setdefault(identity(expects), len(expected))
                if number == len(expected):
                    expected.append(0)
                    last.append(-1)
                expected[number] += 1
                if operations[position].outcome is Outcome.OK:
                    last[number] = position

        def number_of(value: Any) -> int:
            return ANY if value is REFUSED else numbers.get(identity(value), DARK)

        becomes = [number_of(after) for _, after in effects]
        kinds: list[list[int]] = [[] for _ in expected]
        for position, after in enumerate(becomes):
            kinds[after].append(position)
        ways = {number: (number,) for number in numbers.values()}
        return Table(
            number_of(self.initial),
            [number_of(expects) for expects, _ in effects],
            becomes,
            _nothing_to_extend,
            _does_not_lead,
            expected,
            last,
            last,
            [],
            kinds,
            ways,
            {},
        )


class Register(_Exact):
    """A register: ``read`` what was last written, ``write``, and ``cas`` from old to new.

    It holds ``None`` at first.  A ``cas`` that is ``OK`` found ``old`` and left ``new``; one that
    is ``FAIL`` is not asked why.
    """

    name = "register"
    functions = ("read", "write", "cas")
    reads = ("read",)

    def effect(self, operation: Operation) -> tuple[Any, Any]:
        if operation.f == "read":
            return operation.result, operation.result
        if operation.f == "write":
            return REFUSED, operation.argument
        argument: Any = operation.argument
        old, new = argument
        return old, new

    def describe(self, state: Any) -> str:
        return f"the register holds {text_of(state)}"


class Lock(_Exact):
    """A lock, free at first: ``acquire`` by a process if it is free, ``release`` by its holder.

    An ``acquire`` that is ``OK`` found the lock free, and the process holds it from that moment on;
    so it is not reentrant.  A ``release`` that is ``OK`` was by the process that held it, and left
    it free.  Nothing else frees it: a history in which holders lose a lock must say so.  A process
    whose ``acquire`` is ``INFO`` may hold the lock from any later moment on.
    """

    name = "lock"
    functions = ("acquire", "release")

    def effect(self, operation: Operation) -> tuple[Any, Any]:
        if operation.f == "acquire":
            return None, operation.process
        return operation.process, None

    def describe(self, state: Any) -> str:
        return "the lock is free" if state is None else f"process {state} holds the lock"


class KeyValue(Model):
    """A string for each key: ``get``, ``put`` and ``append``.

    It is empty at first, and a ``get`` of nothing may return ``None`` or the empty string.
    """

    name = "kv"
    functions = ("get", "put", "append")
    reads = ("get",)
    initial = ""

    def apply(self, state: Any, operation: Operation) -> Any:
        if operation.f == "get":
            return state if (operation.result or "") == state else REFUSED
        return operation.argument if operation.f == "put" else state + operation.argument

    def describe(self, state: Any) -> str:
        return f"the value is {text_of(state)}"

    def tabulate(self, operations: Sequence[Operation]) -> Table:
        gets = {n: str(o.result or "") for n, o in enumerate(operations) if o.f == "get"}
        prefixes = Prefixes({value: position for position, value in gets.items()})
        expects, becomes = [ANY] * len(operations), [COMPUTED] * len(operations)
        kinds: dict[tuple[str, str], list[int]] = {}
        unseen = [0] * len(operations)
        for position, operation in enumerate(operations):
            value = str(operation.argument)
            if operation.f == "get":
                expects[position] = becomes[position] = prefixes.number_of(gets[position])
            elif operation.f == "put":
                becomes[position] = prefixes.number_of(value)
            else:
                unseen[position] = prefixes.last_with(value)
            if operation.f != "get":
                kinds.setdefault((operation.f, value), []).append(position)

        def extend(state: int, operation: int) -> int:
            return prefixes.extend(state, str(operations[operation].argument))

        return Table(
            prefixes.number_of(""),
            expects,
            becomes,
            extend,
            prefixes.leads,
            None,
            prefixes.last,
            prefixes.last_whole,
            unseen,
            list(kinds.values()),
            *_ways(list(kinds), list(dict.fromkeys(gets.values())), prefixes),
        )


def identity(value: object) -> Hashable:
    """What tells ``1``, ``True`` and ``1.0`` apart, which Python holds to be equal."""
    if isinstance(value, tuple):
        return tuple(identity(part) for part in value)
    return type(value), value


def text_of(value: object) -> str:
    """A value as JSON; what a file held as a list or an object, as it stood there."""
    return json.dumps(value, ensure_ascii=False, default=str)


def _ways(
    kinds: list[tuple[str, str]], gets: list[str], prefixes: Prefixes
) -> tuple[dict[int, list[int]], dict[int, list[int]]]:
    """By the state of each get: the puts of what it begins with, and what it can end with."""
    numbers = {kind: number for number, kind in enumerate(kinds)}
    puts = sorted({len(value) for f, value in kinds if f == "put"})
    appends = sorted({len(value) for f, value in kinds if f == "append"})
    if len(puts) + len(appends) > _MAX_LENGTHS:
        return {}, {}
    beginnings, endings = {}, {}
    for got in gets:
        begin = [("put", got[:length]) for length in puts if length <= len(got)]
        end = [("append", got[len(got) - length :]) for length in appends if length <= len(got)]
        state = prefixes.number_of(got)
        beginnings[state] = [numbers[kind] for kind in begin if kind in numbers]
        endings[state] = [numbers[kind] for kind in [*end, ("put", got)] if kind in numbers]
    return beginnings, endings


def _does_not_lead(state: int, target: int) -> bool:
    return False


def _nothing_to_extend(state: int, operation: int) -> int:
    raise Bug("no operation of this model is computed")


MODELS: Mapping[str, Model] = {model.name: model for model in (Register(), KeyValue(), Lock())}
