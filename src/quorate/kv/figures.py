"""What one node counts of the store, for whoever watches it."""

import msgspec

from quorate.kv.core.commands import Statistics


class DoorFigures(msgspec.Struct, array_like=True):
    """Of a door for another protocol, since the process began."""

    connections: int
    refused: int
    """Connections beyond the bound."""
    commands: int
    maybe_answers: int
    """Commands whose outcome could not be known."""


class KvFigures(msgspec.Struct, array_like=True):
    """Of one node."""

    store: Statistics
    """As the replica here has it."""
    watches: int
    door: DoorFigures | None
    """``None``: none is open."""
