"""A machine whose replicas were damaged is rebuilt from the others, by itself."""

import sys
import urllib.request
from collections.abc import Awaitable, Callable
from pathlib import Path

from local_nodes import free_port, with_cluster

from quorate.base.ids import NAMESPACE_GROUP, Address, ClusterId, NodeId
from quorate.gfs.client import FileSystem
from quorate.gfs.messages import ListServers
from quorate.node.identity import FIRST_JOINED_NODE, identity_in
from quorate.node.local_cluster import LocalCluster, LocalNode
from quorate.node.messages import DescribeNode
from quorate.node.rebuilding import ASIDE, REBUILD_FILE
from quorate.raft.digests import QUARANTINE_FILE, Quarantine
from quorate.raft.messages import GroupStatus
from quorate.rpc.client import RpcClient
from quorate.rpc.handshake import Identity
from quorate.runtime.ports import World
from quorate.runtime.real.disk import RealDisk
from quorate.runtime.record import write_record

FILES = 3
PATIENCE_MS = 20_000.0
"""It takes about three seconds."""


def flip_a_bit(node: LocalNode) -> None:
    """In the middle of what was written to its newest log."""
    segment = sorted((node.data_dir / "raft" / "log").glob("*.seg"))[-1]
    data = bytearray(segment.read_bytes())
    data[len(data.rstrip(b"\0")) // 2] ^= 0x10
    segment.write_bytes(data)


def damaged(node: LocalNode) -> float:
    with urllib.request.urlopen(f"http://{node.addresses['metrics']}/metrics") as page:
        lines = page.read().decode().splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith("quorate_replicas_d"))


def test_a_node_with_a_flipped_bit_or_in_quarantine_comes_back_whole_with_its_chunks(
    tmp_path: Path,
) -> None:
    async def work(world: World, cluster: LocalCluster) -> None:
        rpc = RpcClient(world, Identity(ClusterId(""), NodeId(0), "client"))
        node = cluster.nodes["n3"]
        files = FileSystem(world, rpc, cluster.addresses)

        async def groups(address: str) -> list[GroupStatus]:
            return (await rpc.call(Address(address), DescribeNode(), timeout_ms=1_000)).groups

        async def has_all_chunks(address: Address) -> bool:
            """As its master has heard; nobody is there twice, and who is there is live."""
            found = await rpc.call(address, ListServers(), timeout_ms=1_000)
            seen = [(server.name, server.live, server.chunks) for server in found.servers]
            return sorted(seen) == [(name, True, FILES) for name in cluster.nodes]

        async def is_rebuilt(address: Address) -> bool:
            """Its replicas know the old id of n3 no more, and are what those of n3 are."""
            identity = identity_in(node.data_dir)
            assert identity is not None
            theirs = {status.group: status for status in await groups(node.addresses["rpc"])}
            return not (node.data_dir / REBUILD_FILE).exists() and all(
                status.configuration is not None
                and identity.replica(status.group) in status.configuration.voters
                and len(status.configuration.members) == 3
                and status.last_applied == theirs[status.group].last_applied
                and status.digest == theirs[status.group].digest
                for status in await groups(address)
            )

        async def until(condition: Callable[[Address], Awaitable[bool]]) -> None:
            began_ms = world.clock.monotonic_ms()
            for address in cluster.addresses:
                while not await condition(address):
                    assert world.clock.monotonic_ms() - began_ms < PATIENCE_MS, address
                    await world.clock.sleep(50)

        text = bytes(range(256)) * 4096
        for number in range(FILES):
            file = await files.create(f"/before-{number}")
            await file.write(text)
            await file.close()
        await until(has_all_chunks)
        for number in range(40):
            await files.mkdir(f"/folder-{number}")

        await cluster.stop_node("n3")
        began_ms = world.clock.monotonic_ms()
        flip_a_bit(node)
        await cluster.start_node("n3")
        await until(is_rebuilt)
        sys.stderr.write(f"rebuilt after {world.clock.monotonic_ms() - began_ms:.0f} ms\n")
        first = identity_in(node.data_dir)
        assert first is not None and first.name == "n3" and first.node >= FIRST_JOINED_NODE
        assert first.earlier == (3,) and (node.data_dir / f"{ASIDE}3" / "log").is_dir()

        await cluster.stop_node("n3")
        began_ms = world.clock.monotonic_ms()
        disk = RealDisk(node.data_dir / "raft")
        await write_record(disk, QUARANTINE_FILE, Quarantine(NAMESPACE_GROUP, 9))
        disk.close()
        await cluster.start_node("n3")
        await until(is_rebuilt)
        sys.stderr.write(f"rebuilt after {world.clock.monotonic_ms() - began_ms:.0f} ms\n")
        second = identity_in(node.data_dir)
        assert second is not None and second.earlier == (3, first.node)
        aside = [path.name for path in node.data_dir.glob(f"{ASIDE}*")]
        assert aside == [f"{ASIDE}{first.node}"] and damaged(node) == 0

        await until(has_all_chunks)
        await cluster.stop_node("n1")  # now n3 is needed: it votes, and it serves what it stored
        await files.mkdir("/after")
        assert await files.read("/before-1") == text
        await rpc.close()

    with_cluster(tmp_path, work, nodes=3, port=free_port(), tasks=1)
