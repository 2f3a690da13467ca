"""The last events of a run as text: a lane for each server, and what happened in words.

A lane shows what its server believes after the event: ``L7`` leads in term 7, ``f7`` does not, in
term 7; ``x`` is down; brackets: it is cut off.  ``picture`` is the one place that decides how a
failed run is drawn.
"""

from collections.abc import Sequence

from quorate.simulator.lab.recorder import LabEvent, ServerView

LAST = 40
"""Events of the text, and before them the ``TURNS`` last ones that changed much."""
TURNS = 12
TURNING = ("crash", "begin", "fault", "state")
QUIET = ("state", "persist")
"""Kinds that say little where the lanes show it, too."""
_LANE = 6
_TEXT = 110


def picture(names: Sequence[str], events: Sequence[LabEvent]) -> str:
    """What a failed run is shown as."""
    told = _joined([event for event in events if event.kind not in QUIET])[-LAST:]
    before = [e for e in events if e.kind in TURNING and told and e.at_ms < told[0].at_ms]
    shown = [*before[-TURNS:], *told]
    head = f"{'seconds':>9}  {''.join(name.ljust(_LANE) for name in names)} what happened"
    return "\n".join([head, *(_line(names, event) for event in shown)])


def _joined(events: Sequence[LabEvent]) -> list[LabEvent]:
    """Of entries that a server applies in a row, the last alone."""
    followed = zip(events, [*events[1:], None], strict=True)
    return [
        event
        for event, after in followed
        if not (
            event.kind == "apply"
            and after is not None
            and (after.kind, after.server, after.at_ms) == ("apply", event.server, event.at_ms)
        )
    ]


def _line(names: Sequence[str], event: LabEvent) -> str:
    lanes = "".join(_lane(view).ljust(_LANE) for view in event.servers)
    return f"{event.at_ms / 1000:9.4f}  {lanes} {_words(names, event)[:_TEXT]}".rstrip()


def _lane(view: ServerView) -> str:
    if not view.up:
        return "x"
    belief = f"{'L' if view.leads else 'f'}{view.term}"
    return belief if view.connected else f"({belief})"


def _words(names: Sequence[str], event: LabEvent) -> str:
    if event.server is None:
        return f"{'BROKEN' if event.kind == 'broken' else '***'} {event.text}"
    here = names[event.server]
    if event.other is None:
        return f"{here} {event.text}"
    there = names[event.other]
    match event.kind:
        case "request":
            return f"{here} → {there}: {event.text}"
        case "answer":
            return f"{here} → {there}: answers {event.text}"
        case "lost":
            return f"{here} never gets from {there}: {event.text}"
    answers = "answers " if event.kind == "got answer" else ""
    return f"{here} ← {there}: {answers}{event.text}"
