"""The page holds the run and loads nothing; the commands write it."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from typer.testing import CliRunner

from quorate.simulator.__main__ import app as simulator
from quorate.simulator.timeline.__main__ import app
from quorate.simulator.timeline.drawing import drawable, record
from quorate.simulator.timeline.events import Event, Head, Run
from quorate.simulator.timeline.page import page
from quorate.simulator.timeline.sources import PAPER, THESIS


def data_of(text: str) -> dict[str, object]:
    [found] = re.findall(r'<script type="application/json" id="run">(.*?)</script>', text, re.S)
    loaded: dict[str, object] = json.loads(found)
    return loaded


def test_the_page_loads_nothing_and_links_to_the_papers_alone() -> None:
    text = page(record("figure-8"))
    assert not re.search(r"src=|url\(|@import|fetch\(|<link|<img|XMLHttp", text)
    assert set(re.findall(r"https?://[^\s\"'<]+", text)) == {PAPER, THESIS}


def test_what_a_run_holds_cannot_become_part_of_the_page() -> None:
    evil = "</script><script>alert(1)</script>\"'&"
    run = Run(
        head=Head(title=evil, about=evil, command=evil, nodes=(evil,)),
        events=[Event(time_ms=0, kind="note", node=evil, text=evil, message=evil, peer=evil)],
    )

    class Scripts(HTMLParser):
        count = 0

        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            self.count += tag == "script"

    parser = Scripts()
    parser.feed(page(run))
    assert parser.count == 2
    assert evil in json.dumps(data_of(page(run)), ensure_ascii=False).replace('\\"', '"')


def test_what_the_page_says_of_a_source_is_what_stands_there() -> None:
    sources = data_of(page(record("split-vote")))["sources"]
    assert isinstance(sources, dict)
    vote = sources["vote"]
    assert vote["file"] == "quorate/raft/core/election.py"
    assert "§5.4.1" in vote["section"]
    assert "set_term_and_vote" in vote["text"].splitlines()[vote["line"] - vote["first_line"]]


def test_what_the_issue_names_can_be_drawn() -> None:
    assert {
        "figure-7",
        "figure-8",
        "split-vote",
        "stale-read",
        "joint-change",
        "gfs-split-brain",
        "vmft-split-brain",
    } <= set(drawable())


def test_a_kept_run_gives_the_same_page(tmp_path: Path) -> None:
    first, kept, second = tmp_path / "a.html", tmp_path / "run.jsonl", tmp_path / "b.html"
    words = ["split-vote", "-o", str(first), "--events", str(kept)]
    assert CliRunner().invoke(app, words).exit_code == 0
    assert CliRunner().invoke(app, [str(kept), "-o", str(second)]).exit_code == 0
    assert first.read_text() == second.read_text()


@pytest.mark.parametrize("content", [None, "", "no run\n"])
def test_what_cannot_be_drawn_is_refused_and_nothing_is_written(
    content: str | None, tmp_path: Path
) -> None:
    source, output = tmp_path / "run.jsonl", tmp_path / "a.html"
    if content is not None:
        source.write_text(content)
    assert CliRunner().invoke(app, [str(source), "-o", str(output)]).exit_code == 2
    assert not output.exists()


def test_a_seed_with_a_planted_bug_is_drawn_to_the_step_that_breaks(tmp_path: Path) -> None:
    output = tmp_path / "seed.html"
    words = ["2", "--workload", "lists", "--faults-ms", "3000", "--groups", "1", "--clients", "2"]
    words += ["--planted", "truncation without conflict", "--timeline", str(output)]
    result = CliRunner().invoke(simulator, words)
    assert result.exit_code == 1, result.output
    assert f"timeline: {output}" in result.output
    assert re.search(
        r"draw: +python -m quorate.simulator 2 .* --timeline seed-2.html", result.output
    )
    events = data_of(output.read_text())["events"]
    assert isinstance(events, list) and events[-1]["kind"] == "broken"
