"""A child process as its parent sees it: started, ready, ended, and stopped within a bound.

The parent holds the write end of the child's standard input and never writes: its end is how the
child learns that the parent is gone, whatever killed it (the parent-death signal of
``runtime/real/parent_death.py`` says the same, sooner).  Reports come on standard output
(``reports.py``); all else that the child prints goes to its log.
"""

import asyncio
import os
import sys
from collections.abc import Callable, Sequence

from quorate.base.check import Bug
from quorate.base.errors import QuorateError, Unavailable, error_from
from quorate.node.logfile import LogFile
from quorate.node.reports import Failed, Ready, error_of, parse

_MAX_LINE_BYTES = 1 << 20
_TAIL_BYTES = 4096


class Child:
    """One running Python module with arguments."""

    def __init__(
        self,
        name: str,
        process: asyncio.subprocess.Process,
        log: LogFile,
        on_ready: Callable[[Ready], None],
    ) -> None:
        self.name = name
        self._process = process
        self._log = log
        self._on_ready = on_ready
        self._failure: Failed | None = None
        self._tail = b""
        self._ready = asyncio.Event()
        self._over = asyncio.create_task(self._follow())

    @classmethod
    async def start(
        cls,
        name: str,
        module: str,
        arguments: Sequence[str],
        log: LogFile,
        on_ready: Callable[[Ready], None],
    ) -> "Child":
        """Start ``python -m module PARENT-PID ARGUMENT…``.

        It has a session of its own, so that a Ctrl-C at the terminal reaches the parent alone,
        which then stops its children in order.
        """
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", module, str(os.getpid()), *arguments),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
            limit=_MAX_LINE_BYTES,
        )
        return cls(name, process, log, on_ready)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return not self._over.done()

    async def ready(self) -> None:
        """Wait for the first ``Ready``; raises what the child failed with if it ends before."""
        waiting = asyncio.ensure_future(self._ready.wait())
        try:
            await asyncio.wait((waiting, self._over), return_when=asyncio.FIRST_COMPLETED)
        finally:
            waiting.cancel()
        if not self._ready.is_set():
            raise await self.ended()

    async def ended(self) -> QuorateError:
        """Wait for the end: the error that the child reported, or ``Unavailable`` that says how
        it ended."""
        code = await asyncio.shield(self._over)
        if self._failure is not None:
            return error_from(error_of(self._failure))
        how = f"was killed by signal {-code}" if code < 0 else f"ended with status {code}"
        lines = self._tail.decode(errors="replace").strip().splitlines()
        last = f": {lines[-1]}" if lines and code > 0 else ""
        return Unavailable(f"{self.name} (pid {self.pid}) {how}{last}")

    async def stop(self, timeout_ms: float) -> None:
        """Ask it to end (SIGTERM), and kill it if it has not within ``timeout_ms``."""
        self._signal(self._process.terminate)
        try:
            async with asyncio.timeout(timeout_ms / 1000):
                await asyncio.shield(self._over)
        except TimeoutError:
            await self.kill()

    async def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        self._signal(self._process.kill)
        await asyncio.shield(self._over)

    def _signal(self, send: Callable[[], None]) -> None:
        if self._process.returncode is None:
            try:
                send()
            except ProcessLookupError:
                return

    async def _follow(self) -> int:
        """Read all that it writes, until it has ended; its status."""
        process = self._process
        stdin, stdout, stderr = process.stdin, process.stdout, process.stderr
        if stdin is None or stdout is None or stderr is None:
            raise Bug("a child is always started with three pipes")
        await asyncio.gather(self._reports(stdout), self._errors(stderr))
        code = await process.wait()
        stdin.close()
        self._log.close()
        return code

    async def _reports(self, stream: asyncio.StreamReader) -> None:
        while True:
            try:
                line = await stream.readline()
            except ValueError:
                continue  # longer than any report; the reader has dropped it
            if not line:
                return
            message = parse(line)
            if message is None:
                self._log.write(line)
            elif isinstance(message, Ready):
                self._on_ready(message)
                self._ready.set()
            else:
                self._failure = message

    async def _errors(self, stream: asyncio.StreamReader) -> None:
        while data := await stream.read(1 << 16):
            self._log.write(data)
            self._tail = (self._tail + data)[-_TAIL_BYTES:]
