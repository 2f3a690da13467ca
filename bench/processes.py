"""Child processes by number, to which benches do what happens to machines."""

import signal
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Self


class Processes(ABC):
    """What process 1 prints goes to ``n1.log`` in ``directory``, and so on."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._processes: dict[int, subprocess.Popen[bytes]] = {}

    @abstractmethod
    async def begin(self) -> None:
        """Start all, and wait until one of them leads."""

    async def __aenter__(self) -> Self:
        try:
            await self.begin()
        except BaseException:
            self.stop()
            raise
        return self

    async def __aexit__(self, *error: object) -> None:
        self.stop()

    def launch(self, number: int, command: Sequence[str]) -> None:
        """Start one that does not run."""
        with self._log(number).open("ab") as log:
            self._processes[number] = subprocess.Popen(command, stdout=log, stderr=log)

    def pid(self, number: int) -> int:
        return self._processes[number].pid

    def kill(self, number: int) -> None:
        """SIGKILL; returns when it is gone."""
        process = self._processes[number]
        process.kill()
        process.wait()

    def pause(self, number: int) -> None:
        """SIGSTOP."""
        self._processes[number].send_signal(signal.SIGSTOP)

    def resume(self, number: int) -> None:
        """SIGCONT."""
        self._processes[number].send_signal(signal.SIGCONT)

    def stop(self) -> None:
        """Kill all that run."""
        for number, process in self._processes.items():
            if process.poll() is None:
                self.kill(number)

    def running(self) -> list[int]:
        """Those that were not killed; raises if one has ended by itself."""
        for number, process in self._processes.items():
            if process.poll() not in (None, -signal.SIGKILL):
                said = self._log(number).read_text()[-2000:]
                raise RuntimeError(f"node {number} has ended with {process.poll()}: {said}")
        return [number for number, process in self._processes.items() if process.poll() is None]

    def _log(self, number: int) -> Path:
        return self._directory / f"n{number}.log"
