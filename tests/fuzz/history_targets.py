"""Histories that ``quorate check`` is given: any JSON lines, judged by any model."""

import json
from contextlib import suppress
from typing import Any

from fuzz.target import Target, expect, framed, parts

from quorate.base.errors import NotJudged
from quorate.linearizability.history import Verdict
from quorate.linearizability.jepsen import read_history
from quorate.linearizability.judge import check_history
from quorate.linearizability.models import MODELS
from quorate.linearizability.page import page

GIVE_UP_STEPS = 2000


def _history(data: bytes) -> None:
    """Parts are lines.  What was read is judged, and shown."""
    lines = parts(data)
    for model in MODELS.values():
        with suppress(NotJudged):
            operations = read_history(model, lines)
            judgement = check_history(model, operations, lambda steps: steps > GIVE_UP_STEPS)
            if len(operations) <= 1:
                expect(judgement.verdict is not Verdict.UNKNOWN, "one operation is too hard")
            page(model, judgement, "history").encode()
            json.dumps(judgement.detail)


def _line(process: Any, kind: str, f: str, value: Any, time: Any, key: Any = "k") -> bytes:
    fields = {"process": process, "type": kind, "f": f, "key": key, "value": value, "time": time}
    return json.dumps(fields).encode()


def _seeds() -> list[bytes]:
    deep: Any = 1
    for _ in range(90):
        deep = [deep]
    register = [
        _line(0, "invoke", "write", 1, 10),
        _line(1, "invoke", "cas", [1, 2], 11),
        _line(0, "ok", "write", 1, 12),
        _line(1, "ok", "cas", [1, 2], 13),
        _line(2, "invoke", "read", None, 14.5),
        _line("2", "invoke", "write", {"a": [1, "é"]}, 15),
        _line(2, "ok", "read", 2, 16),
        _line("2", "info", "write", None, 17),
        _line("nemesis", "info", "kill", ["n1"], 18),
    ]
    kv = [
        _line(0, "invoke", "put", "a", 1),
        _line(1, "invoke", "append", "b", 2, 3),
        _line(0, "ok", "put", "a", 3),
        _line(0, "invoke", "get", None, 4),
        _line(0, "ok", "get", "a", 5),
        _line(1, "fail", "append", "b", 6, 3),
    ]
    lock = [
        _line(0, "invoke", "acquire", None, 1),
        _line(0, "ok", "acquire", None, 2),
        _line(0, "invoke", "release", None, 3),
        _line(1, "invoke", "acquire", None, 4),
        _line(0, "ok", "release", None, 5),
    ]
    strange = [
        _line(0, "invoke", "write", deep, 10**320),
        _line(0, "ok", "write", deep, 1e300),
        _line(1, "invoke", "read", 10**4000, -5),
        b"\xef\xbb\xbf" + _line(10**30, "invoke", "write", "\ud800", 0.1),
        b'{"process":1,"type":"invoke","f":"read","time":1e999}',
    ]
    return [framed(row) for row in (register, kv, lock, strange, *([line] for line in strange))]


TARGETS = [Target("check.history", _history, _seeds, True)]
