"""The facts of a cluster, over the network: each node is asked twice, a moment apart.

Two looks tell what moves (a replica that catches up, a change that ends) from what does not.
Nothing here needs a leader or a majority, and nothing changes anything.
"""

from collections.abc import Sequence

from quorate.base.errors import QuorateError
from quorate.base.ids import Address, ClusterId, NodeId
from quorate.base.together import together
from quorate.node.doctor.facts import Facts, NodeFacts
from quorate.node.messages import DescribeNode, Examine, NodeDescription
from quorate.rpc.client import RpcClient
from quorate.runtime.ports import World

ASK_MS = 2_000.0
BETWEEN_MS = 1_000.0


async def ask_all(
    world: World, rpc: RpcClient, seeds: Sequence[Address], known: Sequence[tuple[str, Address]]
) -> Facts:
    """What the nodes of a cluster say.  ``known`` are machines, with their doors, that belong to it
    whether or not anybody answers; ``seeds`` may be any of its nodes."""
    doors = list(dict.fromkeys([*(door for _, door in known), *seeds]))
    found = await together(_describe(rpc, door) for door in doors)
    described = [one for one in found if isinstance(one, NodeDescription)]
    cluster = _cluster_of(described)
    nodes: dict[Address, NodeFacts] = {
        door: NodeFacts(NodeId(0), name, door) for name, door in known
    }
    for description in described:
        if description.cluster == cluster:
            for entry in description.nodes:
                nodes[entry.rpc] = NodeFacts(entry.node, entry.name, entry.rpc)
    if not described:
        for door in doors:
            nodes.setdefault(door, NodeFacts(NodeId(0), "a node", door))
    facts = Facts(cluster, sorted(nodes.values(), key=lambda node: (node.name, node.rpc)))
    await together(_examine(world, rpc, node) for node in facts.nodes)
    began_ms = world.clock.monotonic_ms()
    if described:
        await world.clock.sleep(BETWEEN_MS)
        await together(_look_again(rpc, node) for node in facts.nodes)
        facts.between_ms = world.clock.monotonic_ms() - began_ms
        _forget_strangers(facts)
    return facts


def _forget_strangers(facts: Facts) -> None:
    """Machines that founded the cluster, or that a file names, may belong to it no more."""
    known = [group.configuration for node in facts.nodes for group in node.groups]
    doors = {
        door
        for configuration in known
        if configuration
        for door in configuration.addresses.values()
    }
    if doors:
        facts.nodes = [n for n in facts.nodes if n.description is not None or n.rpc in doors]


def _cluster_of(described: Sequence[NodeDescription]) -> ClusterId:
    """That of most of those that answer."""
    clusters = [description.cluster for description in described]
    return max(clusters, key=clusters.count, default=ClusterId(""))


async def _describe(rpc: RpcClient, door: Address) -> NodeDescription | str:
    """Or why it does not answer."""
    try:
        return await rpc.call(door, DescribeNode(), timeout_ms=ASK_MS)
    except QuorateError as error:
        return error.message


async def _examine(world: World, rpc: RpcClient, node: NodeFacts) -> None:
    found = await _describe(rpc, node.rpc)  # the connection is there now
    if not isinstance(found, NodeDescription):
        node.why_not = found
        return
    node.description, node.before = found, found.groups
    sent_ms, sent_wall_ms = world.clock.monotonic_ms(), world.clock.wall_ms()
    try:
        node.examination = await rpc.call(node.rpc, Examine(), timeout_ms=ASK_MS)
    except QuorateError:
        return  # an older release, or it has just ended: the second look will tell
    node.clock_error_ms = (world.clock.monotonic_ms() - sent_ms) / 2
    node.clock_ms = node.examination.wall_ms - (sent_wall_ms + node.clock_error_ms)


async def _look_again(rpc: RpcClient, node: NodeFacts) -> None:
    found = await _describe(rpc, node.rpc)
    if isinstance(found, NodeDescription):
        node.description, node.why_not = found, ""
    else:
        node.description, node.why_not = None, found
