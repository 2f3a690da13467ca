"""The search ends in time and in memory, takes the same way each time, and finds what was spoilt in
long histories."""

import random

import pytest
from histories import made

from quorate.linearizability import judge
from quorate.linearizability.history import Operation, Outcome, Verdict
from quorate.linearizability.judge import check_history
from quorate.linearizability.models import MODELS
from quorate.linearizability.search import Search


def long_history(model: str, *, keys: int = 5, lost: float = 0.01) -> list[Operation]:
    rng = random.Random(f"{model}/{keys}")
    return made(model, rng, clients=20, count=2_000, keys=keys, values=1_000, lost=lost)


def enough(steps: int) -> bool:
    """Long histories of correct objects take a few steps an operation; no clock is needed."""
    return steps > 400_000


@pytest.mark.parametrize("keys", [3, 50])
@pytest.mark.parametrize("model", MODELS)
def test_a_long_history_of_a_correct_object_is_ok(model: str, keys: int) -> None:
    judgement = check_history(MODELS[model], long_history(model, keys=keys), enough)
    assert judgement.verdict is Verdict.OK


@pytest.mark.parametrize("model", MODELS)
def test_what_is_wrong_late_in_a_long_history_is_found(model: str) -> None:
    history = long_history(model)
    reads = ("read", "get", "release")
    late = next(o for o in history[1_600:] if o.outcome is Outcome.OK and o.f in reads)
    if model == "lock":
        late.process = "somebody else"
    else:
        late.result = "what nobody wrote"
    judgement = check_history(MODELS[model], history, enough)
    assert (judgement.verdict, judgement.key) == (Verdict.ILLEGAL, late.key)
    assert late in [o for key in judgement.keys for o, _ in key.stuck]


@pytest.mark.parametrize("model", MODELS)
def test_the_same_history_takes_the_same_steps(model: str) -> None:
    history = long_history(model)
    first, second = (check_history(MODELS[model], history, enough) for _ in range(2))
    assert first == second


def pathological() -> list[Operation]:
    """Many ``cas`` at once, of few values: an order is a trail that uses every edge of a graph
    once.  There is none, and far too many have to be tried to see it."""
    rng = random.Random(1)
    edges = [(rng.randrange(6), rng.randrange(6)) for _ in range(80)]
    history = [Operation(n, "cas", "x", edge, 2, 3, Outcome.OK) for n, edge in enumerate(edges)]
    return [Operation(0, "write", "x", 0, 0, 1, Outcome.OK), *history]


def test_a_pathological_history_ends_as_unknown() -> None:
    asked: list[int] = []

    def give_up(steps: int) -> bool:
        asked.append(steps)
        return steps >= 30_000

    judgement = check_history(MODELS["register"], pathological(), give_up)
    assert judgement.verdict is Verdict.UNKNOWN
    assert "not known in time" in judgement.detail
    assert asked == sorted(asked) and asked[-1] < 40_000


def test_a_hard_key_does_not_hide_a_wrong_one() -> None:
    wrong = Operation(1, "read", "y", None, 0, 1, Outcome.OK, 5)
    judgement = check_history(
        MODELS["register"], [*pathological(), wrong], lambda steps: steps > 100_000
    )
    assert (judgement.verdict, judgement.key) == (Verdict.ILLEGAL, "y")
    assert [key.verdict for key in judgement.keys] == [Verdict.UNKNOWN, Verdict.ILLEGAL]


def test_memory_is_bounded_and_forgetting_changes_no_verdict(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    most = 0
    forget = Search.forget

    def forgetting(search: Search) -> None:
        nonlocal most
        most = max(most, search.remembered)
        forget(search)

    monkeypatch.setattr(judge, "MAX_REMEMBERED", 500)
    monkeypatch.setattr(judge, "_SLICE_STEPS", 64)
    monkeypatch.setattr(Search, "forget", forgetting)
    for model in MODELS:
        history = long_history(model)
        assert check_history(MODELS[model], history, enough).verdict is Verdict.OK
    assert 500 < most <= 564


def test_a_growing_string_takes_no_quadratic_time() -> None:
    history, value = [], ""
    for n in range(0, 12_000, 3):
        value += f"{n},"
        history.append(Operation(1, "append", "x", f"{n},", n, n + 1, Outcome.OK))
        if n % 30 == 0:
            history.append(Operation(1, "get", "x", None, n + 1.5, n + 2, Outcome.OK, value))
    judgement = check_history(MODELS["kv"], history)
    assert judgement.verdict is Verdict.OK
    assert judgement.steps <= len(history)
