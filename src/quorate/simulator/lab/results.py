"""What a lab test measures: figures, and the bounds they are held against."""

from collections.abc import Sequence
from dataclasses import dataclass

from quorate.base.check import Bug


class Broken(Bug):
    """A promise was not kept.  The sentence says which.

    Not an ``Exception``: a learner's core that catches too much must not hide what it broke.
    """


@dataclass(slots=True)
class Measure:
    """A figure and its bound."""

    what: str
    sign: str
    """``≤``, ``≥`` or ``=``: how the figure stands to the bound."""
    bound: float
    figure: float
    unit: str = ""

    @property
    def holds(self) -> bool:
        if self.sign == "≤":
            return self.figure <= self.bound
        return self.figure >= self.bound if self.sign == "≥" else self.figure == self.bound

    def __str__(self) -> str:
        unit = f" {self.unit}" if self.unit else ""
        word = {"≤": "at most", "≥": "at least", "=": "exactly"}[self.sign]
        return f"{self.what}: {self.figure:,}{unit}, where {word} {self.bound:,}{unit} is right"


@dataclass(slots=True)
class Traffic:
    """Sent so far by all servers."""

    requests: int = 0
    answers: int = 0
    refusals: int = 0
    """Answers to appends that say no; 0 where messages are the learner's own."""
    bytes: int = 0

    def since(self, before: "Traffic") -> "Traffic":
        return Traffic(
            self.requests - before.requests,
            self.answers - before.answers,
            self.refusals - before.refusals,
            self.bytes - before.bytes,
        )

    def copy(self) -> "Traffic":
        return self.since(Traffic())


@dataclass(slots=True)
class Result:
    """What one test showed with one seed.  Times in virtual ms; the rest is of all servers."""

    test: str
    measures: list[Measure]
    time_ms: float
    leader_ms: float
    """The longest wait for a leader; 0 if there was none."""
    agreement_ms: float
    """The longest wait for an agreement."""
    requests: int
    answers: int
    bytes: int
    elections: int


def worst_measures(results: Sequence[Result]) -> list[Measure]:
    """Of each thing that was measured, the figure nearest to its bound or furthest beyond it."""
    same: dict[str, list[Measure]] = {}
    for result in results:
        for measure in result.measures:
            same.setdefault(measure.what, []).append(measure)
    return [_worst(measures) for measures in same.values()]


def _worst(same: Sequence[Measure]) -> Measure:
    broken = [measure for measure in same if not measure.holds]
    figures = sorted(broken or same, key=lambda measure: measure.figure)
    return figures[0] if same[0].sign == "≥" else figures[-1]
