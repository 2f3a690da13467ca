"""Jobs on whole simulated nodes: the output is the sequential run's, whatever dies meanwhile."""

import random
from collections.abc import Callable

import pytest
from node_clients import put, read_output, run_user
from unit.mapreduce.support import POSITIONS, WORDCOUNT

from quorate.base.errors import AlreadyExists, BadInput, JobFailed, NotFound, Unavailable
from quorate.base.ids import JOBS_GROUP
from quorate.mapreduce.core.commands import JobProgress
from quorate.mapreduce.sequential import run_sequential
from quorate.raft.messages import AskStatus
from quorate.runtime.simulated.world import Simulation
from quorate.simulator.cluster import NodeCluster, User, address

Fault = Callable[[NodeCluster], None]
Moment = Callable[[JobProgress], bool]
REDUCES = 3


def texts(seed: int) -> list[tuple[str, bytes]]:
    source = random.Random(seed)
    words = [f"word{number}" for number in range(50)] + ["é", "\n", "\n", "\r\n"]
    return [
        (f"/in/{number:02d}", " ".join(source.choices(words, k=source.randint(0, 600))).encode())
        for number in range(12)
    ]


class Run:
    """One job with faults at chosen moments; raises if anything promised does not hold."""

    def __init__(self, seed: int, source: bytes = POSITIONS) -> None:
        self.nodes = NodeCluster(Simulation(seed))
        self.files = texts(seed)
        self.source = source
        self.last: JobProgress | None = None
        self.output: list[bytes] | None = None
        self.sightings: set[tuple[str, ...]] = set()

    def run(self, *steps: tuple[Moment, Fault]) -> JobProgress:
        """Each fault is done when its moment of the job has come, in order."""
        with self.nodes.simulation as simulation:
            self.nodes.found()
            process = self.nodes.start_user("client", self._client)
            self.nodes.start_user("watcher", self._watch)
            for moment, fault in steps:
                simulation.run_until(lambda moment=moment: self._has_come(moment), 120_000)
                fault(self.nodes)
            simulation.run_until(lambda: not process.alive, 300_000)
            assert process.error is None
        assert self.output == run_sequential("job.py", self.source, self.files, REDUCES)
        names = tuple(f"part-{number:05d}" for number in range(REDUCES))
        assert self.sightings <= {(), names}  # whole or not at all, at any moment
        assert self.last is not None
        return self.last

    def _has_come(self, moment: Moment) -> bool:
        return self.last is not None and moment(self.last)

    async def _client(self, client: User) -> None:
        await put(client, self.files)
        job = await client.jobs.submit(
            "job.py", self.source, ["/in/*"], "/out", reduces=REDUCES, minimum_split_bytes=512
        )
        await client.jobs.wait(job, self._progress)
        self.output = await read_output(client, "/out")

    def _progress(self, progress: JobProgress) -> None:
        self.last = progress

    async def _watch(self, client: User) -> None:
        while True:
            try:
                found = tuple(status.name for status in await client.files.list("/out"))
            except NotFound:
                found = ()
            except Unavailable:
                continue
            self.sightings.add(found)
            await client.world.clock.sleep(20)


def mapped(share: float) -> Moment:
    return lambda progress: (
        progress.maps.done >= share * progress.maps.total or progress.state == "done"
    )


def reducing(progress: JobProgress) -> bool:
    return progress.state == "reducing"


def reduced(progress: JobProgress) -> bool:
    return progress.reduces.done >= 1


def publishing(progress: JobProgress) -> bool:
    return progress.state in ("publishing", "done")


def leader(nodes: NodeCluster) -> str:
    """Of the jobs; there is one."""
    found = nodes.leader(JOBS_GROUP)
    assert found is not None
    return found


def follower(nodes: NodeCluster) -> str:
    return next(name for name in nodes.names if name != leader(nodes))


def wait(duration_ms: float) -> Fault:
    return lambda nodes: nodes.simulation.run_for(duration_ms)


def at_any_time(progress: JobProgress) -> bool:
    return True


def test_a_job_gives_the_output_of_a_sequential_run() -> None:
    progress = Run(1).run()
    assert progress.maps.total > 20
    assert (progress.maps_rerun, progress.attempts_lost) == (0, 0)


@pytest.mark.parametrize("seed", range(2))
def test_a_dead_worker_s_finished_maps_run_again(seed: int) -> None:
    progress = Run(seed).run((mapped(0.4), lambda nodes: nodes.kill(follower(nodes), "worker")))
    assert progress.maps_rerun > 0


