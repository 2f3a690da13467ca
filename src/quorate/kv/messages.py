"""Calls between a client of the store and the nodes, beside those of any group (raft/messages.py).

A query of the group is answered at once and in one piece.  What has to wait for something to
happen, or is too much for one answer, has a request of its own.
"""

from quorate.base.codec import Reply, Request
from quorate.kv.core.commands import Changed
from quorate.kv.core.room import Room


class Watch(Request[Changed], tag="kv.watch.1"):
    """As the query ``Changes``, answered when there is something to tell, or shortly before the
    call's deadline.  Any node answers, as soon as it has come so far.

    What is too much for one answer comes in pieces, also the events of one revision: the question
    is asked again with ``told``, at this node or another.
    """

    since: int
    start: bytes
    end: bytes | None
    limit: int = 1000
    told: int = 0
    """Of the events after ``since`` in this range, so many have come in pieces already."""


class ViewOpened(Reply):
    """A view of the whole store, as it is at one index of the log, and stays."""

    view: int
    index: int
    revision: int
    keys: int
    """At most: those whose time has come are not in the view."""
    time_ms: int
    """Log time at that index: ends are told as what is left from here."""


class OpenView(Request[ViewOpened], tag="kv.open_view.1"):
    """Have the node that is asked hold a view; what was committed before is in it.

    ``Overloaded`` if it holds as many as it may.  It lets go of one that nobody reads for a while,
    which is how it learns that its client is gone.
    """


class ViewPiece(Reply):
    """The payload is an encoded list of ``Entry``, in the order of the keys; their ``at_ms`` is the
    time left, 0: for ever."""

    is_last: bool


class ReadView(Request[ViewPiece], tag="kv.read_view.1"):
    """Piece ``number`` (0, 1, …) of a view: the next one, or the latest once more.  A bulk call.

    ``NotFound`` if the node does not hold that view any more.
    """

    view: int
    number: int


class CloseView(Request[None], tag="kv.close_view.1"):
    """Nobody will read it any more."""

    view: int


class AskRoom(Request[Room], tag="kv.room.1"):
    """How much room a machine has for the store; its group's leader asks."""
