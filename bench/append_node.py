"""One of the three servers of ``appends.py``: a Raft node over a real disk, hosting one group.

    python bench/append_node.py NODE DIRECTORY ADDRESS ADDRESS ADDRESS

It runs until its standard input ends.  The state machine is a small map from keys to values.
"""

import asyncio
import sys
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Any
from zlib import crc32

from quorate.base.codec import Command, Query, decode, encode
from quorate.base.ids import Address, ClusterId, GroupId, NodeId, ReplicaId
from quorate.base.machine import Meta, TypedMachine
from quorate.base.stream import pack_records, unpack_records
from quorate.raft.core.configuration import founding
from quorate.raft.node import Membership, RaftNode
from quorate.raft.wal import Wal
from quorate.rpc.client import RpcClient
from quorate.rpc.handshake import Identity
from quorate.rpc.server import RpcServer
from quorate.runtime.real.world import close_world, real_world, run

CLUSTER, GROUP = ClusterId("b" * 32), GroupId(1)
RECORDS_A_PIECE = 100


class Put(Command[None], tag="bench.put.1"):
    key: bytes
    value: bytes


class Applied(Query[int], tag="bench.applied.1"):
    """How many puts the state has seen."""


class Map(TypedMachine):
    """Keys, values, and how many puts there were.

    Its digest is a checksum over all puts in their order, which replicas apply alike; the smallest
    that tells two histories apart, since it is Raft's cost that is to be measured.
    """

    commands = (Put,)
    queries = (Applied,)

    def __init__(self) -> None:
        super().__init__()
        self._values: dict[bytes, bytes] = {}
        self._applied = 0
        self._checksum = 0

    def execute(self, meta: Meta, command: Put) -> None:
        self._values[command.key] = command.value
        self._applied += 1
        self._checksum = crc32(command.value, crc32(command.key, self._checksum))

    def answer(self, query: Applied) -> int:
        return self._applied

    def snapshot(self) -> Iterator[bytes]:
        items = iter(list(self._values.items()))
        batches = iter(lambda: list(islice(items, RECORDS_A_PIECE)), [])
        return pack_records(map(encode, chain([(self._applied, self._checksum)], batches)))

    def restore(self, stream: Iterable[bytes]) -> Iterator[None]:
        records = unpack_records(stream)
        self._applied, self._checksum = decode(next(records), tuple[int, int])
        self._values = {}
        for record in records:
            self._values.update(decode(record, list[tuple[bytes, bytes]]))
            yield

    def digest(self) -> int:
        return self._applied << 32 | self._checksum

    def next_deadline_ms(self) -> int | None:
        return None


async def serve(node: NodeId, directory: Path, addresses: list[Address]) -> None:
    """Host this node's replica until standard input ends."""
    world = real_world(directory)
    await Wal.create(world.disk, CLUSTER, node)
    identity = Identity(CLUSTER, node, "raft")
    rpc = RpcClient(world, identity)
    members = {ReplicaId(number): address for number, address in enumerate(addresses, 1)}
    machines: Any = {GROUP: (Map(), Membership(ReplicaId(node), founding(members)))}
    raft = await RaftNode.start(world, CLUSTER, node, machines, rpc)
    server = RpcServer(world, identity, raft.server.requests, raft.server.notices)
    await server.start(addresses[node - 1])
    await asyncio.to_thread(sys.stdin.read)
    await server.close()
    raft.stop()
    await rpc.close()
    await close_world(world)


def main() -> None:
    node, directory, *addresses = sys.argv[1:]
    run(lambda: serve(NodeId(int(node)), Path(directory), [Address(a) for a in addresses]))


if __name__ == "__main__":
    main()