def test_a_worker_that_starts_again_is_given_work() -> None:
    Run(2).run(
        (mapped(0.4), lambda nodes: nodes.kill("n1", "worker")),
        (at_any_time, lambda nodes: nodes.start("n1", "worker")),
        (mapped(0.6), lambda nodes: nodes.kill("n2", "worker")),
        (at_any_time, lambda nodes: nodes.start("n2", "worker")),
    )


@pytest.mark.parametrize("moment", [mapped(0.4), reducing, reduced, publishing])
def test_the_leader_s_machine_may_die_at_any_moment(moment: Moment) -> None:
    Run(4).run((moment, lambda nodes: nodes.kill(leader(nodes))))


@pytest.mark.parametrize("moment", [mapped(0.1), mapped(0.9), reduced, publishing])
def test_the_coordinator_s_process_may_die_and_come_back(moment: Moment) -> None:
    nodes_leader: list[str] = []

    def kill(nodes: NodeCluster) -> None:
        nodes_leader.append(leader(nodes))
        nodes.kill(nodes_leader[0], "raft")

    Run(5).run(
        (moment, kill),
        (at_any_time, wait(2000)),
        (at_any_time, lambda nodes: nodes.start(nodes_leader[0], "raft")),
    )


@pytest.mark.parametrize("moment", [mapped(0.5), reducing, reduced])
def test_a_machine_may_lose_its_power(moment: Moment) -> None:
    Run(6).run(
        (moment, lambda nodes: nodes.power_loss("n2")),
        (at_any_time, wait(4000)),
        (at_any_time, lambda nodes: nodes.start("n2")),
    )


@pytest.mark.parametrize("moment", [mapped(0.5), reduced])
def test_a_chunkserver_may_die(moment: Moment) -> None:
    Run(7).run((moment, lambda nodes: nodes.kill("n3", "chunkserver")))


@pytest.mark.parametrize("moment", [mapped(0.3), mapped(1.0), reduced])
def test_a_leader_cut_off_from_the_others_cannot_spoil_the_output(moment: Moment) -> None:
    def cut(nodes: NodeCluster) -> None:
        others = [name for name in nodes.names if name != leader(nodes)]
        nodes.simulation.faults.partition([leader(nodes)], [*others, "client", "watcher"])

    Run(8).run(
        (moment, cut),
        (at_any_time, wait(6000)),
        (at_any_time, lambda nodes: nodes.simulation.faults.heal()),
    )


def test_workers_that_cannot_reach_each_other_for_a_while_still_finish_the_job() -> None:
    progress = Run(9).run(
        (mapped(0.9), lambda nodes: nodes.simulation.faults.block("n1", "n2")),
        (at_any_time, wait(15_000)),
        (at_any_time, lambda nodes: nodes.simulation.faults.heal()),
    )
    assert progress.maps_rerun > 0


def drawn_fault(draw: random.Random, names: list[str]) -> tuple[Fault, Fault]:
    """A fault, and what repairs it."""
    name = draw.choice(names)
    others = [other for other in names if other != name]
    role = draw.choice(["raft", "worker", "worker", "chunkserver"])
    target = draw.choice(others)

    def heal(nodes: NodeCluster) -> None:
        nodes.simulation.faults.heal()

    return draw.choice(
        [
            (lambda nodes: nodes.kill(name, role), lambda nodes: nodes.start(name, role)),
            (lambda nodes: nodes.kill(name), lambda nodes: nodes.start(name)),
            (lambda nodes: nodes.power_loss(name), lambda nodes: nodes.start(name)),
            (
                lambda nodes: nodes.simulation.faults.partition(
                    [name], [*others, "client", "watcher"]
                ),
                heal,
            ),
            (lambda nodes: nodes.simulation.faults.block(name, target), heal),
        ]
    )


def swarm(seed: int) -> JobProgress:
    """A job under a handful of faults drawn from ``seed``, each repaired a while later."""
    draw = random.Random(seed)
    run = Run(seed)
    run.nodes.simulation.faults.default.loss = draw.choice([0.0, 0.0, 0.001, 0.01])
    run.nodes.simulation.faults.default.duplicate = draw.choice([0.0, 0.01])
    steps: list[tuple[Moment, Fault]] = []
    for _ in range(draw.randint(2, 5)):
        moment = mapped(draw.random()) if draw.random() < 0.7 else reduced
        fault, repair = drawn_fault(draw, run.nodes.names)
        pause = wait(draw.uniform(10, 6000))
        steps += [(moment, fault), (at_any_time, pause), (at_any_time, repair)]
    return run.run(*steps)


@pytest.mark.parametrize("seed", range(100, 106))
def test_any_few_faults_leave_the_output_as_it_is(seed: int) -> None:
    swarm(seed)


