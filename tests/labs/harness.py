"""The tester of the course labs (MIT 6.824, now 6.5840), restated for the simulated world.

A *lab* has some servers, each a machine of its own with a ``raft`` process, and one group with a
replica on each.  Tests are coroutines that belong to no machine; time is virtual, and so are all
bounds on it.

How the labs' words map:
* ``start(server, command)`` proposes in that server's process, without a session, if it leads.
  Each call is an entry of its own, unless it comes while the one before is being written.
* The labs number entries from 1.  Our leaders append a no-op when they begin (Raft §8), so indexes
  are higher by the number of terms so far; where a test speaks of the index, ours counts commands:
  the *position* of a command is its index less the no-ops before it.
* A server that is disconnected is cut off both ways from everybody.  The labs then fail its calls
  after a while; one-way messages have nothing to fail, they vanish.
* A crash is a loss of power: what was not synced is lost.  The labs keep all that was "persisted".
* An entry is committed on a server when its state machine has applied it.
"""

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from labs.machine import History, LabMachine, Put, Value
from labs.network import UNRELIABLE, LabChecker, LabCluster
from labs.table import Measure, Result

from quorate.base.codec import encode
from quorate.base.errors import QuorateError
from quorate.base.ids import GroupId
from quorate.raft.core.entries import Entry, EntryKind
from quorate.raft.core.settings import Limits
from quorate.raft.group import Group
from quorate.raft.wal.records import Append, Cut, State
from quorate.raft.wal.recovery import read_log
from quorate.runtime.simulated.process import CURRENT, SimulatedProcess
from quorate.runtime.simulated.world import Simulation
from quorate.simulator.cluster import CLUSTER, node_id

GROUP = GroupId(1)
ELECTION_MS = 1_000
"""The labs' budget for an election."""
TEST_MS = 120_000
AGREEMENT_MS = 10_000
TRY_MS = 2_000
LEADER_MS = 5_000
"""A new leader within 5 s; ten polls of half a second."""


