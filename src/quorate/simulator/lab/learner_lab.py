"""A lab whose servers run a learner's core."""

from typing import NamedTuple

from quorate.base.check import Bug
from quorate.simulator.lab.history import Value
from quorate.simulator.lab.loading import Core
from quorate.simulator.lab.recorder import LabEvent, Recorder
from quorate.simulator.lab.registry import LabTest
from quorate.simulator.lab.results import Broken, Result, Traffic
from quorate.simulator.lab.servers import Server, Servers
from quorate.simulator.lab.tester import Lab, Started


class LearnerLab(Lab):
    """As the test needs it; time is virtual, and all chance is of ``seed``."""

    strict = False

    def __init__(self, test: LabTest, core: Core, seed: int) -> None:
        super().__init__(test.name, test.servers, seed)
        self.recorder = Recorder(test.servers)
        self._servers = Servers(
            self.simulation,
            test.servers,
            core,
            self.history,
            self.recorder,
            snapshots=test.snapshots,
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

    def note(self, text: str) -> None:
        for server in self.servers:
            self._servers.connected(server, self.is_connected(server))
        self._servers.record("fault", None, text)

    def long_reordering(self) -> None:
        self._servers.long_reordering = True
        self.note("answers come up to two seconds late")

    def is_up(self, server: int) -> bool:
        return self._servers.lives[server] is not None

    def leads(self, server: int) -> bool:
        return self.is_up(server) and self.recorder.view(server).leads

    def term(self, server: int) -> int:
        return self.recorder.view(server).term

    async def propose(self, server: int, value: Value) -> Started | None:
        life = self._life(server)
        started: Started | None = life.process.run(life.start, value)
        return started

    def _life(self, server: int) -> Server:
        life = self._servers.lives[server]
        if life is None:
            raise Bug(f"{self.name(server)} is down and is asked to propose")
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
    events: list[LabEvent]
    names: list[str]


def run_core(test: LabTest, core: Core, seed: int) -> Run:
    """Run ``test`` on servers of ``core``."""
    lab = LearnerLab(test, core, seed)
    broken: Broken | None = None
    with lab.simulation, lab.cluster.guard.watching():
        try:
            lab.run(test.body(lab))
        except Broken as what:
            broken = what
            lab.cluster.record("broken", None, str(what))
        result = lab.result()
    return Run(test, seed, result, broken, lab.recorder.events, lab.cluster.names)
