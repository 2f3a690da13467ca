"""Two processes that speak in the name of one node: a disk that was cloned, with all its ids.

Both believe to be the one, vote, and acknowledge; what one of them promised the other does not
know.  Each process draws a *life* when it begins (``rpc/handshake.py``).  A node that was started
again has another life than before, and its old one is never heard again.  An old life that speaks
after its successor, and not just because it was overtaken, is a twin.  From then on this process
hears neither: only a new member can take that node's place.
"""

from quorate.base.ids import NodeId
from quorate.rpc.handshake import Identity
from quorate.runtime.ports import World

OVERTAKEN_MS = 1_000.0
"""What an ended process sent is heard no later than this after its successor."""
MAX_LIVES = 16
"""That are remembered of a node."""
MAX_NODES = 256


class Twins:
    """What one process has heard from the others' processes."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._latest: dict[NodeId, str] = {}
        self._succeeded_ms: dict[NodeId, dict[str, float]] = {}
        """Of each earlier life of a node: when another was heard first after it."""
        self.found: dict[NodeId, tuple[str, str]] = {}
        self.dropped = 0
        """Messages of nodes of which there are two."""

    def may_hear(self, peer: Identity) -> bool:
        """``peer`` has said something: whether it may count."""
        latest = self._latest.get(peer.node)
        if latest != peer.life:
            self._changed(peer, latest)
        if peer.node not in self.found:
            return True
        self.dropped += 1
        return False

    def sentences(self) -> list[str]:
        """What an operator must know."""
        return [
            f"two processes speak in the name of node {node}, {one!r} and {other!r}: its disk was"
            " cloned, and neither is heard here; stop both, and replace the node by a new member"
            for node, (one, other) in self.found.items()
        ]

    def _changed(self, peer: Identity, latest: str | None) -> None:
        if latest is None:
            if len(self._latest) < MAX_NODES:
                self._latest[peer.node] = peer.life
            return
        now_ms = self._world.clock.monotonic_ms()
        succeeded = self._succeeded_ms.setdefault(peer.node, {})
        since_ms = succeeded.get(peer.life)
        if since_ms is None:
            succeeded[latest] = now_ms
            if len(succeeded) > MAX_LIVES:
                del succeeded[next(iter(succeeded))]
            self._latest[peer.node] = peer.life
        elif now_ms - since_ms > OVERTAKEN_MS and peer.node not in self.found:
            self.found[peer.node] = (latest, peer.life)
            self._world.trace.error(self.sentences()[-1])
