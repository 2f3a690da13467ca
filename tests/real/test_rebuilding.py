"""A machine whose replicas were damaged is rebuilt from the others, by itself."""

import sys
import urllib.request
from collections.abc import Awaitable, Callable
from pathlib import Path

from local_nodes import free_port, with_cluster

from quorate.base.ids import Address, ClusterId, NodeId
from quorate.gfs.client import FileSystem
from quorate.gfs.messages import ListServers
from quorate.node.identity import FIRST_JOINED_NODE, NodeIdentity, identity_in
from quorate.node.local_cluster import LocalCluster, LocalNode
from quorate.node.messages import DescribeNode
from quorate.node.rebuilding import ASIDE, REBUILD_FILE
from quorate.raft.messages import GroupStatus
from quorate.rpc.client import RpcClient
from quorate.rpc.handshake import Identity
from quorate.runtime.ports import World

FILES = 3
PATIENCE_MS = 20_000.0
"""It takes about four seconds."""


class Watch:
    """What the nodes of a cluster say while one of them is rebuilt."""

    def __init__(self, world: World, cluster: LocalCluster, name: str) -> None:
        self._world = world
        self._cluster = cluster
        self._node = cluster.nodes[name]
        self.rpc = RpcClient(world, Identity(ClusterId(""), NodeId(0), "client"))

    @property
    def identity(self) -> NodeIdentity:
        found = identity_in(self._node.data_dir)
        assert found is not None
        return found

    async def until(self, condition: Callable[[Address], Awaitable[bool]]) -> None:
        """Every node says so."""
        began_ms = self._world.clock.monotonic_ms()
        for address in self._cluster.addresses:
            while not await condition(address):
                assert self._world.clock.monotonic_ms() - began_ms < PATIENCE_MS, address
                await self._world.clock.sleep(50)

    async def has_all_chunks(self, address: Address) -> bool:
        """As its master has heard; nobody is there twice, and who is there is live."""
        found = await self.rpc.call(address, ListServers(), timeout_ms=1_000)
        seen = [(server.name, server.live, server.chunks) for server in found.servers]
        return sorted(seen) == [(name, True, FILES) for name in self._cluster.nodes]

    async def is_rebuilt(self, address: Address) -> bool:
        """Its replicas have forgotten the old id, and are what the rebuilt ones are."""
        theirs = {s.group: s for s in await self._groups(self._node.addresses["rpc"])}
        return not (self._node.data_dir / REBUILD_FILE).exists() and all(
            status.configuration is not None
            and self.identity.replica(status.group) in status.configuration.voters
            and len(status.configuration.members) == 3
            and status.last_applied == theirs[status.group].last_applied
            and status.digest == theirs[status.group].digest
            for status in await self._groups(address)
        )

    async def _groups(self, address: str) -> list[GroupStatus]:
        return (await self.rpc.call(Address(address), DescribeNode(), timeout_ms=1_000)).groups


def flip_a_bit(node: LocalNode) -> None:
    """In the middle of what was written to its newest log."""
    segment = sorted((node.data_dir / "raft" / "log").glob("*.seg"))[-1]
    data = bytearray(segment.read_bytes())
    data[len(data.rstrip(b"\0")) // 2] ^= 0x10
    segment.write_bytes(data)


def metrics_of(node: LocalNode) -> str:
    with urllib.request.urlopen(f"http://{node.addresses['metrics']}/metrics", timeout=10) as page:
        return str(page.read().decode())


def test_a_node_with_a_flipped_bit_in_its_log_is_whole_again_under_a_new_id_with_its_chunks(
    tmp_path: Path,
) -> None:
    async def work(world: World, cluster: LocalCluster) -> None:
        node, watch = cluster.nodes["n3"], Watch(world, cluster, "n3")
        files = FileSystem(world, watch.rpc, cluster.addresses)
        text = bytes(range(256)) * 4096
        for number in range(FILES):
            file = await files.create(f"/before-{number}")
            await file.write(text)
            await file.close()
        await watch.until(watch.has_all_chunks)

        await cluster.stop_node("n3")
        flip_a_bit(node)
        began_ms = world.clock.monotonic_ms()
        await cluster.start_node("n3")
        await watch.until(watch.is_rebuilt)
        sys.stderr.write(f"rebuilt after {world.clock.monotonic_ms() - began_ms:.0f} ms\n")

        assert watch.identity.name == "n3" and watch.identity.earlier == (3,)
        assert watch.identity.node >= FIRST_JOINED_NODE
        assert (node.data_dir / f"{ASIDE}3" / "log").is_dir()
        assert "quorate_replicas_damaged 0.0" in metrics_of(node)
        said = (node.directory / "node.log").read_text()
        assert "A replica of n3 is damaged.  The log is damaged: " in said
        await watch.until(watch.has_all_chunks)
        await cluster.stop_node("n1")  # now n3 is needed: it votes, and serves what it stored
        await files.mkdir("/after")
        assert await files.read("/before-1") == text
        await watch.rpc.close()

    with_cluster(tmp_path, work, nodes=3, port=free_port(), tasks=1)
