"""The course labs over the whole product: log, driver, sessions, snapshots, calls.

The tests are in ``quorate.simulator.lab``; ``Lab`` there says how the labs' words map.  Here is
what is ours alone: a command is proposed in the server's process without a session, each call an
entry of its own unless it comes while the one before is written; a crash loses what was not
synced; servers take their snapshots by the bytes of entries they have applied, here those of ten
small ones, and keep nothing behind them.
"""

import asyncio
import contextlib

from labs.machine import LabMachine, Put
from labs.network import LabChecker, LabCluster

from quorate.base.codec import encode
from quorate.base.errors import QuorateError
from quorate.base.ids import GroupId
from quorate.raft.core.entries import ENTRY_BYTES
from quorate.raft.core.settings import Limits
from quorate.raft.group import Group
from quorate.raft.wal.records import Append, Cut, State
from quorate.raft.wal.recovery import read_log
from quorate.runtime.simulated.process import CURRENT, SimulatedProcess
from quorate.simulator.cluster import CLUSTER, node_id
from quorate.simulator.lab.history import Value
from quorate.simulator.lab.registry import LabTest
from quorate.simulator.lab.results import Broken, Traffic
from quorate.simulator.lab.tester import AGREEMENT_MS, SNAPSHOT_COMMANDS, Lab, Started
from quorate.simulator.nemeses.nemesis import Nemesis

GROUP = GroupId(1)
SNAPSHOT_LIMITS = Limits(
    snapshot_log_bytes=SNAPSHOT_COMMANDS * (33 + ENTRY_BYTES), retained_log_bytes=0
)
"""33 bytes are what an entry with one small command has."""


class ProductLab(Lab):
    """``servers`` servers of the product."""

    strict = True
    group_id = GROUP

    def __init__(self, test: LabTest, seed: int) -> None:
        super().__init__(test.name, test.servers, seed)
        self._cluster = self._make_cluster(test)
        self.checker = LabChecker()
        self._cluster.checker = self._cluster.observer = self.checker

    def _make_cluster(self, test: LabTest) -> LabCluster:
        limits = SNAPSHOT_LIMITS if test.snapshots else None
        return LabCluster(self.simulation, test.servers, self._machine, limits)

    @property
    def cluster(self) -> LabCluster:
        return self._cluster

    @property
    def traffic(self) -> Traffic:
        return self.checker.traffic

    @property
    def elections(self) -> int:
        return self.checker.elections

    def _machine(self) -> LabMachine:
        process = CURRENT.get()
        assert process is not None
        return LabMachine(self.history.begin(process.machine))

    def fault(self, what: str, source: str, *servers: int) -> None:
        self.simulation.trace.add("lab", what)

    def healed(self, what: str) -> None:
        self.simulation.trace.add("lab", f"over: {what}")

    def watch(self, nemesis: Nemesis) -> None:
        nemesis.on_begin = lambda fault, nodes: self.simulation.trace.add("lab", str(fault))

    def long_reordering(self) -> None:
        self._cluster.long_reordering = True

    def group(self, server: int) -> Group | None:
        """The replica of ``server``, if that runs."""
        node = self._cluster.raft_nodes.get(self.name(server))
        [process] = self._cluster.processes(self.name(server))
        return node.groups[self.group_id] if node is not None and process.alive else None

    def is_up(self, server: int) -> bool:
        return self.group(server) is not None

    def leads(self, server: int) -> bool:
        group = self.group(server)
        return group is not None and group.status().role == "leader"

    def term(self, server: int) -> int:
        group = self.group(server)
        assert group is not None, f"server {server} is down"
        return group.term

    async def propose(self, server: int, value: Value) -> Started | None:
        group = self.group(server)
        assert group is not None, f"server {server} is down"
        command = Put(value)
        started: asyncio.Future[Started | None] = asyncio.get_running_loop().create_future()
        self.checker.proposals[encode(command)] = started
        [process] = self._cluster.processes(self.name(server))
        proposal = process.run(asyncio.ensure_future, _quietly(group, command))
        proposal.add_done_callback(lambda _: None if started.done() else started.set_result(None))
        try:
            return await started
        finally:
            self.checker.proposals.pop(encode(command), None)

    def persisted_log_bytes(self, server: int) -> int:
        """What the log on the disk of ``server`` says of the group now: its state, what was cut,
        and the entries behind it, encoded.  The files are larger: segments are allocated ahead, and
        garbage is removed a segment at a time."""
        reader = SimulatedProcess(self.name(server), "lab", 0)
        disk = self.simulation.machine(self.name(server)).disk.view(reader, "raft")
        log = read_log(disk, CLUSTER, node_id(self.name(server))).groups[self.group_id]
        entries = [entry for entry, _ in log.current()]
        records = [
            State(self.group_id, log.state),
            Cut(self.group_id, log.cut_index, log.cut_term),
            Append(self.group_id, log.cut_index + 1, entries),
        ]
        return len(encode(records))


async def _quietly(group: Group, command: Put) -> None:
    """The labs' ``Start`` hears nothing of what becomes of a command."""
    with contextlib.suppress(QuorateError):
        await group.execute(command, timeout_ms=AGREEMENT_MS)


def run_product(test: LabTest, seed: int) -> tuple[ProductLab, Broken | None]:
    """Run ``test``; the lab as it was in the end, and the promise that was not kept, if any."""
    lab = ProductLab(test, seed)
    with lab.simulation:
        try:
            lab.run(test.body(lab))
        except Broken as broken:
            return lab, broken
    return lab, None
