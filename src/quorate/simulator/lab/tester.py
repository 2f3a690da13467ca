"""The tester of the course labs (MIT 6.824, now 6.5840), restated for the simulated world.

A *lab* has some servers, each a machine of its own with a ``raft`` process, and one group with a
replica on each.  Tests are coroutines that belong to no machine; time is virtual, and so are all
bounds on it.  What the servers run is the subclass's affair: the whole product (``tests/labs``), or
a learner's core alone (``learner_lab.py``).

How the labs' words map:
* ``start(server, command)`` proposes at that server, if it leads.  Each call is an entry of its
  own, unless several run at once.
* The labs number entries from 1.  A leader may append a no-op when it begins (Raft §8), so that
  indexes are higher by the number of terms so far; where a test speaks of the index, ours counts
  commands: the *position* of an entry is its rank among those that were ever started.
* A server that is disconnected is cut off both ways from everybody.  The labs then fail its calls
  after a while; here what is lost is never answered.
* A crash is a loss of power: what was not synced, or persisted, is lost.
* An entry is committed on a server when its state machine has applied it.

Where our product keeps a bound of its own that is tighter than the course's, a test asks for both
(``tighter``); a learner's core is held to the course's.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, ClassVar

from quorate.runtime.simulated.faults import Link
from quorate.runtime.simulated.world import Simulation
from quorate.simulator.cluster import Cluster
from quorate.simulator.lab.history import History, Value
from quorate.simulator.lab.results import Broken, Measure, Result, Traffic
from quorate.simulator.nemeses.nemesis import Nemesis

ELECTION_MS = 1_000
"""The labs' budget for an election."""
TEST_MS = 120_000
AGREEMENT_MS = 10_000
TRY_MS = 2_000
LEADER_MS = 5_000
"""A new leader within 5 s; ten polls of half a second."""
SNAPSHOT_COMMANDS = 10
UNRELIABLE = Link(delay_ms=(0.0, 0.0), loss=0.1, reorder=1.0, reorder_ms=(0.0, 26.0))
"""Every message is "reordered": late by a time of its own."""


@dataclass(frozen=True, slots=True)
class Started:
    """Where a leader has put a command in its log."""

    index: int
    term: int


