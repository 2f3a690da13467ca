"""Each kind of fault does what its name says, while it lasts and no longer."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest

from quorate.base.errors import DiskFailed, DiskFull
from quorate.base.ids import GroupId, ReplicaId
from quorate.raft.core.settings import Timing
from quorate.raft.wal import Damaged
from quorate.runtime.simulated.faults import Link
from quorate.runtime.simulated.process import SimulatedProcess
from quorate.runtime.simulated.world import Simulation
from quorate.simulator.cluster import RaftCluster
from quorate.simulator.nemeses.faults import (
    Ambush,
    AnyFault,
    Drift,
    FailedSync,
    FlippedBit,
    FullDisk,
    Jump,
    Kill,
    Noise,
    Partition,
    Pause,
    PowerLoss,
    Reset,
    SlowDisk,
    Storm,
    Transfer,
)
from quorate.simulator.nemeses.nemesis import Nemesis

BEGIN_MS, MIDDLE_MS, END_MS, AFTER_MS = 3_000, 3_500, 4_000, 4_500
GROUP = GroupId(1)
LINK = Link(delay_ms=(0.5, 1.0))


class Arena:
    """A cluster with a leader, and the nemesis that acts on it."""

    def __init__(self, simulation: Simulation, faults: Sequence[AnyFault], nodes: int) -> None:
        self.simulation = simulation
        self.cluster = RaftCluster(simulation, nodes, timing=Timing(50, 300))
        self.nemesis = Nemesis(simulation, self.cluster, tuple(faults), LINK)
        self.cluster.found()
        self.nemesis.begin()
        self.until(BEGIN_MS - 1)
        leader = self.cluster.leader(GROUP)
        assert leader is not None
        self.leader = leader

    def until(self, time_ms: float) -> None:
        self.simulation.run_for(time_ms - self.simulation.now_ms())

    def process(self, name: str) -> SimulatedProcess:
        [process] = self.cluster.processes(name)
        return process

    def blocked(self) -> set[tuple[str, str]]:
        return self.simulation.faults.blocked


@contextmanager
def arena(*faults: AnyFault, nodes: int = 3) -> Iterator[Arena]:
    with Simulation(7) as simulation:
        yield Arena(simulation, faults, nodes)


def both_ways(*pairs: str) -> set[tuple[str, str]]:
    """``"1-2"`` is both directions between n1 and n2."""
    ends = [pair.split("-") for pair in pairs]
    return {(f"n{a}", f"n{b}") for x, y in ends for a, b in ((x, y), (y, x))}


def partition(shape: str, side: str, rest: str, **more: int) -> Partition:
    """``"12"`` are n1 and n2."""
    return Partition(
        at_ms=BEGIN_MS,
        for_ms=END_MS - BEGIN_MS,
        number=1,
        shape=shape,
        side=tuple(f"n{digit}" for digit in side),
        rest=tuple(f"n{digit}" for digit in rest),
        **more,
    )


@pytest.mark.parametrize(
    ("fault", "cut"),
    [
        (partition("one", "2", "1345"), both_ways("2-1", "2-3", "2-4", "2-5")),
        (partition("sides", "123", "45"), both_ways("1-4", "1-5", "2-4", "2-5", "3-4", "3-5")),
        (partition("one way", "1", "2345"), {("n1", f"n{other}") for other in range(2, 6)}),
        (partition("ring", "12", "345"), both_ways("1-3", "1-4", "2-4", "2-5", "3-5")),
        (partition("bridge", "12", "345"), both_ways("2-3", "2-4", "2-5")),
        (partition("bridge", "1", "2345"), both_ways("2-3", "2-4", "2-5")),
    ],
    ids=lambda value: value.shape if isinstance(value, Partition) else "",
)
def test_a_partition_cuts_what_its_shape_says_and_heals(
    fault: Partition, cut: set[tuple[str, str]]
) -> None:
    with arena(fault, nodes=5) as at:
        assert at.blocked() == set()
        at.until(MIDDLE_MS)
        assert at.blocked() == cut
        at.until(AFTER_MS)
        assert at.blocked() == set()
        assert at.nemesis.counts == {f"partition ({fault.shape})": 1}


def test_a_ring_of_three_is_a_line() -> None:
    with arena(partition("ring", "2", "13")) as at:
        at.until(MIDDLE_MS)
        assert at.blocked() == both_ways("2-3")


def test_a_partition_can_be_aimed_at_the_leader() -> None:
    for seat in "123":
        others = "123".replace(seat, "")
        with arena(partition("one", seat, others, leader_of=1)) as at:
            at.until(MIDDLE_MS)
            others_now = [name for name in at.cluster.names if name != at.leader]
            assert at.blocked() == {
                pair for name in others_now for pair in ((at.leader, name), (name, at.leader))
            }


def test_two_partitions_at_once_cut_what_either_cuts_and_heal_one_by_one() -> None:
    second = Partition(
        at_ms=3_200, for_ms=1_500, number=2, shape="one way", side=("n3",), rest=("n1",)
    )
    with arena(partition("one", "1", "23"), second) as at:
        at.until(MIDDLE_MS)
        assert at.blocked() == both_ways("1-2", "1-3")
        at.until(AFTER_MS)
        assert at.blocked() == {("n3", "n1")}
        at.until(5_000)
        assert at.blocked() == set()


def noise(what: str, number: int = 1, target: str = "", **more: Any) -> Noise:
    return Noise(at_ms=BEGIN_MS, for_ms=1_000, number=number, what=what, target=target, **more)


def test_noise_is_on_all_links_or_on_those_of_one_node_while_it_lasts() -> None:
    everywhere = noise("loss", rate=0.3)
    late = noise("delay", 2, "n2", delay_ms=(40.0, 60.0))
    others = [noise("duplicates", 3, rate=0.2), noise("reordering", 4, rate=0.1)]
    with arena(everywhere, late, *others) as at:
        faults = at.simulation.faults
        assert faults.link("n1", "n3") == LINK
        at.until(MIDDLE_MS)
        plain, slow = faults.link("n1", "n3"), faults.link("n1", "n2")
        for link in (plain, slow, faults.link("n2", "n3")):
            assert (link.loss, link.duplicate, link.reorder) == (0.3, 0.2, 0.1)
        assert plain.delay_ms == LINK.delay_ms
        assert slow.delay_ms == (40.0, 60.0)
        at.until(AFTER_MS)
        assert faults.link("n1", "n2") == faults.link("n1", "n3") == LINK


def test_a_reset_breaks_the_connections_of_a_machine_and_of_no_other() -> None:
    with arena(Reset(at_ms=BEGIN_MS, for_ms=0, target="n1")) as at:

        def ends(name: str) -> list[tuple[str, bool]]:
            return [
                (end.other.machine, end.is_open)
                for network in at.simulation.wire.networks
                if network.process.machine == name
                for end in network.connections
            ]

        before = {name: len(ends(name)) for name in at.cluster.names}
        at.until(BEGIN_MS + 0.1)
        assert at.nemesis.counts == {"reset": 1}
        assert before["n1"] >= 2
        assert not any(is_open for _, is_open in ends("n1")[: before["n1"]])
        assert any(is_open for other, is_open in ends("n2") if other == "n3")
        at.until(AFTER_MS)
        assert at.cluster.leader(GROUP) is not None


def test_a_kill_is_followed_by_a_start() -> None:
    with arena(Kill(at_ms=BEGIN_MS, for_ms=1_000, target="n2", role="raft")) as at:
        first = at.process("n2")
        at.until(MIDDLE_MS)
        assert not first.alive
        assert at.process("n2") is first
        at.until(AFTER_MS)
        assert at.process("n2") is not first
        assert at.process("n2").alive


def test_a_kill_of_all_hits_all_and_one_of_the_leader_hits_it() -> None:
    with arena(Kill(at_ms=BEGIN_MS, for_ms=1_000, target="all")) as at:
        at.until(MIDDLE_MS)
        assert not any(at.process(name).alive for name in at.cluster.names)
    with arena(Kill(at_ms=BEGIN_MS, for_ms=1_000, target="leader 1")) as at:
        at.until(MIDDLE_MS)
        alive = [name for name in at.cluster.names if at.process(name).alive]
        assert alive == [name for name in at.cluster.names if name != at.leader]


def test_a_power_loss_is_dark_until_the_machine_starts() -> None:
    with arena(PowerLoss(at_ms=BEGIN_MS, for_ms=1_000, target="n3")) as at:
        at.until(MIDDLE_MS)
        assert not at.process("n3").alive
        assert at.simulation.wire.cut("n1", "n3")
        at.until(AFTER_MS)
        assert at.process("n3").alive
        assert not at.simulation.wire.cut("n1", "n3")


def test_a_paused_leader_is_replaced_and_two_pauses_end_with_the_later() -> None:
    longer = Pause(at_ms=BEGIN_MS + 500, for_ms=1_500, number=2, target="leader 1")
    first = Pause(at_ms=BEGIN_MS, for_ms=2_000, number=1, target="leader 1")
    with arena(first, longer) as at:
        at.until(BEGIN_MS + 400)
        paused = at.process(at.leader)
        assert paused.paused
        assert paused.alive
        at.until(BEGIN_MS + 1_900)
        assert at.cluster.leader(GROUP) not in (None, at.leader)
        at.until(BEGIN_MS + 2_100)
        assert not any(at.process(name).paused for name in at.cluster.names)


def test_one_process_held_by_two_pauses_goes_on_after_both() -> None:
    two = [
        Pause(at_ms=BEGIN_MS, for_ms=1_000, number=1, target="n1"),
        Pause(at_ms=BEGIN_MS + 500, for_ms=1_000, number=2, target="n1"),
    ]
    with arena(*two) as at:
        at.until(BEGIN_MS + 1_200)
        assert at.process("n1").paused
        at.until(BEGIN_MS + 1_600)
        assert not at.process("n1").paused


def test_clocks_drift_for_a_while_and_jump_for_good() -> None:
    jump = Jump(at_ms=BEGIN_MS, for_ms=0, number=2, target="n2", by_ms=-60_000)
    with arena(Drift(at_ms=BEGIN_MS, for_ms=1_000, number=1, target="n1", rate=2.0), jump) as at:
        clock, jumped = (at.simulation.machine(name).clock for name in ("n1", "n2"))
        wall_ms = jumped.wall_ms()
        at.until(MIDDLE_MS)
        assert clock.rate == 2.0
        assert jumped.wall_ms() < wall_ms - 59_000
        at.until(AFTER_MS)
        assert clock.rate == 1.0
        assert jumped.wall_ms() < wall_ms - 58_000


def test_a_disk_stalls_while_it_is_slow() -> None:
    slow = SlowDisk(
        at_ms=BEGIN_MS, for_ms=1_000, number=1, target="n1", share=1.0, stall_ms=(50.0, 60.0)
    )
    with arena(slow) as at:
        faults = at.simulation.machine("n1").disk.faults
        at.until(MIDDLE_MS)
        assert (faults.stall_probability, faults.stall_ms) == (1.0, (50.0, 60.0))
        at.until(AFTER_MS)
        assert faults.stall_probability == 0.0


def test_a_failed_sync_stops_a_node_and_it_is_started_again() -> None:
    failed = FailedSync(at_ms=BEGIN_MS, for_ms=1_500, number=1, target="n1")
    unrest = Kill(at_ms=BEGIN_MS, for_ms=100, number=2, target="leader 1")
    with arena(failed, unrest) as at:
        at.until(BEGIN_MS + 1_400)
        assert isinstance(at.process("n1").error, DiskFailed)
        at.until(AFTER_MS + 500)
        assert at.process("n1").alive


def test_a_full_disk_takes_no_more_until_there_is_room() -> None:
    full = FullDisk(at_ms=BEGIN_MS, for_ms=1_000, number=1, target="n1", free_bytes=0)
    with arena(full) as at:
        disk = at.simulation.machine("n1").disk
        at.until(MIDDLE_MS)
        assert disk.free_bytes() == 0
        with pytest.raises(DiskFull):
            disk.reserve(1, "a file")
        at.until(AFTER_MS)
        assert disk.free_bytes() > 1 << 30


def test_a_flipped_bit_is_found_when_the_node_starts_and_its_replica_rebuilt() -> None:
    with arena(FlippedBit(at_ms=BEGIN_MS, for_ms=100, number=1, target="n2")) as at:
        before = at.cluster.voters(GROUP)
        found = False
        for now_ms in range(BEGIN_MS, AFTER_MS + 10_000, 50):
            at.until(now_ms)
            found = found or isinstance(at.process("n2").error, Damaged)
        assert found
        assert at.process("n2").alive
        assert at.cluster.voters(GROUP) == before
        assert at.simulation.machine("n2").disk.found(("raft", "log")) is not None


@pytest.mark.parametrize("by_power_loss", [False, True])
def test_in_a_storm_nobody_but_the_hub_is_heard_and_the_hub_keeps_dying(
    by_power_loss: bool,
) -> None:
    storm = Storm(
        at_ms=BEGIN_MS,
        for_ms=1_000,
        number=1,
        target="n1",
        strikes=5,
        by_power_loss=by_power_loss,
    )
    with arena(storm) as at:
        first = at.process("n1")
        at.until(MIDDLE_MS)
        assert at.blocked() == both_ways("2-3")
        at.until(END_MS + 1_000)
        assert at.blocked() == set()
        assert at.process("n1") is not first
        assert at.process("n1").alive


@pytest.mark.parametrize("seed", range(4))
def test_an_ambush_strikes_who_fetches_a_snapshot_and_nobody_else(seed: int) -> None:
    ambush = Ambush(at_ms=BEGIN_MS, for_ms=END_MS - BEGIN_MS, number=seed, strikes=1)
    with arena(ambush) as at:
        at.until(BEGIN_MS + 10)
        before = {name: at.process(name) for name in ("n1", "n2", "n3")}
        seen = at.cluster.checker.on_snapshot
        at.simulation.loop.call_later(0.1, seen, ReplicaId(2), False)
        at.simulation.loop.call_later(0.2, seen, ReplicaId(2), True)
        at.simulation.loop.call_later(0.6, seen, ReplicaId(3), False)  # it strikes once
        at.until(END_MS + 1_000)
        struck = [name for name, process in before.items() if at.process(name) is not process]
        assert struck == ["n2"]
        assert at.process("n2").alive


def test_a_leader_that_is_told_to_hands_over() -> None:
    with arena(Transfer(at_ms=BEGIN_MS, for_ms=0, number=1, group=1)) as at:
        at.until(MIDDLE_MS)
        assert at.cluster.leader(GROUP) not in (None, at.leader)


def test_a_leader_that_hands_over_may_not_hear_that_another_leads() -> None:
    transfer = Transfer(at_ms=BEGIN_MS, for_ms=1_000, number=1, group=1, deaf_after_ms=20)
    with arena(transfer) as at:
        first = at.leader
        others = [name for name in at.cluster.names if name != first]
        at.until(MIDDLE_MS)
        assert at.blocked() == {(other, first) for other in others}
        at.until(AFTER_MS)
        assert at.blocked() == set()
        assert at.cluster.leader(GROUP) not in (None, first)


def test_a_process_that_was_paused_may_wake_up_deaf() -> None:
    pause = Pause(at_ms=BEGIN_MS, for_ms=1_000, number=1, target="n1", deaf_ms=400)
    with arena(pause) as at:
        at.until(BEGIN_MS + 500)
        assert at.process("n1").paused
        assert at.blocked() == {("n2", "n1"), ("n3", "n1")}
        at.until(BEGIN_MS + 700)
        assert not at.process("n1").paused
        assert at.blocked() == {("n2", "n1"), ("n3", "n1")}
        at.until(AFTER_MS)
        assert at.blocked() == set()


def test_what_two_faults_keep_down_starts_after_both() -> None:
    kills = [
        Kill(at_ms=BEGIN_MS, for_ms=1_000, number=1, target="n1"),
        PowerLoss(at_ms=BEGIN_MS + 1, for_ms=100, number=2, target="n1"),
    ]
    with arena(*kills) as at:  # the second finds nothing to fell
        at.until(MIDDLE_MS)
        assert not at.process("n1").alive
        assert at.nemesis.counts == {"kill": 1}
        at.until(AFTER_MS)
        assert at.process("n1").alive


def test_healing_ends_everything_but_what_never_ends() -> None:
    for_ever = [
        Kill(at_ms=BEGIN_MS, for_ms=None, number=1, target="n4"),
        Partition(
            at_ms=BEGIN_MS, for_ms=None, number=2, shape="one way", side=("n5",), rest=("n1",)
        ),
    ]
    passing = [
        partition("one", "1", "2345"),
        Pause(at_ms=BEGIN_MS, for_ms=9_000, number=3, target="n2"),
        noise("loss", 4, rate=0.5),
        PowerLoss(at_ms=BEGIN_MS, for_ms=9_000, number=5, target="n3"),
        Drift(at_ms=BEGIN_MS, for_ms=9_000, number=6, target="n1", rate=0.5),
    ]
    passing[0] = Partition(
        at_ms=BEGIN_MS, for_ms=9_000, number=7, shape="one", side=("n1",), rest=("n2", "n3")
    )
    with arena(*for_ever, *passing, nodes=5) as at:
        at.until(MIDDLE_MS)
        assert at.nemesis.counts.total() == 7
        at.nemesis.heal()
        at.until(AFTER_MS)
        assert at.blocked() == {("n5", "n1")}
        assert at.simulation.faults.default == Link()
        assert at.simulation.machine("n1").clock.rate == 1.0
        alive = [name for name in at.cluster.names if at.process(name).alive]
        assert alive == ["n1", "n2", "n3", "n5"]
        assert not any(at.process(name).paused for name in at.cluster.names)


def test_a_fault_that_meets_nobody_has_no_effect_and_is_not_counted() -> None:
    absent = [
        Kill(at_ms=BEGIN_MS, for_ms=100, number=1, target="n5"),
        partition("one", "5", "123"),
        Transfer(at_ms=BEGIN_MS, for_ms=0, number=3, group=2),
    ]
    with arena(*absent) as at:
        at.until(MIDDLE_MS)
        assert at.nemesis.counts == {}
        assert at.blocked() == set()


def test_what_happens_stands_in_the_trace() -> None:
    with arena(Kill(at_ms=BEGIN_MS, for_ms=100, number=9, target="n2")) as at:
        at.until(AFTER_MS)
        lines = [line for line in at.simulation.trace.recent if " nemesis " in line]
        assert lines == ["  3.000000 nemesis   9   3.000 s kill: target n2 for 0.100 s"]


def test_a_storm_of_five_leaves_two_halves_that_only_the_hub_joins() -> None:
    storm = Storm(at_ms=BEGIN_MS, for_ms=1_000, number=1, target="n3", strikes=0)
    with arena(storm, nodes=5) as at:
        at.until(MIDDLE_MS)
        assert at.blocked() == both_ways("1-4", "1-5", "2-4", "2-5")
