"""The judges of the store's histories: what was possible passes, what was not is named."""

from collections.abc import Callable
from typing import Any

import pytest

from quorate.base.check import Bug
from quorate.kv.core.commands import Event, Kind
from quorate.linearizability.history import Operation, Outcome
from quorate.simulator.checkers.revisions import Revisions
from quorate.simulator.workloads.keys.counting import judge_counter
from quorate.simulator.workloads.keys.record import (
    ACCOUNTS,
    GUARDED,
    Change,
    Look,
    Moment,
    Seen,
    Told,
    Tx,
    Version,
    Versions,
)
from quorate.simulator.workloads.keys.resp_clients import judge_resp
from quorate.simulator.workloads.keys.serial import judge_transactions
from quorate.simulator.workloads.keys.told import judge_by, judge_watches

K = b"k"


def tx(
    at: float,
    revision: int,
    before: Versions,
    after: Versions,
    *,
    time_ms: int = 0,
    outcome: Outcome = Outcome.OK,
    **facts: Any,
) -> Tx:
    """From ``at`` to one ms later; log time is ten times that, unless it is given."""
    found = Tx("c", "tx", tuple(before), at, tuple(before))
    found.outcome, found.held = outcome, outcome is Outcome.OK
    found.returned = at + 1 if outcome is Outcome.OK else None
    found.revision, found.time_ms = revision, time_ms or int(at * 10)
    found.before, found.after = before, after
    for name, value in facts.items():
        setattr(found, name, value)
    return found


def put(at: float, revision: int, before: Version | None, value: bytes, **facts: Any) -> Tx:
    return tx(at, revision, {K: before}, {K: Version(value, revision, 0)}, **facts)


def look(at: float, found: Version | None, revision: int = 0) -> Look:
    return Look("c", at, at + 1, {K: found}, revision)


ONE, TWO = Version(b"1", 1, 0), Version(b"2", 2, 0)
ENDS = Version(b"e", 1, 50)


def judge(*txs: Tx, looks: tuple[Look, ...] = (), changes: tuple[Change, ...] = ()) -> None:
    judge_transactions(txs, looks, changes)


POSSIBLE: dict[str, Callable[[], None]] = {
    "one after the other": lambda: judge(put(0, 1, None, b"1"), put(2, 2, ONE, b"2")),
    "at once, in either order": lambda: judge(
        put(0, 2, ONE, b"2"), put(0.5, 1, None, b"1", time_ms=-1)
    ),
    "a look at what was": lambda: judge(
        put(0, 1, None, b"1"), put(2, 2, ONE, b"2"), looks=(look(1.5, ONE),)
    ),
    "gone at its end": lambda: judge(
        tx(0, 1, {K: None}, {K: ENDS}), tx(6, 2, {K: None}, {K: None})
    ),
    "an open one explains it": lambda: judge(
        put(0, 1, None, b"1"),
        tx(1, 0, {}, {}, outcome=Outcome.INFO, touches=(K,), values=(b"x",)),
        tx(4, 3, {K: Version(b"x", 2, 0)}, {K: Version(b"x", 2, 0)}),
    ),
    "untouched": lambda: judge(put(2, 2, None, b"2", untouched={K: 1})),
}

