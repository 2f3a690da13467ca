"""The timeline of a learner's failure: what is seen, what is told, and whose line it was."""

import json
import re
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from typer.testing import CliRunner

from quorate.base.errors import BadInput
from quorate.cli.main import app
from quorate.simulator.lab.command import TESTS, Failure, run_tests
from quorate.simulator.lab.learner_lab import run_core
from quorate.simulator.lab.loading import load_core
from quorate.simulator.lab.words import NAMELESS, plain, read, section_of
from quorate.simulator.timeline.events import Event
from quorate.simulator.timeline.page import page
from quorate.simulator.timeline.sources import PLACES

FIGURE_8 = ["lab", "raft", "--core", "commits_old_terms", "--test", "figure_8_by_steps"]
FIGURE_8 += ["--seed", "1"]


def failed(core: str, test: str, seed: int = 1) -> Failure:
    failure = run_tests(load_core(core), [TESTS[test]], None, seed, lambda outcome: None)
    assert failure is not None
    return failure


@pytest.fixture(scope="module")
def figure_8() -> Failure:
    return failed("commits_old_terms", "figure_8_by_steps")


def line_of(failure: Failure, event: Event) -> str:
    """The line that the page shows for ``event``."""
    source = failure.timeline.head.sources[event.source]
    return source.text.splitlines()[source.line - source.first_line].strip()


def test_each_arrival_was_sent_and_each_source_is_known(figure_8: Failure) -> None:
    run = figure_8.timeline
    sent = {event.arrow: event for event in run.events if event.kind == "sent"}
    arrived = [event for event in run.events if event.kind == "delivered"]
    assert len(arrived) > 50
    for event in arrived:
        before = sent[event.arrow]
        assert (before.node, before.peer, before.text) == (event.peer, event.node, event.text)
        assert before.time_ms <= event.time_ms
    known = {"", *PLACES, *run.head.sources}
    assert {event.source for event in run.events} <= known
    assert [e.time_ms for e in run.events] == sorted(e.time_ms for e in run.events)


def test_the_state_before_the_failure_is_that_of_figure_8(figure_8: Failure) -> None:
    states = {e.node: e.state for e in figure_8.timeline.events if e.state is not None}
    assert sorted(state.terms for state in states.values()) == [(1,), (1,), (3,), (3,), (3,)]
    [leader] = [s for s in states.values() if s.role == "leader" and s.terms == (3,)]
    assert leader.voted_for in states
    roles = {e.state.role for e in figure_8.timeline.events if e.state is not None}
    assert roles == {"follower", "candidate", "leader"}
    broken = figure_8.timeline.events[-1]
    assert broken.kind == "broken" and broken.text == figure_8.broken
    assert line_of(figure_8, broken).startswith("async def figure_8_by_steps")


def test_what_the_core_does_leads_to_the_line_that_called_the_host(figure_8: Failure) -> None:
    events = figure_8.timeline.events
    asked = [e for e in events if e.kind == "sent" and e.message == "RequestVote"]
    assert asked and all("self.host.send(peer, RequestVote" in line_of(figure_8, e) for e in asked)
    applied = [e for e in events if e.kind == "applied"]
    assert applied and all("self.host.apply(" in line_of(figure_8, e) for e in applied)
    counted = [e for e in events if e.kind == "commit" and e.source]
    assert counted and {line_of(figure_8, e)[:6] for e in counted} == {"def on"}
    section = figure_8.timeline.head.sources[asked[0].source].section
    assert "§5.4.1" in section


def test_what_it_asks_for_in_a_new_term_comes_after_the_term(figure_8: Failure) -> None:
    terms: dict[str, int] = {}
    for event in figure_8.timeline.events:
        if event.state is not None:
            terms[event.node] = event.state.term
        if event.kind == "sent" and event.message == "RequestVote":
            assert terms[event.node] == event.term


