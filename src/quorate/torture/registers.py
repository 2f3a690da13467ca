"""The target: registers, strings and locks behind one Raft group (``node.py``)."""

import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec

from quorate.base.check import Bug
from quorate.base.codec import Command
from quorate.base.ids import Address, NodeId
from quorate.raft.client import GroupClient
from quorate.rpc.client import RpcClient
from quorate.rpc.handshake import Identity
from quorate.runtime.ports import World
from quorate.simulator.workloads.registers import Acquire, Append, Cas, Read, Release, Write
from quorate.torture.clients import SHARES
from quorate.torture.control import NodeSettings
from quorate.torture.hosts import Hosts
from quorate.torture.node import CLUSTER, GROUP, make_disk
from quorate.torture.target import Call, Value

CLIENT = Identity(CLUSTER, NodeId(0), "client")
_RUN_NODE = (sys.executable, "-P", "-m", "quorate.torture.node")


class RegistersClient:
    """One ``GroupClient``, so one session."""

    def __init__(self, world: World, addresses: Sequence[Address]) -> None:
        self._rpc = RpcClient(world, CLIENT)
        self._group = GroupClient(world, self._rpc, addresses, GROUP)

    async def call(self, call: Call, timeout_ms: float) -> tuple[bool, Value]:
        if call.f in ("read", "get"):
            read = Read(call.key)
            found: Value = await self._group.query(
                read, timeout_ms=timeout_ms, anywhere=call.anywhere
            )
            return True, found
        return await self._group.execute(_command(call), timeout_ms=timeout_ms), None

    async def close(self) -> None:
        await self._rpc.close()


def _command(call: Call) -> Command[bool]:
    match call:
        case Call(f="write", argument=int(value)):
            return Write(call.key, value)
        case Call(f="cas", argument=(int() | None as old, int(new))):
            return Cas(call.key, old, new)
        case Call(f="append", argument=str(text)):
            return Append(call.key, text)
        case Call(f="acquire"):
            return Acquire(call.key, call.process)
        case Call(f="release"):
            return Release(call.key, call.process)
    raise Bug(f"registers have no operation {call}")


class RegistersTarget:
    """``run_node`` is what a node's settings are given to."""

    name = "registers"
    group = GROUP
    shares = SHARES
    image_bytes = 64 << 20

    def __init__(self, run_node: Sequence[str] = _RUN_NODE) -> None:
        self._run_node = tuple(run_node)
        self.findings: list[str] = []

    async def prepare(self, directory: Path, node: int, nodes: int) -> None:
        await make_disk(directory, CLUSTER, node)

    def node_command(self, settings: NodeSettings) -> Sequence[str]:
        return [*self._run_node, msgspec.json.encode(settings).decode()]

    def client(self, world: World, hosts: Hosts, first: int) -> RegistersClient:
        return RegistersClient(world, [*hosts.addresses[first:], *hosts.addresses[:first]])
