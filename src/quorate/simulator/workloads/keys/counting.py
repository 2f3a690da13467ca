"""The counter's judge: additions of one, each answered with the sum.

The sums of those that were answered say their order.  A sum that nobody was told is that of an
addition of unknown outcome: there must be enough of them, and early enough.
"""

from collections.abc import Sequence
from itertools import pairwise

from quorate.base.check import check
from quorate.linearizability.history import Operation, Outcome


def judge_counter(operations: Sequence[Operation], final: int) -> None:
    """Raise ``Bug`` unless additions of one, and nothing else, lead to ``final``."""
    known = [(int(str(o.result)), o) for o in operations if o.outcome is Outcome.OK]
    known.sort(key=lambda each: each[0])
    sums = [total for total, _ in known]
    twice = [total for total, after in pairwise(sums) if total == after]
    check(not twice, f"Counter: two additions were both answered with {twice}")
    check(not sums or sums[-1] <= final, f"Counter: {sums[-1:]} was answered, and it is {final}")
    # The later in the order, the sooner it must have been: before whatever stands behind it ended.
    soonest, ends = float("inf"), dict[int, float]()
    for total, operation in reversed(known):
        check(
            operation.invoked <= soonest,
            f"Counter: {total} was given at {operation.where}, after a larger sum",
        )
        soonest = min(soonest, operation.returned or 0.0)
        ends[total] = soonest
    begun = sorted(o.invoked for o in operations if o.outcome is Outcome.INFO)
    latest = float("inf")
    gaps: list[tuple[int, float]] = []
    for total in range(final, 0, -1):
        latest = min(latest, ends.get(total, latest))
        if total not in ends:
            gaps.append((total, latest))
    for missing, (total, by) in enumerate(reversed(gaps), 1):
        able = sum(moment <= by for moment in begun)
        check(
            able >= missing,
            f"Counter: {total} is the sum of no addition: {missing} up to there were not answered,"
            f" and {able} are of unknown outcome",
        )
