"""A run as data: what happened, when, to whom; what the timeline draws, and nothing else.

Rules:
* An event belongs to one lane (a node or a client) and one moment.  ``time_ms`` never goes back
  from one event to the next.
* ``state`` is that of the lane's replica of ``group`` after the event; ``None``: as before.
* An arrow is two events with the same ``arrow``: ``sent`` and ``delivered``.  What was sent and is
  never delivered was lost, or was still under way at the end.
* ``source`` names a line of the head's own ``sources`` or else of ``sources.py``: the code, and the
  section of the paper, that say why.
* As JSON lines a run is a ``Head`` and then its events, so that whoever watches real nodes can
  write one as it goes, and a run can be kept, sent and drawn again.
"""

from collections.abc import Iterable
from typing import Literal, TypeAlias

import msgspec

from quorate.base.errors import BadInput

Kind: TypeAlias = Literal[
    "started",
    "died",
    "sent",
    "delivered",
    "step",
    "called",
    "persisted",
    "role",
    "term",
    "vote",
    "commit",
    "members",
    "applied",
    "restored",
    "answered",
    "fault",
    "healed",
    "invoked",
    "returned",
    "note",
    "broken",
]

TAIL = 32
"""So many of the last entries of a log are kept with a state."""


class State(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A replica at a moment, as figure 2 of the paper has it."""

    role: str
    term: int
    voted_for: str = ""
    """The name of a node; empty: nobody."""
    leader: str = ""
    """Whom it believes to lead; empty: nobody."""
    last_index: int = 0
    durable_index: int = 0
    """The log is on the synced disk up to here."""
    commit_index: int = 0
    terms: tuple[int, ...] = ()
    """Of the last entries of its log, the newest last."""
    members: str = ""
    """The configuration that it obeys, in words (§6): ``S1 S2 S3 → S4 S5 S6`` is C_old,new."""
    joint: bool = False
    """That is a joint one."""
    changes: tuple[int, ...] = ()
    """Indexes of the entries in its log that are configurations."""


class Event(msgspec.Struct, omit_defaults=True, kw_only=True):
    """One thing that happened."""

    time_ms: float
    kind: Kind
    node: str = ""
    """Whose lane; empty: everybody's."""
    group: int = 0
    text: str = ""
    message: str = ""
    """Of ``sent`` and ``delivered``: what kind of message."""
    peer: str = ""
    """The other end of a message."""
    term: int = 0
    """Of a message; otherwise in which it happened."""
    arrow: int = 0
    """Pairs a ``sent`` with its ``delivered``, an ``invoked`` with its ``returned``, a ``fault``
    with its ``healed``."""
    minor: bool = False
    """A heartbeat or its answer, or a step of which nothing came."""
    lanes: tuple[str, ...] = ()
    """Of a fault: whom it hits."""
    state: State | None = None
    source: str = ""


class Source(msgspec.Struct):
    """A place in some code: the page shows it where the reader asks."""

    file: str
    """As the reader knows it: ``quorate/raft/core/election.py``."""
    line: int
    """That matters."""
    function: str
    section: str
    """Of the paper; empty: none says why."""
    first_line: int
    text: str
    """Of the whole function."""


class Head(msgspec.Struct, omit_defaults=True, kw_only=True):
    """What is known of a run before its first event."""

    title: str
    about: str = ""
    command: str = ""
    """What makes this run again."""
    unit: Literal["ms", "step"] = "ms"
    """``step``: ``time_ms`` counts moments of a story, and no clock shows them."""
    evenly: bool = False
    """Better seen with all moments at one distance."""
    nodes: tuple[str, ...] = ()
    clients: tuple[str, ...] = ()
    groups: tuple[int, ...] = ()
    sources: dict[str, Source] = {}
    """Places in code that is not ours."""


class Run(msgspec.Struct, kw_only=True):
    """A whole run."""

    head: Head
    events: list[Event]


def write_lines(run: Run) -> bytes:
    """As JSON lines."""
    encode = msgspec.json.encode
    return b"\n".join([encode(run.head), *map(encode, run.events), b""])


def read_lines(lines: Iterable[bytes], where: str) -> Run:
    """What ``write_lines`` wrote; ``where`` is for the message of a ``BadInput``."""
    heads = msgspec.json.Decoder(Head)
    events = msgspec.json.Decoder(Event)
    head, found = None, []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            if head is None:
                head = heads.decode(line)
            else:
                found.append(events.decode(line))
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise BadInput(f"{where}, line {number}: this is no event of a run: {error}") from None
    if head is None:
        raise BadInput(f"{where} is empty: a recorded run begins with a line that says what it is")
    found.sort(key=lambda event: event.time_ms)
    return Run(head=head, events=found)
