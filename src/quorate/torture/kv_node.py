"""One test node with the key/value store: ``python -m quorate.torture.kv_node SETTINGS``.

Rules:
* It is that process of a node of the product which holds its Raft groups, made from the table of
  roles, with the store's keeper and with the gateway for Redis clients.  All that is not the
  product's are the ports (``ports.py``).
* Logs are short and snapshots come often, as of all test nodes.
* The gateway stands on real sockets, which no port bends: its clients meet what befalls the nodes.
"""

import sys
from pathlib import Path

from quorate.base.ids import KV_GROUP, ClusterId
from quorate.gateways.resp.door import start_resp
from quorate.gateways.resp.gateway import RespSettings
from quorate.kv.service import KvService
from quorate.node.bootstrap import founding_identity, new_cluster_id
from quorate.node.examination import life
from quorate.node.roles import ROLES, Gateway, Role, Setting
from quorate.runtime.ports import World
from quorate.torture.control import LIMITS, SEGMENT_BYTES, NodeSettings
from quorate.torture.node import main, tls_of, watcher_of


def cluster_of(nodes: int) -> ClusterId:
    """The one that so many machines found."""
    return new_cluster_id(_names(nodes), "7" * 24)


def _names(nodes: int) -> list[str]:
    return [f"n{number}" for number in range(1, nodes + 1)]


async def start_kv(settings: NodeSettings, world: World) -> Role:
    """Be node ``settings.node``."""
    nodes, own = len(settings.addresses), settings.node - 1
    names, address = _names(nodes), settings.addresses[own]

    async def gateway(service: KvService) -> Gateway:
        return await start_resp(
            world, service, settings.resp[own], tls_of(settings), RespSettings()
        )

    setting = Setting(
        world,
        founding_identity(names[own], names, cluster_of(nodes)),
        address,
        dict(zip(names, settings.addresses, strict=True)),
        settings.timing,
        LIMITS,
        observer=watcher_of(settings, world, KV_GROUP),
        segment_bytes=SEGMENT_BYTES,
        life=life(address, Path(settings.directory)),
        gateway=gateway,
    )
    return await ROLES["raft"](setting)


if __name__ == "__main__":
    main(sys.argv[1], start_kv)
