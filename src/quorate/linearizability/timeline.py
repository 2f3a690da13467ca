"""The drawing of one key: who called what when, and the way of the longest order through it.

Time runs from event to event, all at one distance, so that nothing is too small to be seen.  Of a
long history only the part around its end is drawn.
"""

from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape

from quorate.linearizability.history import Operation, Outcome
from quorate.linearizability.models import Model

STEP, ROW, LEFT, TOP = 72, 40, 14, 14
"""Pixels: between two events, of a process, to the left, above."""
NAMES = 110
"""Pixels of the column of processes, which does not scroll."""
CHARACTER = 7.9
MAX_DRAWN = 160
"""Operations."""


@dataclass(slots=True)
class Drawn:
    """What is drawn of a key."""

    operations: Sequence[Operation]
    places: Mapping[int, int]
    """By ``id`` of an operation: its place in the order, from 1."""
    states: Mapping[int, str]
    """By place: the state after it, in words."""
    reasons: Mapping[int, str]
    """By ``id`` of a stuck operation: why it cannot come next."""
    name: str
    """Tells this key from others on the page."""


def timeline(model: Model, drawn: Drawn) -> str:
    """An SVG, in a box that scrolls to where it matters."""
    moments = sorted(
        {o.invoked for o in drawn.operations}
        | {o.returned for o in drawn.operations if o.returned is not None}
    )
    processes = list(dict.fromkeys(o.process for o in drawn.operations))
    rows = {(type(name), name): row for row, name in enumerate(sorted(processes, key=_by_number))}
    width = LEFT + STEP * (len(moments) + 2)
    height = TOP + ROW * len(rows) + 10

    def left(o: Operation) -> float:
        return LEFT + STEP * bisect_left(moments, o.invoked)

    def right(o: Operation) -> float:
        if o.returned is None:
            return width - 8 if o.outcome is Outcome.INFO else left(o) + STEP * 0.8
        return LEFT + STEP * bisect_left(moments, o.returned)

    parts, names = [], []
    for (_, name), row in rows.items():
        y = TOP + ROW * row
        line = f'<line class="row" x1="0" x2="{width}" y1="{y + ROW}" y2="{y + ROW}"/>'
        parts.append(line)
        title = escape(_short(str(name), 14))
        names.append(f'{line}<text class="name" x="8" y="{y + ROW / 2 + 4}">{title}</text>')
    for o in drawn.operations:
        y = TOP + ROW * rows[type(o.process), o.process] + 6
        parts.append(_box(model, drawn, o, left(o), right(o), y))
    parts += _path(drawn, rows, left)
    stuck = [right(o) for o in drawn.operations if id(o) in drawn.reasons]
    wall = min(stuck, default=0.0)
    if stuck:
        line = f'x1="{wall}" x2="{wall}" y1="0" y2="{height}"'
        parts.append(f'<line class="wall" {line}/>')
    return (
        f'<div class="chart"><svg width="{NAMES}" height="{height}">{"".join(names)}</svg>'
        f'<div class="scroll" data-at="{max(0, round(wall) - 700)}"><svg width="{width}"'
        f' height="{height}" role="img">{"".join(parts)}</svg></div></div>'
    )


def _by_number(process: str | int) -> tuple[bool, int, str]:
    is_text = isinstance(process, str)
    return is_text, 0 if isinstance(process, str) else process, str(process)


def _short(text: str, length: int) -> str:
    return text if len(text) <= length else text[: max(length - 1, 0)] + "…"


def _box(model: Model, drawn: Drawn, o: Operation, left: float, right: float, y: float) -> str:
    """One operation, from its invocation to its return."""
    place, reason = drawn.places.get(id(o)), drawn.reasons.get(id(o))
    kind = "placed" if place else "stuck" if reason else "later"
    text = model.show(o)
    tip = [f"{text}, process {o.process}", _ended(o), o.where]
    if place:
        tip.append(f"Placed as number {place}; then {drawn.states[place]}.")
    elif reason:
        tip.append(f"Cannot come next: {reason}.")
    elif o.outcome is not Outcome.FAIL:
        tip.append("Not placed.")
    label = escape(_short(text, int((right - left - 8) / CHARACTER)))
    pair = f' data-pair="{drawn.name}.{place}"' if place else ""
    return (
        f'<g class="{kind} {o.outcome.value}" tabindex="0"{pair}'
        f' data-tip="{escape(chr(10).join(part for part in tip if part))}">'
        f'<rect class="box" x="{left}" y="{y}" width="{right - left}" height="{ROW - 12}" rx="5"/>'
        f'<text class="label" x="{left + 5}" y="{y + 19}">{label}</text></g>'
    )


def _ended(o: Operation) -> str:
    if o.outcome is Outcome.OK:
        return "ok"
    known = o.outcome is Outcome.FAIL
    return "failed: had no effect" if known else "no answer: may take effect at any later moment"


def _path(
    drawn: Drawn, rows: Mapping[tuple[type, str | int], int], left: Callable[[Operation], float]
) -> list[str]:
    """A point in each placed operation, in their order, and the line through them.

    Each stands as early as it can: at its invocation, or with the one before; those that stand
    together are spread over the time to the next event, when all of them are still under way.
    """
    order = sorted(
        (o for o in drawn.operations if id(o) in drawn.places), key=lambda o: drawn.places[id(o)]
    )
    groups: list[tuple[float, list[Operation]]] = []
    for o in order:
        if not groups or left(o) > groups[-1][0]:
            groups.append((left(o), []))
        groups[-1][1].append(o)
    points = [
        (o, start + STEP * (number + 1) / (len(group) + 1))
        for start, group in groups
        for number, o in enumerate(group)
    ]
    places = [
        (drawn.places[id(o)], x, TOP + ROW * (rows[type(o.process), o.process] + 1) - 10)
        for o, x in points
    ]
    line = " ".join(f"{x:.1f},{y}" for _, x, y in places)
    return [f'<polyline class="path" points="{line}"/>'] + [
        f'<g class="point"><circle cx="{x:.1f}" cy="{y}" r="{7 if n < 1000 else 9}"/>'
        f'<text x="{x:.1f}" y="{y + 3}">{n}</text></g>'
        for n, x, y in places
    ]
