"""The processes of the nodes, as the nemesis handles them: started, told, frozen, killed.

They die with this process.  One that ends without being killed is either out of space while its
disk was full, which is what a node must do then, or a finding.
"""

import asyncio
import os
import signal
from collections.abc import Callable
from pathlib import Path

import msgspec

from quorate.base.errors import DiskFull
from quorate.node.logfile import LogFile
from quorate.torture.control import Control, NodeSettings
from quorate.torture.hosts import Hosts
from quorate.torture.target import Target
from quorate.torture.timeline import Gathering
from quorate.torture.watching import MARK

_TAIL_BYTES = 600
_LINE_BYTES = 1 << 16


class TortureNode:
    """One node: at most one process at a time."""

    def __init__(
        self,
        number: int,
        target: Target,
        hosts: Hosts,
        directory: Path,
        log: Path,
        ended: Callable[["TortureNode", int], None],
        gathering: Gathering | None,
    ) -> None:
        """``ended`` is told of an end that nobody asked for, with its status; ``gathering`` of
        what happens to the node, and of what it says of itself."""
        self.number = number
        self.control = Control()
        self.frozen = False
        self.was_full = False
        """The disk was full at some moment of the life of this process."""
        self.broken = False
        """It ended as no fault explains, and stays down."""
        self._target = target
        self._hosts = hosts
        self._directory = directory
        self._log = log
        self._ended = ended
        self._gathering = gathering
        self._process: asyncio.subprocess.Process | None = None
        self._watcher: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int | None:
        return None if self._process is None else self._process.pid

    @property
    def alive(self) -> bool:
        return self._process is not None

    async def start(self) -> None:
        """Start it; returns before it listens."""
        tls = self._hosts.tls_of(self.number)
        settings = NodeSettings(
            os.getpid(),
            self.number,
            self._hosts.addresses,
            self._hosts.resp,
            str(self._directory),
            [str(tls.ca), str(tls.cert), str(tls.key)] if tls else None,
            self.control,
            watched=self._gathering is not None,
        )
        line = [*self._hosts.prefix(self.number), *self._target.node_command(settings)]
        self.frozen = self.was_full = False
        process = await asyncio.create_subprocess_exec(
            *line,
            stdin=asyncio.subprocess.PIPE,
            # A pipe: a limit on the size of its files must not silence it.
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,  # a Ctrl-C at the terminal is for its parent alone
        )
        self._process = process
        if self._gathering is not None:
            self._gathering.started(self.number)
        self._watcher = asyncio.create_task(self._watch(process))

    async def _watch(self, process: asyncio.subprocess.Process) -> None:
        log, rest = LogFile(self._log), b""
        while process.stdout is not None and (said := await process.stdout.read(1 << 16)):
            *lines, rest = (rest + said).split(b"\n")
            log.write(b"".join(line + b"\n" for line in lines if not self._is_told(line)))
            if len(rest) > _LINE_BYTES:
                log.write(rest)
                rest = b""
        log.write(rest)
        log.close()
        status = await process.wait()
        if process.stdin is not None:
            process.stdin.close()
        if self._process is process:  # nobody killed it
            self._process = None
            if self._gathering is not None:
                self._gathering.died(self.number, f"ends by itself with status {status}")
            self._ended(self, status)

    def _is_told(self, line: bytes) -> bool:
        """Whether it is an event; all else is its log."""
        if self._gathering is None or not line.startswith(MARK):
            return False
        try:
            self._gathering.heard(line.removeprefix(MARK))
        except (msgspec.DecodeError, UnicodeDecodeError):
            return False
        return True

    def tell(self, control: Control) -> None:
        """What holds from now on, in this life and the next."""
        if control == self.control:
            return
        self.control = control
        process = self._process
        if process is not None and process.stdin is not None:
            process.stdin.write(msgspec.json.encode(control) + b"\n")

    def freeze(self) -> None:
        """SIGSTOP."""
        self._signal(signal.SIGSTOP)
        self.frozen = True

    def thaw(self) -> None:
        """SIGCONT."""
        self._signal(signal.SIGCONT)
        self.frozen = False

    async def kill(self) -> None:
        """SIGKILL; returns when it is gone."""
        self._signal(signal.SIGKILL)
        if self._gathering is not None and self._process is not None:
            self._gathering.died(self.number, "is killed")
        self._process = None
        if self._watcher is not None:
            await asyncio.shield(self._watcher)
            self._watcher = None

    def explains(self, status: int) -> bool:
        """Whether an end with ``status`` is what a node must do."""
        return status == DiskFull.exit_code and self.was_full

    def last_words(self) -> str:
        """The end of its log."""
        if not self._log.exists():
            return ""
        return self._log.read_bytes()[-_TAIL_BYTES:].decode(errors="replace").strip()

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            try:
                self._process.send_signal(number)
            except ProcessLookupError:
                return  # it has just ended; its watcher says so
