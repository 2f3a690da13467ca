"""Servers that run a learner's core, on machines of the simulation.

A server is a process like any other there, so that every nemesis of the swarm can strike it: kills,
losses of power, pauses, drifting clocks, partitions, noise.  Its disk is what it persisted, whole.
Requests and answers pass over the links of the simulated network, one by one: lost, late, doubled,
overtaken as the link says, and lost when it is cut as they leave or arrive.  Copies are made by
pickling: they never leave this Python process, and no state is shared.

What can be seen from outside is judged after each call into the core: one leader a term, a term
that never goes back, not even over a crash (figures 2 and 3); ``History`` judges what is applied.
A run that is ``watched`` tells the recorder all that happens, with the line of the learner's code
behind each event; it goes as it goes unwatched, which takes half as long.
"""

import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import Context
from functools import partial
from typing import Any, TypeAlias
from zlib import crc32

import msgspec

from quorate.base.ids import GroupId
from quorate.runtime.ports import World
from quorate.runtime.simulated.process import CURRENT, SimulatedProcess
from quorate.runtime.simulated.world import Main, Simulation
from quorate.simulator.cluster import CLUSTER, Cluster, names_of, replica_id
from quorate.simulator.lab.errors import CoreFailed
from quorate.simulator.lab.guard import Guard
from quorate.simulator.lab.history import History, Value
from quorate.simulator.lab.host import Host
from quorate.simulator.lab.lines import Lines
from quorate.simulator.lab.loading import Core
from quorate.simulator.lab.recorder import LabRecorder
from quorate.simulator.lab.results import Broken, Traffic
from quorate.simulator.lab.showing import Applied, Terms, changes_of, seen_state, told_state
from quorate.simulator.lab.tester import SNAPSHOT_COMMANDS, Started
from quorate.simulator.lab.words import Message, plain, read, section_of
from quorate.simulator.timeline.events import Event, Kind, State
from quorate.simulator.timeline.sources import PLACES, SNAPSHOTS, STORED

GROUP = GroupId(1)
Arrive: TypeAlias = Callable[["Server", Event | None], None]
"""With what a watched run tells of it."""


