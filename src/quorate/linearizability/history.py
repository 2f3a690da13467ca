"""Operations of a history, and the three verdicts on one.

An operation takes effect at one moment between its invocation and its return, or it does not take
effect at all.  Which of the two, its outcome says: ``OK`` took effect, ``FAIL`` did not, and of
``INFO`` nobody knows: it stays open to the end of the history, and may take effect at any moment
after its invocation, or never.
"""

import enum
from dataclasses import dataclass


class Outcome(enum.Enum):
    """How an operation ended, in Jepsen's words."""

    OK = "ok"
    FAIL = "fail"
    INFO = "info"


class Verdict(enum.Enum):
    """What the checker says of a history.  ``UNKNOWN``: it gave up before it knew."""

    OK = "Ok"
    ILLEGAL = "Illegal"
    UNKNOWN = "Unknown"


Scalar = str | int | float | bool | None
"""What a key may be."""


@dataclass(slots=True, eq=False)
class Operation:
    """One call of one process, as it is known so far: a call under way is an ``INFO``."""

    process: str | int
    f: str
    """What was called: one of the model's ``functions``."""
    key: Scalar
    argument: object
    """What is written, put or appended; ``(old, new)`` of a ``cas``; otherwise ``None``."""
    invoked: float
    """A moment.  Any numbers will do, as long as they have one order."""
    returned: float | None = None
    """The moment of the return of an ``OK``.  An operation precedes those that were invoked after
    (not: at) this moment."""
    outcome: Outcome = Outcome.INFO
    result: object = None
    """What an ``OK`` read or get returned."""
    where: str = ""
    """For people: where the operation stands, and when it was."""
