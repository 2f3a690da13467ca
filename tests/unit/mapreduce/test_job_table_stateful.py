"""The job table under any sequence of commands, late and repeated ones included."""

from collections.abc import Iterator
from itertools import islice

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from unit.mapreduce.table import Driver, copy

from quorate.base.errors import QuorateError
from quorate.mapreduce.core import commands as c

WORKERS = st.sampled_from(["1-a", "1-b", "2-a", "3-a"])
JOBS = st.integers(1, 3)
ANY = st.integers(0, 10**6)


class JobTableMachine(RuleBasedStateMachine):
    """Commands drawn from all that were ever possible; ``Driver`` checks each step."""

    def __init__(self) -> None:
        super().__init__()
        self.driver = Driver()
        self.attempts: list[tuple[c.Attempt, str]] = []
        self.views: list[tuple[Iterator[bytes], list[bytes]]] = []
        self.accepted: dict[tuple[int, c.Kind, int], set[int]] = {}

    def do(self, command: object) -> object:
        try:
            return self.driver.do(command)
        except QuorateError:
            return None

    def some_attempt(self, number: int) -> tuple[c.Attempt, str]:
        if not self.attempts:
            return c.Attempt(1, "map", 0, 1), "1-a"
        # mostly recent ones: old ones are mostly stale
        return self.attempts[-1 - number % min(len(self.attempts), 12)]

    @rule(job=JOBS, maps=st.integers(0, 4), reduces=st.integers(1, 3))
    def submit(self, job: int, maps: int, reduces: int) -> None:
        if f"t{job}" not in [known.token for known in self.driver.table.jobs.values()]:
            self.driver.submit(maps, reduces, f"t{job}")

    @rule(worker=WORKERS, slots=st.integers(1, 3))
    def register(self, worker: str, slots: int) -> None:
        known = self.driver.table.workers.get(worker)
        self.driver.register(worker, int(worker[0]), known.slots if known else slots)

    @rule(worker=WORKERS)
    def lose(self, worker: str) -> None:
        self.do(c.WorkerLost(worker))

    @rule(worker=WORKERS, free=st.integers(0, 3))
    def assign(self, worker: str, free: int) -> None:
        given = self.driver.assign(worker, free)
        assert len(given) <= free
        known = [attempt for attempt, _ in self.attempts]
        assert not any(attempt in known for attempt in given)  # numbers are never used again
        self.attempts.extend((attempt, worker) for attempt in given)

    @rule(number=ANY)
    def finish(self, number: int) -> None:
        attempt, worker = self.some_attempt(number)
        if self.driver.done(attempt, worker) and attempt.kind == "reduce":
            key = (attempt.job, attempt.kind, attempt.task)
            self.accepted.setdefault(key, set()).add(attempt.attempt)
            assert len(self.accepted[key]) == 1  # two attempts of one reduce are never both taken

    @rule(number=ANY, fatal=st.integers(0, 20))
    def fail(self, number: int, fatal: int) -> None:
        attempt, worker = self.some_attempt(number)
        self.do(c.TaskFailed(attempt, worker, fatal == 0, "failed"))

    @rule(first=ANY, second=ANY)
    def lose_output(self, first: int, second: int) -> None:
        self.do(c.MapOutputLost(self.some_attempt(first)[0], self.some_attempt(second)[0], "lost"))

    @rule(job=JOBS, what=st.sampled_from([c.JobPublished, c.CancelJob, c.JobCleaned]))
    def end(self, job: int, what: type[c.JobPublished]) -> None:
        self.do(what(job))

    @rule()
    def work(self) -> None:
        """Everything that runs is done, so that later phases are reached."""
        for worker, attempts in list(self.driver.table.running.items()):
            for attempt in list(attempts):
                self.finish_one(attempt, worker)

    def finish_one(self, attempt: c.Attempt, worker: str) -> None:
        if self.driver.done(attempt, worker) and attempt.kind == "reduce":
            key = (attempt.job, attempt.kind, attempt.task)
            self.accepted.setdefault(key, set()).add(attempt.attempt)
            assert len(self.accepted[key]) == 1

    @rule()
    def freeze(self) -> None:
        table = self.driver.table
        self.views.append((table.snapshot(), list(table.snapshot())))

    @rule(number=st.integers(0, 3), pieces=st.integers(0, 5))
    def read_what_was_frozen(self, number: int, pieces: int) -> None:
        """Some pieces now, and the rest when the table has changed again."""
        if self.views:
            stream, expected = self.views.pop(number % len(self.views))
            begun = list(islice(stream, pieces))
            assert begun == expected[:pieces]
            if len(begun) < len(expected):
                self.views.append((stream, expected[pieces:]))
            else:
                assert list(stream) == []

    def teardown(self) -> None:
        for stream, expected in self.views:
            assert list(stream) == expected

    @invariant()
    def a_copy_is_equal(self) -> None:
        table = self.driver.table
        again = copy(table)
        assert again.digest() == table.digest()
        for worker in table.workers:
            assert [(job.job, kind, task) for job, kind, task in again.choose(worker, 9)] == [
                (job.job, kind, task) for job, kind, task in table.choose(worker, 9)
            ]


TestJobTable = JobTableMachine.TestCase
TestJobTable.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
