"""Servers that run a learner's core, on machines of the simulation.

A server is a process like any other there, so that every nemesis of the swarm can strike it: kills,
losses of power, pauses, drifting clocks, partitions, noise.  Its disk is what it persisted, whole.
Requests and answers pass over the links of the simulated network, one by one: lost, late, doubled,
overtaken as the link says, and lost when it is cut as they leave or arrive.  Copies are made by
pickling: they never leave this Python process, and no state is shared.

What can be seen from outside is judged after each call into the core: one leader a term, a term
that never goes back, not even over a crash (figures 2 and 3); ``History`` judges what is applied.
"""

import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import Context
from functools import partial
from typing import Any

from quorate.base.ids import GroupId
from quorate.runtime.ports import World
from quorate.runtime.simulated.process import CURRENT, SimulatedProcess
from quorate.runtime.simulated.world import Main, Simulation
from quorate.simulator.cluster import CLUSTER, Cluster, names_of, replica_id
from quorate.simulator.lab.errors import CoreFailed
from quorate.simulator.lab.guard import Guard
from quorate.simulator.lab.history import History, Value
from quorate.simulator.lab.host import Host
from quorate.simulator.lab.loading import Core
from quorate.simulator.lab.recorder import Recorder, ServerView
from quorate.simulator.lab.results import Broken, Traffic
from quorate.simulator.lab.tester import SNAPSHOT_COMMANDS, Started

GROUP = GroupId(1)


