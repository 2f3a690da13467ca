"""What seeds draw: every kind of fault on and off, every size, and the same again each time."""

import random
from collections import Counter

import msgspec
import pytest

from quorate.node.roles import ROLES
from quorate.simulator.nemeses.faults import KINDS, Noise, Schedule
from quorate.simulator.nemeses.options import KINDS_FOR_NODES, draw_for_nodes, draw_options
from quorate.simulator.plan import Plan, Reduction, draw_plan
from quorate.simulator.workloads.lists import READS
from quorate.simulator.workloads.table import WORKLOADS, workload_of

SEEDS = range(1, 151)
PLANS = [draw_plan(seed, "lists") for seed in SEEDS]
FOR_NODES = [draw_plan(seed, "words") for seed in SEEDS]
OPTIONS = [plan.options for plan in PLANS]


def kinds_of(schedule: Schedule) -> Counter[str]:
    return Counter(fault.kind for fault in schedule)


@pytest.mark.parametrize(
    ("plans", "kinds"), [(PLANS, KINDS), (FOR_NODES, KINDS_FOR_NODES)], ids=["groups", "nodes"]
)
def test_every_kind_of_fault_is_on_in_some_seeds_and_off_in_others(
    plans: list[Plan], kinds: tuple[str, ...]
) -> None:
    for kind in kinds:
        assert {kind in plan.options.kinds for plan in plans} == {True, False}, kind
    happens = sum((kinds_of(plan.schedule) for plan in plans), Counter[str]())
    assert set(happens) == set(kinds)


def test_only_what_is_on_is_drawn() -> None:
    for plan in [*PLANS, *FOR_NODES]:
        assert set(kinds_of(plan.schedule)) <= set(plan.options.kinds), plan.seed


def test_seeds_draw_every_size_and_speed() -> None:
    assert {options.nodes for options in OPTIONS} == {3, 5}
    assert {options.groups for options in OPTIONS} == {1, 2, 3}
    assert {options.clients for options in OPTIONS} == {2, 3, 4, 5, 6}
    assert all(options.clients >= 2 * options.groups for options in OPTIONS)
    assert len({options.delay_ms for options in OPTIONS}) == 4
    assert len({options.sync_ms for options in OPTIONS}) == 3
    assert {options.timing.election_timeout_ms for options in OPTIONS} == {150, 300}
    assert {options.timing.lease for options in OPTIONS} == {True, False}
    assert {options.ballast_bytes > 0 for options in OPTIONS} == {True, False}
    assert len({options.limits for options in OPTIONS}) > 10


def test_operations_of_clients_are_off_but_never_all() -> None:
    assert {options.off for options in OPTIONS} == {(), *((operation,) for operation in READS)}


def test_registers_always_have_something_to_change_and_to_read() -> None:
    offs = {draw_plan(seed, "registers").options.off for seed in range(1, 200)}
    assert len(offs) > 20
    for off in offs:
        assert not {"write", "cas", "append"} <= set(off)
        assert not {"read", "read anywhere"} <= set(off)


def test_what_never_ends_hits_a_minority_alone() -> None:
    assert {len(options.lost) for options in OPTIONS} == {0, 1, 2}
    for plan in PLANS:
        assert 2 * len(plan.options.lost) < plan.options.nodes
        for fault in plan.schedule:
            if fault.kind == "flipped bit" or fault.for_ms is None:
                sides = (getattr(fault, "side", ()), getattr(fault, "rest", ()))
                names = [getattr(fault, "target", ""), *(side[0] for side in sides if side)]
                assert set(names) & set(plan.options.lost), (plan.seed, str(fault))
    endless = {fault.kind for plan in PLANS for fault in plan.schedule if fault.for_ms is None}
    assert endless == {"kill", "failed sync", "partition (one way)"}


def test_of_whole_nodes_nothing_stays_broken_so_every_promise_can_be_kept() -> None:
    assert {plan.options.lost for plan in FOR_NODES} == {()}
    assert all(fault.for_ms is not None for plan in FOR_NODES for fault in plan.schedule)


