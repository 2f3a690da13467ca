"""The fenced publish: a job's output appears once and whole, or not at all."""

from typing import Any

import pytest
from unit.gfs.support import BLOCK, Driver

from quorate.base.errors import AlreadyExists, BadInput, Fenced, NotFound
from quorate.gfs.core.commands import (
    CreateFile,
    Delete,
    DropOutput,
    Mkdir,
    OutputPart,
    PrepareOutput,
    Publish,
    Rename,
)

FOLDER, OUTPUT = "/tmp/job-7", "/results/words"


def prepare(driver: Driver, fence: int = 1, owner: str = "job-7") -> bool:
    published: bool = driver.do(PrepareOutput(FOLDER, OUTPUT, owner, fence)).published
    return published


def publish(driver: Driver, *names: str, fence: int = 1, **more: Any) -> None:
    parts = [OutputPart(name, f"{FOLDER}/attempts/{name}") for name in names]
    fields = {"folder": FOLDER, "output": OUTPUT, "parts": parts, "owner": "job-7", "fence": fence}
    driver.do(Publish(**(fields | more)))


def attempt(driver: Driver, name: str, fence: int = 1) -> list[int]:
    return driver.create(f"{FOLDER}/attempts/{name}", fence=fence, make_parents=True)


def test_publish_moves_exactly_the_named_files_and_removes_the_folder() -> None:
    driver = Driver()
    assert not prepare(driver)
    kept, other = attempt(driver, "p0"), attempt(driver, "p1")
    publish(driver, "p0")
    assert driver.paths() == ["/results", "/results/words", "/results/words/p0"]
    assert driver.stat(OUTPUT + "/p0").handles == kept
    assert driver.namespace.is_garbage(other[0])
    assert not driver.namespace.is_garbage(kept[0])


def test_publish_again_succeeds_and_changes_nothing() -> None:
    driver = Driver()
    prepare(driver)
    attempt(driver, "p0")
    publish(driver, "p0")
    digest = driver.namespace.digest()
    publish(driver, "p0")
    publish(driver, "p0", fence=9)
    assert prepare(driver, 9), "the next coordinator learns that there is nothing left to do"
    driver.do(DropOutput(FOLDER, "job-7", 9))
    assert driver.namespace.digest() == digest


def test_a_job_without_output_files_publishes_an_empty_folder() -> None:
    driver = Driver()
    prepare(driver)
    publish(driver)
    assert driver.stat(OUTPUT).type == "directory"


def test_the_fence_rises_and_never_falls() -> None:
    driver = Driver()
    prepare(driver, 1)
    prepare(driver, 1)
    prepare(driver, 3)
    attempt(driver, "p0", fence=3)
    attempt(driver, "p1", fence=4)
    with pytest.raises(Fenced):
        prepare(driver, 2)
    with pytest.raises(Fenced):
        attempt(driver, "p2", fence=2)
    with pytest.raises(Fenced):
        attempt(driver, "p2", fence=0)
    with pytest.raises(Fenced):
        publish(driver, "p0", fence=2)
    with pytest.raises(Fenced):
        driver.do(DropOutput(FOLDER, "job-7", 2))
    publish(driver, "p0", fence=3)


def test_an_attempt_that_outlives_its_job_leaves_nothing() -> None:
    driver = Driver()
    prepare(driver)
    driver.do(DropOutput(FOLDER, "job-7", 1))
    driver.do(DropOutput(FOLDER, "job-7", 1))
    with pytest.raises(Fenced, match="ended"):
        attempt(driver, "p0")
    with pytest.raises(Fenced):
        publish(driver, "p0")
    assert driver.paths() == []


def test_the_folder_of_all_jobs_goes_with_the_last_of_them() -> None:
    driver = Driver()
    prepare(driver)
    driver.do(PrepareOutput("/tmp/job-8", "/other", "job-8", 1))
    publish(driver)
    assert driver.paths("/tmp") == ["/tmp/job-8"]
    driver.do(DropOutput("/tmp/job-8", "job-8", 1))
    assert driver.paths() == ["/results", "/results/words"]
    driver.mkdir("/tmp/mine")
    driver.do(PrepareOutput(FOLDER, "/third", "job-9", 1))
    driver.do(DropOutput(FOLDER, "job-9", 1))
    assert driver.paths("/tmp") == ["/tmp/mine"], "what others have put there stays"


def test_the_folder_belongs_to_one_job() -> None:
    driver = Driver()
    prepare(driver)
    attempt(driver, "p0")
    with pytest.raises(AlreadyExists):
        prepare(driver, 9, "job-8")
    with pytest.raises(AlreadyExists):
        publish(driver, "p0", owner="job-8", fence=9)
    driver.do(DropOutput(FOLDER, "job-8", 9))
    publish(driver, "p0")


