"""Real nodes for tests: commands as a user types them, and what runs and what not."""

import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from quorate.node.local_cluster import LocalCluster
from quorate.runtime.ports import World
from quorate.runtime.real.world import close_world, real_world, run

T = TypeVar("T")

COMMAND = (sys.executable, "-m", "quorate.cli.main")
PATIENCE_SECONDS = 60.0


def quorate(*arguments: str, port: int = 0) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, against the cluster at ``port`` if it needs one."""
    return subprocess.run(
        [*COMMAND, *arguments],
        env=os.environ | {"QUORATE_CLUSTER": f"127.0.0.1:{port}"},
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )


class Up:
    """A running ``quorate up --json``."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        assert process.stdout is not None
        readable, _, _ = select.select([process.stdout], [], [], PATIENCE_SECONDS)
        line = process.stdout.readline() if readable else ""
        self.ready: dict[str, Any] = json.loads(line) if line else {}

    @property
    def pids(self) -> list[int]:
        """Of all supervisors and their processes."""
        nodes = self.ready["nodes"]
        return [node["pid"] for node in nodes] + [
            process["pid"] for node in nodes for process in node["processes"]
        ]

    def stop(self) -> tuple[int, str]:
        """Ctrl-C; the exit code and what it wrote to standard error."""
        self.process.send_signal(signal.SIGINT)
        return self.ended()

    def ended(self) -> tuple[int, str]:
        """Wait for the end; the exit code and what it wrote to standard error."""
        _, errors = self.process.communicate(timeout=PATIENCE_SECONDS)
        return self.process.returncode, errors


@contextmanager
def up(directory: Path, *options: str) -> Iterator[Up]:
    """``quorate up --json`` in ``directory``, ready; killed at the end if it still runs."""
    process = subprocess.Popen(
        [*COMMAND, "up", "--json", "--dir", str(directory), *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield Up(process)
    finally:
        process.kill()
        process.communicate()


def with_cluster(
    directory: Path, work: Callable[[World, LocalCluster], Coroutine[Any, Any, T]], **options: Any
) -> tuple[T, list[str]]:
    """Run ``work`` on a local cluster in this process; its result, and what the cluster said."""
    said: list[str] = []

    async def main() -> T:
        world = real_world(directory)
        try:
            cluster = LocalCluster(world, directory / "cluster", say=said.append, **options)
            await cluster.start()
            try:
                return await work(world, cluster)
            finally:
                await cluster.stop()
        finally:
            await close_world(world)

    return run(main), said


def is_running(pid: int) -> bool:
    """Whether a process of that id is there and is no zombie."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"