def test_whole_nodes_meet_deaths_of_each_process_alone_of_none_and_of_all() -> None:
    drawn = [plan.options for plan in FOR_NODES]
    assert {role for options in drawn for role in options.alone} == set(ROLES)
    assert {len(options.alone) for options in drawn} == {0, 1, 2, 3}
    assert {bool(options.sided) for options in drawn} == {True, False}


def test_while_leases_are_on_clocks_keep_to_what_they_assume() -> None:
    wild = 0
    for plan in PLANS:
        for fault in plan.schedule:
            rate = getattr(fault, "rate", 1.0)
            if fault.kind == "drift":
                beyond = abs(rate - 1) > plan.options.timing.max_clock_drift
                wild += beyond
                assert not (beyond and plan.options.timing.lease), plan.seed
    assert wild > 0


def test_faults_come_in_order_before_the_faults_end_and_are_numbered() -> None:
    for plan in [*PLANS, *FOR_NODES]:
        times = [fault.at_ms for fault in plan.schedule]
        assert times == sorted(times)
        assert [fault.number for fault in plan.schedule] == list(range(1, len(times) + 1))
        assert not times or times[-1] < plan.options.faults_ms


def test_a_seed_draws_the_same_again_and_another_seed_something_else() -> None:
    assert [draw_plan(seed, "lists") for seed in SEEDS] == PLANS
    assert len({plan.schedule for plan in PLANS}) == len(PLANS)


def test_options_depend_on_the_source_alone() -> None:
    for draw in (draw_options, draw_for_nodes):
        assert draw(random.Random(5), READS) == draw(random.Random(5), READS)


def test_a_schedule_is_data_that_comes_back_from_json() -> None:
    for plan in PLANS:
        assert msgspec.json.decode(msgspec.json.encode(plan.schedule), type=Schedule) == (
            plan.schedule
        )


def test_each_fault_is_one_readable_line() -> None:
    for plan in PLANS:
        for fault in plan.schedule:
            line = str(fault)
            assert "\n" not in line
            assert f" {fault.kind}: " in line
    noise = Noise(at_ms=1_500, for_ms=250, number=7, what="loss", rate=0.05, target="n2")
    assert str(noise) == "  7   1.500 s loss: rate 0.05, target n2 for 0.250 s"


# Reductions.


def test_a_reduced_plan_has_the_same_faults_under_the_same_numbers() -> None:
    whole = draw_plan(4, "lists")
    few = whole.reduced(only=(2, 5), nodes=3, clients=1)
    assert few.schedule == (whole.schedule[1], whole.schedule[4])
    assert (few.options.nodes, few.options.clients) == (3, 1)
    assert few.options.groups == whole.options.groups
    shorter = whole.reduced(faults_ms=9_000)
    assert shorter.schedule == tuple(f for f in whole.schedule if f.at_ms < 9_000)


def test_the_command_says_all_that_a_replay_needs() -> None:
    plan = draw_plan(4, "lists", Reduction(only=(2, 5), nodes=3, operations=20), True)
    assert plan.command == (
        "python -m quorate.simulator 4 --workload lists --only 2,5 --nodes 3 --operations 20"
        " --histories-only"
    )
    assert draw_plan(4, "words").command == "python -m quorate.simulator 4 --workload words"
    assert draw_plan(4, "lists", Reduction(only=())).command.endswith(" --only ''")


def test_a_plan_is_printed_with_its_options_and_a_line_for_each_fault() -> None:
    plan = PLANS[3]
    first, *others = plan.lines()
    assert first.startswith("seed 4, lists: nodes=")
    assert others == [str(fault) for fault in plan.schedule]


def test_seeds_in_a_row_run_every_workload() -> None:
    chosen = Counter(workload_of(seed) for seed in range(100))
    assert set(chosen) == set(WORKLOADS)
    assert chosen["words"] <= 15
