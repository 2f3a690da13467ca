"""A lab whose servers run a learner's core."""

from typing import NamedTuple

from quorate.base.check import Bug
from quorate.simulator.lab.errors import CoreFailed
from quorate.simulator.lab.history import Value
from quorate.simulator.lab.lines import Lines
from quorate.simulator.lab.loading import Core
from quorate.simulator.lab.recorder import LabRecorder
from quorate.simulator.lab.registry import LabTest
from quorate.simulator.lab.results import Broken, Result, Traffic
from quorate.simulator.lab.servers import Server, Servers
from quorate.simulator.lab.tester import Lab, Started
from quorate.simulator.nemeses.nemesis import Nemesis
from quorate.simulator.timeline.events import Event
from quorate.simulator.timeline.sources import STORED
from quorate.simulator.timeline.watching import Faults

SECTIONS = {
    "Election Safety": "figure 3, Election Safety; §5.2 Leader election",
    "State Machine Safety": "figure 3, State Machine Safety; §5.4.3 Safety argument",
    "figure 2": STORED,
}


class LearnerLab(Lab):
    """As the test needs it; time is virtual, and all chance is of ``seed``."""

    strict = False

    def __init__(self, test: LabTest, core: Core, seed: int, *, watched: bool) -> None:
        super().__init__(test.name, test.servers, seed)
        self.recorder = LabRecorder(self.simulation.now_ms)
        self._faults: dict[str, int] = {}
        self._servers = Servers(
            self.simulation,
            test.servers,
            core,
            self.history,
            self.recorder,
            snapshots=test.snapshots,
            watched=watched,
        )

    @property
    def cluster(self) -> Servers:
        return self._servers

    @property
    def traffic(self) -> Traffic:
        return self._servers.traffic

    @property
    def elections(self) -> int:
        return len(self._servers.leaders)

    def fault(self, what: str, source: str, *servers: int) -> None:
        lanes = tuple(map(self.name, servers))
        self._faults[what] = self.recorder.begin("fault", "", what, source, lanes=lanes)

    def healed(self, what: str) -> None:
        arrow = self._faults.pop(what, None)
        if arrow is not None:
            self.recorder.tell("healed", arrow=arrow)

    def watch(self, nemesis: Nemesis) -> None:
        Faults(self.recorder, nemesis)

    def long_reordering(self) -> None:
        self._servers.long_reordering = True
        self.fault("answers come up to two seconds late", "lab late")

    def is_up(self, server: int) -> bool:
        return self._servers.lives[server] is not None

    def leads(self, server: int) -> bool:
        life = self._servers.lives[server]
        return life is not None and life.leads

    def term(self, server: int) -> int:
        return self._life(server).term

    async def propose(self, server: int, value: Value) -> Started | None:
        life = self._life(server)
        started: Started | None = life.process.run(life.start, value)
        return started

    def _life(self, server: int) -> Server:
        life = self._servers.lives[server]
        if life is None:
            raise Bug(f"{self.name(server)} is down and is asked")
        return life

    def persisted_log_bytes(self, server: int) -> int:
        return len(self._servers.disks[server][0])


class Run(NamedTuple):
    """One test with one seed."""

    test: LabTest
    seed: int
    result: Result
    broken: Broken | None
    """The promise that was not kept, if one was not."""
    said: int
    """A hash of all that the servers said to each other."""
    names: list[str]
    events: list[Event]
    """Of a watched run; otherwise little of it."""
    lines: Lines
    tells: bool
    """The states are what the core's ``timeline()`` told."""

    def went_as(self, other: "Run") -> bool:
        """Whether both are the same."""
        return (self.said, self.result, str(self.broken)) == (
            other.said,
            other.result,
            str(other.broken),
        )


def run_core(test: LabTest, core: Core, seed: int, *, watched: bool = False) -> Run:
    """Run ``test`` on servers of ``core``; ``watched``: keep what happens."""
    lab = LearnerLab(test, core, seed, watched=watched)
    broken: Broken | None = None
    with lab.simulation, lab.cluster.guard.watching():
        try:
            lab.run(test.body(lab))
        except Broken as what:
            broken = what
        result = lab.result()
    lines = lab.cluster.lines
    if broken is not None:
        lab.recorder.tell("broken", text=str(broken), source=_line_of(broken, test, lines))
    servers, found = lab.cluster, lab.recorder.recorded
    return Run(test, seed, result, broken, servers.said, servers.names, found, lines, servers.tells)


def _line_of(broken: Broken, test: LabTest, lines: Lines) -> str:
    """The learner's, if that line failed; otherwise the test, whose promise was not kept."""
    if isinstance(broken, CoreFailed) and broken.where is not None:
        return lines.at(broken.where.tb_frame.f_code, broken.where.tb_lineno, "")
    section = next((of for words, of in SECTIONS.items() if words in str(broken)), "")
    return lines.of(test.body, section)
