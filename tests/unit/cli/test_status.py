"""What ``quorate status`` says of groups that serve nobody."""

import asyncio
from types import SimpleNamespace
from typing import Any, cast

from quorate.base.ids import GROUP_NAMES, Address, NodeId
from quorate.cli import status
from quorate.node.identity import founding_replica
from quorate.node.messages import NodeDescription, NodeEntry
from quorate.raft.core.configuration import Configuration
from quorate.raft.messages import GroupStatus


def sentences(
    voters: list[int], learners: list[int], old: list[int], answer: set[int], leader: int = 0
) -> list[str]:
    """What is said of these machines."""
    numbers = sorted({*voters, *learners, *old})

    def door(number: int) -> Address:
        return Address(f"10.0.0.{number}:7400")

    def replicas(number: int) -> list[GroupStatus]:
        found = []
        role = "leader" if number == leader else "follower"
        for group in sorted(GROUP_NAMES):
            ids = {n: founding_replica(group, NodeId(n)) for n in numbers}
            now = Configuration(
                tuple(ids[n] for n in voters),
                {ids[n]: door(n) for n in numbers},
                tuple(ids[n] for n in learners),
                tuple(ids[n] for n in old),
            )
            seen = GroupStatus(group, ids[number], role, 3, door(1), 9, 9, 9, 7)
            seen.configuration = now
            found.append(seen)
        return found

    entries = [NodeEntry(NodeId(number), f"n{number}", door(number)) for number in numbers]
    descriptions = {
        NodeId(n): NodeDescription(
            cast(Any, "c" * 32), NodeId(n), f"n{n}", "1", entries, replicas(n), []
        )
        for n in answer
    }

    async def nothing() -> list[Any]:
        return []

    async def describe() -> dict[NodeId, NodeDescription]:
        return descriptions

    cluster = SimpleNamespace(
        id="c" * 32, nodes=entries, describe=describe, chunkservers=nothing, workers=nothing
    )
    found = asyncio.run(status._ask(cast(Any, cluster)))
    return status._troubles(found)


def test_a_cluster_with_leaders_has_no_troubles() -> None:
    assert sentences([1, 2, 3], [], [], answer={1, 2}, leader=1) == []


def test_a_majority_is_one_of_voters_and_not_of_machines() -> None:
    said = sentences([1, 2, 3], [4, 5], [], answer={1, 4, 5})
    assert said == [
        f"{name} has no leader: 1 of 3 voters answer, a majority is 2"
        for name in sorted(GROUP_NAMES.values())
    ]


def test_in_the_midst_of_a_change_there_are_two_majorities() -> None:
    said = sentences([1, 4, 5], [], [1, 2, 3], answer={1, 4, 5})
    assert said[0] == (
        "jobs has no leader: 3 of 3 new voters answer, a majority is 2;"
        " 1 of 3 old voters answer, a majority is 2"
    )
