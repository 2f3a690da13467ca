"""A master's soft state: heartbeats in, locations and placements out."""

from collections.abc import Collection
from dataclasses import replace

import pytest

from quorate.base.errors import DiskFull, Unavailable
from quorate.base.ids import Address, NodeId
from quorate.gfs.core import registry as module
from quorate.gfs.core.registry import LIVE_MS, Registry, Report

MIB = 1 << 20
NAMES = {NodeId(number): f"n{number}" for number in (1, 2, 3)}


def report(
    node: int,
    sequence: int = 1,
    *,
    full: bool = False,
    added: Collection[int] = (),
    removed: Collection[int] = (),
    incarnation: int = 1,
    free_bytes: int = 1000 * MIB,
) -> Report:
    address = Address(f"n{node}:chunkserver")
    return Report(
        NodeId(node), f"n{node}", address, incarnation, sequence, full, added, removed,
        free_bytes, len(added),
    )  # fmt: skip


def holders(registry: Registry, handle: int, now_ms: float = 0) -> list[str]:
    return [server.name for server in registry.live(handle, now_ms)]


def full_house(free_bytes: tuple[int, int, int] = (1000 * MIB,) * 3) -> Registry:
    registry = Registry(NAMES)
    for node, free in zip((1, 2, 3), free_bytes, strict=True):
        registry.report(report(node, full=True, free_bytes=free), 0)
    return registry


def place(
    registry: Registry, exclude: Collection[int] = (), size: int = 0, now_ms: float = 0
) -> list[str]:
    servers = registry.place(
        wanted=3, minimum=2, size=size, exclude=list(map(NodeId, exclude)), now_ms=now_ms
    )
    return [server.name for server in servers]


def test_a_machine_that_has_left_gets_no_new_chunks() -> None:
    registry = full_house()
    registry.names = {node: name for node, name in NAMES.items() if name != "n2"}
    assert place(registry) == ["n1", "n3"]
    with pytest.raises(Unavailable, match="only 1 can take it"):
        place(registry, exclude=[1])


def test_locations_follow_the_reports() -> None:
    registry = Registry(NAMES)
    assert registry.report(report(1, 1, full=True, added=[7, 8]), 0) is False
    assert registry.report(report(2, 1, full=True, added=[8]), 0) is False
    assert registry.report(report(1, 2, added=[9], removed=[8]), 0) is False
    assert [holders(registry, h) for h in (7, 8, 9, 10)] == [["n1"], ["n2"], ["n1"], []]


def test_a_master_that_knows_nothing_asks_for_everything() -> None:
    registry = Registry(NAMES)
    assert registry.report(report(1, 5, added=[7]), 0) is True
    assert holders(registry, 7) == []
    assert registry.report(report(1, 6, full=True, added=[6, 7]), 0) is False
    assert holders(registry, 6) == ["n1"]


def test_what_comes_late_or_twice_is_ignored() -> None:
    registry = Registry(NAMES)
    registry.report(report(1, 1, full=True, added=[7]), 0)
    registry.report(report(1, 3, removed=[7]), 0)
    for late in (report(1, 2, added=[7]), report(1, 3, added=[7]), report(1, 1, full=True)):
        assert registry.report(late, 10_000) is False
    assert holders(registry, 7) == []
    assert not registry.servers[NodeId(1)].is_live(10_000)


def test_a_restarted_chunkserver_begins_anew() -> None:
    registry = Registry(NAMES)
    registry.report(report(1, 9, full=True, added=[7]), 0)
    assert registry.report(report(1, 1, incarnation=2, added=[8]), 0) is True
    assert holders(registry, 7) == holders(registry, 8) == []
    registry.report(report(1, 2, incarnation=2, full=True, added=[8]), 0)
    assert registry.report(report(1, 10, full=True, added=[7]), 0) is False, "of the one before"
    assert [holders(registry, h) for h in (7, 8)] == [[], ["n1"]]


def test_a_silent_chunkserver_is_not_live_and_comes_back() -> None:
    registry = Registry(NAMES)
    registry.report(report(1, 1, full=True, added=[7]), 0)
    assert holders(registry, 7, LIVE_MS - 1) == ["n1"]
    assert holders(registry, 7, LIVE_MS) == []
    registry.report(report(1, 2), LIVE_MS)
    assert holders(registry, 7, LIVE_MS) == ["n1"]


def test_a_chunkserver_of_a_machine_that_joined_is_taken() -> None:
    registry = Registry(NAMES)
    registry.report(report(4, full=True, added=[7]), 0)
    assert holders(registry, 7) == ["n4"]


def test_garbage_is_found_a_bounded_number_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_GARBAGE", 10)
    registry = Registry(NAMES)
    registry.report(report(1, full=True, added=range(100)), 0)
    found = [registry.garbage(NodeId(1), lambda h: h % 2 == 0) for _ in range(10)]
    assert all(len(part) <= 10 for part in found)
    assert sorted(h for part in found for h in part) == list(range(0, 100, 2))
    registry.report(report(1, 2, removed=range(100)), 0)
    assert registry.garbage(NodeId(1), lambda h: True) == []


def test_new_chunks_go_to_all_when_there_are_as_many_as_wanted() -> None:
    assert sorted(place(full_house())) == ["n1", "n2", "n3"]
    assert sorted(place(full_house(), exclude=[2])) == ["n1", "n3"]


def test_chunks_spread_by_free_space_and_recent_creations() -> None:
    names = {NodeId(number): f"n{number}" for number in range(1, 6)}
    registry = Registry(names)
    for node in names:
        free = 4000 * MIB if node == 5 else 1000 * MIB
        registry.report(report(node, full=True, free_bytes=free), 0)
    chosen = [name for _ in range(100) for name in place(registry)]
    counts = {name: chosen.count(name) for name in names.values()}
    assert counts["n5"] == 100, "the emptiest takes a replica of each"
    assert all(45 <= counts[name] <= 55 for name in ("n1", "n2", "n3", "n4"))


def test_too_few_live_chunkservers_are_named() -> None:
    registry = Registry(NAMES)
    registry.report(report(1, full=True), 0)
    with pytest.raises(Unavailable, match=r"only 1 can take it \(no heartbeat from n2, n3\)"):
        place(registry)
    registry = full_house()
    with pytest.raises(Unavailable, match="writing to n1, n2 failed"):
        place(registry, exclude=[1, 2])


def test_full_disks_are_passed_over_and_named_when_too_few_are_left() -> None:
    assert sorted(place(full_house((0, 1000 * MIB, 1000 * MIB)))) == ["n2", "n3"]
    with pytest.raises(DiskFull, match="n1, n3"):
        place(full_house((0, 1000 * MIB, 10)))
    with pytest.raises(DiskFull):
        place(full_house(), size=1000 * MIB)


def test_a_machine_that_was_rebuilt_under_another_id_is_not_taken_for_two() -> None:
    registry = full_house()
    registry.report(report(3, 2, added=[7, 8]), 0)
    rebuilt = replace(report(70_000, added=[7, 8], full=True), address=Address("n3:chunkserver"))
    assert registry.report(rebuilt, 0) is False
    assert sorted(registry.servers) == [1, 2, 70_000]
    assert holders(registry, 7) == holders(registry, 8) == ["n70000"]
