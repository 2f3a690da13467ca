"""The judges of views and of local reads: what was possible passes, what was not is named."""

from collections.abc import Callable

import pytest

from quorate.base.check import Bug
from quorate.linearizability.history import Outcome
from quorate.simulator.workloads.keys.local_reads import judge_glances
from quorate.simulator.workloads.keys.record import CLOCK, SHARED, Glance, Look, Tx, Version
from quorate.simulator.workloads.keys.serial import judge_transactions

K, OTHER = SHARED
OLD, NEW = (b"old", 2), (b"new", 5)


def tx(at: float, key: bytes, before: Version | None, after: Version | None, revision: int) -> Tx:
    """From ``at`` to one ms later; log time is ten times that."""
    found = Tx("c", "tx", (key,), at, (key,), at + 1, Outcome.OK, revision, int(at * 10), held=True)
    found.before, found.after = {key: before}, {key: after}
    return found


def unknown(at: float, key: bytes, value: bytes) -> Tx:
    return Tx("c", "tx", (key,), at, (key,), values=(value,))


FIRST = tx(1, K, None, Version(b"old", 2, 0), 2)
SECOND = tx(3, K, Version(b"old", 2, 0), Version(b"new", 5, 0), 5)
ENDING = tx(3, K, Version(b"old", 2, 0), Version(b"new", 5, 60), 5)


# Local reads.


def glances(*found: Glance, txs: tuple[Tx, ...] = (FIRST, SECOND)) -> None:
    judge_glances(found, txs)


def glance(at: float, who: str = "a", clock: int = 0, **values: tuple[bytes | None, int]) -> Glance:
    """``k`` and ``other`` are the keys' names here."""
    found = {{"k": K, "other": OTHER}[name]: value for name, value in values.items()}
    return Glance(who, at, {CLOCK: (b"" if clock else None, clock), **found})


POSSIBLE: dict[str, Callable[[], None]] = {
    "old, on a node that has nothing newer": lambda: glances(
        glance(9, clock=5, k=NEW), glance(10, "b", clock=2, k=OLD)
    ),
    "begun, not answered yet": lambda: glances(glance(3.5, clock=5, k=NEW)),
    "absent before it was written": lambda: glances(glance(2, k=(None, 0))),
    "of unknown outcome": lambda: glances(
        glance(4, clock=3, k=(b"x", 3)), txs=(FIRST, unknown(2, K, b"x"))
    ),
    "gone by one of unknown outcome": lambda: glances(
        glance(4, clock=3, k=(None, 0)), txs=(FIRST, unknown(2, K, b"x"))
    ),
}

IMPOSSIBLE: dict[str, Callable[[], None]] = {
    "it runs back": lambda: glances(glance(9, clock=5, k=NEW), glance(10, clock=2, k=OLD)),
    "one key runs back behind another": lambda: glances(
        glance(9, clock=5), glance(10, clock=5, k=OLD)
    ),
    "two moments in one answer": lambda: glances(glance(9, clock=5, k=OLD)),
    "gone though nobody took it away": lambda: glances(glance(9, clock=5, k=(None, 0))),
    "from the future": lambda: glances(glance(2.5, clock=5, k=NEW)),
    "of another value": lambda: glances(glance(9, clock=5, k=(b"old", 5))),
    "that nobody wrote": lambda: glances(glance(9, other=(b"x", 4))),
    "of one that began later": lambda: glances(
        glance(4, clock=3, k=(b"x", 3)), txs=(FIRST, unknown(5, K, b"x"))
    ),
}


@pytest.mark.parametrize("name", POSSIBLE)
def test_a_local_read_may_be(name: str) -> None:
    POSSIBLE[name]()


@pytest.mark.parametrize("name", IMPOSSIBLE)
def test_a_local_read_is_never(name: str) -> None:
    with pytest.raises(Bug, match=r"^Local read: "):
        IMPOSSIBLE[name]()


# Views.


def view(found: Version | None, revision: int, time_ms: int, *txs: Tx) -> None:
    looked = Look("v", 0, 100, {K: found}, revision, time_ms)
    judge_transactions(txs, [looked], [])


def test_a_view_shows_what_its_revision_has_left() -> None:
    view(None, 1, 5, FIRST, SECOND)
    view(Version(b"old", 2, 0), 4, 20, FIRST, SECOND)
    view(Version(b"new", 5, 0), 5, 30, FIRST, SECOND)
    view(None, 6, 60, FIRST, ENDING)
    view(Version(b"x", 3, 0), 4, 30, FIRST, unknown(2, K, b"x"))


@pytest.mark.parametrize(
    ("sentence", "found", "revision", "time_ms", "txs"),
    [
        ("Look: ", Version(b"old", 2, 0), 1, 5, (FIRST, SECOND)),
        ("Look: ", None, 4, 20, (FIRST, SECOND)),
        ("Look: ", None, 6, 50, (FIRST, ENDING)),
        ("Look: ", Version(b"new", 5, 0), 5, 30, (FIRST, ENDING)),
        ("Stale look: ", Version(b"old", 2, 0), 5, 30, (FIRST, SECOND)),
        ("Log time: ", Version(b"old", 2, 0), 4, 31, (FIRST, SECOND)),
        ("Log time: ", Version(b"old", 2, 0), 4, 9, (FIRST, SECOND)),
    ],
    ids=[
        "too new",
        "a key is missing",
        "left out before its end",
        "an end is missing",
        "too old",
        "later than what follows",
        "earlier than what was",
    ],
)
def test_a_view_of_no_moment_is_found_out(
    sentence: str, found: Version | None, revision: int, time_ms: int, txs: tuple[Tx, ...]
) -> None:
    with pytest.raises(Bug, match=f"^{sentence}"):
        view(found, revision, time_ms, *txs)
