"""``Simulation``: machines, processes and time, all from one seed.

Use::

    with Simulation(seed) as simulation:
        node = simulation.machine("n1")
        process = node.start_process("raft", main)        # main(world), a coroutine function
        simulation.run_until(lambda: process.result == 3, timeout_ms=10_000)
        process.pause()                                   # SIGSTOP; later, process.resume()
        process.kill()                                    # the process alone crashes
        node.power_loss()                                 # all of the machine crashes
        node.start_process("raft", main)                  # a new incarnation, same disk

The code that drives a simulation (the harness) belongs to no process.  What one process sends to
another passes through the simulated network alone.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Coroutine
from hashlib import blake2b
from types import TracebackType
from typing import Any, TypeVar

from quorate.base.errors import QuorateError
from quorate.runtime.ports import World
from quorate.runtime.simulated.clock import MachineClock, SimulatedClock
from quorate.runtime.simulated.disk import SimulatedDisk
from quorate.runtime.simulated.faults import Faults
from quorate.runtime.simulated.loop import new_loop
from quorate.runtime.simulated.network import SimulatedNetwork, SimulatedWire
from quorate.runtime.simulated.process import ProcessKilled, SimulatedProcess
from quorate.runtime.simulated.processes import SimulatedProcesses
from quorate.runtime.simulated.trace import SimulatedTrace, TraceLog

T = TypeVar("T")

Main = Callable[[World], Coroutine[Any, Any, Any]]


class Simulation:
    """One run.  Everything random in it comes from ``seed``."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.loop = new_loop()
        self.random = self.stream("harness")
        """For the harness and its nemeses."""
        self.wire = SimulatedWire(self.loop, self.stream("network"))
        self.trace = TraceLog(self.loop)
        self.machines: dict[str, Machine] = {}
        self.processes: list[SimulatedProcess] = []
        """Every incarnation ever started; the dead are kept (process.py says why)."""
        self.pids = itertools.count(1000)

    def __enter__(self) -> Simulation:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def faults(self) -> Faults:
        """What goes wrong on the network; a disk's faults are ``machine.disk.faults``."""
        return self.wire.faults

    def stream(self, name: str) -> random.Random:
        """A random source of its own for ``name``: independent of what others draw."""
        # Seeding with a string hashes it with SHA-512, the same in every Python process.
        return random.Random(f"{self.seed}/{name}")

    def machine(self, name: str) -> Machine:
        """The machine called ``name``, made on first use.  Its addresses start with its name:
        ``"n1:raft"``."""
        if name not in self.machines:
            self.machines[name] = Machine(self, name)
        return self.machines[name]

    def now_ms(self) -> float:
        """True (virtual) time since the start."""
        return self.loop.time() * 1000.0

    def run_for(self, duration_ms: float) -> None:
        self.loop.run_until(None, self.loop.time() + duration_ms / 1000.0)

    def run_until(self, what: Coroutine[Any, Any, T] | Callable[[], bool], timeout_ms: float) -> T:
        """Run until the coroutine ends or the predicate, asked after each step, is true.

        Returns the coroutine's result (or ``True``).  Raises ``TimeoutError`` after ``timeout_ms``
        of virtual time, and whatever fails the run.
        """
        deadline = self.loop.time() + timeout_ms / 1000.0
        result: Any = True
        if callable(what):
            done = self.loop.run_until(what, deadline)
        else:
            task = self.loop.create_task(what, name="harness")
            done = self.loop.run_until(task.done, deadline)
            result = task.result() if done else None
        if not done:
            raise TimeoutError(
                f"seed {self.seed}: not done within {timeout_ms:.0f} ms of virtual time "
                f"(now {self.now_ms():.0f} ms)"
            )
        finished: T = result
        return finished

    def digest(self) -> str:
        """A hash of all that happened so far, every byte on the wire included: two runs of one seed
        have the same."""
        state = blake2b(self.trace.digest().encode(), digest_size=16)
        state.update(f"{self.loop.steps} {self.loop.time()!r} {self.wire.checksum}".encode())
        sources = [self.random, self.wire.random]
        sources += [source for machine in self.machines.values() for source in machine.sources]
        for source in sources:
            state.update(repr(source.getstate()).encode())
        return state.hexdigest()

    def close(self) -> None:
        """End the run; nothing that was left undone has any effect."""
        for process in self.processes:
            process.on_kill.clear()
            process.kill()
        self.loop.close()
        for process in self.processes:
            process.tasks.bury()
        for machine in self.machines.values():
            machine.disk.discard()


class Machine:
    """One simulated machine: a clock, a disk, and processes by role."""

    def __init__(self, simulation: Simulation, name: str) -> None:
        self.simulation = simulation
        self.name = name
        self.sources: list[random.Random] = []
        own = self._source("machine")
        self.clock = MachineClock(simulation.loop, offset_ms=own.uniform(0.0, 1e7))
        self.disk = SimulatedDisk(self._source("disk"))
        self.processes: dict[str, SimulatedProcess] = {}
        """The latest incarnation of each role."""
        self._incarnations = 0

    def start_process(
        self, role: str, main: Main, *, directory: str | None = None
    ) -> SimulatedProcess:
        """Start ``main(world)`` as a new process whose disk is ``directory`` (default: the
        role's name) of the machine's.  It ends when ``main`` returns, fails or is killed.

        Turns the machine's power on, if it was off.
        """
        simulation = self.simulation
        simulation.wire.power(self.name, True)
        self._incarnations += 1
        process = SimulatedProcess(self.name, role, self._incarnations)
        process.release = simulation.loop.take_back
        simulation.processes.append(process)
        self.processes[role] = process
        world = self._world(process, role if directory is None else directory)
        work = process.context.run(main, world)
        process.main = simulation.loop.create_task(work, name=process.name, context=process.context)
        process.main.add_done_callback(
            lambda task: self._ended(process, world, task), context=process.context
        )
        simulation.trace.add(process.name, "started")
        return process

    def _world(self, process: SimulatedProcess, root: str) -> World:
        simulation = self.simulation
        name = f"{process.role}/{process.incarnation}"
        return World(
            clock=SimulatedClock(simulation.loop, self.clock, process),
            network=SimulatedNetwork(simulation.wire, process),
            disk=self.disk.view(process, root),
            random=self._source(name),
            processes=SimulatedProcesses(
                self.disk, process, root, self._source(f"{name}/tasks"), simulation.pids
            ),
            trace=SimulatedTrace(simulation.trace, process),
            stop=lambda error: self._stop(process, error),
        )

    def _source(self, name: str) -> random.Random:
        source = self.simulation.stream(f"{self.name}/{name}")
        self.sources.append(source)
        return source

    def _stop(self, process: SimulatedProcess, error: BaseException) -> None:
        if isinstance(error, QuorateError):
            if process.alive:
                process.error = error
                self.simulation.trace.add(process.name, f"stopped: {error}")
                process.kill()
        elif not isinstance(error, ProcessKilled):
            self.simulation.loop.fail(error)

    def _ended(self, process: SimulatedProcess, world: World, task: Any) -> None:
        if task.cancelled():
            process.kill()
        elif (error := task.exception()) is not None:
            world.stop(error)
        else:
            process.result = task.result()
            process.kill()

    def power_loss(self) -> None:
        """Every process dies, the disk keeps what a power loss leaves, and the network hears
        nothing of this machine until a process is started on it again."""
        self.simulation.trace.add(self.name, "power loss")
        self.simulation.wire.power(self.name, False)
        for process in self.simulation.processes:
            if process.machine == self.name:
                process.kill()
        self.disk.power_loss()
