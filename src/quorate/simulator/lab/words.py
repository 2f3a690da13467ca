"""A learner's messages as a timeline shows them, whatever they are made of.

A message is an object, a ``dict``, or a tuple or list that begins with one of these; its name is
its class, what it has under ``type``, or a string that it begins with.  None of the learner's code
is run for it, and no address in memory is shown: the same run gives the same words.
"""

import enum
from functools import cache
from itertools import islice
from typing import Any, NamedTuple

from quorate.simulator.timeline.sources import PLACES
from quorate.simulator.timeline.words import MAX_WORDS, cut

NAMELESS = "message"
MAX_TERM = 1 << 53
"""What a browser can count."""
MAX_BITS = 256
SHOWN = 8
"""Of a list, or of the fields of an object inside a message."""
LEVELS = 4
"""Of objects in objects."""


class Message(NamedTuple):
    """What can be seen of a message."""

    name: str
    term: int
    """0: it says none."""
    text: str
    is_minor: bool
    """It has ``entries``, and these are none; or it is the answer to such a one."""
    refuses: bool
    """One of its fields is ``False``."""

    def as_reply_to(self, name: str, *, minor: bool) -> "Message":
        """As an answer is shown: its name says to what."""
        text = f"{self.name} {self.text}" if self.name != NAMELESS else self.text
        return self._replace(
            name=f"{name} reply", text=cut(text), is_minor=minor and not self.refuses
        )


def plain(value: Any) -> str:
    """On one line, and short enough."""
    return cut(_told(value, LEVELS))


def _told(value: Any, levels: int) -> str:
    kind = type(value)
    if kind is int:
        return str(value) if value.bit_length() < MAX_BITS else f"{value.bit_length()} bits"
    if kind in (bool, float) or value is None:
        return repr(value)
    if kind is str:
        return repr(value if len(value) <= MAX_WORDS else value[:MAX_WORDS])
    if kind is bytes:
        return f"{len(value)} B"
    if isinstance(value, enum.Enum):
        return f"{kind.__name__}.{value._name_}"
    if levels == 0:
        return "…"
    if kind in (list, tuple, set, frozenset):
        some = list(islice(value, SHOWN)) if kind in (list, tuple) else list(value)
        told = [_told(each, levels - 1) for each in some]
        if kind in (set, frozenset):
            told = sorted(told)[:SHOWN]
        if len(value) > SHOWN:
            told.append(f"… {len(value)} in all")
        first, last = "[]" if kind is list else "()" if kind is tuple else "{}"
        return f"{first}{', '.join(told)}{last}"
    fields = islice(fields_of(value).items(), SHOWN)
    if kind is dict:
        return f"{{{', '.join(f'{name}: {_told(of, levels - 1)}' for name, of in fields)}}}"
    return f"{kind.__name__}({', '.join(f'{name}={_told(of, levels - 1)}' for name, of in fields)})"


def fields_of(value: Any) -> dict[str, Any]:
    """Those of an object or a ``dict``."""
    if type(value) is dict:
        return {name if type(name) is str else plain(name): of for name, of in value.items()}
    if isinstance(value, tuple):  # with names, if it has any
        return dict(zip(getattr(type(value), "_fields", ()), tuple.__iter__(value), strict=False))
    names = [
        name
        for kind in type(value).__mro__
        for name in _names(kind.__dict__.get("__slots__", ()))
        if name not in ("__dict__", "__weakref__")
    ]
    found = {}
    for name in names:
        try:
            found[name] = object.__getattribute__(value, name)
        except AttributeError:
            continue
    try:
        return {**found, **object.__getattribute__(value, "__dict__")}
    except AttributeError:
        return found


def _names(slots: Any) -> list[str]:
    return [slots] if isinstance(slots, str) else [name for name in slots if type(name) is str]


def read(message: Any) -> Message:
    """What a timeline shows of it."""
    name, fields, rest = NAMELESS, dict[str, Any](), message
    if type(message) in (tuple, list) and message:
        first = message[0]
        if type(first) is str:
            name, rest = first, message[1:]
        else:
            name, fields, _ = _named(first)
    else:
        name, fields, rest = _named(message)
    term = next((of for key, of in fields.items() if key.lower() == "term"), 0)
    known = type(term) is int and 0 <= term < MAX_TERM
    others = {key: of for key, of in fields.items() if not (known and key.lower() == "term")}
    told = " ".join(f"{key}={_told(of, LEVELS)}" for key, of in others.items())
    entries = next((of for key, of in fields.items() if key.lower() == "entries"), None)
    return Message(
        name,
        term if known else 0,
        cut(told) if fields else plain(rest),
        isinstance(entries, list | tuple) and not entries,
        any(of is False for of in fields.values()),
    )


def _named(value: Any) -> tuple[str, dict[str, Any], Any]:
    fields = fields_of(value)
    if type(value) is not dict:
        kind = type(value)
        return NAMELESS if kind.__module__ == "builtins" else kind.__name__, fields, value
    key = next((key for key in ("type", "kind", "name") if type(fields.get(key)) is str), "")
    return fields.pop(key, NAMELESS), fields, value


@cache
def section_of(name: str) -> str:
    """The section of the paper about a message or timer of that name, if that can be told."""
    lower = name.lower()
    for words, place in (
        (("prevote", "pre_vote"), "received PreVoteRequest"),
        (("vote",), "received VoteRequest"),
        (("snapshot", "install"), "received InstallSnapshot"),
        (("append", "entries", "heartbeat", "replicat"), "received AppendRequest"),
        (("election", "campaign", "candidate"), "CANDIDATE"),
    ):
        if any(word in lower for word in words):
            return PLACES[place].section
    return ""
