"""The demo as a workload: texts are stored, and their words counted, again and again.

Some clients store small files, look after what became of those whose outcome they do not know, and
read back what was acknowledged.  One client counts the words of the first texts, into a new folder
each time.  A watcher looks at these folders.  What is demanded:

* What ``close`` acknowledged is there, and equal, whenever it can be read, and at the end.
* An output folder is absent or whole, and equal to the sequential answer, at every look.
* After the last fault every client comes to its end, all processes run, no temporary folder is
  left, and all replicas of a group come to the same index with the same digest.
"""

import random
from collections.abc import Callable, Coroutine
from typing import Any

from quorate.base.check import Bug, check
from quorate.base.errors import AlreadyExists, JobFailed, Maybe, NotFound, QuorateError, Unavailable
from quorate.base.ids import GroupId
from quorate.mapreduce.sequential import run_sequential
from quorate.raft.messages import AskStatus
from quorate.runtime.simulated.process import SimulatedProcess
from quorate.simulator.cluster import NodeCluster, User

WORD_COUNT = b'''\
"""Count how often each word occurs: words are what white space separates.

quorate run examples/wordcount.py '/books/*' --output /counts
"""


def map(key, value):
    for word in value.split():
        yield word, 1


def reduce(key, values):
    yield key, sum(values)
'''
"""``examples/wordcount.py``."""

TEXTS, REDUCES = 24, 3
SPLIT_BYTES = (1024, 8192)
"""Many maps or few: the first kind of job meets more, the second comes to its end more often."""
PARTS = [f"part-{number:05d}" for number in range(REDUCES)]
TIMEOUTS_MS = (3_000, 10_000)
PAUSE_MS = 100
CALM_MS = 3_000
"""How long clients go on after the last fault."""
READABLE_MS = 20_000
"""Within this time after the last fault every file must be readable."""
PROGRESS_MS = 60_000
"""Within this time after they were told to, all clients must have come to their end."""


def draw_texts(rng: random.Random) -> dict[str, bytes]:
    """Path and content of small texts, some of them empty or without an end of line."""
    words = [f"word{number}" for number in range(40)] + ["é", "\n", "\n", "\r\n"]
    return {
        f"/text/{number:02d}": " ".join(rng.choices(words, k=rng.randint(0, 300))).encode()
        for number in range(TEXTS)
    }


def _output(number: int) -> str:
    return f"/counts/{number:03d}"


