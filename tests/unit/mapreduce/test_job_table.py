"""The job table: the rules of a job's way, one by one."""

import pytest
from unit.mapreduce.table import Driver, copy

from quorate.base.errors import AlreadyExists, BadInput, NotFound, Overloaded
from quorate.base.machine import Meta, restore_all
from quorate.mapreduce.core import commands as c
from quorate.mapreduce.core import job_table
from quorate.mapreduce.core.job_table import (
    MAX_FAILURES,
    MAX_OUTPUTS_LOST,
    MAX_UNFINISHED_JOBS,
)
from quorate.mapreduce.core.state import FINISHED_JOBS_KEPT


def attempt(kind: c.Kind, task: int, number: int = 1, job: int = 1) -> c.Attempt:
    return c.Attempt(job, kind, task, number)


@pytest.fixture
def driver() -> Driver:
    """A job of two maps and two reduces, and workers a and b with two slots each."""
    driver = Driver()
    driver.register("a", 1)
    driver.register("b", 2)
    driver.submit(2, 2)
    return driver


def finish_maps(driver: Driver) -> None:
    """Map 0 on a, map 1 on b."""
    driver.assign("a", 1)
    driver.assign("b", 1)
    assert driver.done(attempt("map", 0), "a")
    assert driver.done(attempt("map", 1), "b")


def test_a_job_goes_its_way(driver: Driver) -> None:
    assert driver.progress(1).state == "mapping"
    assert driver.assign("a") == [attempt("map", 0), attempt("map", 1)]
    assert driver.assign("b") == []  # no reduce before all maps are done
    assert driver.done(attempt("map", 1), "a")
    assert driver.progress(1).state == "mapping"
    assert driver.done(attempt("map", 0), "a")
    assert driver.progress(1).state == "reducing"
    assert driver.assign("b", 1) == [attempt("reduce", 0)]
    assert driver.assign("a", 1) == [attempt("reduce", 1)]
    assert driver.done(attempt("reduce", 0), "b")
    assert driver.done(attempt("reduce", 1), "a")
    progress = driver.progress(1)
    assert progress.state == "publishing"
    assert (progress.maps, progress.reduces) == (c.Phase(2, 2, 0), c.Phase(2, 2, 0))
    assert driver.table.jobs[1].part_path(1) == "/_jobs/1/reduce-00001-1"
    driver.do(c.JobPublished(1))
    progress = driver.progress(1)
    assert (progress.state, progress.error) == ("done", "")
    assert progress.maps == c.Phase(2, 2, 0)
    assert progress.submitted_ms < progress.started_ms < progress.finished_ms == driver.time_ms
    assert driver.table.jobs[1].cleaned


def test_a_submission_repeated_with_its_token_is_the_same_job() -> None:
    driver = Driver()
    command = c.OpenJob("token", "job.py", b"", 1, "/out")
    assert driver.do(command) == driver.do(command) == 1
    assert driver.do(c.OpenJob("other", "job.py", b"", 1, "/out")) == 2


def test_pages_of_splits_may_come_twice_but_leave_no_gap() -> None:
    driver = Driver()
    driver.do(c.OpenJob("token", "job.py", b"", 1, "/out"))
    splits = [[c.Range(f"/{n}", 0, 5, 5)] for n in range(4)]
    assert driver.do(c.AddSplits(1, 0, splits[:2])) == 2
    assert driver.do(c.AddSplits(1, 0, splits[:2])) == 2
    assert driver.do(c.AddSplits(1, 1, splits[1:3])) == 3
    with pytest.raises(BadInput, match="cannot begin at 4"):
        driver.do(c.AddSplits(1, 4, splits[:1]))
    with pytest.raises(BadInput, match="3 splits of 4"):
        driver.do(c.StartJob(1, 4))
    assert driver.do(c.AddSplits(1, 3, splits[3:])) == 4
    driver.do(c.StartJob(1, 4))
    driver.do(c.StartJob(1, 4))
    assert driver.table.jobs[1].splits == splits
    assert driver.progress(1).input_bytes == 20
    with pytest.raises(BadInput, match="takes no more input"):
        driver.do(c.AddSplits(1, 4, splits))


