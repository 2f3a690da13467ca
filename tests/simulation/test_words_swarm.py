"""The demo, simulated: files are stored and words counted while nodes and processes crash."""

from pathlib import Path

import pytest

from quorate.simulator.run import run_seed
from quorate.simulator.swarm import verdict
from quorate.simulator.workloads.words import WORD_COUNT

EXAMPLE = Path(__file__).parents[2] / "examples" / "wordcount.py"


@pytest.mark.parametrize("seed", (1, 3, 4, 5))
def test_files_stay_and_counts_equal_the_sequential_answer_whatever_dies(seed: int) -> None:
    report = run_seed(seed, "words")
    assert verdict(report) is None, f"{report.where}\nreplay: {report.plan.command}"
    assert report.notes["outputs"] >= 1
    assert report.simulated_ms >= 30_000


def test_a_seed_of_whole_nodes_happens_the_same_again() -> None:
    report = run_seed(2, "words")
    assert verdict(report) is None, report.plan.command
    assert run_seed(2, "words") == report


def test_the_words_are_counted_by_the_job_of_the_example() -> None:
    assert EXAMPLE.read_bytes() == WORD_COUNT
