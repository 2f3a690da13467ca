"""What is tortured: how a node of it is started, and what its clients can do.

Everything else (hosts, disks, faults, history, verdict) knows no more than this, so another door
to a replicated store is a further ``Target``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from quorate.base.ids import GroupId
from quorate.linearizability.history import Scalar
from quorate.runtime.ports import World
from quorate.torture.control import NodeSettings
from quorate.torture.hosts import Hosts

Value = int | str | None


@dataclass(frozen=True, slots=True)
class Call:
    """One operation of a model of quorate.linearizability."""

    process: str
    f: str
    key: str
    argument: Scalar | tuple[Scalar, Scalar] = None
    anywhere: bool = False
    """Of a read: any replica may answer."""


class TargetClient(Protocol):
    """One client with a connection of its own."""

    async def call(self, call: Call, timeout_ms: float) -> tuple[bool, Value]:
        """Whether it took effect, and what was read.

        Raises ``Maybe`` if that cannot be known, another ``QuorateError`` if it surely did not.
        """

    async def close(self) -> None: ...


class Target(Protocol):
    """A replicated store in processes of its own."""

    name: str
    """As ``--target`` says it."""
    group: GroupId
    """The Raft group that holds what clients see."""
    image_bytes: int
    """Of a disk of a node's own, if it gets one."""

    @property
    def shares(self) -> Mapping[str, int]:
        """What its clients do, and how much of each (``clients.py``)."""

    @property
    def findings(self) -> Sequence[str]:
        """What its clients saw that no model speaks of, and that must not be."""

    async def prepare(self, directory: Path, node: int, nodes: int) -> None:
        """Make the empty disk of a node of ``nodes``, once."""

    def node_command(self, settings: NodeSettings) -> Sequence[str]:
        """What runs a node until it is killed, obeying the ``Control`` on its standard input."""

    def client(self, world: World, hosts: Hosts, first: int) -> TargetClient:
        """A client of all nodes, which asks the one at place ``first`` first."""
