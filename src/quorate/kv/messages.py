"""Calls between a client of the store and the nodes, beside those of any group (raft/messages.py).

What fits a control frame travels as a query of the group; what does not, or has to wait for
something to happen, has a request of its own.
"""

from quorate.base.codec import Reply, Request
from quorate.kv.core.commands import Changed


class Found(Reply):
    """A key; its value is the call's raw payload."""

    revision: int
    """0: it is absent."""
    at_ms: int
    """The log time of its end; 0: none."""


class ReadValue(Request[Found], tag="kv.read_value.1"):
    """One key of any size, as it is when the call is answered: a linearizable read, of any node.

    A bulk call.
    """

    key: bytes


class Watch(Request[Changed], tag="kv.watch.1"):
    """As the query ``Changes``, answered when there is something to tell, or shortly before the
    call's deadline.  Any node answers, as soon as it has come so far."""

    since: int
    start: bytes
    end: bytes | None
    limit: int = 1000
