"""The page of a run: one file that loads nothing from anywhere.

The drawing is done by the browser, from the run's events as JSON: ``model.js`` finds in them
what the others ask for, ``draw.js`` draws, ``panel.js`` says it in words, and ``main.js`` follows
the reader.
"""

from collections.abc import Iterator
from html import escape
from pathlib import Path

import msgspec

from quorate.linearizability.style import CSS
from quorate.simulator.timeline.events import Event, Run, State
from quorate.simulator.timeline.sources import PAPER, THESIS, sources_of

SCRIPTS = ("model.js", "draw.js", "panel.js", "main.js")


def page(run: Run) -> str:
    """The whole page."""
    here = Path(__file__).parent
    script = "\n".join((here / name).read_text() for name in SCRIPTS)
    command = f"<p class='dim'>Made by <code>{escape(run.head.command)}</code></p>"
    texts = {
        "@TITLE@": escape(run.head.title),
        "@ABOUT@": escape(run.head.about),
        "@COMMAND@": command if run.head.command else "",
    }
    body = (here / "page.html").read_text()
    for mark, text in texts.items():
        body = body.replace(mark, text)
    return f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(run.head.title)}</title>
<style>{CSS}{(here / "page.css").read_text()}</style></head><body>
{body}
<script type="application/json" id="run">{_data(run)}</script>
<script>(() => {{ 'use strict';
{script}
}})();</script></body></html>
"""


def write_page(run: Run, output: Path) -> None:
    """One HTML file."""
    output.write_text(page(run), encoding="utf-8")


def _data(run: Run) -> str:
    """As JSON that cannot end its own element."""
    own = run.head.sources
    named = {event.source for event in run.events}
    value = {
        "head": msgspec.to_builtins(msgspec.structs.replace(run.head, about="", sources={})),
        "events": list(_leaner(run.events)),
        "sources": {**sources_of(named - own.keys()), **own},
        "paper": PAPER,
        "thesis": THESIS,
    }
    value["head"] = {"nodes": [], "clients": [], "groups": [], "unit": "ms", **value["head"]}
    return msgspec.json.encode(value).decode().replace("<", "\\u003c")


def _leaner(events: list[Event]) -> Iterator[Event]:
    """Without what stands in an event before: a state that has not changed, what a message says."""
    states: dict[tuple[str, int], State] = {}
    sent = {event.arrow for event in events if event.kind == "sent"}
    for event in events:
        changes: dict[str, object] = {"time_ms": round(event.time_ms, 4)}
        if event.kind == "delivered" and event.arrow in sent:
            changes |= {"text": "", "message": "", "peer": "", "term": 0}
        if event.kind in ("died", "started") and event.state is None:
            states = {key: state for key, state in states.items() if key[0] != event.node}
        if event.state is not None:
            if states.get((event.node, event.group)) == event.state and event.kind != "started":
                changes["state"] = None
            states[event.node, event.group] = event.state
        yield msgspec.structs.replace(event, **changes)