@pytest.mark.parametrize(
    "command",
    [
        c.OpenJob("t", "n", b"x" * 300_000, 1, "/out"),
        c.OpenJob("t", "n", b"", 0, "/out"),
        c.OpenJob("t", "n", b"", 1001, "/out"),
        c.OpenJob("", "n", b"", 1, "/out"),
        c.OpenJob("t", "n", b"", 1, "/" * 1001),
    ],
)
def test_a_submission_out_of_bounds_is_refused(command: c.OpenJob) -> None:
    driver = Driver()
    with pytest.raises(BadInput):
        driver.do(command)
    assert not driver.table.jobs


def test_jobs_that_are_not_finished_are_bounded() -> None:
    driver = Driver()
    for number in range(MAX_UNFINISHED_JOBS):
        driver.table.execute(  # without the checks, which cost too much for so many
            Meta(1, 1, driver.time_ms), c.OpenJob(f"t{number}", "n", b"", 1, "/out")
        )
    with pytest.raises(Overloaded):
        driver.do(c.OpenJob("one more", "n", b"", 1, "/out"))


def test_a_job_without_input_goes_straight_to_its_reduces() -> None:
    driver = Driver()
    driver.register("a", 1)
    driver.submit(0, 1)
    assert driver.progress(1).state == "reducing"
    assert driver.assign("a") == [attempt("reduce", 0)]


def test_a_job_whose_client_vanished_before_it_started_fails_by_log_time() -> None:
    driver = Driver()
    driver.do(c.OpenJob("t", "n", b"", 1, "/out"))
    assert driver.table.next_deadline_ms() == driver.time_ms + 600_000
    driver.do(c.WorkerLost("nobody"), after_ms=599_999)
    assert driver.progress(1).state == "submitted"
    driver.do(c.WorkerLost("nobody"), after_ms=1)
    assert driver.progress(1).state == "failed"
    assert driver.table.next_deadline_ms() is None


def test_the_oldest_job_comes_first_and_slots_are_a_bound(driver: Driver) -> None:
    driver.submit(3, 1, token="second")
    assert driver.assign("a", 1) == [attempt("map", 0)]
    assert driver.assign("b", 5) == [attempt("map", 1), attempt("map", 0, job=2)]
    assert driver.assign("b", 5) == []  # both its slots are taken by this table's own count
    assert driver.assign("a", 0) == []
    assert driver.assign("nobody", 5) == []


def test_only_the_attempt_that_runs_can_finish_a_task(driver: Driver) -> None:
    driver.assign("a", 1)
    assert not driver.done(attempt("map", 0), "b")
    assert not driver.done(attempt("map", 0, 2), "a")
    assert not driver.done(attempt("map", 1), "a")
    assert not driver.done(attempt("map", 7), "a")
    assert not driver.done(attempt("map", 0, job=9), "a")
    assert driver.done(attempt("map", 0), "a")
    assert driver.done(attempt("map", 0), "a")  # told again


def test_a_map_must_say_the_length_of_each_region(driver: Driver) -> None:
    driver.assign("a", 1)
    with pytest.raises(BadInput, match="has 2 regions"):
        driver.do(c.TaskDone(attempt("map", 0), "a", [1]))


def test_a_lost_worker_loses_its_running_tasks_and_its_finished_maps(driver: Driver) -> None:
    finish_maps(driver)
    assert driver.assign("a", 1) == [attempt("reduce", 0)]
    driver.do(c.WorkerLost("a"))
    progress = driver.progress(1)
    assert progress.state == "mapping"
    assert (progress.maps_rerun, progress.attempts_lost) == (1, 1)
    assert driver.assign("b") == [attempt("map", 0, 2)]
    assert not driver.done(attempt("reduce", 0), "a")  # what the zombie says is not wanted
    assert driver.done(attempt("map", 0, 2), "b")
    assert driver.assign("b") == [attempt("reduce", 0, 2), attempt("reduce", 1)]


def test_finished_maps_whose_output_nobody_needs_do_not_run_again(driver: Driver) -> None:
    finish_maps(driver)
    for reduce in driver.assign("b"):
        assert driver.done(reduce, "b")
    driver.do(c.WorkerLost("a"))
    driver.do(c.WorkerLost("b"))
    progress = driver.progress(1)
    assert (progress.state, progress.maps_rerun) == ("publishing", 0)


