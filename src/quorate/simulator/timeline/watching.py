"""Recording a simulated run: eyes on its replicas, processes, clients and faults.

Nothing that is watched behaves otherwise: the digest of a run is the same with and without.
"""

from collections.abc import Sequence
from functools import partial

from quorate.base.codec import Command, Query
from quorate.base.errors import QuorateError
from quorate.base.ids import GroupId
from quorate.raft.client import GroupClient, R
from quorate.rpc.client import RpcClient
from quorate.runtime.ports import World
from quorate.runtime.simulated.process import SimulatedProcess
from quorate.runtime.simulated.world import Simulation
from quorate.simulator.cluster import Cluster, RaftCluster, name_of
from quorate.simulator.nemeses.faults import AnyFault
from quorate.simulator.nemeses.nemesis import Nemesis
from quorate.simulator.timeline.events import Head, Run
from quorate.simulator.timeline.recorder import Both, Recorder
from quorate.simulator.timeline.words import call, cut


class Faults:
    """What a nemesis does, told to a recorder."""

    def __init__(self, recorder: Recorder, nemesis: Nemesis) -> None:
        self._recorder = recorder
        self._arrows: dict[int, int] = {}
        nemesis.on_begin, nemesis.on_end = self._begun, self._ended

    def _begun(self, fault: AnyFault, nodes: Sequence[str]) -> None:
        self._arrows[fault.number] = self._recorder.begin(
            "fault",
            "",
            str(fault).partition(" s ")[2],
            f"fault {type(fault).__name__}",
            lanes=tuple(nodes),
        )
        if fault.for_ms is not None and fault.for_ms == 0:
            self._ended(fault.number)

    def _ended(self, number: int) -> None:
        arrow = self._arrows.pop(number, None)
        if arrow is not None:
            self._recorder.tell("healed", arrow=arrow)


class Recording:
    """Of one simulated run."""

    def __init__(self) -> None:
        self.recorder: Recorder
        self._cluster: Cluster

    def watch(
        self, simulation: Simulation, cluster: Cluster, nemesis: Nemesis | None = None
    ) -> None:
        """From now on; nothing of the cluster may have started."""
        self._cluster = cluster
        self.recorder = Recorder(simulation.now_ms, name_of)
        # First, so that the step that breaks a property is there when the checker raises.
        cluster.observer = Both(self.recorder, cluster.observer)
        simulation.trace.listener = partial(self._traced, simulation)
        if isinstance(cluster, RaftCluster):
            cluster.client = partial(self._client, cluster)
        if nemesis is not None:
            Faults(self.recorder, nemesis)

    def run(
        self,
        title: str,
        command: str,
        *,
        about: str = "",
        broken: str | None = None,
        evenly: bool = False,
    ) -> Run:
        """What was seen so far."""
        if broken is not None:
            self.recorder.tell("broken", text=broken)
        found = self.recorder.recorded
        nodes = tuple(self._cluster.names)
        named = dict.fromkeys(e.node for e in found if e.node not in nodes and e.node)
        groups = tuple(map(int, self._cluster.groups))
        head = Head(
            title=title,
            about=about,
            command=command,
            evenly=evenly,
            nodes=nodes,
            clients=tuple(named),
            groups=groups,
        )
        return Run(head=head, events=found)

    def _traced(self, simulation: Simulation, source: str, text: str) -> None:
        name, _, role = source.partition("/")
        if text != "started" or name not in self._cluster.names:
            return
        process = simulation.machine(name).processes[role]
        self._tell_life("started", process, "started")
        process.on_kill.append(partial(self._died, process))

    def _died(self, process: SimulatedProcess) -> None:
        ended = process.error
        text = "killed" if ended is None else cut(f"stopped: {ended}")
        self._tell_life("died", process, text)

    def _tell_life(self, kind: str, process: SimulatedProcess, text: str) -> None:
        if process.role != "raft":
            source = "started" if kind == "started" else "died"
            self.recorder.tell("step", process.machine, f"its {process.role} {text}", source)
            return
        self.recorder.forget(process.machine)
        if kind == "started":
            self.recorder.tell("started", process.machine, text, "started")
        else:
            self.recorder.tell("died", process.machine, text, "died")

    def _client(
        self, cluster: RaftCluster, name: str, world: World, rpc: RpcClient, group: GroupId
    ) -> GroupClient:
        return WatchedClient(self.recorder, cluster, name, world, rpc, group)


class WatchedClient(GroupClient):
    """A client each of whose calls is an event, and each answer another."""

    def __init__(
        self,
        recorder: Recorder,
        cluster: RaftCluster,
        name: str,
        world: World,
        rpc: RpcClient,
        group: GroupId,
    ) -> None:
        super().__init__(world, rpc, cluster.addresses, group)
        self._recorder = recorder
        self._name = name
        self._of_group = group

    async def execute(self, command: Command[R], *, timeout_ms: float) -> R:
        arrow = self._invoked("execute", command)
        try:
            result = await super().execute(command, timeout_ms=timeout_ms)
        except QuorateError as error:
            self._returned(arrow, f"{type(error).__name__}: {error}")
            raise
        self._returned(arrow, str(result))
        return result

    async def query(self, query: Query[R], *, timeout_ms: float, anywhere: bool = False) -> R:
        arrow = self._invoked("query", query)
        try:
            result = await super().query(query, timeout_ms=timeout_ms, anywhere=anywhere)
        except QuorateError as error:
            self._returned(arrow, f"{type(error).__name__}: {error}")
            raise
        self._returned(arrow, str(result))
        return result

    def _invoked(self, source: str, what: object) -> int:
        group = self._of_group
        return self._recorder.begin("invoked", self._name, call(what), source, group=group)

    def _returned(self, arrow: int, text: str) -> None:
        self._recorder.tell("returned", self._name, cut(text), arrow=arrow, group=self._of_group)
