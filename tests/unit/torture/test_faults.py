"""Schedules: the same for a seed, within their bounds; and what faults want together."""

import pytest

from quorate.torture.faults import (
    KINDS,
    MAX_AT_ONCE,
    Fault,
    State,
    can_serve,
    draw_schedule,
    in_force,
    links_cut,
    with_leader,
)


def fault(kind: str, *nodes: int, amount: float = 0.0, leader: bool = False) -> Fault:
    return Fault(number=1, kind=kind, at_ms=0, for_ms=1, nodes=nodes, amount=amount, leader=leader)


def test_a_seed_always_draws_the_same_and_another_something_else() -> None:
    assert draw_schedule(7, 3, 60_000) == draw_schedule(7, 3, 60_000)
    assert draw_schedule(7, 3, 60_000) != draw_schedule(8, 3, 60_000)


@pytest.mark.parametrize("duration_ms", [2_000, 18_000, 900_000])
def test_every_fault_ends_before_the_run_does(duration_ms: int) -> None:
    for seed in range(50):
        schedule = draw_schedule(seed, 5, duration_ms)
        assert schedule
        assert all(0 <= f.at_ms < f.end_ms <= duration_ms for f in schedule)
        assert [f.number for f in schedule] == list(range(1, len(schedule) + 1))
        assert all(0 < n <= 5 for f in schedule for n in f.nodes)
        for moment in (f.at_ms for f in schedule):
            assert sum(f.at_ms <= moment < f.end_ms for f in schedule) <= MAX_AT_ONCE


def test_each_kind_comes_once_before_any_comes_again() -> None:
    for seed in range(20):
        kinds = [f.kind for f in draw_schedule(seed, 3, 120_000)]
        assert sorted(kinds[: len(KINDS)]) == sorted(KINDS)


def test_only_the_kinds_that_were_asked_for_are_drawn() -> None:
    assert {f.kind for f in draw_schedule(1, 3, 60_000, ["kill", "loss"])} == {"kill", "loss"}


def test_a_node_that_is_cut_off_and_the_others_lose_each_other_both_ways() -> None:
    assert links_cut(fault("cut-one", 2), 3) == {(1, 2), (2, 1), (2, 3), (3, 2)}


def test_one_way_lets_answers_pass() -> None:
    assert links_cut(fault("cut-one-way", 1), 3) == {(1, 2), (1, 3)}


def test_in_a_ring_each_node_keeps_two_neighbours() -> None:
    cut = links_cut(fault("cut-ring", 3, 1, 5, 2, 4), 5)
    for node in range(1, 6):
        assert len([link for link in cut if link[0] == node]) == 2
    assert (3, 1) not in cut and (3, 4) not in cut and (3, 5) in cut


def test_of_three_nodes_a_ring_parts_two() -> None:
    assert links_cut(fault("cut-ring", 2, 1, 3), 3) == {(2, 3), (3, 2)}


def test_the_leader_changes_places_with_the_first() -> None:
    assert with_leader(fault("stop", 1, 2, leader=True), 3).nodes == (3, 2)
    assert with_leader(fault("stop", 1, 2, leader=True), 2).nodes == (2, 1)
    assert with_leader(fault("stop", 1, 2), 3).nodes == (1, 2)
    assert with_leader(fault("stop", 1, 2, leader=True), None).nodes == (1, 2)


def test_a_majority_serves_that_runs_and_reaches_each_other() -> None:
    assert can_serve(State(), 3)
    assert can_serve(State(down=frozenset({1})), 3)
    assert not can_serve(State(down=frozenset({1}), full=frozenset({2})), 3)
    assert not can_serve(State(frozen=frozenset({1}), cut=frozenset({(2, 3)})), 3)
    assert can_serve(in_force([fault("cut-halves", 1, 2)], 5), 5)
    assert not can_serve(in_force([fault("cut-ring", 1, 2, 3, 4, 5)], 5), 5)


def test_faults_that_overlap_hold_together_and_none_leaves_a_healed_world() -> None:
    last = [
        fault("kill", 1),
        fault("kill", 1, 2),
        fault("stop", 3),
        fault("clock-jump", 1, amount=-1_000),
        fault("clock-jump", 1, 2, amount=60_000),
        fault("loss", 2, amount=0.7),
        fault("loss", 2, amount=0.7),
        fault("full-disk", 3),
    ]
    state = in_force(last, 3)
    assert state.down == {1, 2} and state.frozen == {3} and state.full == {3}
    assert state.clock_ms == {1: 59_000, 2: 60_000}
    assert state.loss == {2: 1.0}
    assert in_force([], 3) == State()
