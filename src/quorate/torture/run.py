"""One run of ``quorate torture``: build, torture, heal, look, undo, judge.

Whatever happens, Ctrl-C included, everything is undone: processes, namespaces, links, mounts.  The
histories stay.
"""

import asyncio
import random
import signal
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from quorate.base.errors import NotJudged, QuorateError
from quorate.base.ids import ClusterId, NodeId
from quorate.linearizability.history import Outcome
from quorate.raft.messages import AskStatus, GroupStatus
from quorate.rpc.client import RpcClient
from quorate.rpc.handshake import Identity
from quorate.runtime.ports import World
from quorate.runtime.real.loop import run
from quorate.runtime.real.trace import RealTrace
from quorate.runtime.real.world import close_world, real_world
from quorate.torture.clients import Keys, Player, look
from quorate.torture.disks import make_disks
from quorate.torture.faults import KINDS, draw_schedule
from quorate.torture.history import Clock, Recorder
from quorate.torture.hosts import Hosts, Loopback, Namespaces, no_namespaces
from quorate.torture.nemesis import Nemesis
from quorate.torture.report import Report
from quorate.torture.system import Mark, remove_leftovers
from quorate.torture.target import Target, TargetClient
from quorate.torture.timeline import Gathering

PARTITIONS = ("auto", "namespaces", "transport")
START_S = 30.0
RECOVER_S = 45.0
CALM_S = 1.0
LOOK_MS = 15_000.0
ASK_MS = 500.0
POLL_S = 0.1


@dataclass(frozen=True)
class Settings:
    """What the user asked for."""

    minutes: float
    nodes: int
    clients: int
    seed: int
    partitions: str
    kinds: Sequence[str]
    folder: Path
    timeline: Path | None = None
    """The HTML file to write."""


def torture(settings: Settings, target: Target, say: Callable[[str], None]) -> Report:
    """A whole run.  ``say`` hears what happens.  Raises ``NotJudged`` if there can be none, and
    ``KeyboardInterrupt`` after a Ctrl-C, when all is undone."""
    for leftover in remove_leftovers():
        say(f"removed what the run {leftover} had left behind")
    settings.folder.mkdir(parents=True, exist_ok=True)
    mark = Mark()
    try:
        torment = _Run(settings, target, mark.name, say)
        run(torment.whole)
        if torment.problem is not None:
            raise torment.problem
    finally:
        mark.release()
    say("judging")
    torment.report.judge(torment.files)
    if settings.timeline is not None and torment.gathering is not None:
        torment.gathering.draw(torment.report, torment.files, settings.timeline)
    return torment.report


