"""Histories from JSON lines with Jepsen's fields.

One object a line: ``process``, ``type`` (``invoke``, ``ok``, ``fail`` or ``info``), ``f``, ``key``,
``value`` and ``time`` in nanoseconds; other fields are passed over, and so are empty lines and
whatever a process says whose name begins with ``nemesis``.  Each ``ok``, ``fail`` or ``info`` ends
the open invocation of its process.

* The order is that of ``time``, and of the lines where times are equal.  All lines have a time, or
  none has one, and then the order of the lines is the order.
* All lines have a ``key``, or none has one, and then there is one object.
* An invocation without an end is open, like one that ended with ``info``.  Its process may go on.
* What is written stands in the ``value`` of the invocation (of a ``cas``: ``[old, new]``), what was
  read in the ``value`` of the ``ok``.  A register holds any JSON value; ``kv`` holds strings.

What does not fit raises ``NotJudged`` with the number of the line.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NoReturn

from quorate.base.errors import NotJudged
from quorate.linearizability.history import Operation, Outcome, Scalar
from quorate.linearizability.models import Model, identity

TYPES = ("invoke", "ok", "fail", "info")
MAX_TIME_NS = 1 << 63
MAX_NESTING = 100


@dataclass(slots=True)
class _Event:
    line: int
    process: str | int
    type: str
    f: str
    key: Scalar
    value: object
    has_value: bool
    time_ns: float


def read_history(model: Model, lines: Iterable[bytes]) -> list[Operation]:
    """The operations in ``lines``, in the order of their invocations."""
    events: list[_Event] = []
    shape: tuple[bool, bool] | None = None
    for number, line in enumerate(lines, 1):
        fields = _object(number, line)
        if fields is None or _is_nemesis(number, fields):
            continue
        if shape is None:
            shape = "key" in fields, "time" in fields
        for name, wanted in zip(("key", "time"), shape, strict=True):
            if wanted and name not in fields:
                _refuse(number, f"has no {name!r}, which earlier lines have")
            if not wanted and name in fields:
                _refuse(number, f"has a {name!r}, which earlier lines have not")
        events.append(_event(number, fields, model))
    events.sort(key=lambda event: event.time_ns)  # stable: equal times keep the order of lines
    return _pair(model, events)


def _refuse(line: int, what: str) -> NoReturn:
    raise NotJudged(f"Line {line} {what}.", line=line)


def _object(number: int, line: bytes) -> dict[str, Any] | None:
    """The object that stands in a line; ``None`` for an empty one."""

    def refuse(constant: str) -> NoReturn:
        raise ValueError(f"{constant} is no JSON")

    try:
        text = line.decode("utf-8-sig" if number == 1 else "utf-8").strip()
        if not text:
            return None
        value = json.loads(text, parse_constant=refuse)
        if "\\ud" in text.lower():
            json.dumps(value, ensure_ascii=False).encode()  # half a character cannot be shown
    except (ValueError, RecursionError) as error:
        reason = str(error).partition(":")[0] or type(error).__name__
        _refuse(number, f"is no JSON ({reason})")
    if not isinstance(value, dict):
        _refuse(number, "is no JSON object: each line holds one operation's event")
    return value


def _is_nemesis(number: int, fields: dict[str, Any]) -> bool:
    if "process" not in fields:
        _refuse(number, "has no 'process'")
    process = fields["process"]
    return isinstance(process, str) and process.lstrip(":").startswith("nemesis")


def _event(number: int, fields: dict[str, Any], model: Model) -> _Event:
    process = fields["process"]
    if isinstance(process, bool) or not isinstance(process, str | int):
        _refuse(number, "has a 'process' that is neither a string nor a whole number")
    for name in ("type", "f"):
        if name not in fields:
            _refuse(number, f"has no {name!r}")
    kind, f = (_word(fields[name]) for name in ("type", "f"))
    if kind not in TYPES:
        _refuse(number, f"has the type {_shown(fields['type'])}: it must be one of {_list(TYPES)}")
    if f not in model.functions:
        known = _list(model.functions)
        _refuse(number, f"has the f {_shown(fields['f'])}: a {model.name} knows {known}")
    key = fields.get("key")
    if isinstance(key, dict | list):
        _refuse(number, "has a 'key' that is no string, number, true, false or null")
    time_ns = fields.get("time", 0)
    if isinstance(time_ns, bool) or not isinstance(time_ns, int | float):
        _refuse(number, "has a 'time' that is no number of nanoseconds")
    if not abs(time_ns) <= MAX_TIME_NS:
        _refuse(number, "has a 'time' that is further away than any")
    try:
        value = _frozen(fields.get("value"), MAX_NESTING)
    except RecursionError:
        _refuse(number, f"has a 'value' that is nested more than {MAX_NESTING} deep")
    return _Event(number, process, kind, f, _frozen(key, 1), value, "value" in fields, time_ns)


def _word(value: object) -> str:
    """A word, without the colon of Clojure's keywords; empty for what is none."""
    return value.removeprefix(":") if isinstance(value, str) else ""


