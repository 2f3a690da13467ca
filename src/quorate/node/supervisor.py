"""``quorate node``: one machine of a cluster, that is, a supervisor and its processes.

The supervisor starts the processes of the node's roles and starts again one that dies, after a
pause that doubles from 0.2 to 5 seconds while it dies young.  It does no work of its own but to
show how they are (door.py).  Where
starting again would be wrong (a configuration that does not fit, a disk that failed or is full, a
damaged record), the whole node stops with that process's sentence and exit code.

A replica that was damaged is one more case: its peers have what it lost.  The other processes go on
until a leader can be asked; then all end, and start again as the machine that takes the damaged
one's place (rebuilding.py).

SIGTERM and SIGINT stop it in order: each process gets SIGTERM and five seconds, then SIGKILL.  If
the supervisor is killed, its processes end by themselves (child.py).
"""

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec

from quorate.base.errors import (
    BadConfiguration,
    BadInput,
    CorruptData,
    DiskFailed,
    DiskFull,
    QuorateError,
    ReplicaDamaged,
)
from quorate.node.child import Child
from quorate.node.config import NodeConfig, load
from quorate.node.door import Door
from quorate.node.identity import require_identity
from quorate.node.known import known_in, names_removed
from quorate.node.lock import FileLock
from quorate.node.logfile import LogFile
from quorate.node.parent import die_with_parent, when_parent_ends
from quorate.node.rebuilding import Rebuilding, resumed
from quorate.node.reports import (
    PROCESSES_FILE,
    Ready,
    RunningProcess,
    failed,
    report,
)
from quorate.runtime.ports import World
from quorate.runtime.real.trace import RealTrace
from quorate.runtime.real.world import close_world, real_world, run

FINAL = (BadConfiguration, BadInput, CorruptData, DiskFailed, DiskFull)
"""After these a process is not started again."""

FIRST_PAUSE_MS = 200.0
MAX_PAUSE_MS = 5_000.0
STEADY_MS = 10_000.0
"""A process that lived this long dies of something new: the pause starts from the beginning."""
STOP_MS = 5_000.0
LOCK_PATIENCE_MS = 3_000.0


class Supervisor:
    """The processes of one node."""

    def __init__(
        self,
        config: NodeConfig,
        config_file: Path,
        on_ready: Callable[[Ready], None],
        say: Callable[[str], None],
        until_rebuildable: Callable[[ReplicaDamaged], Awaitable[None]],
    ) -> None:
        """``on_ready`` hears each time that all processes listen, ``say`` what a person should.
        ``until_rebuildable`` returns when a damaged replica can be rebuilt, and raises why not."""
        self._config = config
        self._config_file = config_file
        self._on_ready = on_ready
        self._say = say
        self._until_rebuildable = until_rebuildable
        self._running: dict[str, Child] = {}
        self._ready: dict[str, RunningProcess] = {}
        self.starts_again: dict[str, int] = {}
        """How often a process was started again, by role."""
        self._stopping = asyncio.Event()
        self._failure: Exception | None = None
        self._damage: ReplicaDamaged | None = None

    async def run(self) -> ReplicaDamaged | None:
        """Keep all processes running until ``stop``, or until a replica is to be rebuilt, which is
        given back; raises what a process could not go on for."""
        keepers = [
            asyncio.create_task(self._keep(role), name=f"keeper of {role}")
            for role in self._config.role_addresses()
        ]
        for keeper in keepers:  # one that ends, ends all: only a failure gets it there
            keeper.add_done_callback(lambda _: self.stop())
        await self._stopping.wait()
        await asyncio.gather(*(child.stop(STOP_MS) for child in self._running.values()))
        await asyncio.gather(*keepers)
        if self._failure is not None:
            raise self._failure
        return self._damage

    def pids(self) -> dict[str, int]:
        """The processes that run now, by role."""
        return {role: child.pid for role, child in self._running.items()}

    def stop(self) -> None:
        """End ``run`` in order."""
        self._stopping.set()

    def fail(self, error: Exception) -> None:
        """End ``run`` in order, with ``error``, which may be a bug of ours."""
        self._failure = error
        self.stop()

    async def _keep(self, role: str) -> None:
        loop = asyncio.get_running_loop()
        pause_ms = FIRST_PAUSE_MS
        while not self._stopping.is_set():
            started = loop.time()
            error = await self._live(role)
            if self._stopping.is_set():
                return
            if isinstance(error, ReplicaDamaged):
                await self._rebuildable(error)
                return
            if isinstance(error, FINAL):
                self._failure = error
                return
            if (loop.time() - started) * 1000 > STEADY_MS:
                pause_ms = FIRST_PAUSE_MS
            self._say(f"{error.message}; starting it again")
            self.starts_again[role] = self.starts_again.get(role, 0) + 1
            await self._pause(pause_ms)
            pause_ms = min(2 * pause_ms, MAX_PAUSE_MS)

    async def _rebuildable(self, damage: ReplicaDamaged) -> None:
        """Wait until ``damage`` can be mended, cannot be, or all is to stop."""
        asking = asyncio.ensure_future(self._until_rebuildable(damage))
        stopping = asyncio.ensure_future(self._stopping.wait())
        await asyncio.wait((asking, stopping), return_when=asyncio.FIRST_COMPLETED)
        for waiting in (asking, stopping):
            waiting.cancel()
        (answer, _) = await asyncio.gather(asking, stopping, return_exceptions=True)
        if isinstance(answer, QuorateError):
            self._failure = answer
        elif answer is None:
            self._damage = damage
        elif not isinstance(answer, asyncio.CancelledError):
            raise answer

    async def _live(self, role: str) -> QuorateError:
        """One life of the process of ``role``; how it ended."""
        child = await Child.start(
            role,
            "quorate.node.process",
            (str(self._config_file), role),
            LogFile(self._config.data_path / f"{role}.log"),
            lambda ready: self._listening(ready.processes),
        )
        self._running[role] = child
        if self._stopping.is_set():  # a stop that came while it was being started
            await child.stop(STOP_MS)
        error = await child.ended()
        self._running.pop(role)
        self._ready.pop(role, None)
        return error

    def _listening(self, processes: tuple[RunningProcess, ...]) -> None:
        for process in processes:
            self._ready[process.role] = process
        roles = self._config.role_addresses()
        if len(self._ready) == len(roles):
            running = tuple(self._ready[role] for role in roles)
            self._write_down(running)
            self._on_ready(Ready(running))

    def _write_down(self, running: tuple[RunningProcess, ...]) -> None:
        """For those who ask the node (``DescribeNode``), the supervisor's own pid included; only
        pids, so nothing is synced."""
        path = self._config.data_path / PROCESSES_FILE
        all_of_node = (RunningProcess("supervisor", os.getpid()), *running)
        try:
            path.with_suffix(".new").write_bytes(msgspec.json.encode(all_of_node))
            path.with_suffix(".new").replace(path)
        except OSError as error:
            self._say(f"{path} cannot be written: {error.strerror}")

    async def _pause(self, pause_ms: float) -> None:
        try:
            async with asyncio.timeout(pause_ms / 1000):
                await self._stopping.wait()
        except TimeoutError:
            return


