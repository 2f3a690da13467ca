"""Planted bugs: each replaces something that the product really uses, and is taken out again."""

import inspect
import sys
from types import FunctionType
from typing import Any

import pytest

from quorate.base.check import Bug
from quorate.raft import driver
from quorate.simulator.planted.__main__ import Outcome, first_catch, healthy, hunt
from quorate.simulator.planted.bugs import BUGS, PlantedBug

every_bug = pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)


def now_there(bug: PlantedBug) -> list[Any]:
    return [owner.__dict__[name] for owner, name, _ in bug.patches]


@every_bug
def test_it_is_planted_and_taken_out_again(bug: PlantedBug) -> None:
    originals = now_there(bug)
    replacements = [replacement for _, _, replacement in bug.patches]
    assert all(a is not b for a, b in zip(originals, replacements, strict=True))
    with bug.planted():
        assert now_there(bug) == replacements
    assert now_there(bug) == originals


@every_bug
def test_it_is_taken_out_when_the_run_fails(bug: PlantedBug) -> None:
    originals = now_there(bug)
    with pytest.raises(Bug), bug.planted():
        raise Bug("caught")
    assert now_there(bug) == originals


@every_bug
def test_it_is_called_as_the_original_is(bug: PlantedBug) -> None:
    for owner, name, replacement in bug.patches:
        original = inspect.signature(owner.__dict__[name]).parameters
        assert len(inspect.signature(replacement).parameters) == len(original), name


@every_bug
def test_no_module_of_the_product_keeps_the_original(bug: PlantedBug) -> None:
    """``from … import …`` gives a module a name of its own, which must be replaced too."""
    originals = [original for original in now_there(bug) if isinstance(original, FunctionType)]
    with bug.planted():
        kept = [
            f"{name}.{attribute}"
            for name, module in list(sys.modules.items())
            if name.startswith("quorate.") and not name.startswith("quorate.simulator.planted")
            for attribute, value in list(vars(module).items())
            if any(value is original for original in originals)
        ]
    assert kept == []


def test_a_bug_whose_place_is_gone_says_so() -> None:
    bug = PlantedBug("old", "", ((driver, "no_such_function", print),))
    with (
        pytest.raises(Bug, match=r"driver\.no_such_function is gone: mend this bug"),
        bug.planted(),
    ):
        raise AssertionError


REQUIRED = (
    "vote not persisted",
    "vote granted to a shorter log",
    "commit of an old term's entry by counting",
    "acknowledgement before fsync",
    "truncation without conflict",
    "snapshot without its session table",
    "snapshot index off by one",
    "checksums of a snapshot ignored",
    "stale read without ReadIndex",
    "lease kept after transfer",
    "read served before the no-op",
    "a paused leader that answers",
    "inflight reordered on reconnect",
    "session expired by local clock",
    "a group's record lost when segments are cut",
)


def test_those_that_must_be_caught_are_here() -> None:
    names = [bug.name for bug in BUGS]
    assert len(names) == len(set(names)) >= 22
    assert set(REQUIRED) <= set(names)
    assert all(bug.story for bug in BUGS)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("inflight reordered on reconnect", "Log Matching: "),
        ("truncation without conflict", "Log Matching: "),
    ],
)
def test_it_is_caught_by_who_sees_everything(name: str, sentence: str) -> None:
    with (bug := bug_called(name)).planted():
        caught = first_catch(bug, 1, range(20), histories_only=False)
    assert caught is not None
    assert sentence in caught.broken


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("session table not replicated", "Exactly once: "),
        ("follower read before it is applied", "Linearizable: "),
        ("another sequence number for another attempt", "list "),
    ],
)
def test_it_is_caught_by_what_clients_saw(name: str, sentence: str) -> None:
    with (bug := bug_called(name)).planted():
        caught = first_catch(bug, 1, range(20), histories_only=True)
    assert caught is not None
    assert sentence in caught.broken


def test_what_clients_see_is_looked_for_from_the_first_seed_that_breaks_anything() -> None:
    name = "truncation without conflict"
    outcome = hunt([bug.name for bug in BUGS].index(name), 1, limit=20, histories=1)
    assert outcome.caught is not None
    assert outcome.tried == outcome.caught.seeds
    assert outcome.by_histories is None or outcome.by_histories.seeds == outcome.tried


def test_a_bug_that_survives_has_escaped() -> None:
    assert hunt(0, 1, limit=0, histories=1) == Outcome(None, None, 0)


def test_without_it_the_same_seed_breaks_nothing() -> None:
    assert healthy(1, "lists") is None


def bug_called(name: str) -> PlantedBug:
    return next(bug for bug in BUGS if bug.name == name)
