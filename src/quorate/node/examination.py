"""What a raft process answers ``quorate doctor``, beside its description."""

import os
import secrets
import socket
from pathlib import Path

from quorate.base.ids import Address
from quorate.node.messages import Examination, Examine
from quorate.raft.core.settings import Timing
from quorate.raft.node import RaftNode
from quorate.rpc.server import Call, Handler
from quorate.runtime.ports import World


def life(address: Address, data_path: Path) -> str:
    """Where this process runs, for people, and something that no other process has."""
    where = f"{address} on {socket.gethostname()[:60]}, process {os.getpid()}, {data_path}"
    return f"{where[:270]} ({secrets.token_hex(6)})"


def examiner(world: World, node: RaftNode, timing: Timing, life: str) -> Handler:
    """Answers ``Examine``."""

    def examine(request: Examine, call: Call) -> Examination:
        return Examination(
            world.clock.wall_ms(),
            world.clock.monotonic_ms(),
            world.disk.free_bytes(),
            node.figures().sync_ms,
            timing,
            life,
            dict(node.server.twins.found),
        )

    return examine
