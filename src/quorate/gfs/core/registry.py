"""What a master knows of the chunkservers: soft state, learnt from heartbeats (GFS §2.6.2).

Rules:
* A chunkserver has the final word over what chunks it has, so nothing here is persisted, and every
  node's master keeps its own: the next leader need not ask anybody.
* A chunkserver is live while its last heartbeat is younger than ``LIVE_MS``.
* Heartbeats carry differences, cumulative since the last acknowledged one.  What comes late or
  twice is recognised by incarnation and sequence and ignored; a master that knows nothing yet asks
  for a full report.
* New replicas go where few were created recently, measured against the space that is free (§4.3.1):
  an empty server does not take all new files, which tend to be read soon.
"""

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

from quorate.base.errors import DiskFull, Unavailable
from quorate.base.ids import Address, NodeId

LIVE_MS = 2500
MAX_GARBAGE = 1000
"""Handles judged, and so at most named, in one answer to a heartbeat."""

FREE_RESERVE_BYTES = 1024 * 1024
"""A chunkserver with less than this to spare is given no new chunks."""

RECENT_HALF_LIFE_MS = 10_000.0


@dataclass(slots=True)
class KnownServer:
    """One chunkserver, as far as its heartbeats tell."""

    node: NodeId
    name: str
    address: Address
    incarnation: int = -1
    sequence: int = 0
    synced: bool = False
    """Whether its full report has begun to arrive; before, differences mean nothing."""
    seen_ms: float = 0
    free_bytes: int = 0
    chunks: int = 0
    handles: dict[int, None] = field(default_factory=dict)
    recent: float = 0
    """Chunks placed here, each counting half as much after ``RECENT_HALF_LIFE_MS``."""
    recent_ms: float = 0
    unjudged: list[int] = field(default_factory=list)
    """Handles that are still to be looked at in this round of the search for garbage."""

    def is_live(self, now_ms: float) -> bool:
        return now_ms - self.seen_ms < LIVE_MS

    def _recent_now(self, now_ms: float) -> float:
        half_lives = max(0.0, now_ms - self.recent_ms) / RECENT_HALF_LIFE_MS
        return self.recent * math.pow(0.5, half_lives)

    def load(self, now_ms: float) -> float:
        """Recent creations against free space."""
        return (1 + self._recent_now(now_ms)) / max(self.free_bytes, 1)

    def placed(self, now_ms: float) -> None:
        self.recent, self.recent_ms = self._recent_now(now_ms) + 1, now_ms


@dataclass(slots=True, frozen=True)
class Report:
    """The facts of one heartbeat."""

    node: NodeId
    name: str
    address: Address
    incarnation: int
    sequence: int
    full: bool
    added: Collection[int]
    removed: Collection[int]
    free_bytes: int
    chunks: int