class Servers(Cluster):
    """``count`` servers of ``core``; with ``snapshots`` each takes one every ten commands."""

    def __init__(
        self,
        simulation: Simulation,
        count: int,
        core: Core,
        history: History,
        recorder: LabRecorder,
        *,
        snapshots: bool,
        watched: bool,
    ) -> None:
        super().__init__(simulation, CLUSTER, names_of(count), [GROUP], ["raft"])
        self.core = core
        self.history = history
        self.recorder = recorder
        self.snapshots = snapshots
        self.watched = watched
        self.tells = core.tells
        """Each server still has a ``timeline()`` that can be used."""
        self.lines = Lines(core.file)
        self.guard = Guard(core.file, simulation.now_ms)
        self.traffic = Traffic()
        self.said = 0
        """A hash of all messages."""
        self.long_reordering = False
        self.disks = [(b"", b"")] * count
        """State and snapshot of each, as last persisted."""
        self.terms = [0] * count
        """The latest that each has shown."""
        self.terms_of = Terms()
        self.leaders: dict[int, int] = {}
        """Of each term, who has led it."""
        self.lives: list[Server | None] = [None] * count
        self._random = simulation.stream("wires")
        self._answers = simulation.stream("answers")

    def found(self) -> None:
        for name in self.names:
            self.start(name)

    def leader(self, group: GroupId) -> str | None:
        leading = [life for life in self.lives if life is not None and life.leads]
        return max(leading, key=lambda life: life.term).name if leading else None

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
            text = "crashes: what it did not persist is lost"
            self.recorder.tell("died", name, text, "died")

    def _main(self, name: str, role: str) -> Main:
        async def main(world: World) -> None:
            process = CURRENT.get()
            if process is not None:
                number = self.names.index(name)
                self.lives[number] = server = Server(self, number, process, world)
                server.begin()
            await world.clock.sleep(float("inf"))

        return main

    # What is judged.

    def shows(self, number: int, term: int, leads: bool) -> None:
        """What server ``number`` shows of itself now, judged."""
        name = self.names[number]
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

    @contextmanager
    def failing(self) -> Iterator[None]:
        """What is broken inside fails the run, also if the learner's code catches it."""
        try:
            yield
        except Broken as broken:
            self.simulation.loop.fail(broken)
            raise

    # The network.

    def post(self, what: str, source: int, target: int, sent: Event | None, arrive: Arrive) -> None:
        """Have ``arrive`` called at ``target``, as the link between the two goes."""
        here, there = self.names[source], self.names[target]
        faults = self.simulation.faults
        link, draw = faults.link(here, there), self._random
        if faults.is_blocked(here, there) or draw.random() < link.loss:
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
                delay_s, self._arrives, source, target, sent, arrive, context=Context()
            )

    def _arrives(self, source: int, target: int, sent: Event | None, arrive: Arrive) -> None:
        life = self.lives[target]
        cut = self.simulation.faults.is_blocked(self.names[source], self.names[target])
        if life is None or cut:
            return

        def take() -> None:
            arrive(life, None if sent is None else self._delivered(sent))

        # As a handle of the process: one that is paused takes it when it wakes up.
        self.simulation.loop.call_soon(take, context=life.process.context)

    def _delivered(self, sent: Event) -> Event:
        return msgspec.structs.replace(
            sent,
            time_ms=self.simulation.now_ms(),
            kind="delivered",
            node=sent.peer,
            peer=sent.node,
            source="",
        )


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
        self.term, self.leads = -1, False
        """As it last showed."""
        self._applied = Applied(self.state.last_index)
        self._shown = State(role="", term=0)

    def begin(self) -> None:
        saved, snapshot = self._servers.disks[self._number]
        text = f"starts with {len(saved)} B of state, {len(snapshot)} B of snapshot"
        make = self._servers.core.make
        with self._called(make, STORED, text, kind="started"):
            self._core = self._servers.guard.call(self.name, make, self._host)

    def start(self, value: Value) -> Started | None:
        """The learner's ``start``."""
        section = PLACES["Propose"].section
        with self._called(self._core.start, section, f"start({value!r:.30})") as cause:
            started = self._servers.guard.call(self.name, self._core.start, value)
            if cause is not None:
                cause.text += f" → {plain(started)}"
        if started is None:
            return None
        match started:
            case (int(index), int(term)):
                self._servers.terms_of.started(index, value, term)
                return Started(index, term)
        raise CoreFailed(f"start() gives (index, term), or None if it does not lead: {started!r}")

    @contextmanager
    def _called(
        self,
        method: Callable[..., Any],
        section: str,
        text: str = "",
        *,
        kind: Kind = "called",
        cause: Event | None = None,
    ) -> Iterator[Event | None]:
        """Inside, ``method`` of the core is called, because of ``cause`` if there is one already;
        gives that, if anybody watches."""
        if not self._servers.watched:
            yield None
            self._look()
            return
        cause = cause or self._event(kind, text)
        cause.source = self._servers.lines.of(method, section)
        self._servers.recorder.hold(cause)
        try:
            yield cause
            self._look(cause, method)
        finally:
            self._servers.recorder.release()

    def _look(self, cause: Event | None = None, method: Callable[..., Any] | None = None) -> None:
        """What ``method`` has made of it, told and judged."""
        shown = self._servers.guard.call(self.name, self._core.state)
        match shown:
            case (int(term), bool(leads)):
                pass
            case _:
                raise CoreFailed(f"state() gives (term, is_leader), not {plain(shown)}")
        if cause is not None and method is not None:
            self._show(self._state(term, leads), cause, method)
        if (term, leads) != (self.term, self.leads):
            self.term, self.leads = term, leads
            self._servers.shows(self._number, term, leads)

    def _state(self, term: int, leads: bool) -> State:
        if self._servers.tells:
            try:
                told = self._servers.guard.aside(self.name, self._core.timeline)
                return told_state(self._servers.names, term, leads, told)
            except CoreFailed as error:
                self._servers.tells = False
                self._servers.recorder.chapter(f"{error}. From here on it is not asked.")
        return seen_state(term, leads, self._applied)

    def _show(self, state: State, cause: Event, method: Callable[..., Any]) -> None:
        if state == self._shown:
            return
        changes = changes_of(self.name, self._shown, state)
        cause.state = self._shown = state
        for kind, text, place in changes:
            source = self._servers.lines.of(method, PLACES[place].section)
            self._servers.recorder.changed(self._event(kind, text, source, term=state.term))

    def _event(self, kind: Kind, text: str, source: str = "", **facts: Any) -> Event:
        return Event(
            time_ms=self._servers.simulation.now_ms(),
            kind=kind,
            node=self.name,
            text=text,
            source=source,
            group=GROUP,
            **facts,
        )

    def _does(self, kind: Kind, text: str, section: str, *, minor: bool = False) -> None:
        """The core has called its host."""
        if not self._servers.watched:
            return
        source = self._servers.lines.calling_the_host(section)
        self._servers.recorder.add(self._event(kind, text, source, minor=minor))

    # What the core does, by its host.

    def send(self, request: Any, peer: int) -> None:
        if self._over():
            return
        data = pickle.dumps(request)
        traffic = self._servers.traffic
        traffic.requests += 1
        traffic.bytes += len(data)
        self._servers.said = crc32(data, self._servers.said)
        sent = None
        if self._servers.watched:
            message = read(request)
            line = self._servers.lines.calling_the_host(section_of(message.name))
            sent = self._sent(peer - 1, message, line)
        arrive = partial(self._answered, data)
        self._servers.post("request", self._number, peer - 1, sent, arrive)

    def _sent(self, target: int, message: Message, line: str) -> Event:
        sent = self._event(
            "sent",
            message.text,
            line,
            peer=self._servers.names[target],
            message=message.name,
            term=message.term,
            arrow=self._servers.recorder.new_arrow(),
            minor=message.is_minor,
        )
        self._servers.recorder.add(sent)
        return sent

    def _answered(self, data: bytes, peer: "Server", event: Event | None) -> None:
        """``peer`` has got a request of this server, and answers it."""
        term, call = peer.term, self._servers.guard.call
        handle, section = peer._core.on_request, "" if event is None else section_of(event.message)
        with peer._called(handle, section, cause=event):
            answer = call(peer.name, handle, self._number + 1, pickle.loads(data))
        reply = pickle.dumps(answer)
        traffic = self._servers.traffic
        traffic.answers += 1
        traffic.bytes += len(reply)

        def arrive(asker: "Server", event: Event | None) -> None:
            if asker is not self:  # an earlier life's answers are nobody's
                if event is not None:
                    self._servers.recorder.add(event)
                return
            take = asker._core.on_reply
            with asker._called(take, section, cause=event):
                request, answer = pickle.loads(data), pickle.loads(reply)
                call(asker.name, take, peer._number + 1, request, answer)

        self._servers.said = crc32(reply, self._servers.said)
        sent = None
        if event is not None:
            message = read(answer).as_reply_to(event.message, minor=event.minor)
            sent = peer._sent(self._number, message, self._servers.lines.of(handle, section))
        self._servers.post("answer", peer._number, self._number, sent, arrive)
        if peer.term > term:  # it may have voted: what a storm waits for
            self._servers.checker.on_vote(replica_id(GROUP, peer.name))

    def persist(self, state: bytes, snapshot: bytes | None) -> None:
        if self._over():
            return
        kept = self._servers.disks[self._number][1]
        self._servers.disks[self._number] = (state, kept if snapshot is None else snapshot)
        more = "" if snapshot is None else f" and a snapshot of {len(snapshot)} B"
        self._does("persisted", f"persists {len(state)} B{more}", STORED, minor=True)

    def apply(self, index: int, command: Any) -> None:
        if self._over():
            return
        if not isinstance(index, int) or not isinstance(command, int | str):
            raise TypeError(f"apply() takes an index and a command, not {index!r}, {command!r}")
        text = f"applies {command!r:.30} at index {index}"
        self._does("applied", text, PLACES["applied"].section)
        with self._servers.failing():
            self.state.apply(index, command)
        self._applied.apply(index, self._servers.terms_of.of(index, command))
        if self._servers.snapshots and self.state.count % SNAPSHOT_COMMANDS == 0:
            # Later: the core is in the middle of something.
            self._servers.simulation.loop.call_soon(
                self._take_snapshot, index, self.state.snapshot(), context=self.process.context
            )

    def _take_snapshot(self, index: int, snapshot: bytes) -> None:
        cut = self._core.snapshot
        with self._called(cut, SNAPSHOTS, f"snapshot({index}, {len(snapshot)} B)"):
            self._servers.guard.call(self.name, cut, index, snapshot)

    def apply_snapshot(self, index: int, snapshot: bytes) -> None:
        if self._over():
            return
        self._does("restored", f"applies a snapshot up to index {index}", SNAPSHOTS)
        with self._servers.failing():
            if index < self.state.last_index:
                raise Broken(
                    f"a state never goes back, but {self.name} puts a snapshot of index {index} in"
                    f" the place of a state of index {self.state.last_index}"
                )
            self.state.restore(snapshot)
        self._applied = Applied(index)

    def rings(self, name: str) -> None:
        told, ring = plain(name), self._core.on_timer
        with self._called(ring, section_of(told), f"on_timer({told})"):
            self._servers.guard.call(self.name, ring, name)

    def _over(self) -> bool:
        return self._servers.lives[self._number] is not self
