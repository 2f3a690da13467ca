"""Word count of 100 MB: three nodes beside `sort | uniq -c` and a plain multiprocessing Counter.

    .venv/bin/python bench/words.py [MEGABYTES]

The text is that of this Python's own sources, repeated with one word changed on every eighth line
so that the vocabulary grows.  CPU is user and system time of all processes that take part: for the
cluster its supervisors, their processes and the client.  The cluster's answer must be equal to that
of the Counter; that of `sort` differs in exotic white space.
"""

import asyncio
import os
import resource
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from multiprocessing import Pool
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))
from demo import descendants

from quorate.base.ids import ClusterId, NodeId
from quorate.gfs.client import FileSystem
from quorate.library.local import free_port
from quorate.mapreduce.client import JobClient
from quorate.mapreduce.job_file import read_job_file
from quorate.node.local_cluster import LocalCluster
from quorate.rpc.client import RpcClient
from quorate.rpc.handshake import Identity
from quorate.runtime.real.world import close_world, real_world, run

FILES = 16
TICKS = os.sysconf("SC_CLK_TCK")
JOB = Path(__file__).parents[1] / "examples" / "wordcount.py"


def make_text(folder: Path, megabytes: int) -> list[Path]:
    """``FILES`` files, ``megabytes`` in all."""
    sources = sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py"))
    base = b"".join(path.read_bytes() for path in sources).decode(errors="replace").split("\n")
    paths = []
    position = 0
    for number in range(FILES):
        path = folder / f"text-{number:02}"
        with path.open("w") as file:
            while file.tell() < megabytes * 1_000_000 // FILES:
                turn, line = divmod(position, len(base))
                changed = f" w{turn}_{line}" if position % 8 == 0 else ""
                file.write(base[line] + changed + "\n")
                position += 1
        paths.append(path)
    return paths


def count_file(path: Path) -> Counter[str]:
    counter: Counter[str] = Counter()
    with path.open() as file:
        for line in file:
            counter.update(line.split())
    return counter


def with_multiprocessing(paths: list[Path]) -> dict[str, int]:
    total: Counter[str] = Counter()
    with Pool(2) as pool:
        for counter in pool.imap_unordered(count_file, paths):
            total.update(counter)
    return dict(total)


def with_sort(paths: list[Path]) -> dict[str, int]:
    """What a shell does."""
    script = "cat \"$@\" | tr -s '[:space:]' '\\n' | sort | uniq -c"
    command = ["sh", "-c", script, "sh", *map(str, paths)]
    environment = {**os.environ, "LC_ALL": "C"}
    done = subprocess.run(command, check=True, capture_output=True, env=environment)
    pairs = (line.split() for line in done.stdout.decode().splitlines())
    return {pair[1]: int(pair[0]) for pair in pairs if len(pair) == 2}


def cpu_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def alone(count: Callable[[list[Path]], dict[str, int]], paths: list[Path]) -> tuple[float, float]:
    """Wall and CPU seconds of a count without a cluster."""
    began, cpu = time.perf_counter(), cpu_of_children() + time.process_time()
    count(paths)
    return time.perf_counter() - began, cpu_of_children() + time.process_time() - cpu


def cpu_of(pids: list[int]) -> float:
    """User and system seconds of processes and of the children that they have reaped."""
    ticks = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += sum(map(int, fields[11:15]))
    return ticks / TICKS


async def with_cluster(folder: Path, paths: list[Path]) -> tuple[dict[str, int], list[float]]:
    """The answer; wall and CPU seconds of storing, and of the job."""
    (folder / "client").mkdir()
    world = real_world(folder / "client")
    cluster = LocalCluster(world, folder / "cluster", 3, free_port(), tasks=1)
    await cluster.start()
    rpc = RpcClient(world, Identity(ClusterId(""), NodeId(0), "client"))
    try:
        files = FileSystem(world, rpc, cluster.addresses)
        jobs = JobClient(world, rpc, cluster.addresses)
        pids = descendants([pid for name in cluster.nodes for pid in cluster.pids(name)])
        times: list[float] = []

        async def timed(work: asyncio.Future[None] | asyncio.Task[None]) -> None:
            began, cpu = time.perf_counter(), cpu_of(pids) + time.process_time()
            await work
            times.append(time.perf_counter() - began)
            times.append(cpu_of(pids) + time.process_time() - cpu)

        async def store() -> None:
            for path in paths:
                writer = await files.create(f"/text/{path.name}")
                await writer.write(content(path))
                await writer.close()

        async def job() -> None:
            name, source = read_job_file(str(JOB))
            await jobs.wait(await jobs.submit(name, source, ["/text"], "/counts", reduces=4))

        await timed(asyncio.ensure_future(store()))
        await timed(asyncio.ensure_future(job()))
        counts: dict[str, int] = {}
        for status in await files.list("/counts"):
            for line in (await files.read(status.path)).decode().split("\n")[:-1]:
                word, count = line.split("\t")
                counts[word] = int(count)
        return counts, times
    finally:
        await rpc.close()
        await cluster.stop()
        await close_world(world)


def content(path: Path) -> bytes:
    return path.read_bytes()


def main() -> None:
    megabytes = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    with tempfile.TemporaryDirectory(prefix="quorate-bench-") as name:
        folder = Path(name)
        paths = make_text(folder, megabytes)
        size = sum(path.stat().st_size for path in paths) / 1e6
        counts, (store_s, store_cpu, job_s, job_cpu) = run(lambda: with_cluster(folder, paths))
        pool_s, pool_cpu = alone(with_multiprocessing, paths)
        sort_s, sort_cpu = alone(with_sort, paths)
        expected = with_multiprocessing(paths)
        same = counts == expected
        print(f"word count of {size:.0f} MB, {len(expected)} words; answers equal: {same}")
        print("                          wall s   CPU s   MB per CPU s   CPU / multiprocessing")
        for label, wall, cpu in (
            ("store, 3 replicas", store_s, store_cpu),
            ("quorate, 3 nodes", job_s, job_cpu),
            ("multiprocessing", pool_s, pool_cpu),
            ("sort | uniq -c", sort_s, sort_cpu),
        ):
            print(f"{label:24} {wall:7.1f} {cpu:7.1f} {size / cpu:14.1f} {cpu / pool_cpu:23.2f}")
    sys.exit(0 if same else 1)


if __name__ == "__main__":
    main()
