"""A judgement as a page: one file that loads nothing from anywhere.

Each key that is not Ok has its timeline, the end of the longest order that was found, with the
state after each operation, and those that cannot come next.
"""

from html import escape

from quorate.linearizability.explain import replay
from quorate.linearizability.history import Outcome, Verdict
from quorate.linearizability.judge import Judgement, KeyJudgement
from quorate.linearizability.models import Model, text_of
from quorate.linearizability.style import CSS, SCRIPT
from quorate.linearizability.timeline import MAX_DRAWN, Drawn, timeline

MAX_KEYS = 20
"""That are shown in full."""
MAX_STATE = 120
"""Characters of a state."""
SHOWN_BEFORE = 60
"""Operations of the order that are shown before its end."""


def page(model: Model, judgement: Judgement, source: str) -> str:
    """The whole page; ``source`` says where the history came from."""
    wrong = [key for key in judgement.keys if key.verdict is not Verdict.OK]
    wrong.sort(key=lambda key: key.verdict is not Verdict.ILLEGAL)
    operations = sum(len(key.operations) for key in judgement.keys)
    well = len(judgement.keys) - len(wrong)
    sections = [_section(model, key, f"k{number}") for number, key in enumerate(wrong[:MAX_KEYS])]
    if len(wrong) > MAX_KEYS:
        names = ", ".join(text_of(key.key) for key in wrong[MAX_KEYS : MAX_KEYS + 200])
        sections.append(f"<section><p>Not shown: keys {escape(names)}.</p></section>")
    if not wrong:
        sections.append(
            "<section><p>All operations can be put into one order that explains what every process"
            " saw and agrees with real time.</p></section>"
        )
    verdict = judgement.verdict.value
    return f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{verdict}: {escape(source)}</title><style>{CSS}</style></head><body>
<h1>{escape(source)} <span class="verdict {verdict}">{verdict}</span></h1>
<p class="dim">A history of {operations} operations on {_count(len(judgement.keys), "key")}, judged
as a {model.name}: {well} Ok, {len(wrong)} not.</p>
{"".join(sections)}
<div id="tip" role="tooltip"></div><script>{SCRIPT}</script></body></html>
"""


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _section(model: Model, judged: KeyJudgement, name: str) -> str:
    drawn = _drawn(model, judged, name)
    returned = sum(o.outcome is Outcome.OK for o in judged.operations)
    placed = sum(o.outcome is Outcome.OK for o in judged.order)
    verdict = judged.verdict.value
    parts = [
        f'<section><h2>Key <code>{escape(text_of(judged.key))}</code> <span class="verdict'
        f' {verdict}">{verdict}</span></h2>',
        f"<p>The longest order that was found holds {placed} of the {returned} operations that"
        f" returned{_opened(judged)}. {_end(judged)}</p>",
        '<p class="legend dim"><span><i class="placed"></i>placed; the number is its place</span>'
        '<span><i class="stuck"></i>cannot come next</span><span><i></i>not placed</span>'
        '<span><i class="info"></i>no answer: open to the end</span></p>',
    ]
    hidden = len(judged.operations) - len(drawn.operations)
    if hidden:
        parts.append(f'<p class="dim">{_count(hidden, "operation")} far from there not drawn.</p>')
    parts.append(timeline(model, drawn))
    if judged.stuck:
        rows = "".join(
            f"<tr><td>{escape(_cut(model.show(o)))}</td><td>{escape(str(o.process))}</td>"
            f"<td>{escape(o.where)}</td><td>{escape(_cut(reason))}</td></tr>"
            for o, reason in judged.stuck
        )
        parts.append(
            "<h3>What cannot come next</h3><table class='why'><tr><th>operation</th><th>process"
            f"</th><th>where</th><th>because</th></tr>{rows}</table>"
        )
    parts.append(_order_table(model, judged, drawn))
    return "".join(parts) + "</section>"


def _opened(judged: KeyJudgement) -> str:
    opened = sum(o.outcome is Outcome.INFO for o in judged.order)
    return f", and {opened} of which nobody knows" if opened else ""


def _end(judged: KeyJudgement) -> str:
    if judged.verdict is Verdict.UNKNOWN:
        return "The search was given up before it knew whether there is a longer one."
    return "All orders were tried: none leads further."


def _cut(text: str) -> str:
    return text if len(text) <= MAX_STATE else f"{text[: MAX_STATE // 2]} … {text[-40:]}"


def _drawn(model: Model, judged: KeyJudgement, name: str) -> Drawn:
    """The part of the history around the end of the order."""
    first = max(0, len(judged.order) - SHOWN_BEFORE)
    places, states = {}, {}
    for number, (o, state) in enumerate(
        zip(judged.order, replay(model, judged.order), strict=True), 1
    ):
        if number > first:
            places[id(o)] = number
            states[number] = _cut(model.describe(state))
    reasons = {id(o): _cut(reason) for o, reason in judged.stuck}
    before = {id(o) for o in judged.order[:first]}
    shown = [o for o in judged.operations if id(o) in places or id(o) in reasons]
    room = max(0, MAX_DRAWN - len(shown))
    begin = min((o.invoked for o in shown), default=0.0)
    near = [
        o
        for o in judged.operations
        if o.invoked >= begin and id(o) not in places and id(o) not in reasons
        if id(o) not in before
    ]
    shown = sorted([*shown, *near[:room]], key=lambda o: o.invoked)
    return Drawn(shown, places, states, reasons, name)


def _order_table(model: Model, judged: KeyJudgement, drawn: Drawn) -> str:
    if not drawn.places:
        return ""
    rows = "".join(
        f'<tr data-pair="{drawn.name}.{drawn.places[id(o)]}"><td>{drawn.places[id(o)]}</td>'
        f"<td>{escape(_cut(model.show(o)))}</td><td>{escape(str(o.process))}</td>"
        f"<td>{escape(drawn.states[drawn.places[id(o)]])}</td></tr>"
        for o in judged.order
        if id(o) in drawn.places
    )
    whole = "" if len(drawn.places) == len(judged.order) else ", its end"
    return (
        f"<h3>The longest order{whole}</h3><table><tr><th>place</th><th>operation</th>"
        f"<th>process</th><th>then</th></tr>{rows}</table>"
    )
