"""Histories as JSON lines: what is read, what is passed over, and what is refused and where."""

import json
import random

import pytest
from histories import made
from hypothesis import example, given, settings
from hypothesis import strategies as st

from quorate.base.errors import NotJudged
from quorate.linearizability.history import Operation, Outcome, Verdict
from quorate.linearizability.jepsen import read_history
from quorate.linearizability.judge import check_history
from quorate.linearizability.models import MODELS


def lines(*events: dict[str, object]) -> list[bytes]:
    return [json.dumps(event).encode() for event in events]


def event(
    kind: str, f: str, value: object = None, process: object = 0, **more: object
) -> dict[str, object]:
    return {"process": process, "type": kind, "f": f, "value": value, **more}


def read(model: str, *events: dict[str, object]) -> list[Operation]:
    return read_history(MODELS[model], lines(*events))


def refusal(model: str, data: list[bytes]) -> str:
    with pytest.raises(NotJudged) as caught:
        read_history(MODELS[model], data)
    return caught.value.message


def test_an_invocation_and_its_end_are_one_operation() -> None:
    [o] = read(
        "register",
        event("invoke", "read", None, "a", key="x", time=10),
        event("ok", "read", 5, "a", key="x", time=20),
    )
    assert (o.process, o.f, o.key, o.argument, o.result) == ("a", "read", "x", None, 5)
    assert o.outcome is Outcome.OK and o.returned is not None and o.invoked < o.returned
    assert o.where == "lines 1 and 2, 0.000000 s to 0.000000 s"


def test_what_is_written_stands_in_the_invocation() -> None:
    first, second = read(
        "register",
        event("invoke", "write", 1),
        event("ok", "write"),
        event("invoke", "cas", [1, 2]),
        event("ok", "cas"),
    )
    assert (first.argument, second.argument) == (1, (1, 2))


def test_info_and_no_end_stay_open_and_the_process_goes_on() -> None:
    first, second, third = read(
        "register",
        event("invoke", "write", 1),
        event("info", "write", 1),
        event("invoke", "read"),
        event("fail", "read"),
        event("invoke", "write", 2),
    )
    outcomes = [first.outcome, second.outcome, third.outcome]
    assert outcomes == [Outcome.INFO, Outcome.FAIL, Outcome.INFO]
    assert [o.returned for o in (first, second, third)] == [None] * 3


def test_time_is_the_order_and_equal_times_keep_that_of_the_lines() -> None:
    a, b, c = read(
        "register",
        event("invoke", "write", 1, "a", time=5),
        event("ok", "write", 1, "a", time=7),
        event("invoke", "write", 2, "b", time=1),
        event("ok", "write", 2, "b", time=5),
        event("invoke", "write", 3, "c", time=7),
    )
    assert [o.argument for o in (a, b, c)] == [2, 1, 3]
    assert a.returned is not None and b.returned is not None
    assert a.returned > b.invoked  # line 1 stands before line 4
    assert b.returned < c.invoked  # line 2 stands before line 5


def test_without_times_the_lines_are_the_order() -> None:
    first, second = read(
        "register",
        event("invoke", "write", 1),
        event("ok", "write", 1),
        event("invoke", "read"),
        event("ok", "read", 1),
    )
    assert first.returned is not None and first.returned < second.invoked


def test_what_jepsen_does_is_accepted() -> None:
    history = [
        b"\xef\xbb\xbf" + lines(event(":invoke", ":write", 1, 0, index=0, error="x"))[0],
        b"",
        b'  {"process": "nemesis", "type": "info", "f": "kill", "value": {"n1": 1}}\r',
        b'{"process": ":nemesis", "f": "start"}',
        *lines(event("ok", "write", 1)),
        b" ",
    ]
    [o] = read_history(MODELS["register"], history)
    assert (o.f, o.argument, o.outcome) == ("write", 1, Outcome.OK)


def test_processes_1_and_text_1_are_two() -> None:
    assert (
        len(
            read(
                "lock",
                event("invoke", "acquire", process=1),
                event("invoke", "acquire", process="1"),
            )
        )
        == 2
    )


@pytest.mark.parametrize("value", [{"a": [1, {}]}, [1, [2]], True, "x", None, 1.5])
def test_a_register_holds_any_json_value(value: object) -> None:
    history = read(
        "register",
        event("invoke", "write", value),
        event("ok", "write"),
        event("invoke", "read"),
        event("ok", "read", value),
    )
    assert check_history(MODELS["register"], history).verdict is Verdict.OK


def test_one_and_one_point_zero_are_one_number() -> None:
    history = read(
        "register",
        event("invoke", "write", 1, key=2),
        event("ok", "write", 1, key=2.0),
        event("invoke", "read", key=2.0),
        event("ok", "read", 1.0, key=2),
    )
    assert check_history(MODELS["register"], history).verdict is Verdict.OK


BAD: dict[str, tuple[str, list[dict[str, object]], str]] = {
    "an unknown f": ("kv", [event("invoke", "cas", [1, 2])], "knows get, put or append"),
    "an unknown type": ("kv", [event("return", "get")], "invoke, ok, fail or info"),
    "a type that is no text": ("kv", [event("ok", "get") | {"type": 1}], "has the type 1"),
    "no process": ("kv", [{"type": "invoke", "f": "get"}], "has no 'process'"),
    "a process that is none": ("kv", [event("invoke", "get", process=[1])], "'process' that is"),
    "a process that is true": ("kv", [event("invoke", "get", process=True)], "'process' that is"),
    "no type": ("kv", [{"process": 1, "f": "get"}], "has no 'type'"),
    "no f": ("kv", [{"process": 1, "type": "invoke"}], "has no 'f'"),
    "a key that is none": ("kv", [event("invoke", "get", key=[1])], "has a 'key' that is no"),
    "a time that is none": ("kv", [event("invoke", "get", time="1")], "has a 'time' that is no"),
    "cas of one value": ("register", [event("invoke", "cas", [1])], "a list [old, new]"),
    "cas without a list": ("register", [event("invoke", "cas", 1)], "a list [old, new]"),
    "append of a number": ("kv", [event("invoke", "append", 1)], "must be a string"),
    "put of nothing": ("kv", [event("invoke", "put")], "must be a string"),
    "write without value": (
        "register",
        [{"process": 1, "type": "invoke", "f": "write"}],
        "has no 'value'",
    ),
}

