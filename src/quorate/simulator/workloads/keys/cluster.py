"""Raft nodes that hold the key/value store, with all its doors.

The store is small: few events are remembered, few cursors, and few keys end with one entry, so that
what happens at these bounds happens in a short run.  Its snapshots may be longer than they need, so
that something can happen while they are written and fetched.

``Through`` is a door of the simulation's own: it takes commands and queries to a node's
``KvService``, as a gateway would.  Whoever uses it asks once: what comes of a command whose answer
is lost is not known.
"""

import asyncio
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, cast

from quorate.base.codec import Request, outcome_of, union_decoder
from quorate.base.errors import QuorateError
from quorate.base.ids import GroupId
from quorate.base.machine import Meta
from quorate.gateways.resp.gateway import Gateway, RespSettings
from quorate.kv.core.commands import Apply, Event, Kind, LookUp, Transact
from quorate.kv.core.history import Happening
from quorate.kv.core.invariants import check_state, check_step
from quorate.kv.core.items import Table
from quorate.kv.core.state import State
from quorate.kv.core.store import Store, in_memory
from quorate.kv.server import KvServer
from quorate.kv.service import KvService
from quorate.kv.views import Views
from quorate.raft.node import RaftNode
from quorate.rpc.client import RpcClient
from quorate.rpc.server import Call, Handler
from quorate.runtime.ports import World
from quorate.simulator.checkers.revisions import Revisions
from quorate.simulator.cluster import RaftCluster
from quorate.simulator.workloads.keys.resp import open_door

GROUP = GroupId(1)
BALLAST = b"-" * (64 << 10)
LOOK_EACH = 16
"""The invariants of a store are looked at after each so many entries."""

_decode = union_decoder((Apply, Transact, LookUp)).decode


class Through(Request[bytes], tag="simulator.through.1"):
    """An encoded ``Apply``, ``Transact`` or ``LookUp``; answered with its encoded ``Outcome``."""

    body: bytes


class SmallState(State):
    """A state that reaches its bounds, and tells what happens in it."""

    max_ended = 2
    max_cursors = 3

    def __init__(
        self, table: Table, max_events: int, tell: Callable[[Sequence[Event]], None]
    ) -> None:
        super().__init__(table, max_events)
        self.uploads.kept_ms = 1_000
        self._tell = tell

    def end(self) -> None:
        if self._events:
            self._tell([_event(happening) for happening in self._events])
        super().end()


def _event(happening: Happening) -> Event:
    if isinstance(happening, Event):
        return happening
    return Event(happening.revision, Kind.PUT, happening.key, happening.value)


class SmallStore(Store):
    """A store of ``SmallState`` that looks at itself."""

    def __init__(self, max_events: int, revisions: Revisions, ballast_bytes: int) -> None:
        """``ballast_bytes`` make snapshots longer, and mean nothing."""
        self._revisions = revisions
        self._ballast_bytes = ballast_bytes
        self._entries = 0
        super().__init__(max_events=max_events)

    def _make_state(self) -> State:
        return SmallState(in_memory(), self._max_events, self._revisions.happened)

    def apply_batch(self, meta: Meta, commands: Sequence[bytes]) -> list[bytes]:
        before = (self.state.revision, self.state.time_ms)
        replies = super().apply_batch(meta, commands)
        if self._revisions.judges():
            check_step(before, self.state)
            self._entries += 1
            if self._entries % LOOK_EACH == 0:
                check_state(self.state)
        return replies

    def snapshot(self) -> Iterator[bytes]:
        pieces = self._ballast_bytes // len(BALLAST)
        return itertools.chain(itertools.repeat(BALLAST, pieces), super().snapshot())

    def restore(self, stream: Iterable[bytes]) -> Iterator[None]:
        left = self._ballast_bytes // len(BALLAST) * len(BALLAST)

        def rest() -> Iterator[bytes]:
            nonlocal left
            for piece in stream:
                passed = min(left, len(piece))
                left -= passed
                yield piece[passed:]

        yield from super().restore(rest())


class SmallViews(Views):
    """Of several pieces."""

    piece_bytes = 60


class SmallServer(KvServer):
    """Whose views are."""

    make_views = SmallViews


class Door:
    """Answers ``Through`` from the service of a node."""

    def __init__(self, service: KvService) -> None:
        self._service = service

    async def through(self, request: Through, call: Call) -> bytes:
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

        def done(value: Any) -> None:
            if not future.done():
                future.set_result(value)

        command = _decode(request.body)
        match command:
            case Apply(operations):
                self._service.apply(operations, len(request.body), done)
            case Transact():
                self._service.transact(command, done)
            case _:
                self._service.settle(done)
        value = await future
        if isinstance(value, QuorateError):
            raise value
        if isinstance(command, LookUp):
            value = [self._service.store.look(operation) for operation in command.operations]
        return outcome_of(value)


class KvCluster(RaftCluster):
    """``nodes`` machines with one group, of stores that remember ``max_events``."""

    def __init__(
        self,
        *args: Any,
        max_events: int,
        ballast_bytes: int = 0,
        padding_bytes: int = 0,
        **options: Any,
    ) -> None:
        super().__init__(*args, machine=self._small_store, **options)
        self.revisions = Revisions(lambda: self.checker.judges)
        self.padding_bytes = padding_bytes
        """What some commands of clients are longer than they need."""
        self._max_events = max_events
        self._ballast_bytes = ballast_bytes

    def _small_store(self) -> SmallStore:
        return SmallStore(self._max_events, self.revisions, self._ballast_bytes)

    async def _requests(
        self, name: str, world: World, rpc: RpcClient, node: RaftNode
    ) -> Mapping[type[Request[Any]], Handler]:
        group = node.groups[GROUP]
        store = cast(Store, group.machine)
        service = KvService(world, rpc, group, store)
        await open_door(world, Gateway(world, service, RespSettings()), name)
        door = Door(service)
        server = SmallServer(world, group, store)
        return {**node.server.requests, **server.requests, Through: door.through}
