"""What all connections of one gateway share: the store, the settings, the bounds, who is there.

Bounds, and what happens at them (of one connection: ``connection.py``):
* ``max_clients`` connections; the next is told so and closed, as Redis does.
* ``MAX_HELD_BYTES`` of commands that have come in part, and of queued transactions: the connection
  that would go beyond it is closed.
* ``MAX_UNSENT_BYTES`` of replies that nobody reads: the same.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from quorate.kv.service import KvService
from quorate.runtime.ports import World

if TYPE_CHECKING:
    from quorate.gateways.resp.connection import RespConnection

MAX_HELD_BYTES = 256 << 20
MAX_UNSENT_BYTES = 256 << 20


@dataclass(frozen=True, slots=True)
class RespSettings:
    """What an operator can choose."""

    password: str = ""
    """Empty: none is asked for."""
    max_clients: int = 20_000


class Gateway:
    """One node's."""

    def __init__(self, world: World, service: KvService, settings: RespSettings) -> None:
        self.world = world
        self.service = service
        self.settings = settings
        self.port = 0
        self.started_ms = world.clock.monotonic_ms()
        self.connections: dict[int, RespConnection] = {}
        """By number, oldest first."""
        self.last_number = 0
        self.accepted = self.refused = self.commands = 0
        self.held_bytes = 0
        self.unsent_bytes = 0

    def admit(self, connection: "RespConnection") -> bool:
        """Whether there is room for one more; it has its number then."""
        if len(self.connections) >= self.settings.max_clients:
            self.refused += 1
            return False
        self.last_number += 1
        self.accepted += 1
        connection.number = self.last_number
        self.connections[connection.number] = connection
        return True

    def forget(self, connection: "RespConnection") -> None:
        self.connections.pop(connection.number, None)

    def uptime_s(self) -> int:
        return int((self.world.clock.monotonic_ms() - self.started_ms) / 1000)