async def run_node(
    config_file: Path,
    on_ready: Callable[[Ready], None],
    say: Callable[[str], None],
    meanwhile: Callable[[], Awaitable[None]] | None = None,
) -> None:
    """Be the node of ``config_file`` until SIGTERM or SIGINT; raises why it could not go on.

    ``meanwhile`` is done once, beside that; the node ends if it fails.
    """
    await _run(config_file, on_ready, say, attached=False, meanwhile=meanwhile)


async def _run(
    config_file: Path,
    on_ready: Callable[[Ready], None],
    say: Callable[[str], None],
    *,
    attached: bool,
    meanwhile: Callable[[], Awaitable[None]] | None = None,
) -> None:
    config = load(config_file)
    require_identity(config, config_file)
    lock = FileLock(config.data_path / "lock", LOCK_PATIENCE_MS)
    asked = asyncio.Event()
    try:
        trace = RealTrace(sys.stderr, "supervisor")
        world = real_world(config.data_path, trace=trace, tls=config.tls_paths)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, asked.set)
        if attached:
            when_parent_ends(asked.set)
        if (sentence := names_removed(config, known_in(config.data_path))) is not None:
            say(sentence)
        node = _Node(world, config, config_file, on_ready, say)
        try:
            while await node.live(asked, meanwhile):
                meanwhile = None
        finally:
            await close_world(world)
    finally:
        lock.release()


class _Node:
    """What stays when a machine is rebuilt under another id, and all its processes start again."""

    def __init__(
        self,
        world: World,
        config: NodeConfig,
        config_file: Path,
        on_ready: Callable[[Ready], None],
        say: Callable[[str], None],
    ) -> None:
        self._world = world
        self._config = config
        self._config_file = config_file
        self._on_ready = on_ready
        self._say = say

    async def live(
        self, asked: asyncio.Event, meanwhile: Callable[[], Awaitable[None]] | None
    ) -> bool:
        """From the start of all processes to their end; whether they are to start again.

        ``asked`` is set when somebody wants the node to stop.
        """
        world, config = self._world, self._config
        machine = require_identity(config, self._config_file)
        machine = await resumed(world.disk, config, machine)
        rebuilding = Rebuilding(world, config, machine, self._say)
        supervisor = Supervisor(
            config, self._config_file, self._on_ready, self._say, rebuilding.until_possible
        )
        door = Door(
            world,
            config,
            machine,
            supervisor.pids,
            supervisor.starts_again,
            lambda: rebuilding.needed,
        )
        await door.open()
        work = rebuilding.finish if rebuilding.unfinished else meanwhile
        beside = [
            asyncio.create_task(_beside(work, supervisor)),
            asyncio.create_task(_stop_when(asked, supervisor)),
        ]
        try:
            damage = await supervisor.run()
        finally:
            for task in beside:
                task.cancel()
            await asyncio.gather(*beside, return_exceptions=True)
            await door.close()
        if damage is None or asked.is_set():
            return False
        await rebuilding.begin(damage)
        return not asked.is_set()


async def _stop_when(asked: asyncio.Event, supervisor: Supervisor) -> None:
    await asked.wait()
    supervisor.stop()


async def _beside(meanwhile: Callable[[], Awaitable[None]] | None, supervisor: Supervisor) -> None:
    if meanwhile is not None:
        try:
            await meanwhile()
        except Exception as error:  # also a bug ends the node: its work is not done
            supervisor.fail(error)


def main(parent_pid: str, config_file: str) -> int:
    """``python -m quorate.node.supervisor PARENT CONFIG``: a node that ``quorate up`` started."""
    die_with_parent(int(parent_pid))

    def say(sentence: str) -> None:
        sys.stderr.write(sentence + "\n")
        sys.stderr.flush()

    try:
        run(lambda: _run(Path(config_file), report, say, attached=True))
    except QuorateError as error:
        report(failed(error))
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
