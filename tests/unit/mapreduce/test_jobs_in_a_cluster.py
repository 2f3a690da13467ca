"""What one job may not do to the others, and what is left of jobs, on three simulated nodes."""

import pytest
from node_clients import put, run_user
from unit.mapreduce.support import WORDCOUNT

from quorate.base.errors import AlreadyExists, DiskFailed, DiskFull, JobFailed
from quorate.mapreduce.map_outputs import MapOutputStore
from quorate.mapreduce.messages import FetchRegion
from quorate.rpc.server import Bulk, Call
from quorate.runtime.simulated.disk import SimulatedView
from quorate.simulator.cluster import User


def test_a_job_that_cannot_have_its_folder_does_not_hold_up_the_next() -> None:
    async def work(client: User) -> None:
        await put(client, [("/in/a", b"x y\n"), ("/_jobs/1", b"in the way")])
        first = await client.jobs.submit("job.py", WORDCOUNT, ["/in/a"], "/first", reduces=1)
        with pytest.raises(JobFailed, match="/_jobs/1 exists"):
            await client.jobs.wait(first)
        second = await client.jobs.submit("job.py", WORDCOUNT, ["/in/a"], "/second", reduces=1)
        await client.jobs.wait(second)
        assert await client.files.read("/_jobs/1") == b"in the way"

    run_user(3, work)


def test_nothing_is_left_of_a_job_but_its_output() -> None:
    async def work(client: User) -> None:
        await put(client, [("/in/a", b"x y\n")])
        job = await client.jobs.submit("job.py", WORDCOUNT, ["/in/a"], "/out", reduces=1)
        await client.jobs.wait(job)
        assert [status.path for status in await client.files.list("/")] == ["/in", "/out"]

    run_user(3, work)


def test_two_jobs_at_once_cannot_have_one_output() -> None:
    async def work(client: User) -> None:
        await put(client, [("/in/a", b"x y\n" * 1000)])
        job = await client.jobs.submit("job.py", WORDCOUNT, ["/in/a"], "/out", reduces=1)
        with pytest.raises(AlreadyExists, match=f"job {job} runs and will make /out"):
            await client.jobs.submit("job.py", WORDCOUNT, ["/in/a"], "/out", reduces=1)
        await client.jobs.wait(job)

    run_user(3, work)


def test_a_disk_without_room_for_a_folder_fails_the_attempt_and_not_the_worker(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    make = SimulatedView.make_directory
    refused: list[str] = []

    def full(view: SimulatedView, path: str) -> None:
        if path == "tasks/1" and len(refused) < 2:
            refused.append(path)
            raise DiskFull("no space is left on the disk")
        make(view, path)

    monkeypatch.setattr(SimulatedView, "make_directory", full)

    async def work(client: User) -> None:
        await put(client, [("/in/a", b"x y\n")])
        job = await client.jobs.submit("job.py", WORDCOUNT, ["/in/a"], "/out", reduces=1)
        progress = await client.jobs.wait(job)
        assert (len(refused), progress.attempts_lost) == (2, 2)
        assert len(await client.jobs.workers()) == 3

    run_user(3, work)


def test_map_output_on_a_failing_disk_is_made_again_elsewhere(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fetch = MapOutputStore.fetch

    def failing(store: MapOutputStore, request: FetchRegion, call: Call) -> Bulk:
        if request.map_attempt.attempt == 1:
            raise DiskFailed("the disk failed to read: Input/output error")
        return fetch(store, request, call)

    monkeypatch.setattr(MapOutputStore, "fetch", failing)

    async def work(client: User) -> None:
        await put(client, [("/in/a", b"x y\n")])
        job = await client.jobs.submit("job.py", WORDCOUNT, ["/in/a"], "/out", reduces=6)
        assert (await client.jobs.wait(job)).maps_rerun == 1

    run_user(3, work)
