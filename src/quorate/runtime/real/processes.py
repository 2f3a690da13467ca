"""Task processes of the real world: Python children that serve one function, one request a time.

A child talks over a socket pair in the same frames as everything else (network.py); the first byte
of each says what it is.  It dies with this process (parent_death.py, and the end of the socket).
What user code prints goes to a log of the child's own in its directory, ``task-0.log``, …; a name
is used again when its child is dead.  A log is begun anew at each start, and between two requests
if it is longer than ``MAX_LOG_BYTES``.  Its end stands in the error that tells of a death.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from quorate.base.check import check
from quorate.base.codec import UNREADABLE, decode
from quorate.base.errors import ErrorInfo, ProtocolError, Unavailable, error_from
from quorate.runtime.paths import path_parts
from quorate.runtime.ports import Connection, TaskProcess
from quorate.runtime.real.network import RealConnection

MAX_MESSAGE_BYTES = 64 << 20
"""Bound of a request and of a reply."""

REPLY = b"R"
ERROR = b"E"
"""First byte of what a child sends: a reply (the first, empty one says that it is ready), or an
encoded ``ErrorInfo``."""

MAX_LOG_BYTES = 1 << 20
_SHOWN_LOG_BYTES = 2000
_START_TIMEOUT_MS = 60_000.0


class _Channel:
    """The parent's end of the socket: one answer is waited for at a time."""

    def __init__(self) -> None:
        self.connection: Connection | None = None
        self.answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def expect(self) -> asyncio.Future[bytes]:
        self.answer = asyncio.get_running_loop().create_future()
        if self.connection is None:
            self.answer.set_exception(EOFError())
        return self.answer

    def connected(self, connection: Connection) -> None:
        self.connection = connection

    def frames_received(self, frames: Sequence[memoryview]) -> None:
        for frame in frames:
            if self.answer.done():
                continue
            if frame[:1] == REPLY:
                self.answer.set_result(bytes(frame[1:]))
                continue
            try:
                error = error_from(decode(frame[1:], ErrorInfo))
            except UNREADABLE:
                error = ProtocolError("a task process sent what is no answer: is its socket used?")
            self.answer.set_exception(error)

    def disconnected(self, error: Exception | None) -> None:
        self.connection = None
        if not self.answer.done():
            self.answer.set_exception(error if isinstance(error, ProtocolError) else EOFError())


class RealTaskProcess:
    """A child.  A ``run`` that is cancelled kills it: its answer would be taken for the next."""

    def __init__(self, child: asyncio.subprocess.Process, channel: _Channel, log: Path) -> None:
        self._child = child
        self._channel = channel
        self.log = log
        self._busy = False

    @property
    def pid(self) -> int:
        return self._child.pid

    @property
    def alive(self) -> bool:
        return self._child.returncode is None

    async def ready(self) -> None:
        await self._answer(self._channel.answer)

    async def run(self, request: bytes) -> bytes:
        check(not self._busy, "a task process runs one request at a time")
        self._busy = True
        try:
            answer = self._channel.expect()
            if self._channel.connection is not None:
                self._channel.connection.send([[REPLY, request]])
            return await self._answer(answer)
        finally:
            self._busy = False

    async def _answer(self, answer: asyncio.Future[bytes]) -> bytes:
        try:
            return await answer
        except asyncio.CancelledError:
            self.kill()
            raise
        except EOFError:
            status = await self._child.wait()
            how = f"signal {signal.Signals(-status).name}" if status < 0 else f"status {status}"
            raise Unavailable(f"task process {self.pid} ended with {how}{self.said()}") from None

    def said(self) -> str:
        """The end of its log, if it said anything: the log itself is on one of many machines."""
        try:
            with self.log.open("rb") as log:
                log.seek(max(0, os.fstat(log.fileno()).st_size - _SHOWN_LOG_BYTES))
                said = log.read().decode("utf-8", "replace").strip()
        except OSError as error:
            return f"; {self.log} cannot be read: {error.strerror}"
        return f"; it said at the end:\n{said}" if said else ""

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._child.kill()

    async def close(self) -> None:
        """Kill it, take its exit status and close the socket."""
        self.kill()
        await self._child.wait()
        if self._channel.connection is not None:
            self._channel.connection.close()


class RealProcesses:
    """The processes port; directories are below ``root``."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._children: list[RealTaskProcess] = []
        self._starting: dict[Path, None] = {}
        """Logs of children that are being started."""

    async def start(self, function: str, directory: str) -> TaskProcess:
        folder = self._root.joinpath(*path_parts(directory))
        log = self._log(folder)
        self._starting[log] = None
        try:
            return await self._start(function, folder, log)
        finally:
            del self._starting[log]

    async def _start(self, function: str, folder: Path, log: Path) -> TaskProcess:
        ours, theirs = socket.socketpair()
        try:
            with theirs, log.open("wb") as output:
                command = [sys.executable, "-P", "-m", "quorate.runtime.real.task_child"]
                command += [str(os.getpid()), str(theirs.fileno()), function, str(folder)]
                child = await asyncio.create_subprocess_exec(
                    *command,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    pass_fds=[theirs.fileno()],
                    env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
                )
            channel = _Channel()
            await asyncio.get_running_loop().create_unix_connection(
                lambda: RealConnection(channel, MAX_MESSAGE_BYTES + 1, f"task process {child.pid}"),
                sock=ours,
            )
        except OSError as error:
            ours.close()
            raise Unavailable(f"cannot start a task process: {error}") from error
        process = RealTaskProcess(child, channel, log)
        self._children.append(process)
        try:
            async with asyncio.timeout(_START_TIMEOUT_MS / 1000.0):
                await process.ready()
        except TimeoutError:
            process.kill()
            raise Unavailable(f"task process {child.pid} did not start{process.said()}") from None
        return process

    def _log(self, folder: Path) -> Path:
        """A log that no living child writes to; makes the folder."""
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise Unavailable(f"cannot start a task process: {error}") from error
        self._children = [child for child in self._children if child.alive]
        taken = [*self._starting, *(child.log for child in self._children)]
        names = (folder / f"task-{number}.log" for number in range(len(taken) + 1))
        return next(log for log in names if log not in taken)

    async def close(self) -> None:
        """Kill all children and wait for their ends."""
        for child in self._children:
            await child.close()
        self._children.clear()
