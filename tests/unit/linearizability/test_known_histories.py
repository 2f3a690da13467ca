"""Histories of which it is known what they are: the good are accepted, the bad named."""

import pytest
from histories import operation as op

from quorate.linearizability.history import Operation, Outcome, Verdict
from quorate.linearizability.judge import Judgement, check_history
from quorate.linearizability.models import MODELS

GOOD: dict[str, tuple[str, list[Operation]]] = {
    "nothing happened": ("register", []),
    "a register is null at first": ("register", [op("read", 0, 1)]),
    "one after the other": ("register", [op("write 1", 0, 1), op("read 1", 2, 3)]),
    "a read during a write sees it": ("register", [op("write 1", 0, 9), op("read 1", 1, 2)]),
    "a read during a write does not": ("register", [op("write 1", 0, 9), op("read", 1, 2)]),
    "a moment that is shared orders nothing": (
        "register",
        [op("write 1", 0, 5), op("write 2", 5, 9), op("read 1", 10, 11)],
    ),
    "cas of what is there": (
        "register",
        [op("write 1", 0, 1), op("cas 1 2", 2, 3), op("read 2", 4, 5)],
    ),
    "a chain of cas that all began at once": (
        "register",
        [op("cas 3 4", 0, 9), op("cas 2 3", 0, 9), op("cas 1 2", 0, 9), op("write 1", 0, 9)],
    ),
    "a refused write": ("register", [op("write 1", 0, 1, "fail"), op("read", 2, 3)]),
    "an open write that took effect late": (
        "register",
        [op("write 1", 0, 1, "info"), op("read", 2, 3), op("write 2", 4, 5), op("read 1", 6, 7)],
    ),
    "an open write that never took effect": (
        "register",
        [op("write 1", 0, 1, "info"), op("write 2", 2, 3), op("read 2", 4, 5)],
    ),
    "an open cas that had to take effect": (
        "register",
        [op("write 1", 0, 1), op("cas 1 2", 2, 3, "info"), op("read 2", 4, 5)],
    ),
    "two open writes of one value, both seen": (
        "register",
        [
            op("write 1", 0, 1, "info"),
            op("write 1", 0, 1, "info"),
            op("read 1", 2, 3),
            op("write 2", 4, 5),
            op("read 1", 6, 7),
        ],
    ),
    "an open read says nothing": ("register", [op("read 7", 0, 1, "info")]),
    "a write waits for the reads of the one before": (
        "register",
        [op("write 2", 0, 9), op("write 1", 0, 3), op("read 1", 4, 5), op("read 2", 6, 7)],
    ),
    "the same value again, later": (
        "register",
        [op("write 1", 0, 1), op("write 1", 2, 9), op("write 2", 2, 4), op("read 1", 10, 11)],
    ),
    "keys are registers of their own": (
        "register",
        [op("write 1", 0, 1, key="a"), op("read", 2, 3, key="b")],
    ),
    "a key is empty at first": ("kv", [op("get", 0, 1)]),
    "put and append": (
        "kv",
        [op("put ab", 0, 1), op("append cd", 2, 3), op("get abcd", 4, 5)],
    ),
    "appends at the same time, in either order": (
        "kv",
        [op("append a", 0, 9), op("append b", 0, 9), op("get ba", 10, 11)],
    ),
    "an open append that took effect late": (
        "kv",
        [op("append a", 0, 1, "info"), op("append b", 2, 3), op("get b", 4, 5), op("get ba", 6, 7)],
    ),
    "an open append that never took effect": (
        "kv",
        [op("append a", 0, 1, "info"), op("append b", 2, 3), op("get b", 4, 5)],
    ),
    "an append that is seen after a later put": (
        "kv",
        [op("append a", 0, 9), op("put b", 2, 3), op("get b", 4, 5), op("get ba", 6, 7)],
    ),
    "a put wipes what nobody saw": (
        "kv",
        [op("append a", 0, 1), op("put b", 2, 3), op("get b", 4, 5)],
    ),
    "a lock goes from hand to hand": (
        "lock",
        [
            op("acquire", 0, 1, process=1),
            op("release", 2, 3, process=1),
            op("acquire", 0, 4, process=2),
        ],
    ),
    "a lock that was refused": (
        "lock",
        [op("acquire", 0, 1, process=1), op("acquire", 2, 3, "fail", process=2)],
    ),
    "an open release that took effect late": (
        "lock",
        [
            op("acquire", 0, 1, process=1),
            op("release", 2, 3, "info", process=1),
            op("acquire", 8, 9, process=2),
        ],
    ),
    "an open acquire that never took effect": (
        "lock",
        [op("acquire", 0, 1, "info", process=1), op("acquire", 2, 3, process=2)],
    ),
    "an open acquire that took effect, since its release did": (
        "lock",
        [op("acquire", 0, 1, "info", process=1), op("release", 2, 3, process=1)],
    ),
}

