"""The main job: three machines keep files and count words while one of them dies.

    python examples/demo.py [FOLDER]

Three nodes (real processes, sockets and disks) in a temporary directory; the text of FOLDER, by
default the sources and documents of the Python that runs this; word count and an inverted index.
When 40 % of the maps are done, every process of the node that leads the job group is killed with
SIGKILL.  Both whole outputs are compared with a count in this one process.  Exit status 0 means:
they are equal, the killed processes are gone, another leader took over, finished maps ran again,
and the dead node came back and caught up.
"""

import asyncio
import os
import re
import signal
import sys
import sysconfig
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from quorate.base.errors import QuorateError
from quorate.base.ids import GROUP_NAMES, JOBS_GROUP, Address, ClusterId, GroupId, NodeId
from quorate.gfs.client import FileSystem
from quorate.library.local import free_port
from quorate.mapreduce.client import JobClient
from quorate.mapreduce.core.commands import JobProgress
from quorate.mapreduce.job_file import read_job_file
from quorate.mapreduce.splits import MINIMUM_BYTES
from quorate.node.local_cluster import LocalCluster
from quorate.raft.messages import AskStatus, GroupStatus
from quorate.rpc.client import RpcClient
from quorate.rpc.handshake import Identity
from quorate.runtime.ports import World
from quorate.runtime.real.world import close_world, real_world, run

HERE = Path(__file__).parent
SUFFIXES = {".py", ".txt", ".rst", ".md", ".html"}
KILL_AT = 0.4
MAPS = 32
"""At least, however little the text: a third of what is done by then is lost with the node."""
PARALLEL_FILES = 16
CATCH_UP_S = 20.0
LOOK_UP = "socket"

console = Console(highlight=False)


class Failed(Exception):
    """The demo did not show what it promises."""


def require(condition: object, sentence: str) -> None:
    if not condition:
        raise Failed(sentence)


def say(text: str) -> None:
    """Show a line, never broken; what is not our own text in it must be escaped."""
    console.print(text, soft_wrap=True)


def report(text: str) -> None:
    """Show a line in which anything may stand."""
    say(escape(text))


# The text, and what one process makes of it.


def text_files(folder: Path | None) -> list[tuple[str, Path]]:
    """Name in the cluster and place of each file, in the order of the names."""
    root = folder or Path(sysconfig.get_paths()["stdlib"])
    skipped = {"site-packages", "dist-packages", "__pycache__"}
    found = []
    for path in root.rglob("*"):
        inside = path.relative_to(root)
        wanted = folder is not None or path.suffix in SUFFIXES
        if wanted and not skipped.intersection(inside.parts) and path.is_file():
            found.append((f"/text/{inside.as_posix()}", path))
    require(found, f"{root} holds no text")
    return sorted(found)


def content(path: Path) -> bytes:
    return path.read_bytes()


def lines_of(files: list[tuple[str, Path]]) -> Iterator[tuple[str, str]]:
    for name, path in files:
        lines = content(path).decode(errors="replace").split("\n")
        for line in lines if lines[-1] else lines[:-1]:
            yield name, line


def count_alone(files: list[tuple[str, Path]]) -> dict[str, str]:
    """The word count, as keys and values are printed."""
    words: Counter[str] = Counter()
    for _, line in lines_of(files):
        words.update(line.split())
    return {word: str(count) for word, count in words.items()}


def index_alone(files: list[tuple[str, Path]]) -> dict[str, str]:
    """The inverted index, as keys and values are printed."""
    index: dict[str, dict[str, None]] = {}
    for name, line in lines_of(files):
        for word in re.findall("[a-z_]{2,}", line.lower()):
            index.setdefault(word, {})[name] = None
    return {word: " ".join(names) for word, names in index.items()}


# The cluster.


