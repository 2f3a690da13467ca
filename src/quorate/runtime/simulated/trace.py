"""The trace of a whole simulation: the last events to read, and a hash of all to compare runs."""

from collections import deque
from collections.abc import Callable
from hashlib import blake2b

from quorate.runtime.simulated.loop import SimulatedLoop
from quorate.runtime.simulated.process import SimulatedProcess


class TraceLog:
    """What happened, in order: ``recent`` lines, and a running hash of every one."""

    def __init__(self, loop: SimulatedLoop, keep: int = 10_000) -> None:
        self._loop = loop
        self._hash = blake2b(digest_size=16)
        self.recent: deque[str] = deque(maxlen=keep)
        self.listener: Callable[[str, str], None] = lambda source, text: None
        """Told of each event; it changes nothing."""

    def add(self, source: str, text: str) -> None:
        line = f"{self._loop.time():10.6f} {source} {text}"
        self._hash.update(line.encode())
        self.recent.append(line)
        self.listener(source, text)

    def digest(self) -> str:
        return self._hash.hexdigest()


class SimulatedTrace:
    """The trace port of one process."""

    __slots__ = ("_log", "_process")

    def __init__(self, log: TraceLog, process: SimulatedProcess) -> None:
        self._log = log
        self._process = process

    def event(self, name: str, **facts: object) -> None:
        self._process.require_alive()
        text = "".join(f" {key}={value}" for key, value in facts.items())
        self._log.add(self._process.name, name + text)

    def error(self, sentence: str) -> None:
        self._process.require_alive()
        self._log.add(self._process.name, f"ERROR {sentence}")
