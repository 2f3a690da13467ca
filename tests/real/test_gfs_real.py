"""Files over real sockets and disks: three chunkservers and a master in one process."""

import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from quorate.base.errors import CorruptData
from quorate.base.ids import NAMESPACE_GROUP, Address, ClusterId, NodeId, ReplicaId
from quorate.gfs.client import FileSystem
from quorate.gfs.core.namespace import Namespace
from quorate.gfs.master import Master
from quorate.gfs.server import Chunkserver
from quorate.raft.core.configuration import founding
from quorate.raft.node import Membership, RaftNode
from quorate.raft.wal import Wal
from quorate.rpc.client import RpcClient
from quorate.rpc.handshake import Identity
from quorate.rpc.server import RpcServer
from quorate.runtime.ports import World
from quorate.runtime.real.world import close_world, real_world, run

CLUSTER = ClusterId("7" * 32)
LOOPBACK = Address("127.0.0.1:0")
NAMES = {NodeId(number): f"n{number}" for number in (1, 2, 3)}
DATA = random.Random(1).randbytes((5 << 20) + 17)


def fail(error: BaseException) -> None:
    raise error


@asynccontextmanager
async def world_at(root: Path) -> AsyncIterator[World]:
    world = real_world(root, stop=fail)
    try:
        yield world
    finally:
        await close_world(world)


@asynccontextmanager
async def master_at(root: Path) -> AsyncIterator[Address]:
    """A namespace group of one replica; nobody needs to know its address beforehand."""
    async with world_at(root) as world:
        if not world.disk.list(""):
            await Wal.create(world.disk, CLUSTER, NodeId(1))
        identity = Identity(CLUSTER, NodeId(1), "raft")
        rpc = RpcClient(world, identity)
        namespace = Namespace()
        membership = Membership(ReplicaId(1), founding({ReplicaId(1): LOOPBACK}))
        machines = {NAMESPACE_GROUP: (namespace, membership)}
        node = await RaftNode.start(world, CLUSTER, NodeId(1), machines, rpc)
        master = Master(world, node.groups[NAMESPACE_GROUP], namespace, lambda: NAMES)
        requests = {**node.server.requests, **master.requests}
        server = RpcServer(world, identity, requests, node.server.notices)
        listener = await server.start(LOOPBACK)
        yield listener.address
        node.stop()
        await server.close()
        await rpc.close()


@asynccontextmanager
async def chunkserver_at(root: Path, node: NodeId, master: Address) -> AsyncIterator[None]:
    async with world_at(root) as world:
        identity = Identity(CLUSTER, node, "chunkserver")
        rpc = RpcClient(world, identity)
        chunkserver = Chunkserver(world, rpc, CLUSTER, node, NAMES[node], [master])
        await chunkserver.open()
        server = RpcServer(world, identity, chunkserver.requests)
        chunkserver.start((await server.start(LOOPBACK)).address)
        yield
        await server.close()
        await rpc.close()


@asynccontextmanager
async def cluster_at(root: Path) -> AsyncIterator[tuple[FileSystem, dict[NodeId, AsyncExitStack]]]:
    """Everything started; each chunkserver can be stopped by closing its stack."""
    async with AsyncExitStack() as stack:
        master = await stack.enter_async_context(master_at(root / "raft"))
        parts = {}
        for node, name in NAMES.items():
            parts[node] = await stack.enter_async_context(AsyncExitStack())
            await parts[node].enter_async_context(chunkserver_at(root / name, node, master))
        world = await stack.enter_async_context(world_at(root / "client"))
        rpc = RpcClient(world, Identity(CLUSTER, NodeId(0), "client"))
        fs = FileSystem(world, rpc, [master], chunk_bytes=2 << 20)
        while len(await fs.servers()) < len(NAMES):
            await world.clock.sleep(20)
        yield fs, parts
        await rpc.close()


def damage(root: Path) -> None:
    """Flip a bit in the data of every chunk below ``root``."""
    for path in (root / "chunks").glob("*/*"):
        content = bytearray(path.read_bytes())
        content[9_000] ^= 1
        path.write_bytes(content)


def test_files_survive_a_dead_chunkserver_a_corrupt_one_and_a_restart(tmp_path: Path) -> None:
    async def first() -> None:
        async with cluster_at(tmp_path) as (fs, parts):
            writer = await fs.create("/d/file")
            for start in range(0, len(DATA), 1 << 20):
                await writer.write(DATA[start : start + (1 << 20)])
            status = await writer.close()
            assert status.chunks == 3
            assert status.replicas_live == 3
            assert await fs.read("/d/file") == DATA
            await parts[NodeId(1)].aclose()
            damage(tmp_path / "n2")
            assert await fs.read("/d/file") == DATA
            assert await fs.read("/d/file", 3 << 20, 1000) == DATA[3 << 20 :][:1000]

    async def again() -> None:
        async with cluster_at(tmp_path) as (fs, _):
            assert [status.path for status in await fs.walk("/")] == ["/d/file"]
            assert await fs.read("/d/file") == DATA
            for name in ("n1", "n3"):
                damage(tmp_path / name)
            with pytest.raises(CorruptData, match="n1, n2, n3"):
                await fs.read("/d/file")
            await fs.delete("/d", recursive=True)
            assert await fs.list("/") == []

    run(first)
    run(again)