def test_cut_servers_are_faults_that_end_when_they_are_connected(figure_8: Failure) -> None:
    events = figure_8.timeline.events
    cuts = [event for event in events if event.kind == "fault"]
    assert cuts and all(len(cut.lanes) == 1 and cut.text.endswith("is cut off") for cut in cuts)
    healed = {event.arrow for event in events if event.kind == "healed"}
    assert healed and healed < {cut.arrow for cut in cuts}


def test_a_nemesis_and_crashes_are_drawn() -> None:
    events = failed("forgets_its_vote", "swarm_of_votes", 4).timeline.events
    assert [e.source for e in events if e.kind == "fault"] == ["fault Storm"]
    died = [e.node for e in events if e.kind == "died"]
    started = [e.node for e in events if e.kind == "started"]
    assert died and sorted(started) == sorted(["n1", "n2", "n3", *died])


@pytest.mark.parametrize("core", ["reference", "simple"])
def test_a_run_goes_the_same_way_when_it_is_watched(core: str) -> None:
    test, loaded = TESTS["swarm_of_3"], load_core(core)
    seen, unseen = (run_core(test, loaded, seed=2, watched=watched) for watched in (True, False))
    assert seen.went_as(unseen) and seen.tells
    assert not any(event.kind == "sent" for event in unseen.events)
    last = {event.node: event.state for event in seen.events if event.state is not None}
    assert len({state.terms for state in last.values()}) == 1
    assert {state.role for state in last.values()} == {"leader", "follower"}


def core_in(tmp_path: Path, body: str) -> str:
    head = "from quorate.simulator.lab.cores import commits_old_terms as wrong\n\n"
    file = tmp_path / "my_raft.py"
    file.write_text(f"{head}class Raft(wrong.Raft):\n{body}")
    return str(file)


def test_an_exception_leads_to_the_learners_line(tmp_path: Path) -> None:
    core = core_in(tmp_path, "    def on_timer(self, name):\n        self.nothing\n")
    failure = failed(core, "initial_election")
    broken = failure.timeline.events[-1]
    assert line_of(failure, broken) == "self.nothing"
    assert failure.timeline.head.sources[broken.source].file == "my_raft.py"


def test_of_a_core_that_does_not_tell_what_it_applied_is_shown(tmp_path: Path) -> None:
    failure = failed(core_in(tmp_path, "    timeline = None\n"), "figure_8_by_steps")
    assert failure.repeats
    head, events = failure.timeline.head, failure.timeline.events
    assert "does not tell its log" in head.about
    states = [e.state for e in events if e.state is not None]
    assert {state.role for state in states} == {"follower", "leader"}
    assert {state.voted_for for state in states} == {""}
    assert {state.terms for state in states} == {(), (1,)}


def test_a_timeline_that_tells_nonsense_is_said_and_the_verdict_stays(tmp_path: Path) -> None:
    body = "    def timeline(self):\n        return {'terms': 'abc'}\n"
    failure = failed(core_in(tmp_path, body), "figure_8_by_steps")
    assert failure.repeats and failure.broken.startswith("State Machine Safety")
    [note] = [e.text for e in failure.timeline.events if e.kind == "note"]
    assert note.startswith("timeline() gives a dict with some of role") and "`array`" in note
    assert "does not tell its log" in failure.timeline.head.about


@pytest.mark.parametrize(
    "body", ["        raise OSError\n", "        return {'role': 'leader', 'terms': []}\n"]
)
def test_a_timeline_that_fails_is_said_and_the_verdict_stays(tmp_path: Path, body: str) -> None:
    failure = failed(core_in(tmp_path, f"    def timeline(self):\n{body}"), "figure_8_by_steps")
    assert failure.repeats and failure.broken.startswith("State Machine Safety")
    assert [e.kind for e in failure.timeline.events].count("note") == 1


class Role(Enum):
    LEADER = 1