class Lab:
    """``servers`` servers, numbered from 0, all connected."""

    def __init__(self, servers: int, seed: int, limits: Limits | None = None) -> None:
        self.simulation = Simulation(seed)
        self.random = self.simulation.stream("lab")
        self.servers = range(servers)
        self.history = History()
        self.measures: list[Measure] = []
        self.slowest_agreement_ms = 0.0
        self.slowest_leader_ms = 0.0
        self._connected = [True] * servers
        self.last_value = 0
        self.cluster = LabCluster(self.simulation, servers, self._machine, limits)
        self.checker = LabChecker()
        self.cluster.checker = self.checker

    def _machine(self) -> LabMachine:
        process = CURRENT.get()
        assert process is not None
        return self.history.machine_of(process.machine)

    def run(self, test: Coroutine[Any, Any, None]) -> None:
        self.cluster.found()
        self.simulation.run_until(self._whole(test), timeout_ms=TEST_MS)

    async def _whole(self, test: Coroutine[Any, Any, None]) -> None:
        for server in self.servers:
            await self._up(server)
        await test

    # Time and what is measured.

    def now_ms(self) -> float:
        return self.simulation.now_ms()

    async def sleep(self, duration_ms: float) -> None:
        await asyncio.sleep(duration_ms / 1000)

    def fresh(self) -> int:
        """A value that was not used before."""
        self.last_value += 1
        return self.last_value

    def at_most(self, what: str, figure: float, bound: float, unit: str = "") -> None:
        """Demand it, and keep the figure for the table."""
        self.measures.append(Measure(what, "≤", bound, figure, unit))
        assert figure <= bound, f"{what}: {figure}, at most {bound} {unit}"

    def at_least(self, what: str, figure: float, bound: float, unit: str = "") -> None:
        self.measures.append(Measure(what, "≥", bound, figure, unit))
        assert figure >= bound, f"{what}: {figure}, at least {bound} {unit}"

    def exactly(self, what: str, figure: float, bound: float, unit: str = "") -> None:
        self.measures.append(Measure(what, "=", bound, figure, unit))
        assert figure == bound, f"{what}: {figure}, not {bound} {unit}"

    def result(self) -> Result:
        traffic = self.checker.traffic
        return Result(
            self.measures,
            self.now_ms(),
            self.slowest_leader_ms,
            self.slowest_agreement_ms,
            traffic.requests,
            traffic.answers,
            traffic.bytes,
            self.checker.elections,
        )

    # Servers and their network.

    def name(self, server: int) -> str:
        return self.cluster.names[server]

    def after(self, server: int, steps: int) -> int:
        """The server so many steps further, around the ring."""
        return (server + steps) % len(self.servers)

    def is_connected(self, server: int) -> bool:
        return self._connected[server]

    def connect(self, *servers: int) -> None:
        self._plug(servers, True)

    def disconnect(self, *servers: int) -> None:
        self._plug(servers, False)

    def _plug(self, servers: tuple[int, ...], connected: bool) -> None:
        for server in servers:
            self._connected[server] = connected
        faults = self.simulation.faults
        faults.heal()
        for server in self.servers:
            if not self._connected[server]:
                others = [self.name(other) for other in self.servers if other != server]
                faults.partition([self.name(server)], others)

    def unreliable(self, on: bool = True) -> None:
        faults = self.simulation.faults
        faults.default = UNRELIABLE if on else type(UNRELIABLE)()

    def is_up(self, server: int) -> bool:
        return self.group(server) is not None

    def crash(self, *servers: int) -> None:
        """Power and network are gone."""
        for server in servers:
            self.cluster.power_loss(self.name(server))
            self.cluster.raft_nodes.pop(self.name(server), None)
        self.disconnect(*servers)

    async def restart(self, *servers: int) -> None:
        """From the disk, after a crash if one did not come before; connected as it was."""
        for server in servers:
            if self.is_up(server):
                self.cluster.power_loss(self.name(server))
                self.cluster.raft_nodes.pop(self.name(server), None)
            self.cluster.start(self.name(server))
            await self._up(server)

    async def _up(self, server: int) -> None:
        while not self.is_up(server):
            await self.sleep(1)

    # What servers know.

    def group(self, server: int) -> Group | None:
        """The replica of ``server``, if that runs."""
        node = self.cluster.raft_nodes.get(self.name(server))
        [process] = self.cluster.processes(self.name(server))
        return node.groups[GROUP] if node is not None and process.alive else None

    def leads(self, server: int) -> bool:
        group = self.group(server)
        return group is not None and group.status().role == "leader"

    def term(self, server: int) -> int:
        group = self.group(server)
        assert group is not None, f"server {server} is down"
        return group.term

    def connected_groups(self) -> list[tuple[int, Group]]:
        groups = [(server, self.group(server)) for server in self.servers]
        return [(server, g) for server, g in groups if g is not None and self._connected[server]]

    def same_term(self) -> int:
        """The term of all connected servers."""
        terms = {server: group.term for server, group in self.connected_groups()}
        assert len(set(terms.values())) == 1, f"servers disagree on the term: {terms}"
        return next(iter(terms.values()))

    def persisted_log_bytes(self, server: int) -> int:
        """What the log on the disk of ``server``, up or not, says of the group now: its state, what
        was cut, and the entries behind it, encoded.  The files are larger: segments are allocated
        ahead, and garbage is removed a segment at a time."""
        reader = SimulatedProcess(self.name(server), "lab", 0)
        disk = self.simulation.machine(self.name(server)).disk.view(reader, "raft")
        log = read_log(disk, CLUSTER, node_id(self.name(server))).groups[GROUP]
        entries = [entry for entry, _ in log.current()]
        records = [
            State(GROUP, log.state),
            Cut(GROUP, log.cut_index, log.cut_term),
            Append(GROUP, log.cut_index + 1, entries),
        ]
        return len(encode(records))

    async def one_leader(self) -> int:
        """The leader of the latest term that has one; two in one term are one too many."""
        began_ms = self.now_ms()
        for _ in range(10):
            await self.sleep(450 + self.random.randrange(100))
            leaders: dict[int, list[int]] = {}
            for server, group in self.connected_groups():
                if self.leads(server):
                    leaders.setdefault(group.term, []).append(server)
            for term, leading in leaders.items():
                assert len(leading) == 1, f"term {term} has leaders {leading}"
            if leaders:
                took_ms = self.now_ms() - began_ms
                self.slowest_leader_ms = max(self.slowest_leader_ms, took_ms)
                assert took_ms <= LEADER_MS, f"a leader after {took_ms:.0f} ms"
                [leader] = leaders[max(leaders)]
                return leader
        raise AssertionError("no leader among the connected servers")

    # Agreement.

    async def start(self, server: int, value: Value) -> Entry | None:
        """Propose ``value`` at ``server``: its entry, or ``None`` if that does not lead."""
        group = self.group(server)
        if group is None or not self.leads(server):
            return None
        command = Put(value)
        entry: asyncio.Future[Entry | None] = asyncio.get_running_loop().create_future()
        self.checker.proposals[encode(command)] = entry
        [process] = self.cluster.processes(self.name(server))
        proposal = process.run(asyncio.ensure_future, _quietly(group, command))
        proposal.add_done_callback(lambda _: None if entry.done() else entry.set_result(None))
        try:
            return await entry
        finally:
            self.checker.proposals.pop(encode(command), None)

    def position(self, server: int, entry: Entry) -> int:
        """The number of ``entry`` among the commands in the log of ``server``."""
        before = self.checker.replicas[self.name(server)].log.slice(1, entry.index)
        return sum(1 for other in before if other.kind == EntryKind.COMMAND)

    def committed(self, index: int) -> tuple[int, list[Value]]:
        """How many servers have committed the entry at ``index``, and its commands."""
        machines = self.history.machines.values()
        count = sum(1 for machine in machines if machine.last_index >= index)
        return count, self.history.values.get(index, [])

    async def wait(self, index: int, servers: int, term: int = -1) -> list[Value] | None:
        """The commands at ``index`` once so many servers have committed it; ``None`` if a server
        has gone beyond ``term`` meanwhile."""
        pause_ms = 10
        for _ in range(30):
            if self.committed(index)[0] >= servers:
                return self.committed(index)[1]
            await self.sleep(pause_ms)
            pause_ms = min(2 * pause_ms, 1_000)
            groups = filter(None, map(self.group, self.servers))
            if term >= 0 and any(group.term > term for group in groups):
                return None
        raise AssertionError(f"{self.committed(index)[0]} servers committed {index}, not {servers}")

    async def one(self, value: Value, servers: int, *, retry: bool = True) -> Entry:
        """Have ``value`` committed by at least so many servers; its entry.

        Within 10 s; each try has 2 s, and ``retry`` says whether there may be a second.
        """
        began_ms, first = self.now_ms(), 0
        while self.now_ms() - began_ms < AGREEMENT_MS:
            entry = None
            for _ in self.servers:
                first = self.after(first, 1)
                if self._connected[first] and (entry := await self.start(first, value)):
                    break
            if entry is None:
                await self.sleep(50)
                continue
            tried_ms = self.now_ms()
            while self.now_ms() - tried_ms < TRY_MS:
                count, values = self.committed(entry.index)
                if count >= servers and value in values:
                    took_ms = self.now_ms() - began_ms
                    self.slowest_agreement_ms = max(self.slowest_agreement_ms, took_ms)
                    return entry
                await self.sleep(20)
            assert retry, f"{value!r} was not committed in {TRY_MS} ms by {servers} servers"
        raise AssertionError(f"{value!r} was not committed in {AGREEMENT_MS} ms")


async def _quietly(group: Group, command: Put) -> None:
    """The labs' ``Start`` hears nothing of what becomes of a command."""
    with contextlib.suppress(QuorateError):
        await group.execute(command, timeout_ms=AGREEMENT_MS)


Test = Callable[[Lab], Coroutine[Any, Any, None]]


def lab_test(
    servers: int, *, seeds: int = 5, limits: Limits | None = None
) -> Callable[[Test], Callable[..., None]]:
    """Make a test of a coroutine function: once a seed, what it measured to the table."""

    def decorate(body: Test) -> Callable[..., None]:
        @pytest.mark.parametrize("seed", range(1, seeds + 1))
        def test(seed: int, record_property: Callable[[str, object], None]) -> None:
            lab = Lab(servers, seed, limits)
            with lab.simulation:
                try:
                    lab.run(body(lab))
                finally:
                    record_property("lab", lab.result())

        test.__name__, test.__doc__ = body.__name__, body.__doc__
        test.__module__, test.__qualname__ = body.__module__, body.__qualname__
        return test

    return decorate