class Registry:
    """The chunkservers of a cluster whose machines are ``names``, which its owner keeps up to date.

    One of another machine is taken, too: it may be about to join, or have left with chunks that
    nobody else has.  It gets no new ones: it may be stopped at any time.
    """

    def __init__(self, names: Mapping[NodeId, str]) -> None:
        self.servers: dict[NodeId, KnownServer] = {}
        self.names = names
        self._locations: dict[int, tuple[NodeId, ...]] = {}

    def report(self, report: Report, now_ms: float) -> bool:
        """Take in a heartbeat; whether a full report is wanted."""
        server = self.servers.get(report.node)
        if server is None:
            self._supersede(report.address)
            server = KnownServer(report.node, report.name, report.address)
            self.servers[report.node] = server
        if (report.incarnation, report.sequence) <= (server.incarnation, server.sequence):
            return False
        if report.full or report.incarnation != server.incarnation:
            self._forget(server)
            server.synced = report.full
        server.incarnation, server.sequence = report.incarnation, report.sequence
        server.name, server.address = report.name, report.address
        server.free_bytes, server.chunks = report.free_bytes, report.chunks
        server.seen_ms = now_ms
        if not server.synced:
            return True
        for handle in report.added:
            self._add(server, handle)
        for handle in report.removed:
            self._remove(server, handle)
        return False

    def _supersede(self, address: Address) -> None:
        """Somebody else listens there now: a machine that was rebuilt under another id, with the
        same chunks, must not be taken for two."""
        for node, server in list(self.servers.items()):
            if server.address == address:
                self._forget(server)
                del self.servers[node]

    def _add(self, server: KnownServer, handle: int) -> None:
        if handle not in server.handles:
            server.handles[handle] = None
            self._locations[handle] = (*self._locations.get(handle, ()), server.node)

    def _remove(self, server: KnownServer, handle: int) -> None:
        if handle not in server.handles:
            return
        del server.handles[handle]
        rest = tuple(node for node in self._locations[handle] if node != server.node)
        if rest:
            self._locations[handle] = rest
        else:
            del self._locations[handle]

    def _forget(self, server: KnownServer) -> None:
        for handle in list(server.handles):
            self._remove(server, handle)
        server.unjudged = []

    def garbage(self, node: NodeId, is_garbage: Callable[[int], bool]) -> list[int]:
        """Chunks of ``node`` that may be deleted: looks at a bounded number of them each time,
        and comes round to all."""
        server = self.servers[node]
        if not server.unjudged:
            server.unjudged = list(server.handles)
        judged = server.unjudged[-MAX_GARBAGE:]
        del server.unjudged[-MAX_GARBAGE:]
        return [handle for handle in judged if handle in server.handles and is_garbage(handle)]

    def is_live(self, node: NodeId, now_ms: float) -> bool:
        return node in self.servers and self.servers[node].is_live(now_ms)

    def has(self, node: NodeId, handle: int) -> bool:
        """Whether the chunkserver, live or not, has reported the chunk."""
        return node in self._locations.get(handle, ())

    def live(self, handle: int, now_ms: float) -> list[KnownServer]:
        """The live chunkservers that have the chunk."""
        servers = [self.servers[node] for node in self._locations.get(handle, ())]
        return [server for server in servers if server.is_live(now_ms)]

    def place(
        self,
        *,
        wanted: int,
        minimum: int,
        size: int,
        exclude: Collection[NodeId],
        now_ms: float,
    ) -> list[KnownServer]:
        """Up to ``wanted`` servers for a new chunk of ``size`` bytes, and at least ``minimum``.

        Raises ``Unavailable`` or ``DiskFull``, naming the servers that are missing.
        """
        live = [
            server
            for node, server in sorted(self.servers.items())
            if server.is_live(now_ms) and node in self.names and node not in exclude
        ]
        if len(live) < minimum:
            raise self._too_few(live, exclude, minimum)
        able = [server for server in live if server.free_bytes >= size + FREE_RESERVE_BYTES]
        if len(able) < minimum:
            full = ", ".join(server.name for server in live if server not in able)
            raise DiskFull(
                f"no space for {size} bytes on the chunkservers of {full}, and a chunk needs"
                f" {minimum}: delete files or give them larger disks"
            )
        chosen = sorted(able, key=lambda server: server.load(now_ms))[:wanted]
        for server in chosen:
            server.placed(now_ms)
        return chosen

    def _too_few(
        self, live: Collection[KnownServer], exclude: Collection[NodeId], minimum: int
    ) -> Unavailable:
        there = [server.node for server in live]
        tried = [name for node, name in sorted(self.names.items()) if node in exclude]
        silent = [
            name
            for node, name in sorted(self.names.items())
            if node not in there and node not in exclude
        ]
        reasons = []
        if silent:
            reasons.append(f"no heartbeat from {', '.join(silent)}")
        if tried:
            reasons.append(f"writing to {', '.join(tried)} failed")
        return Unavailable(
            f"a chunk needs {minimum} chunkservers and only {len(live)} can take it"
            f" ({'; '.join(reasons)}): start or repair them"
        )