def test_a_job_that_could_not_have_its_folder_has_nothing_to_drop() -> None:
    driver = Driver()
    driver.create(FOLDER, make_parents=True)
    with pytest.raises(AlreadyExists):
        prepare(driver)
    driver.do(DropOutput(FOLDER, "job-7", 1))
    assert driver.paths() == ["/tmp", FOLDER]


def test_an_output_that_exists_is_refused_before_and_after_the_work() -> None:
    driver = Driver()
    driver.mkdir(OUTPUT)
    with pytest.raises(AlreadyExists, match="choose another"):
        prepare(driver)
    driver.do(Delete(OUTPUT))
    prepare(driver)
    attempt(driver, "p0")
    driver.create(OUTPUT)
    with pytest.raises(AlreadyExists):
        publish(driver, "p0")


def test_two_jobs_with_one_output_publish_once() -> None:
    driver = Driver()
    driver.do(PrepareOutput("/tmp/a", OUTPUT, "a", 1))
    driver.do(PrepareOutput("/tmp/b", OUTPUT, "b", 1))
    driver.do(Publish("/tmp/a", OUTPUT, [], "a", 1))
    with pytest.raises(AlreadyExists):
        driver.do(Publish("/tmp/b", OUTPUT, [], "b", 1))


def test_nothing_else_goes_in_or_out_of_the_folder() -> None:
    driver = Driver()
    prepare(driver)
    attempt(driver, "p0")
    driver.create("/mine")
    for refused in (
        Mkdir(FOLDER + "/x"),
        Rename("/mine", FOLDER + "/mine"),
        Rename(FOLDER + "/attempts/p0", "/stolen"),
        Rename(FOLDER, "/stolen"),
        PrepareOutput(FOLDER + "/x", "/other", "job-8", 1),
        PrepareOutput("/other", FOLDER + "/x", "job-8", 1),
    ):
        with pytest.raises(Fenced):
            driver.do(refused)
    driver.do(Delete(FOLDER, True))


def test_a_fence_outside_of_a_jobs_folder_is_refused() -> None:
    driver = Driver()
    with pytest.raises(Fenced):
        driver.do(CreateFile("/a", 0, BLOCK, [], fence=1))


def test_a_file_in_the_way_of_the_output_is_found_before_the_work() -> None:
    driver = Driver()
    driver.create("/results")
    with pytest.raises(BadInput, match="/results is a file"):
        prepare(driver)
    assert driver.paths() == ["/results"]


@pytest.mark.parametrize(
    "parts",
    [
        [OutputPart("p0", FOLDER + "/attempts/missing")],
        [OutputPart("p0", FOLDER + "/attempts")],
        [OutputPart("p0", "/mine")],
        [OutputPart("p0", FOLDER)],
    ],
)
def test_publish_takes_only_files_of_its_own_folder(parts: list[OutputPart]) -> None:
    driver = Driver()
    prepare(driver)
    attempt(driver, "p0")
    driver.create("/mine")
    with pytest.raises(NotFound):
        publish(driver, parts=parts)


@pytest.mark.parametrize("name", ["", "..", "a/b", "a\nb", "x" * 256])
def test_publish_takes_only_plain_names(name: str) -> None:
    driver = Driver()
    prepare(driver)
    attempt(driver, "p0")
    with pytest.raises(BadInput):
        publish(driver, parts=[OutputPart(name, FOLDER + "/attempts/p0")])


def test_publish_refuses_a_part_named_twice() -> None:
    driver = Driver()
    prepare(driver)
    attempt(driver, "p0")
    attempt(driver, "p1")
    one = OutputPart("p0", FOLDER + "/attempts/p0")
    for other in (
        OutputPart("p0", FOLDER + "/attempts/p1"),
        OutputPart("p1", FOLDER + "/attempts/p0"),
    ):
        with pytest.raises(BadInput, match="twice"):
            publish(driver, parts=[one, other])


@pytest.mark.parametrize(
    ("folder", "output", "owner", "fence"),
    [
        ("/a", "/a", "job", 1),
        ("/a", "/a/b", "job", 1),
        ("/a/b", "/a", "job", 1),
        ("/", "/a", "job", 1),
        ("/a", "/", "job", 1),
        ("/a", "/b", "", 1),
        ("/a", "/b", "job", 0),
    ],
)
def test_a_folder_and_output_that_cannot_be_are_refused(
    folder: str, output: str, owner: str, fence: int
) -> None:
    with pytest.raises(BadInput):
        Driver().do(PrepareOutput(folder, output, owner, fence))