class Demo:
    """Three nodes, a client, and what is shown with them."""

    def __init__(self, world: World, cluster: LocalCluster) -> None:
        self.cluster = cluster
        self.rpc = RpcClient(world, Identity(ClusterId(""), NodeId(0), "client"))
        self.files = FileSystem(world, self.rpc, cluster.addresses)
        self.jobs = JobClient(world, self.rpc, cluster.addresses)
        self.split_bytes = MINIMUM_BYTES
        self.victim = ""
        self.killed: list[int] = []
        self.term_before = 0

    async def statuses(self, group: GroupId) -> dict[str, GroupStatus]:
        """What each living node says of its replica of ``group``."""
        found = {}
        for name, node in self.cluster.nodes.items():
            if node.alive:
                address = Address(node.addresses["rpc"])
                try:
                    reply = await self.rpc.call(address, AskStatus(), timeout_ms=1_000)
                except QuorateError:
                    continue
                found[name] = next(status for status in reply.groups if status.group == group)
        return found

    async def leader(self, group: GroupId) -> tuple[str, int]:
        """Name and term of the node that leads ``group``."""
        while True:
            leading = [
                (status.term, name)
                for name, status in (await self.statuses(group)).items()
                if status.role == "leader"
            ]
            if leading:
                term, name = max(leading)
                return name, term
            await asyncio.sleep(0.05)

    async def store(self, texts: list[tuple[str, Path]]) -> None:
        """Put every file on the synced disks of three chunkservers."""
        size = sum(path.stat().st_size for _, path in texts)
        self.split_bytes = min(MINIMUM_BYTES, max(1, size // MAPS))
        turn = asyncio.Semaphore(PARALLEL_FILES)
        with bars() as progress:
            bar = progress.add_task("store ", total=len(texts))

            async def put(name: str, path: Path) -> None:
                async with turn:
                    writer = await self.files.create(name)
                    await writer.write(content(path))
                    await writer.close()
                progress.advance(bar)

            await asyncio.gather(*(put(name, path) for name, path in texts))

    async def run_job(self, job_file: str, output: str, *, kill: bool = False) -> JobProgress:
        """Run a job of this folder; with ``kill``, lose the leader's node on the way."""
        name, source = read_job_file(str(HERE / job_file))
        job = await self.jobs.submit(
            name, source, ["/text"], output, minimum_split_bytes=self.split_bytes
        )
        with bars() as progress:
            maps = progress.add_task("map   ", total=None)
            reduces = progress.add_task("reduce", total=None)
            killing: list[asyncio.Task[None]] = []

            def show(now: JobProgress) -> None:
                progress.update(maps, completed=now.maps.done, total=now.maps.total)
                progress.update(reduces, completed=now.reduces.done, total=now.reduces.total)
                if kill and not killing and now.maps.done >= KILL_AT * now.maps.total > 0:
                    killing.append(asyncio.create_task(self.kill_leader(now)))

            done = await self.jobs.wait(job, show)
            for task in killing:
                await task
        return done

    async def kill_leader(self, now: JobProgress) -> None:
        """SIGKILL to every process of the node that leads the job group."""
        self.victim, self.term_before = await self.leader(JOBS_GROUP)
        self.killed = descendants(self.cluster.pids(self.victim))
        for pid in self.killed:
            os.kill(pid, signal.SIGKILL)
        say(
            f"[red]{now.maps.done} of {now.maps.total} maps are done: SIGKILL to all"
            f" {len(self.killed)} processes of {self.victim}, which leads the jobs in term"
            f" {self.term_before}[/red]"
        )
        name, term = await self.leader(JOBS_GROUP)
        say(f"[green]{name} leads the jobs in term {term}[/green]")

    async def output(self, folder: str) -> dict[str, str]:
        """All pairs of an output folder, whose files must be sorted."""
        pairs: dict[str, str] = {}
        for status in await self.files.list(folder):
            text = (await self.files.read(status.path)).decode()
            part = [line.split("\t", 1) for line in text.split("\n")[:-1]]
            keys = [key for key, _ in part]
            require(keys == sorted(keys), f"{status.path} is not in order")
            require(not pairs.keys() & set(keys), f"{status.path} repeats a key")
            pairs.update((key, value) for key, value in part)
        return pairs

    async def check_failover(self, counted: JobProgress) -> None:
        """The node is gone, another leads, and what was lost with it ran again."""
        alive = [pid for pid in self.killed if is_running(pid)]
        require(not alive, f"processes {alive} of {self.victim} still run")
        name, term = await self.leader(JOBS_GROUP)
        require(name != self.victim, f"{self.victim} still leads")
        require(term > self.term_before, f"the term is still {term}")
        require(counted.maps_rerun > 0, "no finished map ran again")
        say(
            f"{len(self.killed)} processes are gone, term {self.term_before} → {term}; finished"
            f" maps of {self.victim} that ran again: {counted.maps_rerun}"
        )

    async def bring_back(self) -> None:
        """Restart the dead node on its own disk, and wait until it has what the others have."""
        await self.cluster.start_node(self.victim)
        deadline = time.monotonic() + CATCH_UP_S
        for group, name in GROUP_NAMES.items():
            while True:
                replicas = await self.statuses(group)
                goal = max(status.commit_index for status in replicas.values())
                mine = replicas.get(self.victim)
                if mine is not None and mine.last_applied >= goal:
                    break
                require(time.monotonic() < deadline, f"{self.victim} does not catch up")
                await asyncio.sleep(0.05)
            require(
                len({s.digest for s in replicas.values() if s.last_applied == goal}) == 1,
                f"{self.victim} differs from the others at entry {goal}",
            )
            say(f"{self.victim} is back: {goal} entries of the log of {name}, same digest")


def bars() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
    )


def descendants(pids: list[int]) -> list[int]:
    """``pids`` and all processes below them."""
    found = list(pids)
    for pid in found:
        for task in Path(f"/proc/{pid}/task").glob("*/children"):
            found += [int(child) for child in task.read_text().split() if int(child) not in found]
    return found


def is_running(pid: int) -> bool:
    """Whether a process runs (one that is dead and not yet reaped does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


async def show(world: World, directory: Path, folder: Path | None) -> None:
    """The whole story."""
    texts = text_files(folder)
    size = sum(path.stat().st_size for _, path in texts)
    cluster = LocalCluster(world, directory / "cluster", 3, free_port(), report, tasks=1)
    await cluster.start()
    try:
        say(f"three nodes run; storing {len(texts)} files, {size / 1e6:.1f} MB")
        demo = Demo(world, cluster)
        await demo.store(texts)
        say("word count")
        counted = await demo.run_job("wordcount.py", "/counts", kill=True)
        await demo.check_failover(counted)
        say("inverted index, on the two nodes that are left")
        await demo.run_job("inverted_index.py", "/index")
        counts, index = await demo.output("/counts"), await demo.output("/index")
        top = sorted(counts.items(), key=lambda pair: (-int(pair[1]), pair[0]))[:10]
        report("top words: " + ", ".join(f"{word} {count}" for word, count in top))
        look_up = LOOK_UP if LOOK_UP in index else min(index)
        holders = index[look_up].split(" ")
        report(f"{look_up!r} is in {len(holders)} files, the first {holders[0]}")
        await demo.bring_back()
        say("comparing both whole outputs with a count in one process")
        require(counts == count_alone(texts), "the word count differs")
        require(index == index_alone(texts), "the index differs")
        say(f"[bold green]equal: {len(counts)} words, {len(index)} index entries[/bold green]")
        await demo.rpc.close()
    finally:
        await cluster.stop()


async def main() -> int:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else None
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="quorate-demo-") as name:
        directory = Path(name)
        (directory / "client").mkdir()
        world = real_world(directory / "client")
        try:
            await show(world, directory, folder)
        except (Failed, QuorateError) as error:
            say(f"[bold red]The demo failed: {escape(str(error))}[/bold red]")
            return 1
        finally:
            await close_world(world)
    say(f"{time.monotonic() - began:.0f} seconds")
    return 0


if __name__ == "__main__":
    sys.exit(run(main))
