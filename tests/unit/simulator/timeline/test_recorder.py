"""What is recorded is what happened, and recording changes nothing."""

import pytest

from quorate.simulator.plan import Reduction, draw_plan
from quorate.simulator.run import Report, run_plan
from quorate.simulator.timeline import recorder
from quorate.simulator.timeline.drawing import record, record_plan
from quorate.simulator.timeline.events import Event, Run

SMALL = Reduction(nodes=3, groups=1, clients=2, operations=15, faults_ms=4_000)
PLAN = draw_plan(7, "registers", SMALL)


@pytest.fixture(scope="module")
def recorded() -> tuple[Report, Run]:
    return record_plan(PLAN, PLAN.command)


def of(run: Run, *kinds: str) -> list[Event]:
    return [event for event in run.events if event.kind in kinds]


def test_a_run_that_is_watched_is_the_same_run(recorded: tuple[Report, Run]) -> None:
    assert recorded[0].digest == run_plan(PLAN).digest


def test_each_message_that_arrives_has_one_arrow_from_its_sender(
    recorded: tuple[Report, Run],
) -> None:
    run = recorded[1]
    sent = {event.arrow: event for event in of(run, "sent")}
    delivered = of(run, "delivered")
    assert len(delivered) > 500
    for event in delivered:
        begin = sent[event.arrow]
        assert (begin.node, begin.peer) == (event.peer, event.node)
        assert (begin.message, begin.text, begin.term) == (event.message, event.text, event.term)
        assert begin.time_ms <= event.time_ms


def test_each_fault_that_had_an_effect_is_marked_from_its_beginning_to_its_end(
    recorded: tuple[Report, Run],
) -> None:
    report, run = recorded
    faults, healed = of(run, "fault"), {event.arrow: event for event in of(run, "healed")}
    assert len(faults) == sum(report.faults.values()) > 0
    assert all(event.source.startswith("fault ") for event in faults)
    for fault in faults:
        assert healed[fault.arrow].time_ms >= fault.time_ms
        assert set(fault.lanes) <= set(run.head.nodes)


def test_a_death_is_followed_by_a_start(recorded: tuple[Report, Run]) -> None:
    lives = [(event.node, event.kind) for event in of(recorded[1], "died", "started")]
    assert any(kind == "died" for _, kind in lives)
    for node in recorded[1].head.nodes:
        kinds = [kind for name, kind in lives if name == node]
        assert kinds[::2] == ["started"] * len(kinds[::2])
        assert kinds[1::2] == ["died"] * len(kinds[1::2])


def test_each_client_is_a_lane_of_its_calls(recorded: tuple[Report, Run]) -> None:
    report, run = recorded
    assert set(run.head.clients) == {"c1", "c2", "reader"}
    asked = {event.arrow: event.node for event in of(run, "invoked")}
    answered = of(run, "returned")
    assert len(answered) >= report.acknowledged
    assert all(asked[event.arrow] == event.node for event in answered)


def test_time_never_goes_back(recorded: tuple[Report, Run]) -> None:
    times = [event.time_ms for event in recorded[1].events]
    assert times == sorted(times)


def test_figure_8_has_the_terms_and_the_votes_of_the_paper() -> None:
    run = record("figure-8")
    leaders = [(e.node, e.term) for e in of(run, "role") if "leader" in e.text]
    assert leaders == [("S5", 3), ("S1", 4), ("S5", 5), ("S1", 4)]
    votes = [(e.node, e.term) for e in of(run, "vote") if e.text == "votes for S5"]
    assert votes == [("S3", 3), ("S4", 3), ("S3", 5), ("S4", 5)]
    crashes = [event for event in of(run, "fault") if event.source == "crash"]
    assert [event.lanes for event in crashes[:3]] == [("S1",), ("S5",), ("S1",)]


def test_figure_7_begins_with_the_logs_of_the_paper_and_ends_with_one() -> None:
    run = record("figure-7")
    states = [event.state for event in run.events if event.state is not None]
    assert [list(state.terms) for state in states[:7]] == [
        [1, 1, 1, 4, 4, 5, 5, 6, 6, 6],
        [1, 1, 1, 4, 4, 5, 5, 6, 6],
        [1, 1, 1, 4],
        [1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 6],
        [1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 7, 7],
        [1, 1, 1, 4, 4, 4, 4],
        [1, 1, 1, 2, 2, 2, 3, 3, 3, 3, 3],
    ]
    last = {event.node: event.state for event in run.events if event.state is not None}
    assert {state.terms for state in last.values() if state} == {(*states[0].terms, 8)}
    assert {state.commit_index for state in last.values() if state} == {11}


def test_a_stale_leader_never_answers_the_read_that_it_was_asked() -> None:
    run = record("stale-read")
    asked = {event.arrow: (event.node, event.text) for event in of(run, "invoked")}
    answered = [asked.pop(event.arrow) for event in of(run, "returned")]
    assert answered == [("Alice", "reads at S1"), ("Bob", "reads at S2"), ("Alice", "reads at S2")]
    assert list(asked.values()) == [("Alice", "reads at S1")]


def test_of_two_hosts_that_believe_to_be_alone_one_goes_live() -> None:
    run = record("vmft-split-brain")
    assert sorted(e.text for e in of(run, "step") if e.node in ("primary", "backup")) == [
        "it halts: another is live",
        "it is live",
    ]


def test_of_two_masters_one_acts() -> None:
    run = record("gfs-split-brain")
    asked = {event.arrow: event.text for event in of(run, "invoked")}
    told = {asked[event.arrow]: event.text for event in of(run, "returned")}
    assert {path for path, text in told.items() if text == "made"} == {
        "mkdir /before",
        "mkdir /here",
        "mkdir /after",
    }
    assert told["mkdir /there"] != "made"


def test_of_a_long_run_the_end_the_faults_and_the_states_are_kept(
    monkeypatch: pytest.MonkeyPatch, recorded: tuple[Report, Run]
) -> None:
    monkeypatch.setattr(recorder, "MAX_EVENTS", 50)
    _, run = record_plan(PLAN, PLAN.command)
    whole = recorded[1]
    assert len(run.events) < 300
    assert run.events[-20:] == whole.events[-20:]
    assert of(run, "fault", "healed", "died") == of(whole, "fault", "healed", "died")
    nodes = {event.node for event in run.events if event.state is not None}
    assert nodes == set(run.head.nodes)


def test_a_joint_change_shows_who_obeys_what_and_which_majorities_are_missing() -> None:
    run = record("joint-change")
    [s4] = [e for e in of(run, "step") if e.node == "S4" and "new 3 of 3" in e.text and e.term == 2]
    assert s4.text == "votes, of the old 0 of 3, of the new 3 of 3: not both majorities"
    assert s4.source == "both majorities"
    leaders = [(e.node, e.term) for e in of(run, "role") if "leader" in e.text]
    assert leaders == [("S1", 2), ("S2", 3), ("S4", 4)]
    joint = [event.node for event in run.events if event.state and event.state.joint]
    assert set(joint) == {f"S{number}" for number in range(1, 7)}
    ended = [(e.node, e.text) for e in of(run, "commit") if e.source == "joint commit"]
    assert ended == [
        ("S2", "committed up to 5, C_old,new with it"),
        ("S4", "committed up to 6, C_old,new with it"),
    ]
    last = [e.state for e in run.events if e.node == "S4" and e.state][-1]
    assert (last.members, last.joint, last.changes) == ("S4 S5 S6", False, (3, 5, 7))
    [parted] = [e for e in of(run, "fault") if "parted" in e.text]
    assert parted.text == "S1 S2 S3 are parted from S4 S5 S6"