IMPOSSIBLE: dict[str, tuple[str, Callable[[], None]]] = {
    "a lost update": (
        "Transactions: ",
        lambda: judge(put(0, 1, None, b"1"), put(1, 2, ONE, b"2"), put(2, 3, ONE, b"3")),
    ),
    "one revision for two": (
        "Revisions: ",
        lambda: judge(put(0, 1, None, b"1"), put(0, 1, None, b"2")),
    ),
    "against real time": (
        "Real time: ",
        lambda: judge(put(0, 2, ONE, b"2", time_ms=1), put(4, 1, None, b"1", time_ms=1)),
    ),
    "log time runs back": (
        "Log time: ",
        lambda: judge(put(0, 1, None, b"1", time_ms=9), put(2, 2, ONE, b"2", time_ms=8)),
    ),
    "a stale look": (
        "Stale look: ",
        lambda: judge(put(0, 1, None, b"1"), put(2, 2, ONE, b"2"), looks=(look(4, ONE),)),
    ),
    "a look into the past": (
        "Real time: ",
        lambda: judge(put(0, 1, None, b"1"), put(2, 2, ONE, b"2"), looks=(look(4, TWO, 1),)),
    ),
    "seen after its end": (
        "Ends: ",
        lambda: judge(tx(0, 1, {K: None}, {K: ENDS}), tx(6, 2, {K: ENDS}, {K: ENDS})),
    ),
    "looked at after its end": (
        "Ends: ",
        lambda: judge(
            tx(0, 1, {K: None}, {K: ENDS}),
            put(6, 2, None, b"2"),
            looks=(look(8, Version(b"f", 3, 50)),),
        ),
    ),
    "gone before its end": (
        "Transactions: ",
        lambda: judge(tx(0, 1, {K: None}, {K: ENDS}), tx(4, 2, {K: None}, {K: None})),
    ),
    "an end forgotten": (
        "Transactions: ",
        lambda: judge(
            tx(0, 1, {K: None}, {K: ENDS}),
            tx(2, 2, {K: ENDS._replace(at_ms=0)}, {K: ENDS._replace(at_ms=0)}),
        ),
    ),
    "another effect": ("Effect: ", lambda: judge(put(0, 1, None, b"1", expected={K: TWO}))),
    "a condition that did not hold": (
        "Conditions: ",
        lambda: judge(put(0, 2, None, b"2", revisions={K: 1})),
    ),
    "touched": (
        "Untouched: ",
        lambda: judge(put(4, 4, None, b"4", untouched={K: 1}), changes=(Change(2, K, None, 1.0),)),
    ),
    "money made": (
        "Bank: ",
        lambda: judge(
            tx(
                0,
                1,
                dict.fromkeys(ACCOUNTS),
                {**dict.fromkeys(ACCOUNTS), ACCOUNTS[0]: Version(b"101 x", 1, 0)},
            )
        ),
    ),
    "an older token": (
        "Fencing: ",
        lambda: judge(
            tx(0, 8, {GUARDED: None}, {GUARDED: Version(b"7", 8, 0)}),
            tx(2, 9, {GUARDED: Version(b"7", 8, 0)}, {GUARDED: Version(b"5", 9, 0)}),
        ),
    ),
}


@pytest.mark.parametrize("name", POSSIBLE)
def test_what_is_possible_passes(name: str) -> None:
    POSSIBLE[name]()


@pytest.mark.parametrize("name", IMPOSSIBLE)
def test_what_is_impossible_is_named(name: str) -> None:
    sentence, run = IMPOSSIBLE[name]
    with pytest.raises(Bug, match=f"^{sentence}"):
        run()


# The counter.


def add(at: float, total: int | None) -> Operation:
    known = total is not None
    outcome = Outcome.OK if known else Outcome.INFO
    return Operation("c", "add", "n", 1, at, at + 1 if known else None, outcome, total)


def test_sums_that_nobody_was_told_are_those_of_open_additions() -> None:
    judge_counter([add(0, 1), add(1, None), add(4, 3)], 3)
    judge_counter([add(0, 1), add(1, None)], 1)


@pytest.mark.parametrize(
    ("operations", "final"),
    [
        ([add(0, 1), add(2, 1)], 1),
        ([add(0, 1), add(2, 2)], 1),
        ([add(0, 2), add(2, 1)], 2),
        ([add(0, 1), add(2, 3)], 3),
        ([add(0, 2), add(2, None)], 2),
        ([add(0, 1)], 2),
    ],
    ids=["twice", "lost", "against time", "a gap", "a gap too early", "from nowhere"],
)
def test_a_counter_that_lies_is_found_out(operations: list[Operation], final: int) -> None:
    with pytest.raises(Bug, match=r"^Counter: "):
        judge_counter(operations, final)


# Watches.

EVENTS = [Event(revision, Kind.PUT, K, b"%d" % revision) for revision in (1, 2, 3)]


