"""The master service: beside each replica of the namespace group.

It joins what the group has agreed on (which chunks a file has) with what this process learnt from
heartbeats (where they are); core/registry.py.  Heartbeats are taken on every node; all else needs
the leader, whose answers are linearizable: each query goes through the group.
"""

from collections.abc import Callable, Mapping
from typing import Any

from quorate.base.codec import Request
from quorate.base.errors import BadInput
from quorate.base.ids import NodeId
from quorate.gfs.core.commands import AllocateChunks, Entry, List, Locate, Stat
from quorate.gfs.core.namespace import Namespace
from quorate.gfs.core.registry import KnownServer, Registry, Report
from quorate.gfs.messages import (
    MAX_IDS,
    MAX_NAMED,
    MAX_PLACED,
    REPLICAS_WANTED,
    Copies,
    CountCopies,
    FilePage,
    FileStatus,
    Heartbeat,
    HeartbeatReply,
    ListFiles,
    ListServers,
    Located,
    LocatedChunk,
    LocateFile,
    PlaceChunks,
    PlacedChunk,
    Placement,
    Server,
    ServerStatus,
    ServerStatuses,
    StatFile,
)
from quorate.raft.group import Group
from quorate.rpc.server import Call, Handler
from quorate.runtime.ports import World

MIN_REPLICAS = 2
"""A file is not closed on fewer, unless the cluster has fewer machines."""
FILES_COUNTED = 200
"""In one page of ``CountCopies``, so that a turn stays short."""


def _server(known: KnownServer) -> Server:
    return Server(known.node, known.name, known.address)


class Master:
    """Answers for the files of a cluster whose machines are ``names()`` now; ``requests`` goes into
    the table of the process's ``RpcServer``."""

    def __init__(
        self,
        world: World,
        group: Group,
        namespace: Namespace,
        names: Callable[[], Mapping[NodeId, str]],
    ) -> None:
        self._world = world
        self._group = group
        self._namespace = namespace
        self._names = names
        self._registry = Registry(names())
        self.requests: dict[type[Request[Any]], Handler] = {
            Heartbeat: self._heartbeat,
            ListServers: self._list_servers,
            PlaceChunks: self._place,
            LocateFile: self._locate,
            StatFile: self._stat,
            ListFiles: self._list,
            CountCopies: self._count_copies,
        }

    def _heartbeat(self, beat: Heartbeat, call: Call) -> HeartbeatReply:
        if beat.node != call.peer.node:
            raise BadInput(f"node {call.peer.node} sends the heartbeat of node {beat.node}")
        report = Report(
            beat.node,
            beat.name,
            beat.address,
            beat.incarnation,
            beat.sequence,
            beat.full,
            beat.added,
            beat.removed,
            beat.free_bytes,
            beat.chunks,
        )
        want_full = self._registry.report(report, self._world.clock.monotonic_ms())
        garbage = self._registry.garbage(beat.node, self._namespace.is_garbage)
        masters = list(self._group.configuration.addresses.values())
        return HeartbeatReply(garbage, want_full, masters)

    def _list_servers(self, request: ListServers, call: Call) -> ServerStatuses:
        now_ms, names = self._world.clock.monotonic_ms(), self._names()
        return ServerStatuses(
            [
                ServerStatus(
                    known.node,
                    known.name,
                    known.address,
                    known.is_live(now_ms),
                    known.chunks,
                    known.free_bytes,
                )
                for node, known in sorted(self._registry.servers.items())
                if node in names or known.is_live(now_ms)
            ]
        )

    async def _place(self, request: PlaceChunks, call: Call) -> Placement:
        self._group.require_leader()
        if not 1 <= request.count <= MAX_PLACED:
            raise BadInput(f"{request.count} chunks at once; ask for 1 to {MAX_PLACED}")
        now_ms = self._world.clock.monotonic_ms()
        self._registry.names = self._names()
        minimum = min(MIN_REPLICAS, len(self._registry.names))
        places = [
            self._registry.place(
                wanted=REPLICAS_WANTED,
                minimum=minimum,
                size=request.needed_bytes,
                exclude=request.exclude,
                now_ms=now_ms,
            )
            for _ in range(request.count)
        ]
        # Without a session: handles that were given out twice expire, and nothing else happens.
        command = AllocateChunks(request.count)
        allocated = await self._group.execute(command, timeout_ms=call.remaining_ms)
        chunks = [
            PlacedChunk(allocated.first + position, list(map(_server, servers)))
            for position, servers in enumerate(places)
        ]
        return Placement(chunks, minimum)

    async def _locate(self, request: LocateFile, call: Call) -> Located:
        query = Locate(request.path, request.offset, request.count, request.file)
        found = await self._group.query(query, timeout_ms=call.remaining_ms)
        now_ms = self._world.clock.monotonic_ms()
        chunks = [
            LocatedChunk(handle, [_server(s) for s in self._registry.live(handle, now_ms)])
            for handle in found.handles
        ]
        return Located(found.file, found.size, found.chunk_bytes, found.first, chunks)

    async def _stat(self, request: StatFile, call: Call) -> FileStatus:
        entry = await self._group.query(Stat(request.path), timeout_ms=call.remaining_ms)
        return self._status(entry, self._world.clock.monotonic_ms())

    async def _list(self, request: ListFiles, call: Call) -> FilePage:
        query = List(request.path, request.after, request.limit, request.recursive)
        page = await self._group.query(query, timeout_ms=call.remaining_ms)
        now_ms = self._world.clock.monotonic_ms()
        return FilePage([self._status(entry, now_ms) for entry in page.entries], page.more)

    async def _count_copies(self, request: CountCopies, call: Call) -> Copies:
        nodes = request.nodes
        if not 1 <= len(nodes) <= MAX_IDS:
            raise BadInput(f"{len(nodes)} ids of a machine; name 1 to {MAX_IDS}")
        query = List("/", request.after, FILES_COUNTED, recursive=True)
        page = await self._group.query(query, timeout_ms=call.remaining_ms)
        after = page.entries[-1].path if page.entries else ""
        copies = Copies(0, 0, 0, [], after, page.more)
        registry, now_ms = self._registry, self._world.clock.monotonic_ms()
        staying = self._names().keys() - set(nodes)  # who has left may be stopped at any time
        silent = not any(registry.is_live(node, now_ms) for node in nodes)
        for entry in page.entries:
            last = copies.last
            for handle in entry.handles:
                live = [server.node for server in registry.live(handle, now_ms)]
                others = [node for node in live if node in staying]
                there = any(registry.has(node, handle) for node in nodes)
                copies.fewer += there and bool(others)
                copies.single += there and len(others) == 1
                copies.last += not others and (there or silent)
            if copies.last > last and len(copies.files) < MAX_NAMED:
                copies.files.append(entry.path)
        return copies

    def _status(self, entry: Entry, now_ms: float) -> FileStatus:
        status = FileStatus(entry.path, entry.type, entry.size, entry.modified_ms)
        if entry.type == "file":
            live = [len(self._registry.live(handle, now_ms)) for handle in entry.handles]
            status.chunks = len(entry.handles)
            status.replicas_wanted = REPLICAS_WANTED
            status.replicas_live = min(live, default=REPLICAS_WANTED)
        return status
