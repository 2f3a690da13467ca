"""One test node: ``python -m quorate.torture.node SETTINGS``, a Raft group of registers.

A real log on a real disk, real sockets, the product's own code; only its ports are ``ports.py``'s.
It hosts the machine whose models the checker knows (``simulator/workloads/registers.py``).
"""

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeAlias

import msgspec

from quorate.base.codec import UNREADABLE
from quorate.base.errors import QuorateError
from quorate.base.ids import ClusterId, GroupId, NodeId, ReplicaId
from quorate.raft.core.configuration import founding
from quorate.raft.node import Membership, RaftNode
from quorate.raft.wal import Wal
from quorate.rpc.client import RpcClient
from quorate.rpc.handshake import Identity
from quorate.rpc.server import RpcServer
from quorate.runtime.ports import World
from quorate.runtime.real.disk import RealDisk
from quorate.runtime.real.parent_death import die_with_parent
from quorate.runtime.real.world import TlsPaths, end_process, real_world, run
from quorate.simulator.workloads.registers import Registers
from quorate.torture.control import LIMITS, SEGMENT_BYTES, Control, NodeSettings
from quorate.torture.ports import LossyNetwork, SlowDisk, WrongClock
from quorate.torture.watching import Watcher

CLUSTER = ClusterId("7" * 32)
GROUP = GroupId(9)


async def make_disk(directory: Path, cluster: ClusterId, node: int) -> None:
    """The empty log of a node, once."""
    disk = RealDisk(directory)
    await Wal.create(disk, cluster, NodeId(node), segment_bytes=SEGMENT_BYTES)
    disk.close()


class _Orders:
    """What standard input said last."""

    def __init__(self, control: Control) -> None:
        self.control = control
        self._rest = b""
        asyncio.get_running_loop().add_reader(sys.stdin.fileno(), self._read)

    def _read(self) -> None:
        data = os.read(sys.stdin.fileno(), 1 << 16)
        if not data:
            os._exit(0)  # whoever tortures is gone
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            try:
                self.control = msgspec.json.decode(line, type=Control)
            except UNREADABLE as error:
                raise RuntimeError(f"an order that cannot be read: {line!r}") from error


def tls_of(settings: NodeSettings) -> TlsPaths | None:
    """What its doors speak with."""
    return TlsPaths(*map(Path, settings.tls)) if settings.tls else None


def watcher_of(settings: NodeSettings, world: World, group: GroupId) -> Watcher | None:
    """Who watches the replica of ``group``, if anybody does."""
    return Watcher(world.clock.monotonic_ms, group=group) if settings.watched else None


def bad_world(settings: NodeSettings) -> World:
    """The real world, behaving as badly as standard input says."""
    orders = _Orders(settings.control)
    root = Path(settings.directory)
    world = real_world(root, tls=tls_of(settings))

    def told() -> Control:
        return orders.control

    world.clock = WrongClock(told)
    world.network = LossyNetwork(world.network, world.clock, told)
    world.disk = SlowDisk(root, told)
    return world


async def start_registers(settings: NodeSettings, world: World) -> RpcServer:
    """Be node ``settings.node``."""
    node = NodeId(settings.node)
    identity = Identity(CLUSTER, node, "raft")
    rpc = RpcClient(world, identity)
    members = {ReplicaId(n): address for n, address in enumerate(settings.addresses, 1)}
    raft = await RaftNode.start(
        world,
        CLUSTER,
        node,
        {GROUP: (Registers(), Membership(ReplicaId(settings.node), founding(members)))},
        rpc,
        timing=settings.timing,
        limits=LIMITS,
        segment_bytes=SEGMENT_BYTES,
        observer=watcher_of(settings, world, GROUP),
    )
    server = RpcServer(world, identity, raft.server.requests, raft.server.notices)
    await server.start(settings.addresses[settings.node - 1])
    return server


Start: TypeAlias = Callable[[NodeSettings, World], Awaitable[object]]
"""Starts what a node is; the process keeps what that gives for as long as it lives."""


def main(text: str, start: Start = start_registers) -> None:
    """Be the node of ``text``, which is ``NodeSettings`` as JSON."""
    settings = msgspec.json.decode(text, type=NodeSettings)
    die_with_parent(settings.parent)

    async def serve() -> None:
        started = await start(settings, bad_world(settings))
        await asyncio.Event().wait()
        del started

    try:
        run(serve)
    except QuorateError as error:
        end_process(error)


if __name__ == "__main__":
    main(sys.argv[1])
