"""How large the store may become, and whether it may grow at all: from what its machines say.

Rules:
* Each machine has a bound of its own for the store; the smallest counts.
* Each machine wants some space of its disk to stay free: ``RESERVE_BYTES`` for the log, whose
  replica ends if it meets a full disk, what more the log of a large store may take (``log_share``),
  and what the next snapshot will take, without which the log is never cut.  If one voter's machine
  has less, nothing may grow.  A snapshot that is being written takes its own part of that, and is
  not wanted twice.
* That ends when all of them have ``LIFT_BYTES`` more than they want, so that it does not come and
  go with each segment of the log.
* As long as somebody has not been heard whose word might matter (``heard_all``), a bound is only
  made tighter.
"""

from collections.abc import Iterable

from quorate.base.codec import Reply
from quorate.kv.core.commands import Limit
from quorate.kv.core.items import KEY_OVERHEAD_BYTES
from quorate.kv.core.state import State

RESERVE_BYTES = 1 << 30
"""What ``quorate doctor`` calls nearly full, too.  Between two looks, and while a snapshot is on
its way, a log in memory grows by some hundred MB at most."""
LIFT_BYTES = 64 << 20
ENTRY_BYTES = 32
"""Of a key in a snapshot, beside its own bytes and its value's; at most."""


class Room(Reply):
    """What one machine says."""

    name: str
    max_bytes: int
    """The store may take there, by its configuration; 0: no bound."""
    free_bytes: int
    reserve_bytes: int
    """That should stay free."""


def reserve_bytes(state: State, *, is_snapshotting: bool, log_share: float = 0.0) -> int:
    """What a machine with this state on its disk wants to stay free there.  Its log may take
    ``log_share`` of what a snapshot takes."""
    spared = (KEY_OVERHEAD_BYTES - ENTRY_BYTES) * len(state.items)
    snapshot_bytes = state.total_bytes - spared
    reserve = RESERVE_BYTES + int(snapshot_bytes * log_share)
    return reserve if is_snapshotting else reserve + snapshot_bytes


def limit_for(rooms: Iterable[Room], now: Limit, *, heard_all: bool) -> Limit:
    """What should be in force, where ``now`` is."""
    rooms = sorted(rooms, key=lambda room: room.name)
    wanted_more = LIFT_BYTES if now.restricted else 0
    full = [room.name for room in rooms if room.free_bytes < room.reserve_bytes + wanted_more]
    bounds = [room.max_bytes for room in rooms if room.max_bytes]
    if not heard_all and now.max_bytes:
        bounds.append(now.max_bytes)
    restricted = f"too little space is left on {', '.join(full)}" if full else ""
    if not heard_all:
        restricted = restricted or now.restricted
    return Limit(min(bounds, default=0), restricted)