def test_finished_reduces_stay_finished_when_their_worker_is_lost(driver: Driver) -> None:
    finish_maps(driver)
    assert driver.assign("a", 1) == [attempt("reduce", 0)]
    assert driver.done(attempt("reduce", 0), "a")
    driver.do(c.WorkerLost("a"))
    assert driver.progress(1).reduces == c.Phase(2, 1, 0)


def test_a_worker_that_starts_anew_replaces_the_one_of_its_node(driver: Driver) -> None:
    driver.assign("a", 1)
    driver.register("a2", 1)
    assert list(driver.table.workers) == ["b", "a2"]
    assert driver.assign("a", 1) == []
    assert driver.assign("a2", 1) == [attempt("map", 0, 2)]
    driver.register("a2", 1)  # told again: nothing changes
    assert len(driver.table.running["a2"]) == 1


def test_the_output_of_a_map_can_be_lost_alone(driver: Driver) -> None:
    finish_maps(driver)
    [reduce] = driver.assign("a", 1)
    driver.do(c.MapOutputLost(attempt("map", 1), reduce, "unreachable"))
    assert driver.progress(1).state == "mapping"
    assert driver.assign("b") == []  # it failed there; others are preferred
    assert driver.assign("a") == [attempt("map", 1, 2)]
    # A reduce that failed for want of the first attempt's output does not lose the second's.
    driver.do(c.MapOutputLost(attempt("map", 1), reduce, "unreachable"))
    assert driver.done(attempt("map", 1, 2), "a")
    assert driver.assign("a", 1) == [attempt("reduce", 0, 2)]
    driver.do(c.MapOutputLost(attempt("map", 1), attempt("reduce", 0, 2), "unreachable"))
    assert driver.progress(1).state == "reducing"
    assert driver.assign("a", 1) == [attempt("reduce", 0, 3)]


def test_a_map_whose_output_is_lost_again_and_again_ends_the_job() -> None:
    driver = Driver()
    driver.register("a", 1)
    driver.submit(1, 1)
    for number in range(1, MAX_OUTPUTS_LOST + 1):
        assert driver.assign("a") == [attempt("map", 0, number)]
        assert driver.done(attempt("map", 0, number), "a")
        assert driver.assign("a") == [attempt("reduce", 0, number)]
        driver.do(
            c.MapOutputLost(attempt("map", 0, number), attempt("reduce", 0, number), "no route")
        )
    assert driver.progress(1).state == "failed"
    assert driver.progress(1).error == (
        "the output of map task 0 could not be had 16 times; the last time: no route"
    )


def test_a_function_that_raises_fails_the_job_with_its_message(driver: Driver) -> None:
    driver.assign("a", 1)
    driver.do(c.TaskFailed(attempt("map", 0), "b", True, "not from here"))
    assert driver.progress(1).state == "mapping"
    driver.do(c.TaskFailed(attempt("map", 0), "a", True, "Traceback: no good"))
    assert driver.progress(1).state == "failed"
    assert driver.progress(1).error == "Traceback: no good"
    assert driver.ask(c.ListJobs())[0].error == "Traceback: no good"
    assert not driver.table.jobs[1].cleaned
    driver.do(c.JobCleaned(1))
    assert driver.table.jobs[1].cleaned


def test_other_failures_are_tried_again_elsewhere_and_at_most_four_times(driver: Driver) -> None:
    workers = ["a", "b"]
    for number in range(1, MAX_FAILURES + 1):
        worker = workers[number % 2]
        assert driver.assign(worker, 1) == [attempt("map", 0, number)]
        driver.do(c.TaskFailed(attempt("map", 0, number), worker, False, "process died"))
        if number < MAX_FAILURES:
            assert attempt("map", 0, number + 1) not in driver.assign(worker, 1)
    assert driver.progress(1).error == ("map task 0 failed 4 times; the last time: process died")


def test_a_worker_alone_gets_the_task_that_failed_on_it_again() -> None:
    driver = Driver()
    driver.register("a", 1)
    driver.submit(1, 1)
    driver.assign("a")
    driver.do(c.TaskFailed(attempt("map", 0), "a", False, "disk full"))
    assert driver.assign("a") == [attempt("map", 0, 2)]