class _Run:
    def __init__(
        self, settings: Settings, target: Target, mark: str, say: Callable[[str], None]
    ) -> None:
        self._settings = settings
        self._target = target
        self._say = say
        folder, nodes = settings.folder, settings.nodes
        self._hosts = _hosts(settings, mark)
        self._disks = make_disks(mark, folder, nodes, target.image_bytes)
        self._clock = Clock()
        self._recorder = Recorder(folder, self._clock)
        self.gathering = None if settings.timeline is None else Gathering(self._clock, target.group)
        self._keys = Keys()
        self.files = self._recorder.files
        self.problem: BaseException | None = None
        """Why the run was broken off."""
        self.report = Report(
            settings.seed,
            settings.minutes,
            nodes,
            settings.clients,
            self._hosts.partitions,
            self._disks.kind,
            [kind for kind in KINDS if kind not in settings.kinds],
            folder=str(folder),
            target=target.name,
        )

    async def whole(self) -> None:
        """Everything that needs a loop."""
        main = asyncio.current_task()
        loop = asyncio.get_running_loop()

        def stop(error: BaseException) -> None:
            if self.problem is None and main is not None:  # cleaning up is not interrupted
                self.problem = error
                main.cancel()

        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, stop, KeyboardInterrupt())
        with (self._settings.folder / "clients.log").open("a") as log:
            world = real_world(
                self._settings.folder, trace=RealTrace(log), tls=self._hosts.tls, stop=stop
            )
            try:
                await self._within(world)
            except asyncio.CancelledError:
                if self.problem is None:
                    raise
            finally:
                self._recorder.close()
                await close_world(world)

    async def _within(self, world: World) -> None:
        settings, report = self._settings, self.report
        self._rpc = RpcClient(world, Identity(ClusterId(""), NodeId(0), "client"))
        nemesis = Nemesis(
            self._target,
            self._hosts,
            self._disks,
            settings.folder,
            self._clock,
            self._leader,
            self._serves,
            self._say,
            self.gathering,
        )
        for line in (f"partitions: {self._hosts.partitions}", f"disks: {self._disks.kind}"):
            self._say(line)
        try:
            await nemesis.start()
            if not await self._until(self._led, START_S):
                words = next((n.last_words() for n in nemesis.nodes if not n.alive), "")
                raise NotJudged(f"The nodes found no leader in {START_S:.0f} s. {words}".strip())
            await self._torture(world, nemesis)
            await self._look(world)
        finally:
            await nemesis.close()
            await self._rpc.close()
        recorder = self._recorder
        report.operations = recorder.operations
        report.ok, report.fail, report.info = (
            recorder.outcomes[outcome] for outcome in (Outcome.OK, Outcome.FAIL, Outcome.INFO)
        )
        report.longest_gap_s, report.longest_gap_with_majority_s = (
            gaps.longest_ns / 1e9 for gaps in recorder.gaps
        )
        report.faults = dict(nemesis.struck)
        report.out_of_space = nemesis.out_of_space
        report.findings += [*nemesis.findings, *self._target.findings]

    async def _torture(self, world: World, nemesis: Nemesis) -> None:
        """Clients at work while the schedule is played, and until it has healed."""
        settings = self._settings
        schedule = draw_schedule(
            settings.seed, settings.nodes, int(settings.minutes * 60_000), settings.kinds
        )
        clients = [self._client(world, number) for number in range(settings.clients)]
        players = [
            asyncio.create_task(
                Player(
                    client,
                    f"c{number}",
                    self._keys,
                    self._recorder,
                    random.Random(f"client {settings.seed} {number}"),
                ).play(self._target.shares)
            )
            for number, client in enumerate(clients, 1)
        ]
        try:
            for gaps in self._recorder.gaps:
                gaps.begin()
            lasting = asyncio.create_task(asyncio.sleep(settings.minutes * 60))
            try:
                await nemesis.play(schedule)
                await lasting
            finally:
                lasting.cancel()
            await nemesis.heal()
            await self._until(self._led, RECOVER_S)
            await asyncio.sleep(CALM_S)
            for gaps in self._recorder.gaps:
                gaps.end()
        finally:
            for player in players:
                player.cancel()
            await asyncio.gather(*players, return_exceptions=True)
            for client in clients:
                await client.close()

    def _client(self, world: World, number: int) -> TargetClient:
        return self._target.client(world, self._hosts, number % self._settings.nodes)

    async def _look(self, world: World) -> None:
        """The last reads, and whether all replicas are the same."""
        reader = self._client(world, 0)
        try:
            await look(reader, self._keys, self._recorder, LOOK_MS)
        except QuorateError as error:
            self.report.recovered = f"after the last fault there was no answer: {error.message}"
        finally:
            await reader.close()
        if not await self._until(self._same, RECOVER_S):
            self.report.recovered = self.report.recovered or (
                f"not all replicas were at the same entry within {RECOVER_S:.0f} s"
            )

    # What the nodes say of themselves.

    async def _statuses(self) -> list[GroupStatus | None]:
        async def ask(number: int) -> GroupStatus | None:
            with suppress(QuorateError):
                address = self._hosts.addresses[number]
                reply = await self._rpc.call(address, AskStatus(), timeout_ms=ASK_MS)
                groups = {status.group: status for status in reply.groups}
                return groups.get(self._target.group)  # it may not have begun with it yet
            return None

        return list(await asyncio.gather(*map(ask, range(self._settings.nodes))))

    async def _leader(self) -> int | None:
        """Who leads in the latest term that anybody knows who answers."""
        leaders = [
            (status.term, number)
            for number, status in enumerate(await self._statuses(), 1)
            if status is not None and status.role == "leader"
        ]
        return max(leaders)[1] if leaders else None

    def _serves(self, serves: bool) -> None:
        """The nemesis' word that a majority can serve, or that none can."""
        whole, with_majority = self._recorder.gaps
        if not serves:
            with_majority.end()
        elif whole.counts:
            with_majority.begin()

    async def _led(self) -> bool:
        return await self._leader() is not None

    async def _same(self) -> bool:
        """Whether all replicas are at the same entry; a difference there is a finding."""
        seen = [status for status in await self._statuses() if status is not None]
        if len(seen) < self._settings.nodes or len({s.last_applied for s in seen}) > 1:
            return False
        digests = [status.digest for status in seen]
        if len(set(digests)) > 1:
            self.report.findings.append(
                f"the replicas differ at entry {seen[0].last_applied}: digests {digests}"
            )
        return True

    async def _until(self, true: Callable[[], Awaitable[bool]], timeout_s: float) -> bool:
        """Whether that came true within ``timeout_s``."""
        now_s = asyncio.get_running_loop().time
        deadline_s = now_s() + timeout_s
        while True:
            if await true():
                return True
            if now_s() > deadline_s:
                return False
            await asyncio.sleep(POLL_S)


def _hosts(settings: Settings, mark: str) -> Hosts:
    if settings.partitions == "transport":
        return Loopback(settings.nodes, "as --partitions asks")
    why = no_namespaces()
    if not why:
        return Namespaces(mark, settings.nodes, settings.folder)
    if settings.partitions == "namespaces":
        raise NotJudged(f"There can be no network namespaces here: {why}.")
    return Loopback(settings.nodes, f"no network namespaces, {why}")
