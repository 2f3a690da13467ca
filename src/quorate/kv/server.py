"""The store's own doors on a node, beside those of its group.

A watch is a question that waits: each answer says up to which revision everything has been told,
and the next question goes on from there, at this node or another.  So a watch loses nothing
when a leader or a connection does, and nobody keeps anything for a client that went away.
"""

import asyncio
from collections.abc import Mapping
from typing import Any

from quorate.base.codec import Request
from quorate.base.errors import Unavailable
from quorate.kv.core.commands import Changed, Changes
from quorate.kv.core.store import Store
from quorate.kv.messages import Found, ReadValue, Watch
from quorate.kv.watches import Watches
from quorate.raft.group import Group
from quorate.rpc.server import Bulk, Call, Handler

ANSWER_SHARE = 0.9
"""Of a caller's deadline: then a watch says that nothing has happened."""


class KvServer:
    """Answers for the store of one node; its table goes to the process's ``RpcServer``."""

    def __init__(self, group: Group, store: Store) -> None:
        self._group = group
        self._store = store
        self._watches = Watches(store)
        group.on_applied(self._watches.applied)
        self.requests: Mapping[type[Request[Any]], Handler] = {
            ReadValue: self._read_value,
            Watch: self._watch,
        }

    async def _read_value(self, request: ReadValue, call: Call) -> Bulk:
        await self._group.barrier(timeout_ms=ANSWER_SHARE * call.remaining_ms, anywhere=True)
        item = self._store.state.get(request.key)
        if item is None:
            return Bulk(Found(0, 0), [])
        return Bulk(Found(item.revision, item.at_ms), [item.value])

    async def _watch(self, request: Watch, call: Call) -> Changed:
        query = Changes(request.since, request.start, request.end, request.limit)
        try:
            async with asyncio.timeout(ANSWER_SHARE * call.remaining_ms / 1000):
                while True:
                    found = self._store.changes(query)
                    if found.events:
                        return found
                    await self._watches.wait(request.start, request.end)
        except TimeoutError:
            found = self._store.changes(query)
            if self._store.state.revision < request.since:
                raise Unavailable("this node is far behind: ask another one") from None
            return found
