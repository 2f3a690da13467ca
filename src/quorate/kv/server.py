"""The store's own doors on a node, beside those of its group.

A watch is a question that waits: each answer says up to which revision everything has been told,
and the next question goes on from there, at this node or another.  So a watch loses nothing
when a leader or a connection does, and nobody keeps anything for a client that went away.

An answer is never too large for its connection: what one transaction changed may be larger than
that, and is told in pieces (``Watch.told``).  Which events those are depends on the history alone,
so any node can go on with them.

Before a node says that nothing has happened it asks whether it is still up to date: one that is cut
off from the others fails that, and its client asks another.  One that knows no leader does not let
a client wait at all.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from quorate.base.codec import Request
from quorate.base.errors import Unavailable
from quorate.kv.core.commands import MAX_PAGE_BYTES, Changed, Changes
from quorate.kv.core.history import EVENT_BYTES
from quorate.kv.core.store import Store
from quorate.kv.messages import CloseView, OpenView, ReadView, ViewOpened, ViewPiece, Watch
from quorate.kv.views import Views
from quorate.kv.watches import Watches
from quorate.raft.group import Group
from quorate.raft.sessions import unwrapped
from quorate.rpc.server import Bulk, Call, Handler
from quorate.runtime.ports import World

WAIT_SHARE = 0.75
"""Of a caller's deadline: so long a watch waits for something to happen."""
ANSWER_SHARE = 0.9
"""By then it is answered, or given up."""


class KvServer:
    """Answers for the store of one node; its table goes to the process's ``RpcServer``."""

    make_views: Callable[[World, Store], Views] = Views

    def __init__(self, world: World, group: Group, store: Store) -> None:
        self._world = world
        self._group = group
        self._store = store
        self._watches = Watches(world.clock, store)
        self._views = self.make_views(world, store)
        group.on_applied(self._watches.applied)
        group.on_submit(self._refused)
        self.requests: Mapping[type[Request[Any]], Handler] = {
            Watch: self._watch,
            OpenView: self._open_view,
            ReadView: self._read_view,
            CloseView: self._close_view,
        }

    @property
    def watches(self) -> int:
        """Those that wait now."""
        return self._watches.count

    def _refused(
        self, commands: Sequence[bytes], log_time_ms: Callable[[], int]
    ) -> list[bytes] | None:
        """What a full store would refuse is not to fill the log of a disk that is nearly full.

        What has a session is: an attempt before this one may still be on its way.
        """
        if not self._store.state.is_tight:
            return None
        bodies = unwrapped(commands)
        return None if bodies is None else self._store.refused(bodies, log_time_ms())

    async def _watch(self, request: Watch, call: Call) -> Changed:
        clock, since = self._world.clock, request.since
        if self._group.leader_address is None:  # nor may it ever: it may have been removed
            raise Unavailable(f"this node knows no leader of group {self._group.name}")
        until_ms = clock.monotonic_ms() + WAIT_SHARE * call.remaining_ms
        if request.told:  # another node, of which it has the first pieces, may have been ahead
            await self._group.barrier(timeout_ms=WAIT_SHARE * call.remaining_ms, anywhere=True)
            return _piece(self._changes(request, since), since, request.told)
        while True:
            found = self._changes(request, since)
            left_ms = until_ms - clock.monotonic_ms()
            if found.events:
                return _piece(found, since, request.told)
            # What it was not woken for is told, also if that is forgotten by now.
            since = found.revision
            if left_ms <= 0:
                break
            since = await self._watches.wait(since, request.start, request.end, left_ms)
        left_ms = (ANSWER_SHARE - WAIT_SHARE) * call.remaining_ms
        await self._group.barrier(timeout_ms=left_ms, anywhere=True)
        return _piece(self._changes(request, since), since, request.told)

    def _changes(self, request: Watch, since: int) -> Changed:
        return self._store.changes(Changes(since, request.start, request.end, request.limit))

    async def _open_view(self, request: OpenView, call: Call) -> ViewOpened:
        await self._group.barrier(timeout_ms=ANSWER_SHARE * call.remaining_ms, anywhere=True)
        state = self._store.state
        view = self._views.open(state.time_ms)
        index = self._group.last_applied
        return ViewOpened(view, index, state.revision, len(state.items), state.time_ms)

    def _read_view(self, request: ReadView, call: Call) -> Bulk:
        entries, is_last = self._views.read(request.view, request.number)
        return Bulk(ViewPiece(is_last), [entries])

    def _close_view(self, request: CloseView, call: Call) -> None:
        self._views.close(request.view)


def _piece(found: Changed, since: int, told: int) -> Changed:
    """What of ``found``, all after ``since``, is not told yet, as much as one answer takes: one
    event at least."""
    rest, size = found.events[told:], 0
    for count, event in enumerate(rest):
        size += len(event.key) + len(event.value) + EVENT_BYTES
        if count and size > MAX_PAGE_BYTES:
            return Changed(rest[:count], since, is_piece=True)
    return Changed(rest, found.revision)
