"""The session wrapper against a plain model: what is applied, and the answers that are kept."""

from collections.abc import Iterator

from hypothesis import given
from hypothesis import strategies as st
from session_bench import Bench, add

from quorate.base.codec import encode, result_of
from quorate.base.errors import QuorateError
from quorate.raft.sessions import SESSION_IDLE_MS, OpenSession

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("open"), st.just(0), st.just(0), st.just(0)),
        st.tuples(st.just("add"), st.integers(0, 3), st.integers(1, 6), st.integers(-3, 9)),
        st.tuples(st.just("confirm"), st.integers(0, 3), st.integers(1, 6), st.integers(0, 6)),
        st.tuples(st.just("wait"), st.integers(1, SESSION_IDLE_MS), st.just(0), st.just(0)),
        st.tuples(st.just("copy"), st.just(0), st.just(0), st.just(0)),
        st.tuples(st.just("freeze"), st.just(0), st.just(0), st.just(0)),
    ),
    max_size=40,
)


class Model:
    """One session, as the rules say it."""

    def __init__(self, active_ms: int) -> None:
        self.active_ms = active_ms
        self.acknowledged = 0
        self.answers: dict[int, str] = {}


def said(outcome: bytes) -> str:
    try:
        return str(result_of(outcome, int))
    except QuorateError as error:
        return error.code


@given(STEPS)
def test_against_a_model_each_command_is_applied_once_and_its_answer_kept(
    steps: list[tuple[str, int, int, int]],
) -> None:
    bench = Bench()
    total, opened = 0, [0]
    models: dict[int, Model] = {}
    views: list[tuple[Iterator[bytes], list[bytes]]] = []
    for what, number, sequence, amount in steps:
        if what == "open":
            opened.append(bench.open())
            models[opened[-1]] = Model(bench.time_ms)
        elif what == "wait":
            bench.time_ms += number
        elif what == "copy":
            digest = bench.machine.digest()
            bench = bench.copy()
            assert bench.machine.digest() == digest
        elif what == "freeze":
            views.append((bench.machine.snapshot(), list(bench.machine.snapshot())))
        else:
            session = opened[number % len(opened)]
            confirmed, change = (0, amount) if what == "add" else (amount, 1)
            [outcome] = bench.batch(add(session, sequence, change, confirmed))
            fresh = "bad_input" if total + change < 0 else str(total + change)
            expected, applied = expect(models.get(session), session, bench, sequence, confirmed)
            if applied:
                expected = fresh
                total += 0 if fresh == "bad_input" else change
                if session:
                    models[session].answers[sequence] = fresh
            assert said(outcome) == expected
        assert bench.counter.sum == total
    for stream, then in views:
        assert list(stream) == then


def expect(
    model: Model | None, session: int, bench: Bench, sequence: int, confirmed: int
) -> tuple[str, bool]:
    """The answer, or that the command is applied."""
    if session == 0:
        return "", True
    if model is None or model.active_ms + SESSION_IDLE_MS <= bench.time_ms:
        return "session_expired", False
    model.active_ms = bench.time_ms
    model.acknowledged = max(model.acknowledged, confirmed)
    if sequence <= model.acknowledged:
        return "maybe", False
    if sequence in model.answers:
        return model.answers[sequence], False
    return "", True


@given(STEPS)
def test_replicas_that_apply_the_same_entries_are_in_the_same_state(
    steps: list[tuple[str, int, int, int]],
) -> None:
    """One of them from a snapshot in the middle, and cut differently."""
    first = Bench()
    second: Bench | None = None
    opened = [0]
    for position, (what, number, sequence, amount) in enumerate(steps):
        if position == len(steps) // 2:
            second = first.copy()
        command = add(opened[number % len(opened)], sequence, amount)
        commands = [encode(OpenSession())] if what == "open" else [command, command]
        replies = first.batch(*commands)
        if what == "open":
            opened.append(result_of(replies[0], int))
        if second is not None:
            second.time_ms = first.time_ms
            assert second.batch(*commands) == replies
            assert second.machine.digest() == first.machine.digest()
            assert list(second.machine.snapshot()) == list(first.machine.snapshot())
