"""The key/value store under faults: own protocol, a node's service and RESP, histories judged."""

import pytest

from quorate.simulator.planted.__main__ import first_catch
from quorate.simulator.planted.bugs import BUGS
from quorate.simulator.run import run_seed
from quorate.simulator.swarm import verdict


@pytest.mark.parametrize(
    ("seed", "mark"),
    [
        (7, "commands offered to a leader that hands over"),
        (42, "snapshot installed"),
    ],
)
def test_no_history_of_the_store_is_impossible(seed: int, mark: str) -> None:
    """Seed 7: leadership is handed over while commands come in through a node's service, which once
    asked the node itself again and again without end."""
    report = run_seed(seed, "keys")
    assert verdict(report) is None, f"{report.where}\nreplay: {report.plan.command}"
    assert report.simulated_ms >= 30_000
    assert mark in report.marks
    assert "histories not judged" not in report.notes


def test_a_seed_of_keys_happens_the_same_again() -> None:
    assert run_seed(24, "keys") == run_seed(24, "keys")


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("EXEC as several commands", "EXEC: "),
        ("watch skips at a leader change", "Watch: "),
        ("scan skips at the end of a page", "Scan: "),
        ("fencing token not compared", "Conditions: "),
        ("local reads from a cache", "Local read: "),
        ("SET keeps the end", "Effect: "),
    ],
)
def test_a_planted_bug_is_caught_by_what_clients_saw(name: str, sentence: str) -> None:
    [bug] = [bug for bug in BUGS if bug.name == name]
    with bug.planted():
        caught = first_catch(bug, 1, range(1), histories_only=True)
    assert caught is not None
    assert caught.broken.startswith(sentence)