def test_a_map_that_raises_fails_the_job_with_traceback_and_record() -> None:
    source = b"def map(key, value):\n    yield 1 // len(value), 1\n" + WORDCOUNT.split(b"\n\n")[1]

    async def work(client: User) -> None:
        await put(client, [("/in/a", b"x\n\ny\n")])
        job = await client.jobs.submit("job.py", source, ["/in/a"], "/out")
        with pytest.raises(JobFailed) as caught:
            await client.jobs.wait(job)
        assert "ZeroDivisionError" in caught.value.message
        assert "yield 1 // len(value), 1" in caught.value.message
        assert "in the record at byte 2 of /in/a: ''" in caught.value.message
        while not (await client.jobs.progress(job)).finished_ms:
            await client.world.clock.sleep(100)
        with pytest.raises(NotFound):
            await client.files.stat("/out")
        await client.world.clock.sleep(2000)
        assert await client.files.glob("/_jobs") == []

    run_user(10, work)


def test_bad_submissions_are_refused_before_anything_runs() -> None:
    async def work(client: User) -> None:
        await put(client, [("/in/a", b"x\n"), ("/there/b", b"x")])

        async def refused(kind: type[Exception], match: str, *arguments: object) -> None:
            with pytest.raises(kind, match=match):
                await client.jobs.submit(*arguments)  # type: ignore[arg-type]

        await refused(
            NotFound,
            r"no file matches the input /no/\*",
            "j.py",
            WORDCOUNT,
            ["/in/a", "/no/*"],
            "/o",
        )
        await refused(AlreadyExists, "/there exists", "j.py", WORDCOUNT, ["/in/a"], "/there")
        await refused(BadInput, "no function reduce", "j.py", b"map = 1", ["/in/a"], "/o")
        await refused(BadInput, "at least one input", "j.py", WORDCOUNT, [], "/o")
        assert await client.jobs.list_jobs() == []

    run_user(11, work)


def test_input_that_vanishes_in_the_middle_fails_the_job_in_a_sentence() -> None:
    async def work(client: User) -> None:
        files = [(f"/in/{number:03d}", b"word\n" * 200) for number in range(60)]
        await put(client, files)
        job = await client.jobs.submit(
            "job.py", WORDCOUNT, ["/in/*"], "/out", minimum_split_bytes=1000
        )
        await client.files.delete("/in", recursive=True)
        with pytest.raises(JobFailed, match=r"the input file /in/\d+ has vanished"):
            await client.jobs.wait(job)

    run_user(12, work)


def test_an_output_folder_that_appears_meanwhile_fails_the_job_and_is_left_alone() -> None:
    async def work(client: User) -> None:
        await put(client, [("/in/a", b"x\n" * 1000)])
        job = await client.jobs.submit(
            "job.py", WORDCOUNT, ["/in/*"], "/out", minimum_split_bytes=100
        )
        await put(client, [("/out/mine", b"data")])
        with pytest.raises(JobFailed, match="/out exists"):
            await client.jobs.wait(job)
        assert [status.path for status in await client.files.list("/out")] == ["/out/mine"]

    run_user(13, work)


def test_a_cancelled_job_leaves_nothing() -> None:
    async def work(client: User) -> None:
        await put(client, [("/in/a", b"x\n" * 1000)])
        job = await client.jobs.submit(
            "job.py", WORDCOUNT, ["/in/*"], "/out", minimum_split_bytes=100
        )
        await client.jobs.cancel(job)
        with pytest.raises(JobFailed, match="job 1 was cancelled"):
            await client.jobs.wait(job)
        await client.world.clock.sleep(2000)
        assert [status.path for status in await client.files.walk("/")] == ["/in/a"]

    run_user(14, work)


def test_jobs_share_the_workers_and_an_idle_cluster_writes_nothing_to_its_log() -> None:
    async def work(client: User) -> None:
        await put(client, [("/in/a", b"a b\n" * 1000)])
        jobs = [
            await client.jobs.submit(
                "job.py", WORDCOUNT, ["/in"], f"/out{number}", reduces=1, minimum_split_bytes=300
            )
            for number in range(3)
        ]
        for number, job in enumerate(jobs):
            await client.jobs.wait(job)
            assert await read_output(client, f"/out{number}") == [b"a\t1000\nb\t1000\n"]
        await client.world.clock.sleep(2000)
        before = await log_end(client)
        await client.world.clock.sleep(20_000)
        assert await log_end(client) == before

    async def log_end(client: User) -> int:
        statuses = await client.rpc.call(address("n1"), AskStatus(), timeout_ms=1000)
        return next(s.last_index for s in statuses.groups if s.group == JOBS_GROUP)

    run_user(15, work)