BAD: dict[str, tuple[str, str, list[Operation]]] = {
    "a stale read": (
        "register",
        "read → 1",
        [op("write 1", 0, 1), op("write 2", 2, 3), op("read 1", 4, 5)],
    ),
    "a lost write": ("register", "read → null", [op("write 1", 0, 1), op("read", 2, 3)]),
    "a read of the future": (
        "register",
        "read → 1",
        [op("read 1", 0, 1), op("write 1", 2, 3)],
    ),
    "a value that nobody wrote": ("register", "read → 7", [op("read 7", 0, 1)]),
    "a refused write is seen": (
        "register",
        "read → 1",
        [op("write 1", 0, 1, "fail"), op("read 1", 2, 3)],
    ),
    "true is not 1": (
        "register",
        "read → true",
        [op("write 1", 0, 1), Operation(1, "read", "x", None, 2, 3, Outcome.OK, True)],
    ),
    "cas that succeeded twice": (
        "register",
        "cas [1, ",
        [op("write 1", 0, 1), op("cas 1 2", 2, 9), op("cas 1 3", 2, 10), op("read 2", 11, 12)],
    ),
    "cas of what was not there": (
        "register",
        "cas [2, 3]",
        [op("write 1", 0, 1), op("cas 2 3", 2, 3)],
    ),
    "two reads in turn, new and then old": (
        "register",
        "read → null",
        [op("write 1", 0, 9), op("read 1", 1, 2), op("read", 3, 4)],
    ),
    "an open write that comes and goes": (
        "register",
        "read → null",
        [op("write 1", 0, 1, "info"), op("read 1", 2, 3), op("read", 4, 5)],
    ),
    "an open write that takes effect twice": (
        "register",
        "read → 1",
        [
            op("write 1", 0, 1, "info"),
            op("read 1", 2, 3),
            op("write 2", 4, 5),
            op("read 1", 6, 7),
        ],
    ),
    "an open write before its invocation": (
        "register",
        "read → 1",
        [op("read 1", 0, 1), op("write 1", 2, 3, "info")],
    ),
    "an append that is there twice": (
        "kv",
        'get → "aba"',
        [op("append a", 0, 1), op("append b", 2, 3), op("get aba", 4, 5)],
    ),
    "appends in the wrong order": (
        "kv",
        'get → "ba"',
        [op("append a", 0, 1), op("append b", 2, 3), op("get ba", 4, 5)],
    ),
    "a lost append": (
        "kv",
        'get → "b"',
        [op("append a", 0, 1), op("append b", 2, 3), op("get b", 4, 5)],
    ),
    "two gets that saw two orders": (
        "kv",
        "get",
        [op("append a", 0, 9), op("append b", 0, 9), op("get ab", 2, 3), op("get ba", 4, 5)],
    ),
    "a put that was overwritten is back": (
        "kv",
        'get → "a"',
        [op("put a", 0, 1), op("put b", 2, 3), op("get a", 4, 5)],
    ),
    "two holders": (
        "lock",
        "acquire",
        [op("acquire", 0, 1, process=1), op("acquire", 2, 3, process=2)],
    ),
    "a holder that acquires again": (
        "lock",
        "acquire",
        [op("acquire", 0, 1, process=1), op("acquire", 2, 3, process=1)],
    ),
    "released by somebody else": (
        "lock",
        "release",
        [op("acquire", 0, 1, process=1), op("release", 2, 3, process=2)],
    ),
    "released twice": (
        "lock",
        "release",
        [
            op("acquire", 0, 1, process=1),
            op("release", 2, 3, process=1),
            op("release", 4, 5, process=1),
        ],
    ),
    "an open release frees it once": (
        "lock",
        "acquire",
        [
            op("acquire", 0, 1, process=1),
            op("release", 2, 3, "info", process=1),
            op("acquire", 4, 5, process=2),
            op("acquire", 6, 7, process=3),
        ],
    ),
    "processes 1 and '1' are two": (
        "lock",
        "release",
        [op("acquire", 0, 1, process=1), op("release", 2, 3, process="1")],
    ),
}


def judge(model: str, history: list[Operation]) -> Judgement:
    return check_history(MODELS[model], history)


@pytest.mark.parametrize("name", GOOD)
def test_what_one_copy_could_have_shown_is_ok(name: str) -> None:
    model, history = GOOD[name]
    judgement = judge(model, history)
    assert (judgement.verdict, judgement.detail) == (Verdict.OK, "")
    for key in judgement.keys:
        returned = [o for o in key.operations if o.returned is not None]
        assert [o for o in returned if o not in key.order] == []


@pytest.mark.parametrize("name", BAD)
def test_what_no_copy_could_have_shown_is_illegal_and_named(name: str) -> None:
    model, stuck, history = BAD[name]
    judgement = judge(model, history)
    assert judgement.verdict is Verdict.ILLEGAL
    assert judgement.key == "x"
    assert f'Key "x": {stuck}' in judgement.detail


def test_the_order_of_the_operations_given_does_not_matter() -> None:
    _, history = GOOD["an open write that took effect late"]
    assert judge("register", history[::-1]).verdict is Verdict.OK


def test_one_wrong_key_makes_the_history_illegal() -> None:
    history = [op("write 1", 0, 1, key=f"k{n}") for n in range(20)]
    history.append(op("read", 2, 3, key="k13"))
    judgement = judge("register", history)
    assert (judgement.verdict, judgement.key) == (Verdict.ILLEGAL, "k13")
    assert sum(key.verdict is Verdict.OK for key in judgement.keys) == 19


def test_the_longest_order_and_the_reason_are_told() -> None:
    _, _, history = BAD["a stale read"]
    [key] = judge("register", history).keys
    assert key.order == history[:2]
    assert key.stuck == [(history[2], "the register holds 2")]


@pytest.mark.parametrize("text", ["1", "true", '"1"', "1.5", "null"])
def test_keys_that_python_holds_to_be_equal_are_not(text: str) -> None:
    keys = {"1": 1, "true": True, '"1"': "1", "1.5": 1.5, "null": None}
    history = [op("write 1", 0, 1) for _ in keys]
    for o, key in zip(history, keys.values(), strict=True):
        o.key = key
    history.append(op("read", 2, 3))
    history[-1].key = keys[text]
    judgement = judge("register", history)
    assert len(judgement.keys) == len(keys)
    assert judgement.detail.startswith(f"Key {text}: ")
