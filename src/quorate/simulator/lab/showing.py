"""What a timeline shows of a learner's server: figure 2's state, as far as it can be known.

``state()`` gives the term and who leads; who does not is drawn as a follower.  A core that has
``timeline()`` tells role, vote, log and commit index itself.  Of another core the log is what it
has applied; the term of an entry is what ``start()`` said when it took that command at that index,
and 0, which is drawn grey, where nobody said so or two did.
"""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import msgspec

from quorate.simulator.lab.errors import CoreFailed
from quorate.simulator.lab.history import Value
from quorate.simulator.lab.words import MAX_TERM
from quorate.simulator.timeline.events import TAIL, Kind, State
from quorate.simulator.timeline.recorder import election_changes

Count = Annotated[int, msgspec.Meta(ge=0, lt=MAX_TERM)]


class Told(msgspec.Struct, forbid_unknown_fields=True):
    """What ``timeline()`` gives, as a dict."""

    role: Literal["follower", "pre-candidate", "candidate", "leader"] = "follower"
    voted_for: Count | None = None
    """0 or ``None``: nobody."""
    commit_index: Count = 0
    first_index: Annotated[int, msgspec.Meta(ge=1, lt=MAX_TERM)] = 1
    """Of the first of ``terms``."""
    terms: list[Count] = []
    """Of all entries in the log."""


class Terms:
    """Of commands, as ``start()`` said."""

    def __init__(self) -> None:
        self._of: dict[tuple[int, Value], int] = {}

    def started(self, index: int, value: Value, term: int) -> None:
        if self._of.setdefault((index, value), term) != term:
            self._of[index, value] = 0

    def of(self, index: int, value: Value) -> int:
        return self._of.get((index, value), 0)


class Applied:
    """The last entries that one life of a server has applied."""

    def __init__(self, last_index: int) -> None:
        self.last_index = last_index
        self.terms: tuple[int, ...] = ()

    def apply(self, index: int, term: int) -> None:
        """What lies between is a leader's own."""
        gap = (0,) * min(TAIL, index - self.last_index - 1)
        self.terms = (*self.terms, *gap, _bounded(term))[-TAIL:]
        self.last_index = index


def seen_state(term: int, leads: bool, applied: Applied) -> State:
    """Of a core that does not tell more."""
    return State(
        role="leader" if leads else "follower",
        term=_bounded(term),
        last_index=applied.last_index,
        durable_index=applied.last_index,
        commit_index=applied.last_index,
        terms=applied.terms,
    )


def told_state(names: Sequence[str], term: int, leads: bool, told: Any) -> State:
    """``told`` is what ``timeline()`` gave."""
    try:
        known = msgspec.convert(told, Told)
    except msgspec.ValidationError as error:
        fields = ", ".join(Told.__struct_fields__)
        raise CoreFailed(f"timeline() gives a dict with some of {fields}: {error}") from None
    if not leads and known.role == "leader":
        raise CoreFailed("timeline() says that it leads, and state() says that it does not")
    last_index = known.first_index - 1 + len(known.terms)
    voted_for = known.voted_for or 0
    return State(
        role="leader" if leads else known.role,
        term=_bounded(term),
        voted_for=names[voted_for - 1] if 0 < voted_for <= len(names) else "",
        last_index=last_index,
        durable_index=last_index,
        commit_index=known.commit_index,
        terms=tuple(known.terms[-TAIL:]),
    )


def changes_of(me: str, before: State, after: State) -> list[tuple[Kind, str, str]]:
    """Kind, text and name of the source, as our own replicas' are told."""
    told = election_changes(me, before, after)
    if after.commit_index != before.commit_index:
        source = "leader's commit" if after.role == "leader" else "commit"
        told.append(("commit", f"committed up to {after.commit_index}", source))
    return told


def _bounded(term: int) -> int:
    return term if 0 <= term < MAX_TERM else 0