class Servers(Cluster):
    """``count`` servers of ``core``; with ``snapshots`` each takes one every ten commands."""

    def __init__(
        self,
        simulation: Simulation,
        count: int,
        core: Core,
        history: History,
        recorder: Recorder,
        *,
        snapshots: bool,
    ) -> None:
        super().__init__(simulation, CLUSTER, names_of(count), [GROUP], ["raft"])
        self.core = core
        self.history = history
        self.recorder = recorder
        self.snapshots = snapshots
        self.guard = Guard(core.file, simulation.now_ms)
        self.traffic = Traffic()
        self.long_reordering = False
        self.disks = [(b"", b"")] * count
        """State and snapshot of each, as last persisted."""
        self.terms = [0] * count
        """The latest that each has shown."""
        self.leaders: dict[int, int] = {}
        """Of each term, who has led it."""
        self.lives: list[Server | None] = [None] * count
        self._random = simulation.stream("wires")
        self._answers = simulation.stream("answers")

    def found(self) -> None:
        for name in self.names:
            self.start(name)

    def leader(self, group: GroupId) -> str | None:
        leading = [life for life in self.lives if life is not None and life.view.leads]
        return max(leading, key=lambda life: life.view.term).name if leading else None

    def kill(self, name: str, *roles: str) -> None:
        super().kill(name, *roles)
        self._down(name)

    def power_loss(self, name: str) -> None:
        super().power_loss(name)
        self._down(name)

    def _down(self, name: str) -> None:
        number = self.names.index(name)
        if self.lives[number] is not None:
            self.lives[number] = None
            self.record("crash", number, "crashes: what it did not persist is lost")
            self._show(number, up=False, leads=False)

    def _main(self, name: str, role: str) -> Main:
        async def main(world: World) -> None:
            process = CURRENT.get()
            if process is not None:
                number = self.names.index(name)
                self.lives[number] = server = Server(self, number, process, world)
                server.begin()
            await world.clock.sleep(float("inf"))

        return main

    # What happened.

    def record(self, kind: str, number: int | None, text: str, other: int | None = None) -> None:
        self.recorder.add(self.simulation.now_ms(), kind, number, text, other)

    def _show(self, number: int, **changes: Any) -> None:
        view = self.recorder.view(number)
        known = {"up": view.up, "connected": view.connected, "leads": view.leads, "term": view.term}
        self.recorder.show(number, ServerView(**{**known, **changes}))

    def shows(self, number: int, term: int, leads: bool) -> None:
        """What server ``number`` shows of itself now, judged."""
        name, view = self.names[number], self.recorder.view(number)
        if (view.up, view.term, view.leads) == (True, term, leads):
            return
        self._show(number, up=True, term=term, leads=leads)
        self.record("state", number, f"{'leads' if leads else 'follows'} in term {term}")
        if term < self.terms[number]:
            raise Broken(
                f"a term never goes back, and is kept over crashes (figure 2), but {name} was in"
                f" term {self.terms[number]} and is in term {term}"
            )
        self.terms[number] = term
        if leads and self.leaders.setdefault(term, number) != number:
            raise Broken(
                "Election Safety (figure 3): at most one leader in a term, but term"
                f" {term} has {self.names[self.leaders[term]]} and {name}"
            )

    def connected(self, number: int, connected: bool) -> None:
        self._show(number, connected=connected)

    @contextmanager
    def watched(self) -> Iterator[None]:
        """What is broken inside fails the run, also if the learner's code catches it."""
        try:
            yield
        except Broken as broken:
            self.simulation.loop.fail(broken)
            raise

    # The network.

    def post(
        self, what: str, source: int, target: int, text: str, arrive: Callable[["Server"], None]
    ) -> None:
        """Have ``arrive`` called at ``target``, as the link between the two goes."""
        self.record(what, source, text, target)
        faults = self.simulation.faults
        here, there = self.names[source], self.names[target]
        link, draw = faults.link(here, there), self._random
        if faults.is_blocked(here, there) or draw.random() < link.loss:
            self.record("lost", target, text, source)
            return
        delays_s = [link.delay_s(draw)]
        if draw.random() < link.reorder:
            delays_s[0] += link.late_s(draw)
        if draw.random() < link.duplicate:
            delays_s.append(delays_s[0] + link.late_s(draw))
        if what == "answer" and self.long_reordering and self._answers.randrange(3) < 2:
            late_ms = 200 + self._answers.randrange(1 + self._answers.randrange(2000))
            delays_s[0] += late_ms / 1000
        for delay_s in delays_s:
            # In a context of its own: what is on its way arrives even if its sender has crashed.
            self.simulation.loop.call_later(
                delay_s, self._arrives, what, source, target, text, arrive, context=Context()
            )

    def _arrives(
        self, what: str, source: int, target: int, text: str, arrive: Callable[["Server"], None]
    ) -> None:
        life = self.lives[target]
        cut = self.simulation.faults.is_blocked(self.names[source], self.names[target])
        if life is None or cut:
            self.record("lost", target, text, source)
            return

        def take() -> None:
            self.record(f"got {what}", target, text, source)
            arrive(life)

        # As a handle of the process: one that is paused takes it when it wakes up.
        self.simulation.loop.call_soon(take, context=life.process.context)