def told(events: list[Event], who: str = "w1", since: int = 0, revision: int = 3) -> Told:
    return Told(who, b"", None, since, revision, list(events))


def seen(*watched: Told, changes: tuple[Change, ...] = (), final: Version | None = None) -> Seen:
    found = Seen(told=list(watched), changes=list(changes))
    if final is not None:
        found.final = Look("reader", 9, 10, {K: final}, 3)
    return found


def test_watchers_that_were_told_everything_pass() -> None:
    changes = tuple(Change(r, K, b"%d" % r, 1.0) for r in (1, 2, 3))
    parts = [told(EVENTS), told(EVENTS[1:], "w2", 1), told([], "w3", 3)]
    judge_watches(seen(*parts, changes=changes, final=Version(b"3", 3, 0)), 0, 0)


@pytest.mark.parametrize(
    "history",
    [
        seen(told(EVENTS[:2]), changes=(Change(3, K, b"3", 1.0),)),
        seen(told(EVENTS[:2]), final=Version(b"3", 3, 0)),
        seen(told(EVENTS), final=Version(b"2", 2, 0)),
        seen(told(EVENTS), told([EVENTS[0], EVENTS[2]], "w2")),
        seen(told(EVENTS), told([*EVENTS[:2], Event(3, Kind.PUT, K, b"x")], "w2")),
        seen(told([EVENTS[1], EVENTS[0], EVENTS[2]])),
        seen(told(EVENTS, since=1)),
        seen(told([*EVENTS, EVENTS[2]]), told(EVENTS, "w2")),
    ],
    ids=["lost", "never", "too much", "other", "changed", "disorder", "again", "twice"],
)
def test_a_watcher_that_was_deceived_is_noticed(history: Seen) -> None:
    with pytest.raises(Bug, match=r"^Watch: "):
        judge_watches(history, 0, 0)


def test_a_watcher_that_is_told_too_late_is_noticed() -> None:
    late = told(EVENTS)
    late.reached = [(6_500.0, 3)]
    history = seen(late, changes=(Change(3, K, b"3", 400.0),))
    with pytest.raises(Bug, match="only at 6000 ms"):
        judge_watches(history, 0, 6_000)
    late.reached = [(5_000.0, 3)]
    judge_watches(history, 0, 6_000)


def test_who_sees_all_revisions_judges_replicas_and_watchers() -> None:
    revisions = Revisions(lambda: True)
    for event in EVENTS:
        revisions.happened([event])
    revisions.happened([EVENTS[1]])
    judge_by(revisions, seen(told(EVENTS), told(EVENTS[1:], "w2", 1)))
    with pytest.raises(Bug, match="Watch: w1 was told of 1 PUT k, 3 PUT k between"):
        judge_by(revisions, seen(told([EVENTS[0], EVENTS[2]])))
    with pytest.raises(Bug, match="State Machine Safety: at revision 2"):
        revisions.happened([Event(2, Kind.DELETE, K, b"")])


# RESP.


def test_moments_that_touch_are_no_violation() -> None:
    history = Seen(execs=[Moment(0, 5, "a")], pokes=[Moment(-1, 3, "b"), Moment(2, 6, "c")])
    history.paid, history.tokens = [[5, -5], []], [(Moment(0, 2, "a"), 7), (Moment(1, 3, "b"), 6)]
    judge_resp(history)


@pytest.mark.parametrize(
    ("history", "sentence"),
    [
        (Seen(execs=[Moment(0, 5, "a")], pokes=[Moment(1, 3, "b")]), "WATCH: a watched"),
        (Seen(paid=[[5, -4]]), "EXEC: somebody saw a part"),
        (Seen(tokens=[(Moment(0, 2, "a"), 7), (Moment(3, 4, "b"), 6)]), "Fencing: b used token 6"),
    ],
)
def test_what_redis_clients_saw_is_judged(history: Seen, sentence: str) -> None:
    with pytest.raises(Bug, match=sentence):
        judge_resp(history)