BAD_ENDS: dict[str, tuple[str, list[dict[str, object]], str]] = {
    "ok without invoke": ("kv", [event("ok", "get", process=8)], "process 8 has not invoked"),
    "two ends": (
        "kv",
        [event("invoke", "get"), event("info", "get"), event("ok", "get")],
        "process 0 has not invoked",
    ),
    "two open": (
        "kv",
        [event("invoke", "get"), event("invoke", "get")],
        "while process 0 still has the operation of line 1 open",
    ),
    "another f": (
        "kv",
        [event("invoke", "get"), event("ok", "put", "a")],
        "ends put of key null, but process 0 invoked get of key null in line 1",
    ),
    "another key": (
        "kv",
        [event("invoke", "get", key=1), event("ok", "get", key=True)],
        "ends get of key true",
    ),
    "a key that comes late": (
        "kv",
        [event("invoke", "get"), event("ok", "get", key=1)],
        "has a 'key', which earlier lines have not",
    ),
    "a time that is missing": (
        "kv",
        [event("invoke", "get", time=1), event("ok", "get")],
        "has no 'time', which earlier lines have",
    ),
    "a get of a number": (
        "kv",
        [event("invoke", "get"), event("ok", "get", 5)],
        "must be a string or null",
    ),
    "a read without value": (
        "register",
        [event("invoke", "read"), {"process": 0, "type": "ok", "f": "read"}],
        "the ok of a read needs one",
    ),
}


@pytest.mark.parametrize("name", [*BAD, *BAD_ENDS])
def test_what_does_not_fit_is_one_sentence_with_its_line(name: str) -> None:
    model, events, what = {**BAD, **BAD_ENDS}[name]
    sentence = refusal(model, lines(*events))
    assert sentence.startswith(f"Line {len(events)} ") and what in sentence
    assert sentence.endswith(".") and "\n" not in sentence


@pytest.mark.parametrize(
    ("line", "what"),
    [
        (b"{", "is no JSON"),
        (b"{}}", "is no JSON"),
        (b"\xff", "is no JSON"),
        (b"[1]", "is no JSON object"),
        (b"[" * 100_000, "is no JSON"),
        (b'{"time": NaN}', "is no JSON"),
        (b"1" * 5_000, "is no JSON"),
        (b'{"process": "\\ud800"}', "is no JSON"),
    ],
)
def test_what_is_no_object_is_refused(line: bytes, what: str) -> None:
    sentence = refusal("kv", [b"", line])
    assert sentence.startswith(f"Line 2 {what}") and len(sentence) < 200


def written(history: list[Operation]) -> list[bytes]:
    """A history as Jepsen would have it."""
    events: list[tuple[float, dict[str, object]]] = []
    for o in history:
        value = list(o.argument) if isinstance(o.argument, tuple) else o.argument
        fields = {"process": o.process, "f": o.f, "key": o.key}
        events.append((o.invoked, {**fields, "type": "invoke", "value": value}))
        end = o.invoked + 1e-4 if o.returned is None else o.returned
        seen = o.result if o.f in ("read", "get") else value
        events.append((end, {**fields, "type": o.outcome.value, "value": seen}))
    events.sort(key=lambda pair: pair[0])
    return lines(*({**fields, "time": round(at * 1e9)} for at, fields in events))


@pytest.mark.parametrize("model", MODELS)
def test_a_history_is_judged_as_it_was_before_it_was_written(model: str) -> None:
    history = made(model, random.Random(4), clients=5, count=200, keys=3, lost=0.05)
    found = read_history(MODELS[model], written(history))
    assert len(found) == len(history)
    assert check_history(MODELS[model], found).verdict is Verdict.OK


WORDS = ("process", "type", "f", "key", "value", "time", "invoke", "ok", "info", "fail")
CALLS = ("read", "write", "cas", "get", "put", "append", "acquire", "release", "nemesis")
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from((*WORDS, *CALLS)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(WORDS), inner),
    max_leaves=6,
)
LIKELY = st.fixed_dictionaries(
    {
        "process": st.integers(0, 2) | JSON,
        "type": st.sampled_from(("invoke", "ok", "fail", "info")),
        "f": st.sampled_from(CALLS),
    },
    optional={"key": st.integers(0, 1), "value": JSON, "time": st.integers(0, 9) | JSON},
)
LINES = st.lists(
    st.binary(max_size=30) | (JSON | LIKELY).map(lambda value: json.dumps(value).encode()),
    max_size=6,
)


@pytest.mark.parametrize("model", MODELS)
@settings(max_examples=200, deadline=None)
@given(data=LINES)
@example(data=[b'{"process": 0, "type": "invoke", "f": "acquire", "time": 1e999}'])
def test_whatever_a_file_holds_is_judged_or_refused(model: str, data: list[bytes]) -> None:
    try:
        history = read_history(MODELS[model], data)
    except NotJudged as error:
        assert error.message.startswith("Line ") and "\n" not in error.message
    else:
        assert check_history(MODELS[model], history).verdict is not Verdict.UNKNOWN