def _shown(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 40 else text[:39] + "…"


def _list(words: Iterable[str]) -> str:
    *first, last = words
    return f"{', '.join(first)} or {last}"


def _frozen(value: Any, room: int) -> Any:
    """A value that can be compared and hashed: ``1.0`` is ``1``, an object is its text.

    Raises ``RecursionError`` if there are lists in lists beyond ``room``.
    """
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list):
        if not room:
            raise RecursionError
        return tuple([_frozen(part, room - 1) for part in value])
    if isinstance(value, dict):
        return ("object", json.dumps(value, sort_keys=True))
    return value


def _pair(model: Model, events: list[_Event]) -> list[Operation]:
    """Each end with the invocation of its process."""
    operations: list[Operation] = []
    open_calls: dict[str | int, tuple[_Event, Operation]] = {}
    for moment, event in enumerate(events):
        call = open_calls.pop(event.process, None)
        if event.type == "invoke":
            if call is not None:
                first = call[0].line
                _refuse(
                    event.line,
                    f"invokes {event.f} while process {event.process} still has the operation of"
                    f" line {first} open",
                )
            operation = _invocation(model, event, moment)
            operations.append(operation)
            open_calls[event.process] = event, operation
            continue
        if call is None:
            what = f"is the {event.type} of an operation that process {event.process}"
            _refuse(event.line, f"{what} has not invoked")
        invoked, operation = call
        if event.f != invoked.f or identity(event.key) != identity(invoked.key):
            what = f"ends {event.f} of key {_shown(event.key)}, but process {event.process}"
            _refuse(
                event.line,
                f"{what} invoked {invoked.f} of key {_shown(invoked.key)} in line {invoked.line}",
            )
        operation.outcome = Outcome(event.type)
        operation.where = f"lines {invoked.line} and {event.line}{_times(invoked, event)}"
        if operation.outcome is Outcome.OK:
            operation.returned = moment
            operation.result = _result(model, event)
    return operations


def _times(invoked: _Event, ended: _Event) -> str:
    if not invoked.time_ns and not ended.time_ns:
        return ""
    return f", {invoked.time_ns / 1e9:.6f} s to {ended.time_ns / 1e9:.6f} s"


def _invocation(model: Model, event: _Event, moment: int) -> Operation:
    argument: object = None
    if event.f in ("write", "cas", "put", "append"):
        if not event.has_value:
            _refuse(event.line, f"has no 'value', and a {event.f} needs one")
        argument = event.value
    if event.f == "cas" and not (isinstance(argument, tuple) and len(argument) == 2):
        _refuse(event.line, "is a cas, whose 'value' must be a list [old, new]")
    if event.f in ("put", "append") and not isinstance(argument, str):
        _refuse(event.line, f"is a {event.f}, whose 'value' must be a string")
    where = f"line {event.line}"
    return Operation(event.process, event.f, event.key, argument, moment, where=where)


def _result(model: Model, event: _Event) -> object:
    if event.f not in model.reads:
        return None
    if not event.has_value:
        _refuse(event.line, f"has no 'value', and the ok of a {event.f} needs one")
    if event.f == "get" and not isinstance(event.value, str | None):
        _refuse(event.line, "is the ok of a get, whose 'value' must be a string or null")
    return event.value
