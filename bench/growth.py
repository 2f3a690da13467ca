"""The longest gap in acknowledged writes while real machines join and leave: 1, 3, 5, 3, 1.

    .venv/bin/python bench/growth.py [--writers 4] [--pause-ms 2]

One machine is bootstrapped, four join by ``quorate join``, and four leave by ``quorate cluster
remove``, the leader always first; each is stopped a moment after it has left.  Meanwhile clients
make directories, one write each at a time.  A gap is the time between two consecutive
acknowledgements, by whomever they came.  At the end every acknowledged write must be there.
"""

import argparse
import asyncio
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from itertools import count, pairwise
from pathlib import Path

from quorate.base.errors import QuorateError
from quorate.base.ids import Address, ClusterId, NodeId
from quorate.gfs.client import FileSystem
from quorate.rpc.client import RpcClient
from quorate.rpc.handshake import Identity
from quorate.runtime.ports import World
from quorate.runtime.real.world import close_world, real_world, run

COMMAND = (sys.executable, "-m", "quorate.cli.main")
STEPS = (3, 5, 3, 1)
QUIET_S = 1.5
STOP_S = 20.0
START_S = 120.0

CONFIG = """\
name = "n1"
data_dir = "n1"
[addresses]
rpc = "127.0.0.1:{port}"
chunkserver = "127.0.0.1:{chunkserver}"
worker = "127.0.0.1:{worker}"
[worker]
tasks = 1
[[nodes]]
name = "n1"
rpc = "127.0.0.1:{port}"
"""


class Machines:
    """Real nodes, by name; ``n1`` founds the cluster."""

    def __init__(self, folder: Path, port: int) -> None:
        self._folder = folder
        self._port = port
        self._processes: dict[str, asyncio.subprocess.Process] = {}

    @property
    def names(self) -> list[str]:
        return list(self._processes)

    def door(self, name: str) -> Address:
        return Address(f"127.0.0.1:{self._port + 10 * (int(name[1:]) - 1)}")

    async def found(self) -> None:
        ports = {"port": self._port, "chunkserver": self._port + 1, "worker": self._port + 2}
        config = self._folder / "n1.toml"
        config.write_text(CONFIG.format(**ports))
        await self.command("bootstrap", "--config", str(config))
        await self._start("n1", "ready:", "node", "--config", str(config))

    async def join(self, name: str) -> None:
        token = self._folder / f"{name}.token"
        token.write_text(await self.command("cluster", "token", name))
        options = ("--rpc", self.door(name), "--dir", str(self._folder / name))
        await self._start(name, "full member", "join", f"@{token}", *options)

    async def remove(self, name: str) -> None:
        await self.command("cluster", "remove", name)
        await self.stop(name)

    async def leader(self) -> str:
        groups = json.loads(await self.command("cluster", "members", "--json"))["groups"]
        return str(groups[0]["leader"] or groups[0]["members"][0]["name"])

    async def command(self, *arguments: str) -> str:
        doors = ",".join(self.door(name) for name in self._processes) or self.door("n1")
        process = await asyncio.create_subprocess_exec(
            *COMMAND,
            *arguments,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=os.environ | {"QUORATE_CLUSTER": doors},
        )
        out, errors = await process.communicate()
        if process.returncode:
            raise RuntimeError(f"quorate {arguments} failed: {errors.decode()}")
        return out.decode()

    async def _start(self, name: str, until: str, *arguments: str) -> None:
        process = self._processes[name] = await asyncio.create_subprocess_exec(
            *COMMAND,
            *arguments,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        assert process.stdout is not None
        said = b""
        async with asyncio.timeout(START_S):
            while until.encode() not in said:
                line = await process.stdout.readline()
                if not line:
                    raise RuntimeError(f"{name} ended: {said.decode()}")
                said += line

    async def stop(self, name: str) -> None:
        process = self._processes.pop(name)
        with suppress(ProcessLookupError):
            process.terminate()
        try:
            async with asyncio.timeout(STOP_S):
                await process.communicate()
        except TimeoutError:
            process.kill()
            await process.communicate()


class Load:
    """Directories that are made all the time, and when each was acknowledged."""

    def __init__(self, world: World, doors: Sequence[Address], pause_s: float) -> None:
        self._rpc = RpcClient(world, Identity(ClusterId(""), NodeId(0), "client"))
        self._files = FileSystem(world, self._rpc, doors)
        self._pause_s = pause_s
        self.acknowledged: list[tuple[float, str]] = []
        self.unknown = 0

    async def write(self, writer: int) -> None:
        await self._files.mkdir(f"/{writer}")
        for number in count():
            path = f"/{writer}/{number}"
            try:
                await self._files.mkdir(path)
                self.acknowledged.append((time.perf_counter(), path))
            except QuorateError:
                self.unknown += 1
            await asyncio.sleep(self._pause_s)

    async def lost(self, writers: int) -> list[str]:
        there: set[str] = set()
        for writer in range(writers):
            there |= {entry.path for entry in await self._files.list(f"/{writer}")}
        return [path for _, path in self.acknowledged if path not in there]

    async def close(self) -> None:
        await self._rpc.close()

    def row(self, what: str, since: float) -> str:
        times = [since, *(moment for moment, _ in self.acknowledged if moment >= since)]
        now = time.perf_counter()
        gap = max(after - before for before, after in pairwise([*times, now]))
        took = now - since
        return f"{what:12} {took:7.1f} {(len(times) - 1) / took:9.0f} {gap * 1000:11.0f}"


async def measure(folder: Path, port: int, writers: int, pause_s: float) -> int:
    world = real_world(folder / "client")
    machines = Machines(folder, port)
    load = Load(world, [machines.door("n1")], pause_s)
    tasks: list[asyncio.Task[None]] = []
    try:
        await machines.found()
        tasks = [asyncio.create_task(load.write(number)) for number in range(writers)]
        print(f"{'machines':12} {'took, s':>7} {'writes/s':>9} {'longest, ms':>11}", flush=True)
        await asyncio.sleep(QUIET_S)
        began = time.perf_counter()
        await asyncio.sleep(QUIET_S)
        print(load.row("1, quiet", began), flush=True)
        had, newest = 1, 1
        for wanted in STEPS:
            began = time.perf_counter()
            while len(machines.names) < wanted:
                newest += 1
                await machines.join(f"n{newest}")
            while len(machines.names) > wanted:
                await machines.remove(await machines.leader())
            await asyncio.sleep(QUIET_S)
            print(load.row(f"{had} -> {wanted}", began), flush=True)
            had = wanted
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        lost = await load.lost(writers)
        print(f"acknowledged {len(load.acknowledged):,}, unknown {load.unknown}, lost {len(lost)}")
        return 1 if lost else 0
    finally:
        for task in tasks:
            task.cancel()
        for name in machines.names:
            await machines.stop(name)
        await load.close()
        await close_world(world)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--writers", type=int, default=4)
    parser.add_argument("--pause-ms", type=float, default=2.0)
    parser.add_argument("--port", type=int, default=23_400)
    told = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="quorate-growth-"))
    try:
        work = partial(measure, folder, told.port, told.writers, told.pause_ms / 1000)
        status = run(work)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    sys.exit(status)


if __name__ == "__main__":
    main()