class Words:
    """One run of the workload on ``cluster``, with ``clients`` that store files."""

    def __init__(self, cluster: NodeCluster, clients: int, rng: random.Random) -> None:
        self.cluster = cluster
        self.acknowledged = 0
        self.unknown = 0
        self.counted = 0
        """Output folders that were seen to be right."""
        self.resubmitted = 0
        self._rng = rng
        self._texts = draw_texts(rng)
        self._answer = run_sequential("wordcount.py", WORD_COUNT, self._texts.items(), REDUCES)
        self._stored: dict[str, bytes] = {}
        """What was acknowledged."""
        self._stopping = False
        self._clients = clients
        self._processes: list[SimulatedProcess] = []

    @property
    def notes(self) -> dict[str, int]:
        """What a report says beside the common figures."""
        return {"outputs": self.counted, "jobs submitted again": self.resubmitted}

    # The run.

    def begin(self) -> list[str]:
        """Start the clients; gives their machines."""
        for number in range(1, self._clients + 1):
            self._start(f"c{number}", self._storing(number))
        self._start("counter", self._count)
        self._start("watcher", self._watch)
        return [process.machine for process in self._processes]

    def finish(self) -> None:
        """Demand progress, and judge.  The faults have ended."""
        self.cluster.simulation.run_for(CALM_MS)
        self._wait([self._start("reader", self._read_all)])
        self._stopping = True
        self._wait(self._processes)
        self._wait([self._start("verifier", self._verify)])
        for name in self.cluster.names:
            for process in self.cluster.processes(name):
                check(process.alive, f"{process.name} has stopped: {process.error}")

    def _start(self, name: str, work: Callable[[User], Coroutine[Any, Any, None]]) -> Any:
        timeout_ms = self._rng.choice(TIMEOUTS_MS)
        process = self.cluster.start_user(name, work, timeout_ms=timeout_ms)
        self._processes.append(process)
        return process

    def _wait(self, processes: list[SimulatedProcess]) -> None:
        try:
            self.cluster.simulation.run_until(
                lambda: not any(process.alive for process in processes), PROGRESS_MS
            )
        except TimeoutError:
            late = ", ".join(process.machine for process in processes if process.alive)
            raise Bug(f"Progress: {late} not done {PROGRESS_MS} ms after the last fault") from None
        for process in processes:
            check(process.error is None, f"{process.name} met {process.error!r}")

    # Storing.

    def _storing(self, number: int) -> Callable[[User], Coroutine[Any, Any, None]]:
        rng = random.Random(self._rng.getrandbits(64))

        async def work(user: User) -> None:
            mine = list(self._texts)[number - 1 :: self._clients]
            for path in mine:
                await self._store(user, path, self._texts[path])
                await user.world.clock.sleep(rng.uniform(0, PAUSE_MS))
            more = 0
            while not self._stopping:
                if rng.random() < 0.5:
                    more += 1
                    data = rng.randbytes(rng.choice((0, 100, 70_000)))
                    await self._store(user, f"/more/c{number}/{more}", data)
                else:
                    await self._read_back(user, rng.choice(list(self._stored)))
                await user.world.clock.sleep(rng.uniform(0, 4 * PAUSE_MS))

        return work

    async def _store(self, user: User, path: str, data: bytes) -> None:
        """Until it is there, unless the run ends before."""
        tried = False
        while not (self._stopping and path not in self._texts):
            try:
                writer = await user.files.create(path)
                await writer.write(data)
                await writer.close()
                self._stored[path] = data
            except AlreadyExists:
                check(tried, f"{path} exists, and nobody made it")
                self._stored[path] = data  # an earlier attempt did: who reads it will see
            except Maybe:
                self.unknown += 1
                tried = True
            except Unavailable:
                await user.world.clock.sleep(PAUSE_MS)
            if path in self._stored:
                self.acknowledged += 1
                return

    async def _read_back(self, user: User, path: str) -> bool:
        """Whether it could be read; it is there, and equal."""
        try:
            data = await user.files.read(path)
        except NotFound:
            raise Bug(f"Durable: {path} was acknowledged and is lost") from None
        except Unavailable:
            return False
        check(data == self._stored[path], f"Durable: {path} was acknowledged and is not the same")
        self.acknowledged += 1
        return True

    # Counting.

    async def _count(self, user: User) -> None:
        while any(path not in self._stored for path in self._texts):
            await user.world.clock.sleep(PAUSE_MS)
        while not self._stopping or not self.counted:
            output = _output(self.counted)
            while not await self._counted(user, output):
                await user.world.clock.sleep(PAUSE_MS)
            self.counted += 1
            self.acknowledged += 1

    async def _counted(self, user: User, output: str) -> bool:
        """Whether ``output`` could be seen; if not, one more attempt was made to get there."""
        try:
            try:
                await user.files.stat(output)
            except NotFound:
                await self._run_job(user, output)
            return await self._right(user, output)
        except Maybe:
            self.unknown += 1
        except JobFailed:
            self.resubmitted += 1
        except (Unavailable, AlreadyExists):
            pass
        return False

    async def _run_job(self, user: User, output: str) -> None:
        """Follow the job that makes ``output``, submitted now unless it was before."""
        for job in reversed(await user.jobs.list_jobs()):
            if job.output == output and job.state in ("mapping", "reducing", "publishing"):
                await user.jobs.wait(job.job)
                return
        job_number = await user.jobs.submit(
            "wordcount.py",
            WORD_COUNT,
            ["/text/*"],
            output,
            reduces=REDUCES,
            minimum_split_bytes=self._rng.choice(SPLIT_BYTES),
        )
        await user.jobs.wait(job_number)

    async def _right(self, user: User, output: str) -> bool:
        """Whether ``output`` could be read; it is the sequential answer."""
        for name, part in zip(PARTS, self._answer, strict=True):
            try:
                found = await user.files.read(f"{output}/{name}")
            except NotFound:
                raise Bug(f"Whole or absent: {output} is there and {name} is not") from None
            check(found == part, f"Sequential answer: {output}/{name} differs")
        return True

    async def _watch(self, user: User) -> None:
        """Names and sizes of what is in the output folders, as one moment shows them."""
        sizes = [(name, len(part)) for name, part in zip(PARTS, self._answer, strict=True)]
        while not self._stopping:
            try:
                folders = await user.files.list("/counts")
                for folder in folders[-1:]:  # the newest
                    parts = await user.files.list(folder.path)
                    found = [(part.name, part.size) for part in parts]
                    check(found == sizes, f"Whole or absent: {folder.path} holds {found}")
            except (NotFound, Unavailable):
                pass  # nothing was counted yet, or nobody answers
            await user.world.clock.sleep(PAUSE_MS)

    # The end.

    async def _read_all(self, user: User) -> None:
        """Every file that was acknowledged so far, while the others go on."""
        for path in list(self._stored):
            last_ms = user.world.clock.monotonic_ms() + READABLE_MS
            while not await self._read_back(user, path):
                patient = user.world.clock.monotonic_ms() < last_ms
                check(patient, f"Durable: {path} was acknowledged, and no replica can be read")
                await user.world.clock.sleep(PAUSE_MS)

    async def _verify(self, user: User) -> None:
        await self._read_all(user)
        outputs = [status.path for status in await user.files.list("/counts")]
        for output in map(_output, range(self.counted)):
            check(output in outputs, f"Durable: {output} is lost")
        for output in outputs:
            await self._right(user, output)
        while await user.files.glob("/_jobs/*"):
            await user.world.clock.sleep(PAUSE_MS)
        while not await self._agreed(user):
            await user.world.clock.sleep(PAUSE_MS)

    async def _agreed(self, user: User) -> bool:
        """Whether all replicas of each group have applied the same, and are then equal."""
        states: dict[GroupId, dict[int, int]] = {}
        for door in self.cluster.addresses:
            try:
                reply = await user.rpc.call(door, AskStatus(), timeout_ms=1_000)
            except QuorateError:
                return False
            for status in reply.groups:
                known = states.setdefault(status.group, {})
                digest = known.setdefault(status.last_applied, status.digest)
                check(
                    digest == status.digest,
                    f"Digests of group {status.group} differ at index {status.last_applied}",
                )
        return all(len(indexes) == 1 for indexes in states.values())
