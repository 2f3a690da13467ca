"""Real processes become a timeline: elections whole, all else bounded, and nothing made up."""

import time
from pathlib import Path

import msgspec
import pytest

from quorate.linearizability.history import Outcome
from quorate.simulator.scenarios.interpreter import Scenario
from quorate.simulator.timeline import recorder
from quorate.simulator.timeline.events import Event, Run
from quorate.simulator.timeline.page import page
from quorate.simulator.timeline.sources import PLACES
from quorate.torture.faults import KINDS, Fault
from quorate.torture.history import Clock, Recorder
from quorate.torture.report import Report
from quorate.torture.target import Call
from quorate.torture.timeline import MAX_INTERVALS, Gathering, interval_s
from quorate.torture.watching import ELECTING, MARK, SAMPLE_MS, Watcher

ELECTION = ("cluster 3", "campaign 1", "stabilize", "propose 1 a", "stabilize")


class Began(Clock):
    """It was zero when the machine's clock was; so times are what they are told to be."""

    def __init__(self) -> None:
        self._began_ns = 0
        self.ns = 0

    def now_ns(self) -> int:
        return self.ns


def told(story: tuple[str, ...], step_ms: float = 1.0) -> list[bytes]:
    """What the nodes say while this goes on, a moment each ``step_ms``."""
    scenario, lines = Scenario(), list[bytes]()
    watcher = Watcher(lambda: scenario.moment * step_ms, lines.append)
    scenario.watcher = watcher
    for command in story:
        scenario.execute(command)
    assert all(line.startswith(MARK) and line.endswith(b"\n") for line in lines)
    return [line.removeprefix(MARK) for line in lines]


def empty_histories(folder: Path) -> Recorder:
    recorder = Recorder(folder, Clock())
    recorder.close()
    return recorder


def drawn(lines: list[bytes], folder: Path) -> Run:
    gathering = Gathering(Began())
    for line in lines:
        gathering.heard(line)
    report = Report(1, 1.0, 3, 3, "", "", [])
    return gathering.run(report, empty_histories(folder).files)


def test_each_message_of_an_election_is_an_arrow_whoever_tells_of_it_first(tmp_path: Path) -> None:
    lines = told(ELECTION)
    for run in (drawn(lines, tmp_path), drawn(lines[::-1], tmp_path)):
        sent = {e.arrow: e for e in run.events if e.kind == "sent"}
        arrived = [e for e in run.events if e.kind == "delivered"]
        assert len(sent) == len(arrived) == 8 and set(sent) == {e.arrow for e in arrived}
        for event in arrived:
            begin = sent[event.arrow]
            assert (begin.peer, begin.node, begin.message) == (
                event.node,
                event.peer,
                event.message,
            )
            assert event.message in ELECTING
        assert [e.node for e in run.events if e.kind == "role" and " leader " in e.text] == ["n1"]


def test_replication_is_sampled_however_much_there_is() -> None:
    appends = ("propose 1 a", "stabilize") * 200
    lines = told((*ELECTION, *appends))
    moments_ms = 200 * 5
    assert len(lines) < 100 + 3 * 3 * moments_ms / SAMPLE_MS
    last = [event for line in lines if (event := msgspec.json.decode(line, type=Event)).state]
    assert last[-1].state is not None and last[-1].state.commit_index > 100


def test_of_a_run_that_is_too_long_the_end_is_kept_and_the_page_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = told(ELECTION, step_ms=1_000)
    assert "left out" not in drawn(lines, tmp_path).head.about
    monkeypatch.setattr(recorder, "MAX_EVENTS", 10)
    run = drawn(lines, tmp_path)
    assert "elections before" in run.head.about and "are left out" in run.head.about
    assert len(lines) > len([e for e in run.events if e.node in run.head.nodes]) >= 10


def test_what_no_node_says_is_no_event() -> None:
    with pytest.raises(msgspec.DecodeError):
        Gathering(Began()).heard(b'{"time_ms": "now"}')


def test_faults_last_from_begin_to_end_and_each_leads_to_its_line(tmp_path: Path) -> None:
    clock = Began()
    gathering = Gathering(clock)
    for number, kind in enumerate(KINDS, 1):
        fault = Fault(number=number, kind=kind, at_ms=0, for_ms=9, nodes=(1, 3), leader=True)
        clock.ns = 1_000_000 * number
        gathering.begun(fault)
        clock.ns += 500_000
        gathering.ended(fault)
        gathering.ended(fault)
    run = gathering.run(Report(1, 1.0, 3, 3, "", "", []), empty_histories(tmp_path).files)
    begun = [event for event in run.events if event.kind == "fault"]
    over = {event.arrow: event.time_ms for event in run.events if event.kind == "healed"}
    assert [over[event.arrow] - event.time_ms for event in begun] == [0.5] * len(KINDS)
    assert all(event.source in PLACES and event.lanes == ("n1", "n3") for event in begun)
    assert "or the leader" not in begun[0].text


def test_what_clients_did_is_counted_interval_by_interval(tmp_path: Path) -> None:
    clock = Began()
    recorder = Recorder(tmp_path, clock)
    write, read = Call("c1", "write", "r1.0", 3), Call("c2", "read", "r1.0")
    for at_ms, outcome in ((100, Outcome.OK), (200, Outcome.FAIL), (1_600, Outcome.INFO)):
        clock.ns = at_ms * 1_000_000
        recorder.invoke(write)
        recorder.end(write, outcome)
    recorder.invoke(read)
    recorder.end(read, Outcome.OK, 3)
    recorder.close()
    run = Gathering(clock).run(Report(1, 1.0, 3, 3, "", "", []), recorder.files)
    ended = [(e.node, e.time_ms, e.text) for e in run.events if e.kind == "returned"]
    assert [found for found in ended if found[0] == "changes"] == [
        ("changes", 500.0, "1 ok, 1 failed"),
        ("changes", 1_000.0, "Unavailable: none done"),
        ("changes", 1_500.0, "Unavailable: none done"),
        ("changes", 2_000.0, "Unavailable: none done, 1 unknown"),
    ]
    assert ended[-1] == ("reads", 2_000.0, "1 ok")


@pytest.mark.parametrize("length_s", [1, 60, 900, 3_600, 24 * 3_600])
def test_a_long_run_has_no_more_intervals_than_a_reader_can_use(length_s: float) -> None:
    assert length_s / interval_s(length_s) <= MAX_INTERVALS


def test_the_first_violation_stands_where_the_operation_ended(tmp_path: Path) -> None:
    clock = Began()
    recorder = Recorder(tmp_path, clock)
    for at_ms, call, result in (
        (1_000, Call("c1", "write", "r1.0", 3), None),
        (2_000, Call("c1", "read", "r1.0"), 4),
        (3_000, Call("c1", "read", "r1.0"), 3),
    ):
        recorder.invoke(call)
        clock.ns = at_ms * 1_000_000
        recorder.end(call, Outcome.OK, result)
    recorder.close()
    report = Report(1, 1.0, 3, 3, "", "", [])
    report.judge(recorder.files)
    assert report.illegal_at_s == {"register": 2.0}
    run = Gathering(clock).run(report, recorder.files)
    [broken] = [event for event in run.events if event.kind == "broken"]
    assert broken.time_ms == 2_000 and broken.text.startswith("register: Illegal")
    assert "Illegal" in page(run)


def test_the_clock_of_the_nodes_is_that_of_the_run() -> None:
    clock = Clock()
    since_ms = clock.since_ms(time.monotonic() * 1000)
    assert 0 <= since_ms <= clock.now_ns() / 1e6
