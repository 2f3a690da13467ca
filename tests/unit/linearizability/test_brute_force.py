"""The search says of small histories what the definition, tried by brute force, says."""

import random
from collections import Counter

import pytest
from histories import by_force, made, spoil
from hypothesis import given, settings
from hypothesis import strategies as st

from quorate.linearizability.history import Operation, Outcome, Verdict
from quorate.linearizability.judge import check_history
from quorate.linearizability.models import MODELS

MAX_OPERATIONS = 6


def small(model: str, seed: int) -> list[Operation]:
    """A small history, mostly with something changed in it."""
    rng = random.Random(seed)
    history = made(
        model,
        rng,
        clients=rng.randint(2, 4),
        count=rng.randint(2, MAX_OPERATIONS),
        keys=rng.choice((1, 1, 1, 2)),
        values=rng.choice((2, 3, 5)),
        lost=rng.choice((0.0, 0.2, 0.5)),
    )
    for _ in range(rng.choice((0, 1, 2, 3))):
        spoil(history, rng, 3)
    return history


def agrees(model: str, history: list[Operation]) -> bool:
    """Whether both give one verdict; gives it."""
    wanted = by_force(model, history)
    found = check_history(MODELS[model], history).verdict
    assert found is (Verdict.OK if wanted else Verdict.ILLEGAL), history
    return wanted


@pytest.mark.parametrize("model", MODELS)
def test_made_and_spoilt_histories(model: str) -> None:
    verdicts = Counter(agrees(model, small(model, seed)) for seed in range(250))
    assert min(verdicts[True], verdicts[False]) >= 20  # both were really compared


REGISTER = st.one_of(
    st.tuples(st.just("read"), st.sampled_from((None, 0, 1))),
    st.tuples(st.just("write"), st.sampled_from((0, 1))),
    st.tuples(st.just("cas"), st.tuples(st.sampled_from((None, 0, 1)), st.sampled_from((0, 1)))),
)
KV = st.one_of(
    st.tuples(st.just("get"), st.text("ab", max_size=3)),
    st.tuples(st.just("put"), st.text("ab", max_size=2)),
    st.tuples(st.just("append"), st.text("ab", max_size=2)),
)
LOCK = st.tuples(st.sampled_from(("acquire", "release")), st.none())
CALLS = {"register": REGISTER, "kv": KV, "lock": LOCK}


@st.composite
def histories(draw: st.DrawFn, model: str) -> list[Operation]:
    """Anything at all: times, outcomes and results have nothing to do with each other."""
    history = []
    for _ in range(draw(st.integers(1, 5))):
        f, value = draw(CALLS[model])
        begin = draw(st.integers(0, 8))
        outcome = draw(st.sampled_from((Outcome.OK, Outcome.OK, Outcome.OK, Outcome.INFO)))
        ended = begin + draw(st.integers(1, 4)) if outcome is Outcome.OK else None
        reads = f in ("read", "get")
        process = draw(st.integers(1, 3))
        argument, result = (None, value) if reads else (value, None)
        history.append(Operation(process, f, "x", argument, begin, ended, outcome, result))
    return history


@pytest.mark.parametrize("model", MODELS)
@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_any_histories(model: str, data: st.DataObject) -> None:
    agrees(model, data.draw(histories(model)))
