"""The target: the key/value store, through the gateways of all nodes (``kv_node.py``)."""

import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec

from quorate.base.ids import KV_GROUP
from quorate.runtime.ports import World
from quorate.runtime.real.tls import tls_contexts
from quorate.torture.clients import SHARES
from quorate.torture.control import NodeSettings
from quorate.torture.hosts import Hosts
from quorate.torture.kv_client import KvClient, Seen
from quorate.torture.kv_node import cluster_of
from quorate.torture.node import make_disk

_RUN_NODE = (sys.executable, "-P", "-m", "quorate.torture.kv_node")


class KvTarget:
    """``run_node`` is what a node's settings are given to."""

    name = "kv"
    group = KV_GROUP
    shares = SHARES | {"delete": 1}
    image_bytes = 1_536 << 20
    """A store that may grow wants a GiB to stay free (kv/core/room.py).  The image has holes."""

    def __init__(self, run_node: Sequence[str] = _RUN_NODE) -> None:
        self._run_node = tuple(run_node)
        self._seen = Seen()

    @property
    def findings(self) -> list[str]:
        return self._seen.findings

    async def prepare(self, directory: Path, node: int, nodes: int) -> None:
        await make_disk(directory, cluster_of(nodes), node)

    def node_command(self, settings: NodeSettings) -> Sequence[str]:
        return [*self._run_node, msgspec.json.encode(settings).decode()]

    def client(self, world: World, hosts: Hosts, first: int) -> KvClient:
        tls = None if hosts.tls is None else tls_contexts(hosts.tls).client
        return KvClient([*hosts.resp[first:], *hosts.resp[:first]], tls, self._seen)