class Server:
    """One life of one server: the learner's core, and what it may do (``Wires``)."""

    def __init__(
        self, servers: Servers, number: int, process: SimulatedProcess, world: World
    ) -> None:
        self._servers = servers
        self._number = number
        self.process = process
        self.name = servers.names[number]
        self.state = servers.history.begin(self.name)
        saved, snapshot = servers.disks[number]
        if snapshot:
            self.state.restore(snapshot)
        count = len(servers.names)
        self._host = Host(number + 1, count, saved, snapshot, world.random, world.clock, self)
        self._core: Any = None

    @property
    def view(self) -> ServerView:
        return self._servers.recorder.view(self._number)

    def begin(self) -> None:
        saved, snapshot = self._servers.disks[self._number]
        text = f"starts with {len(saved)} B of state, {len(snapshot)} B of snapshot"
        self._record("begin", text)
        self._core = self._servers.guard.call(self.name, self._servers.core.make, self._host)
        self._look()

    def start(self, value: Value) -> Started | None:
        """The learner's ``start``."""
        started = self._call(self._core.start, value)
        self._record("start", f"start({value!r:.30}) → {started!r:.40}")
        if started is None:
            return None
        match started:
            case (int(index), int(term)):
                return Started(index, term)
        raise CoreFailed(f"start() gives (index, term), or None if it does not lead: {started!r}")

    def _call(self, function: Callable[..., Any], *args: Any) -> Any:
        result = self._servers.guard.call(self.name, function, *args)
        self._look()
        return result

    def _look(self) -> None:
        state = self._servers.guard.call(self.name, self._core.state)
        match state:
            case (int(term), bool(leads)):
                self._servers.shows(self._number, term, leads)
            case _:
                raise CoreFailed(f"state() gives (term, is_leader), not {state!r:.60}")

    def _record(self, kind: str, text: str) -> None:
        self._servers.record(kind, self._number, text)

    # What the core does, by its host.

    def send(self, request: Any, peer: int) -> None:
        if self._over():
            return
        data = pickle.dumps(request)
        traffic = self._servers.traffic
        traffic.requests += 1
        traffic.bytes += len(data)
        self._servers.post(
            "request", self._number, peer - 1, _shown(request), partial(self._answered, data)
        )

    def _answered(self, data: bytes, peer: "Server") -> None:
        """``peer`` has got a request of this server, and answers it."""
        term = peer.view.term
        answer = peer._call(peer._core.on_request, self._number + 1, pickle.loads(data))
        reply = pickle.dumps(answer)
        traffic = self._servers.traffic
        traffic.answers += 1
        traffic.bytes += len(reply)

        def arrive(asker: "Server") -> None:
            if asker is self:  # an earlier life's answers are nobody's
                request, answer = pickle.loads(data), pickle.loads(reply)
                asker._call(asker._core.on_reply, peer._number + 1, request, answer)

        self._servers.post("answer", peer._number, self._number, _shown(answer), arrive)
        if peer.view.term > term:  # it may have voted: what a storm waits for
            self._servers.checker.on_vote(replica_id(GROUP, peer.name))

    def persist(self, state: bytes, snapshot: bytes | None) -> None:
        if self._over():
            return
        kept = self._servers.disks[self._number][1]
        self._servers.disks[self._number] = (state, kept if snapshot is None else snapshot)
        more = "" if snapshot is None else f" and a snapshot of {len(snapshot)} B"
        self._record("persist", f"persists {len(state)} B{more}")

    def apply(self, index: int, command: Any) -> None:
        if self._over():
            return
        if not isinstance(index, int) or not isinstance(command, int | str):
            raise TypeError(f"apply() takes an index and a command, not {index!r}, {command!r}")
        self._record("apply", f"applies {command!r:.30} at index {index}")
        with self._servers.watched():
            self.state.apply(index, command)
        if self._servers.snapshots and self.state.count % SNAPSHOT_COMMANDS == 0:
            # Later: the core is in the middle of something.
            self._servers.simulation.loop.call_soon(
                self._take_snapshot, index, self.state.snapshot(), context=self.process.context
            )

    def _take_snapshot(self, index: int, snapshot: bytes) -> None:
        self._record("snapshot", f"snapshot({index})")
        self._call(self._core.snapshot, index, snapshot)

    def apply_snapshot(self, index: int, snapshot: bytes) -> None:
        if self._over():
            return
        self._record("install", f"applies a snapshot up to index {index}")
        with self._servers.watched():
            if index < self.state.last_index:
                raise Broken(
                    f"a state never goes back, but {self.name} puts a snapshot of index {index} in"
                    f" the place of a state of index {self.state.last_index}"
                )
            self.state.restore(snapshot)

    def rings(self, name: str) -> None:
        self._record("timer", f"timer {name!r}")
        self._call(self._core.on_timer, name)

    def _over(self) -> bool:
        return self._servers.lives[self._number] is not self


def _shown(message: Any) -> str:
    """A message as a timeline shows it: plain, on one line, not too long."""
    fields = message if isinstance(message, dict) else getattr(message, "__dict__", None)
    if isinstance(fields, dict):
        kind = "" if isinstance(message, dict) else f"{type(message).__name__} "
        text = kind + " ".join(f"{name}={value!r}" for name, value in fields.items())
    else:
        text = repr(message)
    return text if len(text) <= 160 else text[:157] + "…"
