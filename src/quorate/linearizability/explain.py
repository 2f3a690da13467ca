"""Where linearization ends: the longest order that was found, and who cannot come next, and why."""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Any

from quorate.base.check import check
from quorate.linearizability.history import Operation, Outcome
from quorate.linearizability.models import REFUSED, Model


def explain(
    model: Model, operations: Sequence[Operation], order: Sequence[Operation]
) -> tuple[list[Operation], list[tuple[Operation, str]]]:
    """``order``, with all that can plainly follow, and the operations that are stuck behind it.

    Stuck are those that returned, are not placed and might come next by the time of their
    invocation; each is illegal in the state that the order leaves.
    """
    extended = list(order)
    (state,) = deque(chain((model.initial,), replay(model, order)), maxlen=1)
    placed = {id(operation) for operation in order}
    waiting = [o for o in operations if o.outcome is Outcome.OK and id(o) not in placed]
    while True:
        candidates = _candidates(waiting)
        following = next(
            (o for o in candidates if model.apply(state, o) is not REFUSED),
            None,
        )
        if following is None:
            return extended, [(o, model.describe(state)) for o in candidates]
        state = model.apply(state, following)
        extended.append(following)
        waiting.remove(following)


def replay(model: Model, order: Iterable[Operation]) -> Iterator[Any]:
    """The states that ``order`` leaves, one after the other."""
    state = model.initial
    for operation in order:
        state = model.apply(state, operation)
        check(state is not REFUSED, f"{operation} was placed where it is not legal")
        yield state


def _candidates(waiting: Sequence[Operation]) -> list[Operation]:
    """Those invoked no later than the first return, in the order of their returns."""
    ends = {id(o): o.returned for o in waiting if o.returned is not None}
    first = min(ends.values(), default=0.0)
    return sorted((o for o in waiting if o.invoked <= first), key=lambda o: ends[id(o)])
