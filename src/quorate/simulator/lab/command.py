"""``quorate lab raft``: a core through all lab tests, and what its first failure was.

Each test runs with its seeds, one after the other, up to the first that fails.  Of the first
failure of all the report has the promise, the command that replays it, and its timeline: it is run
once more, and watched.  If that goes another way, the core is no function of its seed, and is told.
"""

import contextlib
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from quorate.base.errors import BadInput
from quorate.simulator.lab.course import COURSE
from quorate.simulator.lab.learner_lab import Run, run_core
from quorate.simulator.lab.loading import Core, load_core
from quorate.simulator.lab.registry import LabTest
from quorate.simulator.lab.results import Measure, Result, worst_measures
from quorate.simulator.lab.swarm import SWARM
from quorate.simulator.lab.timeline import timeline_of
from quorate.simulator.timeline.events import Run as Timeline
from quorate.simulator.timeline.page import write_page

TESTS: dict[str, LabTest] = {**COURSE, **SWARM}
SKELETON = Path(__file__).parent / "cores" / "skeleton.py"


class Outcome(NamedTuple):
    """What came of one test."""

    test: LabTest
    results: list[Result]
    """One a seed, up to the first that failed."""
    failure: Run | None
    seconds: float
    """By the wall clock."""

    @property
    def worst(self) -> list[Measure]:
        return worst_measures(self.results)

    def as_json(self) -> dict[str, Any]:
        return {
            "test": self.test.name,
            "part": self.test.part,
            "seeds": len(self.results),
            "passed": self.failure is None,
            "seconds": round(self.seconds, 3),
            "measures": [
                {"what": m.what, "sign": m.sign, "bound": m.bound, "figure": m.figure}
                for m in self.worst
            ],
            "requests": max(result.requests for result in self.results),
            "bytes": max(result.bytes for result in self.results),
        }


class Failure(NamedTuple):
    """The first of all."""

    core: str
    """Without folder and ending."""
    test: str
    seed: int
    promise: str
    """What the test is about."""
    broken: str
    """What was not kept."""
    replay: str
    repeats: bool
    """Whether a second run with the same seed went the same way."""
    timeline: Timeline

    @property
    def default_file(self) -> Path:
        """Where the timeline goes if nobody says where."""
        return Path(f"{self.core}-{self.test}-{self.seed}.html")

    def draw(self, file: Path) -> None:
        """One HTML file."""
        write_page(self.timeline, file)

    def as_json(self, timeline: Path | None) -> dict[str, Any]:
        """``timeline`` is where it has been written."""
        return {
            "test": self.test,
            "seed": self.seed,
            "promise": self.promise,
            "broken": self.broken,
            "replay": self.replay,
            "repeats": self.repeats,
            "timeline": None if timeline is None else str(timeline),
        }


def lab_tests(name: str | None) -> list[LabTest]:
    """The tests of that name, part (``2A``, ``swarm``), or all."""
    chosen = [t for t in TESTS.values() if name is None or name in (t.name, t.part)]
    if not chosen:
        raise BadInput(f"There is no lab test {name!r}: name one of {', '.join(TESTS)}.")
    return chosen


def run_tests(
    core: Core,
    tests: list[LabTest],
    seeds: int | None,
    seed: int | None,
    each: Callable[[Outcome], None],
) -> Failure | None:
    """Run ``tests``: with ``seed`` alone, or with the first ``seeds`` (default: as many as each
    test wants).  The first failure, or ``None``."""
    first: Run | None = None
    for test in tests:
        count = test.seeds if seeds is None else seeds
        numbers = range(1, count + 1) if seed is None else (seed,)
        outcome = _run_test(core, test, numbers)
        first = first or outcome.failure
        each(outcome)
    return None if first is None else _explain(core, first)


def _run_test(core: Core, test: LabTest, seeds: range | tuple[int]) -> Outcome:
    began = time.monotonic()
    results: list[Result] = []
    failure = None
    for seed in seeds:
        run = _run(test, core, seed)
        results.append(run.result)
        if run.broken is not None:
            failure = run
            break
    return Outcome(test, results, failure, time.monotonic() - began)


def _explain(core: Core, run: Run) -> Failure:
    again = _run(run.test, core, run.seed, watched=True)
    replay = f"quorate lab raft --core {core.name} --test {run.test.name} --seed {run.seed}"
    return Failure(
        Path(core.name).stem,
        run.test.name,
        run.seed,
        run.test.promise,
        str(run.broken),
        replay,
        again.went_as(run),
        timeline_of(again, core, replay),
    )


def _run(test: LabTest, core: Core, seed: int, *, watched: bool = False) -> Run:
    """What a core prints goes to standard error: the results stay a program's to read."""
    with contextlib.redirect_stdout(sys.stderr):
        return run_core(test, core, seed, watched=watched)


def write_skeleton(file: Path) -> None:
    """A core to begin with, in a new file."""
    try:
        with file.open("x", encoding="utf-8") as new:
            new.write(SKELETON.read_text(encoding="utf-8"))
    except FileExistsError:
        raise BadInput(f"{file} exists already: name a new file.") from None
    except OSError as error:
        raise BadInput(f"{file} cannot be written: {error.strerror}.") from None


__all__ = ["TESTS", "Failure", "Outcome", "lab_tests", "load_core", "run_tests", "write_skeleton"]
