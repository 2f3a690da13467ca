"""What seeds draw: every kind of fault, on and off."""

import random

from quorate.node.roles import ROLES
from quorate.simulator.nemeses import PARTITIONS, Options, draw, draw_for_nodes

OPTIONS = [draw(random.Random(seed)) for seed in range(1, 51)]
FOR_NODES = [draw_for_nodes(random.Random(seed)) for seed in range(1, 51)]


def test_fifty_seeds_draw_every_kind_of_fault_on_and_off() -> None:
    for kind in ("loss", "duplicate", "reorder"):
        assert {getattr(options.link, kind) > 0 for options in OPTIONS} == {True, False}, kind
    assert {options.storm for options in OPTIONS} == {True, False}
    assert {options.power_losses for options in OPTIONS} == {True, False}
    assert {options.flip_bit_on is None for options in OPTIONS} == {True, False}
    for kind in PARTITIONS:
        assert {kind in options.partition_kinds for options in OPTIONS} == {True, False}, kind


def test_fifty_seeds_draw_every_size_and_speed() -> None:
    assert {options.nodes for options in OPTIONS} == {3, 5}
    assert {options.groups for options in OPTIONS} == {1, 2, 3}
    assert {options.clients for options in OPTIONS} == {2, 3, 4, 5}
    assert len({options.link.delay_ms for options in OPTIONS}) == 4
    assert len({options.sync_ms for options in OPTIONS}) == 3
    assert {options.timing.election_timeout_ms for options in OPTIONS} == {150, 300}


def test_there_is_a_seed_without_any_fault_on_the_wire_and_one_with_all() -> None:
    def faults(options: Options) -> int:
        link = options.link
        return (link.loss > 0) + (link.duplicate > 0) + (link.reorder > 0)

    assert {0, 3} <= {faults(options) for options in OPTIONS}


def test_a_damaged_disk_is_always_one_of_the_nodes() -> None:
    for options in OPTIONS:
        names = [f"n{number}" for number in range(1, options.nodes + 1)]
        assert options.flip_bit_on is None or options.flip_bit_on in names


def test_whole_nodes_meet_deaths_of_each_process_alone_of_none_and_of_all() -> None:
    assert {role for options in FOR_NODES for role in options.alone} == set(ROLES)
    assert {len(options.alone) for options in FOR_NODES} == {0, 1, 2, 3}
    assert {options.clients_take_sides for options in FOR_NODES} == {True, False}
    assert {options.power_losses for options in FOR_NODES} == {True, False}


def test_no_disk_of_whole_nodes_is_damaged_so_every_promise_can_be_kept() -> None:
    assert {options.flip_bit_on for options in FOR_NODES} == {None}


def test_a_seed_draws_the_same_again() -> None:
    assert [draw(random.Random(seed)) for seed in range(1, 51)] == OPTIONS
    assert [draw_for_nodes(random.Random(seed)) for seed in range(1, 51)] == FOR_NODES
