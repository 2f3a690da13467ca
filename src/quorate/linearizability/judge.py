"""A whole history, judged key by key.

A history is linearizable if what happened to each key alone is (Herlihy & Wing, theorem 1), so each
key has a search of its own.  They take turns, each turn twice as long as the one before: a key that
is hard to judge does not hide one that is plainly wrong.
"""

from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass

from quorate.linearizability.explain import explain
from quorate.linearizability.history import Operation, Outcome, Scalar, Verdict
from quorate.linearizability.models import Model, identity, text_of
from quorate.linearizability.search import Search

_FIRST_TURN_STEPS = 4_096
_SLICE_STEPS = 2_048
"""After so many it is asked whether to go on."""
MAX_REMEMBERED = 4_000_000
"""Configurations kept of all keys together, at about 250 bytes each.  When there are more, those of
the largest search are forgotten, which may take longer and is no less right."""


@dataclass(slots=True)
class KeyJudgement:
    """What is said of one key."""

    key: Scalar
    verdict: Verdict
    operations: list[Operation]
    """All of them, by invocation; those that had no effect included."""
    order: list[Operation]
    """The longest order of a beginning of the history that was found; for ``OK``, of all of it."""
    stuck: list[tuple[Operation, str]]
    """Those that would have to come next and cannot, with the reason; the first to return first."""
    steps: int


@dataclass(slots=True)
class Judgement:
    """What is said of a history: ``ILLEGAL`` if a key is, else ``UNKNOWN`` if a key is."""

    verdict: Verdict
    key: Scalar
    """The first key that is not ``OK``."""
    detail: str
    """What does not fit there, as a sentence; empty if all is well."""
    keys: list[KeyJudgement]
    steps: int
    """How many the searches took: the same history takes the same number."""


def never(steps: int) -> bool:
    """Do not give up."""
    return False


def check_history(
    model: Model, operations: Iterable[Operation], give_up: Callable[[int], bool] = never
) -> Judgement:
    """Judge ``operations``, in any order, by ``model``.

    ``give_up`` is asked now and then, with the number of steps taken, whether to end with
    ``UNKNOWN``.  It may look at a clock; if not, the judgement depends on the history alone.
    """
    by_key: dict[Hashable, list[Operation]] = {}
    for operation in operations:
        by_key.setdefault(identity(operation.key), []).append(operation)
    for history in by_key.values():
        history.sort(key=lambda o: o.invoked)
    searches = [Search(model, _that_matter(model, history)) for history in by_key.values()]
    spent = _take_turns(searches, give_up)
    keys = [
        _judgement(model, history, search, steps)
        for history, search, steps in zip(by_key.values(), searches, spent, strict=True)
    ]
    found = {key.verdict: key for key in reversed(keys)}
    for verdict in (Verdict.ILLEGAL, Verdict.UNKNOWN):
        if verdict in found:
            first = found[verdict]
            return Judgement(verdict, first.key, _detail(model, first), keys, sum(spent))
    return Judgement(Verdict.OK, None, "", keys, sum(spent))


def _that_matter(model: Model, operations: Iterable[Operation]) -> list[Operation]:
    return [
        operation
        for operation in operations
        if operation.outcome is Outcome.OK
        or (operation.outcome is Outcome.INFO and operation.f not in model.reads)
    ]


def _take_turns(searches: list[Search], give_up: Callable[[int], bool]) -> list[int]:
    """Run all until each has a verdict, one is illegal at the end of a turn, or it is given up;
    gives the steps of each."""
    spent = [0] * len(searches)
    total, turn = 0, _FIRST_TURN_STEPS
    while any(search.verdict is None for search in searches):
        for number, search in enumerate(searches):
            left = turn
            while search.verdict is None and left > 0:
                if give_up(total):
                    return spent
                steps = search.advance(min(left, _SLICE_STEPS))
                spent[number] += steps
                total, left = total + steps, left - steps
                if sum(other.remembered for other in searches) > MAX_REMEMBERED:
                    max(searches, key=lambda other: other.remembered).forget()
            if search.verdict is not None:
                search.forget()
        if any(search.verdict is Verdict.ILLEGAL for search in searches):
            return spent
        turn *= 2
    return spent


def _judgement(
    model: Model, operations: list[Operation], search: Search, steps: int
) -> KeyJudgement:
    verdict = search.verdict or Verdict.UNKNOWN
    order = search.longest()
    stuck: list[tuple[Operation, str]] = []
    if verdict is Verdict.ILLEGAL:
        order, stuck = explain(model, search.operations, order)
    return KeyJudgement(operations[0].key, verdict, operations, order, stuck, steps)


def _detail(model: Model, judged: KeyJudgement) -> str:
    key = f"Key {text_of(judged.key)}"
    if judged.verdict is Verdict.UNKNOWN:
        total = len(judged.operations)
        return f"{key}: not known in time; {len(judged.order)} of {total} operations were placed."
    operation, reason = judged.stuck[0]
    return (
        f"{key}: {model.show(operation)} by process {operation.process}"
        f"{operation.where and f' ({operation.where})'} fits nowhere: after the longest order of"
        f" what came before, {len(judged.order)} operations, {reason}."
    )
