"""Beyond the course: the swarm's nemeses on a learner's servers, while clients propose.

The faults are those of ``simulator/nemeses``, drawn and made to happen by the same code that our
product meets: partitions of five shapes, loss, duplicates, reordering, delay, crashes, pauses,
clocks that drift, and the storm, which strikes a server that has just voted.  About half of the
kinds are off in each run.  When the faults end, the servers must agree on a command within ten
seconds, and have all applied the same.
"""

import asyncio

from quorate.raft.core.settings import Limits, Timing
from quorate.runtime.simulated.faults import Link
from quorate.simulator.lab.persistence import client
from quorate.simulator.lab.registry import ALL, LabTest, lab_test
from quorate.simulator.lab.tester import Lab
from quorate.simulator.nemeses.drawing import draw_schedule
from quorate.simulator.nemeses.faults import NOISES, PARTITIONS
from quorate.simulator.nemeses.nemesis import Nemesis
from quorate.simulator.nemeses.options import FAULTS_MS, Options

KINDS = (
    *(f"partition ({shape})" for shape in PARTITIONS),
    *NOISES,
    "kill",
    "power loss",
    "pause",
    "drift",
    "storm",
)
"""What can happen to a server whose disk never fails."""


@lab_test("swarm", servers=3, seeds=10)
async def swarm_of_3(lab: Lab) -> None:
    """Under faults nothing is lost and nothing diverges; after them there is progress."""
    await _swarm(lab)


@lab_test("swarm", servers=5, seeds=10)
async def swarm_of_5(lab: Lab) -> None:
    """The same with five servers."""
    await _swarm(lab)


@lab_test("swarm", servers=3, seeds=10)
async def swarm_of_votes(lab: Lab) -> None:
    """A vote is kept over a crash: of three servers one is in the middle, without which no election
    is won, and crashes above all when it has just voted."""
    await _swarm(lab, kinds=("storm",))


async def _swarm(lab: Lab, kinds: tuple[str, ...] = ()) -> None:
    options = _draw(lab, kinds)
    link = Link(delay_ms=options.delay_ms)
    schedule = draw_schedule(lab.simulation.stream("schedule"), options)
    nemesis = Nemesis(lab.simulation, lab.cluster, schedule, link)
    lab.watch(nemesis)
    nemesis.begin()
    stop = asyncio.Event()
    clients = [
        asyncio.ensure_future(client(lab, number, stop, options.pace_ms)) for number in range(3)
    ]
    await lab.sleep(FAULTS_MS - lab.now_ms())
    nemesis.heal()
    while not all(map(lab.is_up, lab.servers)):
        await lab.sleep(1)
    stop.set()
    acknowledged = [value for values in await asyncio.gather(*clients) for value in values]
    last = await lab.one(lab.fresh(), len(lab.servers))
    await lab.wait(last.index, len(lab.servers))
    lost = len(set(acknowledged).difference(lab.history.distinct))
    lab.exactly("acknowledged values that were lost", lost, 0)


def _draw(lab: Lab, kinds: tuple[str, ...]) -> Options:
    rng = lab.simulation.stream("options")
    kinds = kinds or tuple(kind for kind in KINDS if rng.random() < 0.5) or KINDS
    storm = "storm" in kinds
    return Options(
        nodes=len(lab.servers),
        founders=len(lab.servers),
        groups=1,
        clients=3,
        delay_ms=(10.0, 60.0) if storm else rng.choice(((0.1, 1.0), (0.5, 5.0), (1.0, 25.0))),
        sync_ms=(0.0, 0.0),
        timing=Timing(),
        limits=Limits(),
        kinds=kinds,
        down_ms=(50, 300, 1_500),
        partition_ms=2_500,
        pace_ms=100.0,
    )


SWARM: dict[str, LabTest] = {
    name: test for name, test in ALL.items() if test.body.__module__ == __name__
}
