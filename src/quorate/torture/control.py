"""What the torturing process tells a test node: which of its own ports behave badly.

A line of JSON on the node's standard input, each replacing what was said before; the first stands
in its settings.  So a wall clock can be wrong, a sync slow and a frame lost where the machine
offers no way to it (no namespace covers CLOCK_REALTIME, and ``tc netem`` is not everywhere).  All
of it sits outside the product, between a node's world and its services (``ports.py`` here).
"""

import msgspec

from quorate.base.ids import Address
from quorate.raft.core.settings import Limits, Timing

SEGMENT_BYTES = 32 << 10
LIMITS = Limits(snapshot_log_bytes=128 << 10, retained_log_bytes=32 << 10)
"""Small: segments come and go, snapshots are taken and fetched, and a full disk is felt soon."""


class Control(msgspec.Struct, frozen=True):
    """No trouble by default."""

    clock_ms: float = 0.0
    """Added to the wall clock."""
    sync_ms: float = 0.0
    """Each sync takes so much longer."""
    loss: float = 0.0
    """Share of the frames that are lost, one by one."""
    delay_ms: float = 0.0
    """Each frame that is sent leaves so much later."""
    mute_to: tuple[Address, ...] = ()
    """What is sent on connections to these is lost."""
    deaf_to: tuple[Address, ...] = ()
    """What comes on connections to these is lost."""


class NodeSettings(msgspec.Struct, frozen=True):
    """The command line of a test node."""

    parent: int
    node: int
    addresses: list[Address]
    resp: list[Address]
    """Where each node has its door for Redis clients, if it is one that has."""
    directory: str
    tls: list[str] | None
    """Paths of authority, certificate and key."""
    control: Control
    timing: Timing = Timing()
    watched: bool = False
    """It tells of its elections on standard output (``watching.py``)."""
