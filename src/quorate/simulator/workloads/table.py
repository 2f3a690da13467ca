"""The one table of workloads, and which of them a seed runs by default."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from quorate.base.machine import StateMachine
from quorate.kv.core.history import MAX_EVENTS
from quorate.runtime.simulated.processes import TaskCost
from quorate.runtime.simulated.world import Simulation
from quorate.simulator.cluster import NodeCluster, RaftCluster
from quorate.simulator.nemeses.options import (
    Needed,
    Options,
    draw_for_keys,
    draw_for_nodes,
    draw_options,
)
from quorate.simulator.workloads.keys import workload as keys
from quorate.simulator.workloads.keys.cluster import KvCluster
from quorate.simulator.workloads.keys.workload import KeysWorkload
from quorate.simulator.workloads.list_clients import ListsWorkload
from quorate.simulator.workloads.lists import READS, Lists
from quorate.simulator.workloads.register_clients import (
    NEEDED,
    OPERATIONS,
    RegistersWorkload,
)
from quorate.simulator.workloads.registers import Registers
from quorate.simulator.workloads.words import Words
from quorate.simulator.workloads.workload import Workload

TASK_COST = TaskCost(request_ms=(20.0, 500.0))
"""So that a job of small tasks takes seconds, in which something can happen to it."""


def _groups(
    simulation: Simulation, options: Options, machine: Callable[[], StateMachine]
) -> RaftCluster:
    return RaftCluster(
        simulation,
        options.nodes,
        options.groups,
        founders=options.founders,
        lost=options.lost,
        timing=options.timing,
        limits=options.limits,
        machine=machine,
    )


def _lists(simulation: Simulation, options: Options, rng: random.Random) -> Workload:
    cluster = _groups(simulation, options, partial(Lists, options.ballast_bytes))
    return ListsWorkload(
        cluster,
        options.clients,
        rng,
        pace_ms=options.pace_ms,
        off=options.off,
        padding_bytes=options.padding_bytes,
        operations=options.operations,
    )


def _registers(simulation: Simulation, options: Options, rng: random.Random) -> Workload:
    cluster = _groups(simulation, options, Registers)
    return RegistersWorkload(
        cluster,
        options.clients,
        rng,
        pace_ms=options.pace_ms,
        off=options.off,
        operations=options.operations,
    )


def _keys(simulation: Simulation, options: Options, rng: random.Random) -> Workload:
    cluster = KvCluster(
        simulation,
        options.nodes,
        founders=options.founders,
        lost=options.lost,
        timing=options.timing,
        limits=options.limits,
        max_events=rng.choice((20, 100, 1_000, MAX_EVENTS)),
        ballast_bytes=options.ballast_bytes,
        padding_bytes=options.padding_bytes,
    )
    return KeysWorkload(
        cluster,
        options.clients,
        rng,
        pace_ms=options.pace_ms,
        off=options.off,
        operations=options.operations,
    )


def _words(simulation: Simulation, options: Options, rng: random.Random) -> Workload:
    cluster = NodeCluster(
        simulation, options.nodes, timing=options.timing, limits=options.limits, cost=TASK_COST
    )
    return Words(cluster, options.clients, rng)


@dataclass(frozen=True, slots=True)
class Entry:
    """A workload by name.

    ``make`` honours what its options say of clients, pace, ``off`` (of ``operations``, those that a
    seed may leave out; never all) and the bound on operations.
    """

    make: Callable[[Simulation, Options, random.Random], Workload]
    operations: tuple[str, ...] = ()
    needed: tuple[tuple[str, ...], ...] = ()
    """Of each of these at least one operation stays on."""
    draw: Callable[[random.Random, tuple[str, ...], Needed], Options] = draw_options
    share: int = 1
    """Of how many seeds in a row it is given, where nobody chooses (``workload_of``)."""


WORKLOADS: dict[str, Entry] = {
    "lists": Entry(_lists, READS, share=11),
    "registers": Entry(_registers, OPERATIONS, NEEDED, share=8),
    "keys": Entry(_keys, keys.OPERATIONS, keys.NEEDED, draw_for_keys, share=8),
    "words": Entry(_words, draw=draw_for_nodes),
}
_MIX = [name for name, entry in WORKLOADS.items() for _ in range(entry.share)]


def workload_of(seed: int) -> str:
    """What ``seed`` runs if nobody chooses."""
    return _MIX[seed % len(_MIX)]
