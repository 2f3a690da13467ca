"""What a connection remembers of its client, and where commands find the rest."""

import random

from quorate.gateways.resp.gateway import Gateway
from quorate.gateways.resp.transaction import Transaction
from quorate.kv.core.store import Store
from quorate.kv.service import KvService


class Client:
    """State of one client."""

    __slots__ = (
        "_mute",
        "address",
        "gateway",
        "is_closed",
        "is_known",
        "library",
        "name",
        "number",
        "protocol",
        "reads_locally",
        "since_ms",
        "transaction",
    )

    def __init__(self, gateway: Gateway, address: str) -> None:
        self.gateway = gateway
        self.address = address
        self.number = 0
        self.since_ms = gateway.world.clock.monotonic_ms()
        self.is_closed = False
        self.library = ("", "")
        """Name and version, as CLIENT SETINFO told them."""
        self.reset()

    def reset(self) -> None:
        """As a new connection is."""
        self.protocol = 2
        self.name = b""
        self.is_known = not self.gateway.settings.password
        self.reads_locally = False
        self.transaction: Transaction | None = None
        self._mute = 0
        """Commands whose answers are not written; -1: all."""

    @property
    def service(self) -> KvService:
        return self.gateway.service

    @property
    def store(self) -> Store:
        return self.gateway.service.store

    @property
    def random(self) -> random.Random:
        return self.gateway.world.random

    def time_ms(self) -> int:
        """Log time, or this node's clock where that is later."""
        return max(self.store.state.time_ms, self.gateway.world.clock.wall_ms())

    def description(self) -> str:
        """One line of CLIENT LIST."""
        age_s = (self.gateway.world.clock.monotonic_ms() - self.since_ms) / 1000
        queued = self.transaction
        multi = len(queued.slots) if queued is not None and queued.is_open else -1
        flags = ("x" if multi >= 0 else "") + ("r" if self.reads_locally else "")
        return (
            f"id={self.number} addr={self.address} name={self.name.decode()} age={age_s:.0f} "
            f"flags={flags or 'N'} db=0 multi={multi} watch={len(queued.watched) if queued else 0} "
            f"resp={self.protocol} lib-name={self.library[0]} lib-ver={self.library[1]}"
        )
