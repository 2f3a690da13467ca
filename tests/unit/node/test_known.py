"""The machines that one knew last: seeds, however old, and nothing more."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest
from unit.node.test_identity import config_of, founded
from unit.node.test_rebuilding import asking, record_of, resume

from quorate.base.errors import BadConfiguration, DiskFull, Unavailable
from quorate.base.ids import JOBS_GROUP, NAMESPACE_GROUP, Address, GroupId, NodeId
from quorate.cli.doctor import _known as known_to_the_doctor
from quorate.node.bootstrap import bootstrap, new_cluster_id
from quorate.node.config import NodeConfig
from quorate.node.identity import founding_replica, require_identity
from quorate.node.known import (
    KNOWN_FILE,
    Known,
    KnownGroup,
    known_in,
    names_removed,
    seeds_of,
    write_known,
)
from quorate.node.messages import NodeEntry
from quorate.node.peers import keep_known, without_strangers
from quorate.raft.core.configuration import Configuration, founding
from quorate.runtime.real.world import close_world, real_world

N1, N2, N3 = (
    NodeEntry(NodeId(k), f"n{k}", Address(f"127.0.0.1:{7390 + 10 * k}")) for k in (1, 2, 3)
)
N4 = NodeEntry(NodeId(70_000), "n4", Address("127.0.0.1:7430"))


def known(*machines: NodeEntry, applied: int = 10, gone: tuple[NodeEntry, ...] = ()) -> Known:
    groups = (NAMESPACE_GROUP, JOBS_GROUP)
    return Known({group: KnownGroup(applied, machines) for group in groups}, gone)


def write(config: NodeConfig, record: Known) -> None:
    asyncio.run(write_known(config.data_path, record))


def alone(folder: Path) -> NodeConfig:
    """A cluster of one, whose configuration knows nobody else."""
    config = config_of(folder, names=("n1",))
    asyncio.run(bootstrap(config, new_cluster_id(["n1"], "0123456789abcdef01234567")))
    return config


class FakeGroup:
    """What ``keep_known`` sees of a replica."""

    def __init__(self, group: GroupId, *machines: NodeEntry) -> None:
        self._group = group
        self._callbacks: list[Callable[[], None]] = []
        self.last_applied = 0
        self.committed_configuration: Configuration
        self.apply(0, *machines)

    def on_applied(self, callback: Callable[[], None]) -> None:
        self._callbacks.append(callback)

    def apply(self, index: int, *machines: NodeEntry) -> None:
        """Up to ``index``, by which these are the members."""
        replicas = {founding_replica(self._group, one.node): one for one in machines}
        self.committed_configuration = founding(
            {replica: one.rpc for replica, one in replicas.items()},
            {replica: one.name for replica, one in replicas.items()},
        )
        self.last_applied = index
        for callback in self._callbacks:
            callback()


def kept(
    folder: Path,
    before: Known,
    work: Callable[[FakeGroup, FakeGroup], None],
    failures: int = 0,
    first: tuple[NodeEntry, ...] = (N1, N2, N3),
) -> list[Known]:
    """All that is written down while ``work`` is done to two groups, which begin as founded."""
    groups = {number: FakeGroup(number, *first) for number in (NAMESPACE_GROUP, JOBS_GROUP)}
    written: list[Known] = []
    left = [failures]

    async def note(record: Known) -> None:
        left[0] -= 1
        if left[0] >= 0:
            raise DiskFull("no space is left")
        written.append(record)

    async def main() -> None:
        world = real_world(folder)
        anything: Any = groups
        keeping = asyncio.create_task(keep_known(world, anything, before, [N1, N2, N3], note))
        await asyncio.sleep(0)
        work(groups[NAMESPACE_GROUP], groups[JOBS_GROUP])
        for _ in range(3):
            await asyncio.sleep(0)
        keeping.cancel()
        with suppress(asyncio.CancelledError):
            await keeping
        await close_world(world)

    asyncio.run(main())
    return written


def test_who_joins_and_who_leaves_is_written_down_when_it_is_committed(tmp_path: Path) -> None:
    def grow(namespace: FakeGroup, jobs: FakeGroup) -> None:
        namespace.apply(20, N1, N3, N4)
        jobs.apply(7, N1, N3, N4)

    [founders, grown] = kept(tmp_path, Known(), grow)
    assert founders.machines == [N1, N2, N3] and founders.gone == ()
    assert grown.machines == [N1, N3, N4] and grown.gone == (N2,)
    assert grown.doors == {one.name: one.rpc for one in (N1, N2, N3, N4)}


def test_who_still_belongs_to_one_group_is_not_gone(tmp_path: Path) -> None:
    def halfway(namespace: FakeGroup, jobs: FakeGroup) -> None:
        namespace.apply(20, N1, N3)

    [_, half] = kept(tmp_path, Known(), halfway)
    assert half.machines == [N1, N2, N3] and half.gone == ()


def test_a_log_that_is_read_again_does_not_bring_back_who_belonged_long_ago(tmp_path: Path) -> None:
    def again(namespace: FakeGroup, jobs: FakeGroup) -> None:
        for group in (namespace, jobs):
            group.apply(5, N1, N2)
            group.apply(9, N1, N2, N3)

    assert kept(tmp_path, known(N1, N3, N4, gone=(N2,)), again, first=(N1,)) == []


def test_a_founder_that_left_before_there_was_a_record_is_known_to_have_left(
    tmp_path: Path,
) -> None:
    [record] = kept(tmp_path, Known(), lambda namespace, jobs: None, first=(N1, N3, N4))
    assert record.gone == (N2,)


def test_a_full_disk_costs_the_record_and_the_next_change_writes_it(tmp_path: Path) -> None:
    def change(namespace: FakeGroup, jobs: FakeGroup) -> None:
        jobs.apply(7, N1, N2, N3, N4)

    [record] = kept(tmp_path, Known(), change, failures=1)
    assert record.machines == [N1, N2, N3, N4]


def test_a_founder_that_grew_asks_those_that_joined_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = alone(tmp_path)

    async def grows() -> None:
        await write_known(config.data_path, known(N1, N3, N4, gone=(N2,)))

    [said] = asking(tmp_path, monkeypatch, [Unavailable("no leader"), [N1]], config, grows)
    assert f"answers at {N3.rpc}, {N4.rpc}: no leader" in said


def test_a_founder_of_one_is_rebuilt_as_a_machine_that_starts(tmp_path: Path) -> None:
    config = alone(tmp_path)
    record_of(config)
    write(config, known(N1, N3, N4))
    rebuilt = resume(config)
    assert require_identity(config, tmp_path / "node.toml") == rebuilt
    assert not rebuilt.is_founder and rebuilt.earlier == (1,)
    assert seeds_of(config, known_in(config.data_path)) == [N1.rpc, N3.rpc, N4.rpc]


def test_a_founder_may_name_others_and_need_not_name_one_that_is_known(tmp_path: Path) -> None:
    founded(tmp_path)
    file = tmp_path / "node.toml"
    more = config_of(tmp_path, names=("n1", "n2", "n3", "n4"))
    assert require_identity(more, file).names == ("n1", "n2", "n3")
    fewer = config_of(tmp_path, names=("n1", "n3"))
    with pytest.raises(BadConfiguration, match="was founded by n1, n2, n3: name those, too"):
        require_identity(fewer, file)
    write(fewer, known(N1, N3, N4, gone=(N2,)))
    identity = require_identity(fewer, file)
    doors = known_in(fewer.data_path).doors
    assert set(identity.founding(NAMESPACE_GROUP, doors).addresses.values()) == {
        one.rpc for one in (N1, N2, N3)
    }
    with pytest.raises(BadConfiguration, match="not known here where n2, n3 was"):
        identity.founding(NAMESPACE_GROUP, {"n1": N1.rpc})


class Doors:
    """An ``RpcClient`` of machines that are down, and of one that is of another cluster."""

    async def call(self, door: Address, request: object, *, timeout_ms: float) -> None:
        if door == N2.rpc:
            raise BadConfiguration("another cluster")
        if door == N3.rpc:
            raise Unavailable("nobody listens")


def test_where_another_cluster_is_by_now_nobody_is_asked_unless_it_is_named() -> None:
    rpc: Any = Doors()
    seeds = [one.rpc for one in (N1, N2, N3, N4)]
    found = asyncio.run(without_strangers(rpc, seeds, [N1.rpc]))
    assert found == [N1.rpc, N3.rpc, N4.rpc]
    assert asyncio.run(without_strangers(rpc, seeds, [N1.rpc, N2.rpc])) == seeds


@pytest.mark.parametrize("content", [b"", b"{", b'{"format": 99}', b"\xff" * 100])
def test_a_record_that_cannot_be_read_is_none(tmp_path: Path, content: bytes) -> None:
    config = founded(tmp_path)
    (config.data_path / KNOWN_FILE).write_bytes(content)
    assert known_in(config.data_path) == Known()
    assert seeds_of(config, Known()) == [N1.rpc, N2.rpc, N3.rpc]
    assert require_identity(config, tmp_path / "node.toml").name == "n1"


def test_a_removed_machine_that_is_still_named_is_one_sentence_and_no_end(tmp_path: Path) -> None:
    config = founded(tmp_path)
    assert names_removed(config, Known()) is None
    assert names_removed(config, known(N1, N2, N3, N4)) is None
    sentence = names_removed(config, known(N1, N3, N4, gone=(N2,)))
    assert sentence is not None and sentence.count("\n") == 0
    assert "names n2, which was removed from the cluster: take it out of its [[nodes]]" in sentence
    rebuilt = msgspec.structs.replace(N2, node=NodeId(80_000))
    assert names_removed(config, known(N1, rebuilt, N3, gone=(N2,))) is None
    assert names_removed(config, known(N2, N3, gone=(N1,))) is None  # peers.py ends that one


def test_the_doctor_asks_those_that_are_known_though_nobody_named_them(tmp_path: Path) -> None:
    config = alone(tmp_path)
    write(config, known(N1, N4))
    assert known_to_the_doctor(config) == [("n1", N1.rpc), ("n4", N4.rpc)]
    assert known_to_the_doctor(None) == []