class Loud:
    """What shows itself must not be asked."""

    def __init__(self) -> None:
        self.term = 3
        self.entries: list[Any] = [Role.LEADER, b"abc"]

    def __repr__(self) -> str:
        raise AssertionError


@dataclass(slots=True)
class Answer:
    term: int
    granted: bool


class Named(NamedTuple):
    term: int
    of: Any


@pytest.mark.parametrize(
    ("message", "name", "term", "text"),
    [
        (Loud(), "Loud", 3, "entries=[Role.LEADER, 3 B]"),
        (Answer(2, True), "Answer", 2, "granted=True"),
        (Named(2, Answer(1, False)), "Named", 2, "of=Answer(term=1, granted=False)"),
        ({"type": "vote", "term": 4, "last": 1}, "vote", 4, "last=1"),
        ({"term": "4"}, NAMELESS, 0, "term='4'"),
        (("append", 4, {"b", "a"}), "append", 0, "(4, {'a', 'b'})"),
        ((Answer(2, False), b""), "Answer", 2, "granted=False"),
        (None, NAMELESS, 0, "None"),
        ({"term": 1 << 80}, NAMELESS, 0, "term=1208925819614629174706176"),
        (list(range(100)), NAMELESS, 0, "[0, 1, 2, 3, 4, 5, 6, 7, … 100 in all]"),
    ],
)
def test_any_message_has_a_name_a_term_and_words(
    message: Any, name: str, term: int, text: str
) -> None:
    assert read(message)[:3] == (name, term, text)


def test_words_are_short_and_lines_are_one() -> None:
    loop: list[Any] = []
    loop.append(loop)
    assert plain(loop) == "[[[[…]]]]"
    assert len(plain(["x\ny" * 1000] * 1000)) <= 160 and "\n" not in plain("x\ny")


def test_a_heartbeat_and_its_answer_are_minor_unless_it_refuses() -> None:
    heartbeat = read({"type": "append", "entries": []})
    assert heartbeat.is_minor
    assert read(Answer(1, True)).as_reply_to("append", minor=True).is_minor
    refused = read(Answer(1, False)).as_reply_to("append", minor=True)
    assert not refused.is_minor
    assert (refused.name, refused.text) == ("append reply", "Answer granted=False")


def test_a_name_says_which_section_of_the_paper() -> None:
    assert "§5.4.1" in section_of("vote") and "§5.3" in section_of("AppendEntries")
    assert "§7" in section_of("InstallSnapshot") and section_of("whatever") == ""


def test_the_command_says_where_the_page_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    told = CliRunner().invoke(app, FIGURE_8)
    assert told.exit_code == 1
    assert len(told.stdout.splitlines()) < 12
    assert "timeline:   commits_old_terms-figure_8_by_steps-1.html" in told.stdout
    text = (tmp_path / "commits_old_terms-figure_8_by_steps-1.html").read_text()
    [data] = re.findall(r'<script type="application/json" id="run">(.*?)</script>', text, re.S)
    assert json.loads(data)["events"][-1]["kind"] == "broken"
    assert CliRunner().invoke(app, [*FIGURE_8, "--timeline", "own.html"]).exit_code == 1
    assert (tmp_path / "own.html").read_text() == text


def test_a_timeline_that_cannot_be_written_is_refused_before_the_run(tmp_path: Path) -> None:
    told = CliRunner().invoke(app, [*FIGURE_8, "--timeline", str(tmp_path)])
    assert isinstance(told.exception, BadInput) and told.exception.exit_code == 2
    assert "FAIL" not in told.stdout


def test_what_a_learner_writes_cannot_become_part_of_the_page(tmp_path: Path) -> None:
    body = "    def on_timer(self, name):\n        raise ValueError('</script><b>')  # </script>\n"
    text = page(failed(core_in(tmp_path, body), "initial_election").timeline)
    assert text.count("</script>") == 2 and "<b>" not in text
