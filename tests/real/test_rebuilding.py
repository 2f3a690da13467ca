"""A machine whose replicas were damaged is rebuilt from the others, by itself."""

import asyncio
import sys
import time
import urllib.request
from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from local_nodes import with_cluster
from real.test_growing import joining, said

from quorate.base.ids import Address, ClusterId, NodeId
from quorate.gfs.client import FileSystem
from quorate.gfs.messages import ListServers
from quorate.library.local import free_port
from quorate.node.identity import FIRST_JOINED_NODE, NodeIdentity, identity_in
from quorate.node.join_token import VERSION, JoinToken, text_of
from quorate.node.known import known_in
from quorate.node.local_cluster import LocalCluster, LocalNode
from quorate.node.messages import DescribeNode
from quorate.node.rebuilding import ASIDE, REBUILD_FILE
from quorate.raft.messages import GroupStatus
from quorate.rpc.client import RpcClient
from quorate.rpc.handshake import Identity
from quorate.runtime.ports import World

NAMES = ["n1", "n2", "n3"]
FILES = 3
PATIENCE_MS = 20_000.0
"""It takes about four seconds."""


class Watch:
    """What the nodes of a cluster say while one of them is rebuilt."""

    def __init__(self, world: World, node: LocalNode, doors: Sequence[Address]) -> None:
        """``node`` is the one that is rebuilt."""
        self._world = world
        self._node = node
        self._doors = doors
        self.rpc = RpcClient(world, Identity(ClusterId(""), NodeId(0), "client"))

    @property
    def identity(self) -> NodeIdentity:
        found = identity_in(self._node.data_dir)
        assert found is not None
        return found

    async def until(self, condition: Callable[[Address], Awaitable[bool]]) -> None:
        """Every node says so."""
        began_ms = self._world.clock.monotonic_ms()
        for address in self._doors:
            while not await condition(address):
                assert self._world.clock.monotonic_ms() - began_ms < PATIENCE_MS, address
                await self._world.clock.sleep(50)

    async def has_all_chunks(self, address: Address) -> bool:
        """As its master has heard; nobody is there twice, and who is there is live."""
        found = await self.rpc.call(address, ListServers(), timeout_ms=1_000)
        seen = [(server.name, server.live, server.chunks) for server in found.servers]
        return sorted(seen) == [(name, True, FILES) for name in NAMES]

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


def test_a_founder_of_one_with_a_flipped_bit_is_whole_again_by_those_that_joined_it(
    tmp_path: Path,
) -> None:
    """Its configuration names nobody else; it gets a new id, and keeps its chunks."""
    port = free_port()
    doors = [Address(f"127.0.0.1:{port + 10 * number}") for number in range(3)]

    async def work(world: World, cluster: LocalCluster) -> None:
        node, watch = cluster.nodes["n1"], Watch(world, cluster.nodes["n1"], doors)
        new = {"n2": port + 10, "n3": port + 20}
        for name in new:  # as 'quorate cluster token' prints it
            token = JoinToken(
                VERSION,
                watch.identity.cluster,
                name,
                (doors[0],),
                {"n1": doors[0]},
                int(time.time() * 1000) + 60_000,
            )
            (tmp_path / f"{name}.token").write_text(text_of(token))
        with ExitStack() as running:
            joined = [running.enter_context(joining(tmp_path, *each)) for each in new.items()]
            for process in joined:
                await asyncio.to_thread(said, process, "full member")
            files = FileSystem(world, watch.rpc, doors)
            text = bytes(range(256)) * 4096
            for number in range(FILES):
                file = await files.create(f"/before-{number}")
                await file.write(text)
                await file.close()
            await watch.until(watch.has_all_chunks)

            await cluster.stop_node("n1")
            flip_a_bit(node)
            began_ms = world.clock.monotonic_ms()
            await cluster.start_node("n1")
            await watch.until(watch.is_rebuilt)
            sys.stderr.write(f"rebuilt after {world.clock.monotonic_ms() - began_ms:.0f} ms\n")

            assert watch.identity.name == "n1" and watch.identity.earlier == (1,)
            assert watch.identity.node >= FIRST_JOINED_NODE
            assert (node.data_dir / f"{ASIDE}1" / "log").is_dir()
            assert sorted(one.name for one in known_in(node.data_dir).machines) == NAMES
            assert "quorate_replicas_damaged 0.0" in metrics_of(node)
            errors = (node.directory / "node.log").read_text()
            assert "A replica of n1 is damaged.  The log is damaged: " in errors
            await watch.until(watch.has_all_chunks)
            joined[0].terminate()  # now n1 is needed: it votes, and serves what it stored
            await asyncio.to_thread(joined[0].wait)
            await files.mkdir("/after")
            assert await files.read("/before-1") == text
            await watch.rpc.close()

    with_cluster(tmp_path, work, nodes=1, port=port, tasks=1)
