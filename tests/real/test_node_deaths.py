"""What dies with what, what is started again, and that the rest of the cluster goes on."""

import asyncio
import os
import resource
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from local_nodes import is_running, with_cluster

from quorate.base.errors import DiskFull
from quorate.base.ids import ClusterId, NodeId
from quorate.gfs.client import FileSystem
from quorate.library.local import free_port
from quorate.node.local_cluster import LocalCluster
from quorate.rpc.client import RpcClient
from quorate.rpc.handshake import Identity
from quorate.runtime.ports import World

TEXT = b"nothing is lost\n" * 20_000


async def eventually(world: World, condition: Callable[[], Awaitable[bool]]) -> None:
    """Wait up to half a minute until ``condition()`` is true."""
    async with asyncio.timeout(30):
        while not await condition():
            await world.clock.sleep(20)


async def has_replicas(world: World, files: FileSystem, path: str, number: int) -> None:
    """Wait until the master has heard from ``number`` chunkservers that they have ``path``."""

    async def reported() -> bool:
        return (await files.stat(path)).replicas_live == number

    await eventually(world, reported)


def pids_of(cluster: LocalCluster, name: str) -> dict[str, int]:
    """Role to pid of one node."""
    return {process.role: process.pid for process in cluster.nodes[name].processes}


async def put(files: FileSystem, path: str, data: bytes) -> None:
    """Store ``data`` as a new file."""
    writer = await files.create(path)
    await writer.write(data)
    await writer.close()


def files_of(world: World, cluster: LocalCluster) -> tuple[RpcClient, FileSystem]:
    """A client of the cluster's files."""
    rpc = RpcClient(world, Identity(ClusterId(""), NodeId(0), "client"))
    return rpc, FileSystem(world, rpc, cluster.addresses)


def test_each_process_that_is_killed_is_started_again_and_nothing_is_lost(tmp_path: Path) -> None:
    async def work(world: World, cluster: LocalCluster) -> None:
        rpc, files = files_of(world, cluster)
        await put(files, "/before", TEXT)
        for role in ("raft", "chunkserver", "worker"):
            before = pids_of(cluster, "n1")
            os.kill(before[role], signal.SIGKILL)

            async def is_back(role: str = role, before: dict[str, int] = before) -> bool:
                now = pids_of(cluster, "n1")
                return now[role] != before[role] and is_running(now[role])

            await eventually(world, is_back)
            after = pids_of(cluster, "n1")
            assert {name for name in after if after[name] != before[name]} == {role}
            await put(files, f"/after-{role}", TEXT)
        await cluster.settled()
        for path in ("/before", "/after-raft", "/after-chunkserver", "/after-worker"):
            assert await files.read(path) == TEXT
        await rpc.close()

    with_cluster(tmp_path, work, port=free_port())


def test_a_node_dies_whole_the_others_go_on_and_it_comes_back(tmp_path: Path) -> None:
    async def work(world: World, cluster: LocalCluster) -> None:
        rpc, files = files_of(world, cluster)
        await put(files, "/before", TEXT)
        node = cluster.nodes["n2"]
        assert node.child is not None
        processes = pids_of(cluster, "n2").values()
        os.kill(node.child.pid, signal.SIGKILL)

        async def all_gone() -> bool:
            return not any(map(is_running, processes))

        await eventually(world, all_gone)
        assert await files.read("/before") == TEXT
        await put(files, "/without", TEXT)
        await has_replicas(world, files, "/without", 2)
        await cluster.start_node("n2")
        await cluster.settled()
        assert await files.read("/without") == TEXT
        await rpc.close()

    _, said = with_cluster(tmp_path, work, port=free_port())
    assert len(said) == 1 and "n2 is gone" in said[0] and f"signal {signal.SIGKILL}" in said[0]


def limit_file_size(pid: int, limit_bytes: int) -> None:
    """Let writes of a process beyond ``limit_bytes`` of a file fail, as on a disk that is full."""
    _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (limit_bytes, hard))


def test_a_full_disk_under_the_log_stops_that_node_and_loses_nothing(tmp_path: Path) -> None:
    written: list[str] = []

    async def work(world: World, cluster: LocalCluster) -> None:
        rpc, files = files_of(world, cluster)
        limit_file_size(pids_of(cluster, "n3")["raft"], 1)
        while cluster.nodes["n3"].alive:
            path = f"/file-{len(written)}"
            await put(files, path, TEXT)
            written.append(path)
        await put(files, "/on-two-nodes", TEXT)
        await cluster.start_node("n3")  # there is space again
        await cluster.settled()
        for path in (*written, "/on-two-nodes"):
            assert await files.read(path) == TEXT
        await rpc.close()

    _, said = with_cluster(tmp_path, work, port=free_port())
    assert len(said) == 1 and "n3 is gone: no space is left on the disk" in said[0]


def test_a_full_disk_under_a_chunkserver_costs_a_copy_and_no_file(tmp_path: Path) -> None:
    async def work(world: World, cluster: LocalCluster) -> None:
        rpc, files = files_of(world, cluster)
        await put(files, "/before", TEXT)
        limit_file_size(pids_of(cluster, "n1")["chunkserver"], 1)
        await put(files, "/short", TEXT)
        await has_replicas(world, files, "/short", 2)
        limit_file_size(pids_of(cluster, "n2")["chunkserver"], 1)
        with pytest.raises(DiskFull, match="the disk of the chunkserver on n2 is full"):
            await put(files, "/refused", TEXT)
        assert await files.read("/before") == TEXT
        assert await files.read("/short") == TEXT
        await rpc.close()

    _, said = with_cluster(tmp_path, work, port=free_port())
    assert said == []