class Lab(ABC):
    """Some servers, numbered from 0, all connected, and what a test does with them."""

    strict: ClassVar[bool]
    """Whether ``tighter`` bounds hold, too."""

    def __init__(self, test: str, servers: int, seed: int) -> None:
        self.test = test
        self.simulation = Simulation(seed)
        self.random = self.simulation.stream("lab")
        self.servers = range(servers)
        self.history = History()
        self.measures: list[Measure] = []
        self.slowest_agreement_ms = 0.0
        self.slowest_leader_ms = 0.0
        self.last_value = 0
        self._connected = [True] * servers
        self._started: set[int] = set()
        """The indexes at which any leader has put a command."""

    # What runs behind it.

    @property
    @abstractmethod
    def cluster(self) -> Cluster:
        """The machines."""

    @property
    @abstractmethod
    def traffic(self) -> Traffic:
        """All that was sent so far."""

    @property
    @abstractmethod
    def elections(self) -> int:
        """Won so far."""

    @abstractmethod
    def is_up(self, server: int) -> bool:
        """Whether it runs."""

    @abstractmethod
    def leads(self, server: int) -> bool:
        """Whether it runs and believes to lead."""

    @abstractmethod
    def term(self, server: int) -> int:
        """The term of a server that runs."""

    @abstractmethod
    async def propose(self, server: int, value: Value) -> Started | None:
        """Have a server that runs and leads append ``value``; ``None`` if it does not."""

    @abstractmethod
    def persisted_log_bytes(self, server: int) -> int:
        """What would survive a crash of ``server``, up or not, without its snapshot."""

    @abstractmethod
    def fault(self, what: str, source: str, *servers: int) -> None:
        """For timeline or trace: from now on ``what``, of these servers, or of all for none; how it
        comes about is ``source`` of ``timeline/sources.py``."""

    @abstractmethod
    def healed(self, what: str) -> None:
        """The fault of that name is over, if there is one."""

    @abstractmethod
    def watch(self, nemesis: Nemesis) -> None:
        """What it does is for timeline or trace, too."""

    @abstractmethod
    def long_reordering(self) -> None:
        """From now on two of three answers come 200 + rand(1 + rand(2000)) ms late."""

    def run(self, test: Coroutine[Any, Any, None]) -> None:
        self.cluster.found()
        try:
            self.simulation.run_until(self._whole(test), timeout_ms=TEST_MS)
        except TimeoutError:
            raise Broken(f"a test is done within {TEST_MS // 1_000} s of virtual time") from None

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

    def demand(self, condition: object, promise: str) -> None:
        """Fail the test, which says that ``promise`` was not kept, unless ``condition`` is true."""
        if not condition:
            raise Broken(promise)

    def at_most(self, what: str, figure: float, bound: float, unit: str = "") -> None:
        """Demand it, and keep the figure for the table."""
        self._measure(Measure(what, "≤", bound, figure, unit))

    def at_least(self, what: str, figure: float, bound: float, unit: str = "") -> None:
        self._measure(Measure(what, "≥", bound, figure, unit))

    def exactly(self, what: str, figure: float, bound: float, unit: str = "") -> None:
        self._measure(Measure(what, "=", bound, figure, unit))

    def tighter(self, what: str, figure: float, bound: float, unit: str = "") -> None:
        """``at_most``, where our own bound holds."""
        if self.strict:
            self.at_most(f"{what} (tighter)", figure, bound, unit)

    def _measure(self, measure: Measure) -> None:
        self.measures.append(measure)
        if not measure.holds:
            raise Broken(str(measure))

    def result(self) -> Result:
        return Result(
            self.test,
            self.measures,
            self.now_ms(),
            self.slowest_leader_ms,
            self.slowest_agreement_ms,
            self.traffic.requests,
            self.traffic.answers,
            self.traffic.bytes,
            self.elections,
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
            what, before = f"{self.name(server)} is cut off", self._connected[server]
            self._connected[server] = connected
            if before and not connected:
                self.fault(what, "lab cut", server)
            elif connected and not before:
                self.healed(what)
        faults = self.simulation.faults
        faults.heal()
        for server in self.servers:
            if not self._connected[server]:
                others = [self.name(other) for other in self.servers if other != server]
                faults.partition([self.name(server)], others)

    def unreliable(self, on: bool = True) -> None:
        what = "the network is bad"
        if on:
            self.fault(what, "lab unreliable")
        else:
            self.healed(what)
        self.simulation.faults.default = UNRELIABLE if on else Link()

    def crash(self, *servers: int) -> None:
        """Power and network are gone."""
        for server in servers:
            self.cluster.power_loss(self.name(server))
        self.disconnect(*servers)

    async def restart(self, *servers: int) -> None:
        """From the disk, after a crash if one did not come before; connected as it was."""
        for server in servers:
            if self.is_up(server):
                self.cluster.power_loss(self.name(server))
            self.cluster.start(self.name(server))
            await self._up(server)

    async def _up(self, server: int) -> None:
        while not self.is_up(server):
            await self.sleep(1)

    # What servers know.

    def reachable(self) -> list[int]:
        """The servers that are up and connected."""
        return [s for s in self.servers if self.is_connected(s) and self.is_up(s)]

    def same_term(self) -> int:
        """The term of all connected servers."""
        terms = {self.name(server): self.term(server) for server in self.reachable()}
        self.demand(
            len(set(terms.values())) == 1, f"in a quiet cluster all are in one term, not {terms}"
        )
        return next(iter(terms.values()))

    async def one_leader(self) -> int:
        """The leader of the latest term that has one; two in one term are one too many."""
        began_ms = self.now_ms()
        for _ in range(10):
            await self.sleep(450 + self.random.randrange(100))
            leaders: dict[int, list[int]] = {}
            for server in self.reachable():
                if self.leads(server):
                    leaders.setdefault(self.term(server), []).append(server)
            for term, leading in leaders.items():
                names = " and ".join(map(self.name, leading))
                self.demand(
                    len(leading) == 1,
                    f"Election Safety (figure 3): at most one leader in a term, but term {term}"
                    f" has {names}",
                )
            if leaders:
                took_ms = self.now_ms() - began_ms
                self.slowest_leader_ms = max(self.slowest_leader_ms, took_ms)
                self.demand(took_ms <= LEADER_MS, f"a leader within 5 s, not {took_ms:.0f} ms")
                [leader] = leaders[max(leaders)]
                return leader
        connected = ", ".join(map(self.name, self.reachable()))
        raise Broken(
            f"a majority that is connected elects a leader within 5 s; {connected} did not"
        )

    # Agreement.

    async def start(self, server: int, value: Value) -> Started | None:
        """Propose ``value`` at ``server``: its entry, or ``None`` if that does not lead."""
        if not self.is_up(server) or not self.leads(server):
            return None
        started = await self.propose(server, value)
        if started is not None:
            self._started.add(started.index)
        return started

    def position(self, started: Started) -> int:
        """The number of an entry among the commands in its leader's log."""
        return sum(1 for index in self._started if index <= started.index)

    def committed(self, index: int) -> tuple[int, list[Value]]:
        """How many servers have committed the entry at ``index``, and its commands."""
        states = self.history.states.values()
        count = sum(1 for state in states if state.last_index >= index)
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
            if term >= 0 and any(self.term(s) > term for s in self.servers if self.is_up(s)):
                return None
        count = self.committed(index)[0]
        raise Broken(f"{servers} servers commit the entry at index {index}; only {count} did")

    async def one(self, value: Value, servers: int, *, retry: bool = True) -> Started:
        """Have ``value`` committed by at least so many servers; its entry.

        Within 10 s; each try has 2 s, and ``retry`` says whether there may be a second.
        """
        began_ms, first = self.now_ms(), 0
        while self.now_ms() - began_ms < AGREEMENT_MS:
            started = None
            for _ in self.servers:
                first = self.after(first, 1)
                if self._connected[first] and (started := await self.start(first, value)):
                    break
            if started is None:
                await self.sleep(50)
                continue
            tried_ms = self.now_ms()
            while self.now_ms() - tried_ms < TRY_MS:
                count, values = self.committed(started.index)
                if count >= servers and value in values:
                    took_ms = self.now_ms() - began_ms
                    self.slowest_agreement_ms = max(self.slowest_agreement_ms, took_ms)
                    return started
                await self.sleep(20)
            self.demand(
                retry,
                f"while nothing fails, {servers} servers commit a command within"
                f" {TRY_MS // 1_000} s; {value!r:.40} was not",
            )
        raise Broken(
            f"{servers} connected servers agree on a command within {AGREEMENT_MS // 1_000} s;"
            f" on {value!r:.40} they did not"
        )