def test_a_job_can_be_cancelled_until_its_output_is_published(driver: Driver) -> None:
    driver.submit(1, 1, token="other")
    driver.assign("a")
    driver.do(c.CancelJob(1))
    driver.do(c.CancelJob(1))
    assert driver.progress(1).state == "cancelled"
    assert driver.table.running["a"] == {}
    driver.assign("a")
    assert driver.done(attempt("map", 0, job=2), "a")
    driver.assign("a")
    assert driver.done(attempt("reduce", 0, job=2), "a")
    with pytest.raises(BadInput, match="job 2 is publishing; it is too late"):
        driver.do(c.CancelJob(2))
    driver.do(c.JobPublished(2))
    with pytest.raises(BadInput, match="job 2 is done; it is too late"):
        driver.do(c.CancelJob(2))
    with pytest.raises(NotFound, match="there is no job 3"):
        driver.do(c.CancelJob(3))


def test_a_map_that_still_runs_when_nobody_needs_it_cannot_fail_the_job(driver: Driver) -> None:
    finish_maps(driver)
    reduces = driver.assign("b")
    driver.do(c.WorkerLost("a"))  # map 0 is to run again, but both reduces have its region
    driver.register("c", 3)
    assert driver.assign("c", 1) == [attempt("map", 0, 2)]
    for reduce in reduces:
        assert driver.done(reduce, "b")
    assert driver.progress(1).state == "publishing"
    assert driver.table.running["c"] == {}
    driver.do(c.TaskFailed(attempt("map", 0, 2), "c", True, "raised"))
    assert driver.progress(1).state == "publishing"


def test_a_job_whose_output_folder_can_never_be_made_fails(driver: Driver) -> None:
    driver.do(c.FailJob(1, "/out exists"))
    driver.do(c.JobPublished(1))
    assert (driver.progress(1).state, driver.progress(1).error) == ("failed", "/out exists")


def test_old_finished_jobs_are_forgotten_but_ids_are_not_used_again() -> None:
    driver = Driver()
    for number in range(1, FINISHED_JOBS_KEPT + 4):
        job = driver.do(c.OpenJob(f"t{number}", "n", b"", 1, "/out"))
        assert job == number
        driver.do(c.CancelJob(job))
    assert list(driver.table.jobs) == list(range(4, FINISHED_JOBS_KEPT + 4))
    with pytest.raises(NotFound):
        driver.progress(3)


def test_a_snapshot_is_frozen_and_restores_the_whole_state(driver: Driver) -> None:
    finish_maps(driver)
    driver.assign("b", 1)
    digest = driver.table.digest()
    pieces = driver.table.snapshot()
    driver.assign("a", 1)
    assert driver.table.digest() != digest
    again = copy(Driver().table)
    restore_all(again, pieces)
    assert again.digest() == digest
    assert again.choose("a", 5) == [(again.jobs[1], "reduce", 1)]
    assert list(again.running["b"]) == [attempt("reduce", 0)]


def test_workers_are_listed_with_what_they_run(driver: Driver) -> None:
    driver.assign("b")
    assert driver.ask(c.ListWorkers()) == [
        c.WorkerStatus("a", 1, "127.0.0.1:1", 2, 0),
        c.WorkerStatus("b", 2, "127.0.0.1:2", 2, 2),
    ]


def test_the_memory_of_one_job_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_table, "MAX_RANGES", 3)
    monkeypatch.setattr(job_table, "MAX_REGIONS", 5)
    driver = Driver()
    job = driver.do(c.OpenJob("t", "n", b"", 3, "/out"))
    piece = c.Range("/in", 0, 1, 1)
    driver.do(c.AddSplits(job, 0, [[piece, piece]]))
    with pytest.raises(BadInput, match="4 pieces of files"):
        driver.do(c.AddSplits(job, 1, [[piece, piece]]))
    driver.do(c.AddSplits(job, 1, [[piece]]))
    with pytest.raises(BadInput, match="2 map and 3 reduce tasks"):
        driver.do(c.StartJob(job, 2))


def test_an_output_is_made_by_one_running_job() -> None:
    driver = Driver()
    first = driver.submit(1, 1)
    second = driver.do(c.OpenJob("u", "n", b"", 1, "/out/t"))
    with pytest.raises(AlreadyExists, match=f"job {first} runs"):
        driver.do(c.StartJob(second, 0))
    driver.do(c.CancelJob(first))
    driver.do(c.StartJob(second, 0))
