"""A damaged replica is rebuilt: when, in which order, and across crashes."""

import asyncio
import shutil
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest
from unit.node.test_identity import config_of, founded
from unit.node.test_recovery import with_log

from quorate.base.errors import (
    BadConfiguration,
    CorruptData,
    QuorateError,
    ReplicaDamaged,
    Unavailable,
    error_from,
)
from quorate.base.ids import NAMESPACE_GROUP, Address, NodeId
from quorate.node import rebuilding as module
from quorate.node.bootstrap import bootstrap, new_cluster_id
from quorate.node.config import NodeConfig
from quorate.node.doctor.local import look_here
from quorate.node.identity import NodeIdentity, require_identity
from quorate.node.lock import FileLock
from quorate.node.messages import NodeEntry
from quorate.node.rebuilding import ASIDE, REBUILD_FILE, Rebuilding, RebuildRecord, resumed
from quorate.node.reports import error_of, failed
from quorate.node.supervisor import Supervisor, _beside
from quorate.raft.digests import QUARANTINE_FILE, Quarantine, diverged, refuse_quarantined
from quorate.raft.wal.recovery import read_log
from quorate.raft.wal.scan import damaged
from quorate.runtime.real.disk import RealDisk
from quorate.runtime.real.world import close_world, real_world
from quorate.runtime.record import write_record

NEW = NodeId(70_000)
DAMAGE = damaged("log/1.seg", 512, "a bit is wrong")


def record_of(config: NodeConfig, node: NodeId = NEW) -> None:
    async def write() -> None:
        with closing(RealDisk(config.data_path)) as disk:
            await write_record(disk, REBUILD_FILE, RebuildRecord(node, DAMAGE.message))

    asyncio.run(write())


def resume(config: NodeConfig) -> NodeIdentity:
    """As a start of the node."""
    with closing(RealDisk(config.data_path)) as disk:
        machine = require_identity(config, Path("node.toml"))
        return asyncio.run(resumed(disk, config, machine))


def opens(config: NodeConfig) -> NodeIdentity | None:
    """Whose log the data directory holds, if a process would start from it."""
    identity = require_identity(config, Path("node.toml"))
    with closing(RealDisk(config.disk_path("raft"))) as disk:
        try:
            read_log(disk, identity.cluster, identity.node)
        except (CorruptData, BadConfiguration):
            return None
    return identity


def damage(config: NodeConfig) -> None:
    (segment,) = (config.disk_path("raft") / "log").glob("*.seg")
    data = bytearray(segment.read_bytes())
    data[512 + 600] ^= 1
    segment.write_bytes(data)


class Crash(Exception):
    """Power is lost before a call to the disk."""


def crash_before(monkeypatch: pytest.MonkeyPatch, call: int) -> None:
    """Let so many calls that change something through."""
    left = [call]

    def counted(original: Callable[..., Any]) -> Callable[..., Any]:
        def work(*arguments: Any, **options: Any) -> Any:
            left[0] -= 1
            if left[0] < 0:
                raise Crash
            return original(*arguments, **options)

        return work

    for name in ("open", "make_directory", "rename", "remove", "sync_directory"):
        monkeypatch.setattr(RealDisk, name, counted(getattr(RealDisk, name)))


def test_a_crash_anywhere_leaves_what_does_not_start_and_the_next_start_goes_on(
    tmp_path: Path,
) -> None:
    config = with_log(tmp_path, 40)
    damage(config)
    (config.data_path / f"{ASIDE}7").mkdir()  # of an earlier time
    record_of(config)
    before, files = tmp_path / "before", config.data_path
    shutil.copytree(files, before)
    for call in range(100):
        with pytest.MonkeyPatch.context() as patch:
            crash_before(patch, call)
            try:
                resume(config)
            except Crash:
                crashed = True
            else:
                crashed = False
        started = opens(config)
        assert started is None or started.node == NEW, "the old replica would speak again"
        identity = resume(config)
        assert (identity.node, identity.name, identity.earlier) == (NEW, "n1", (1,))
        assert opens(config) == identity == resume(config)
        assert [path.name for path in files.glob(f"{ASIDE}*")] == [f"{ASIDE}1"]
        assert list((files / f"{ASIDE}1" / "log").iterdir())
        if not crashed:
            break
        shutil.rmtree(files)
        shutil.copytree(before, files)
    assert 10 < call < 99


def test_a_rebuilt_founder_knows_the_founders_and_a_second_damage_keeps_both_ids(
    tmp_path: Path,
) -> None:
    config = founded(tmp_path)
    old = require_identity(config, tmp_path / "node.toml")
    doors = {node.name: Address(node.rpc) for node in config.nodes}
    record_of(config)
    first = resume(config)
    assert not first.is_founder and first.founders({}) == old.founders(doors)
    assert first.founding(NAMESPACE_GROUP, {}) == old.founding(NAMESPACE_GROUP, doors)
    assert first.replica(NAMESPACE_GROUP) not in first.founding(NAMESPACE_GROUP, {}).members
    record_of(config, NodeId(80_000))
    assert resume(config).earlier == (1, NEW)
    assert [path.name for path in config.data_path.glob(f"{ASIDE}*")] == [f"{ASIDE}{NEW}"]


def asking(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    answers: list[list[NodeEntry] | QuorateError],
    config: NodeConfig | None = None,
    meanwhile: Callable[[], Awaitable[None]] | None = None,
) -> list[str]:
    """``until_possible``, with ``answers`` to who is a member; what a person was told.
    ``meanwhile`` happens while the node still runs."""
    config = config or founded(tmp_path)
    said: list[str] = []

    async def main() -> None:
        world = real_world(config.data_path)
        rebuilding = Rebuilding(
            world, config, require_identity(config, tmp_path / "node.toml"), said.append
        )

        async def ask(work: object, timeout_ms: float) -> list[NodeEntry]:
            answer = answers.pop(0)
            if isinstance(answer, QuorateError):
                raise answer
            return answer

        monkeypatch.setattr(rebuilding, "_ask", ask)
        try:
            if meanwhile is not None:
                await meanwhile()
            await rebuilding.until_possible(DAMAGE)
            assert rebuilding.needed
        finally:
            await close_world(world)

    monkeypatch.setattr(module, "FIRST_PAUSE_MS", 1.0)
    asyncio.run(main())
    return said


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_nothing_is_changed_before_a_leader_answers_and_it_is_said_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = founded(tmp_path)
    before = tree(tmp_path)
    silence: list[list[NodeEntry] | QuorateError] = [Unavailable("nobody leads")] * 3
    member = NodeEntry(NodeId(1), "n1", Address(config.addresses.rpc))
    [said] = asking(tmp_path, monkeypatch, [*silence, [member]], config)
    assert "n1 waits to be rebuilt, and changes nothing" in said and "nobody leads" in said
    assert tree(tmp_path) == before


def test_a_machine_that_was_removed_is_not_rebuilt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(BadConfiguration, match="n1 was removed from the cluster"):
        asking(tmp_path, monkeypatch, [[NodeEntry(NodeId(2), "n2", Address("b:1"))]])


def test_the_only_machine_of_a_cluster_ends_with_what_is_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = config_of(tmp_path, names=("n1",))
    asyncio.run(bootstrap(config, new_cluster_id(["n1"], "0123456789abcdef01234567")))
    advice = r"byte 512\).*But no other machine is known here: .*name one in its configuration"
    with pytest.raises(ReplicaDamaged, match=advice):
        asking(tmp_path, monkeypatch, [], config)


def test_damage_is_told_from_other_ends_when_a_process_reports_it(tmp_path: Path) -> None:
    async def plant() -> None:
        await write_record(disk, QUARANTINE_FILE, Quarantine(NAMESPACE_GROUP, 512))

    disk = RealDisk(tmp_path)
    asyncio.run(plant())
    with pytest.raises(ReplicaDamaged, match="differs from that of the majority at index 512"):
        refuse_quarantined(disk, QUARANTINE_FILE)
    (tmp_path / QUARANTINE_FILE).write_text("{")
    with pytest.raises(ReplicaDamaged, match=r"quarantine\.json is damaged"):
        refuse_quarantined(disk, QUARANTINE_FILE)
    disk.close()
    for error in (DAMAGE, diverged(NAMESPACE_GROUP, 512)):
        assert isinstance(error_from(error_of(failed(error))), ReplicaDamaged)
    other = error_from(error_of(failed(CorruptData("a newer snapshot"))))
    assert not isinstance(other, ReplicaDamaged)


class FakeChild:
    """The raft process ends with damage; the others run until they are stopped."""

    pid = 7

    def __init__(self, role: str) -> None:
        self._role = role
        self._stopped = asyncio.Event()

    @classmethod
    async def start(cls, role: str, *arguments: object) -> "FakeChild":
        return cls(role)

    async def ended(self) -> QuorateError:
        if self._role != "raft":
            await self._stopped.wait()
            return Unavailable("stopped")
        return DAMAGE

    async def stop(self, timeout_ms: float) -> None:
        self._stopped.set()


def supervised(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    until: Callable[[Supervisor], Awaitable[None]],
) -> ReplicaDamaged | None:
    config = founded(tmp_path)
    monkeypatch.setattr("quorate.node.supervisor.Child", FakeChild)

    async def main() -> ReplicaDamaged | None:
        async def rebuildable(damage: ReplicaDamaged) -> None:
            assert set(supervisor.pids()) == {"chunkserver", "worker"}, "these go on"
            await until(supervisor)

        supervisor = Supervisor(
            config, tmp_path / "node.toml", lambda _: None, lambda _: None, rebuildable
        )
        async with asyncio.timeout(10):
            return await supervisor.run()

    return asyncio.run(main())


def test_the_other_processes_go_on_until_a_damaged_replica_can_be_rebuilt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def at_once(supervisor: Supervisor) -> None:
        return

    assert supervised(tmp_path, monkeypatch, at_once) is DAMAGE


def test_a_node_that_waits_to_be_rebuilt_can_be_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def stopped(supervisor: Supervisor) -> None:
        supervisor.stop()
        await asyncio.Event().wait()

    assert supervised(tmp_path, monkeypatch, stopped) is None


def test_what_cannot_be_rebuilt_ends_the_node(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def removed(supervisor: Supervisor) -> None:
        raise BadConfiguration("removed")

    with pytest.raises(BadConfiguration, match="removed"):
        supervised(tmp_path, monkeypatch, removed)


class SteadyChild(FakeChild):
    async def ended(self) -> QuorateError:
        await self._stopped.wait()
        return Unavailable("stopped")


@pytest.mark.parametrize("error", [KeyError("a bug"), BadConfiguration("removed")])
def test_what_the_node_does_beside_its_processes_never_fails_without_a_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    config = founded(tmp_path)
    monkeypatch.setattr("quorate.node.supervisor.Child", SteadyChild)

    async def rebuildable(damage: ReplicaDamaged) -> None:
        raise AssertionError("nothing is damaged")

    async def work() -> None:
        raise error

    async def main() -> None:
        supervisor = Supervisor(
            config, tmp_path / "node.toml", lambda _: None, lambda _: None, rebuildable
        )
        beside = asyncio.create_task(_beside(work, supervisor))
        async with asyncio.timeout(10):
            await supervisor.run()
        await beside

    with pytest.raises(type(error)) as caught:
        asyncio.run(main())
    assert caught.value is error


def test_the_doctor_says_what_is_damaged_and_that_it_is_rebuilt(tmp_path: Path) -> None:
    config = with_log(tmp_path, 40)
    damage(config)
    [found] = look_here(config, tmp_path / "node.toml")
    assert found.kind == "damaged-log" and "it is rebuilt from them by itself" in found.do
    lock = FileLock(config.data_path / "lock", 0)  # its supervisor waits for a leader
    assert look_here(config, tmp_path / "node.toml") == [found]
    lock.release()
    record_of(config)
    [found] = look_here(config, tmp_path / "node.toml")
    assert found.kind == "rebuilding" and "under the new id 70000" in found.sentence
    assert "a bit is wrong" in found.sentence and "goes on where it was" in found.do


def test_an_identity_of_an_earlier_release_has_no_earlier_ids(tmp_path: Path) -> None:
    identity = require_identity(founded(tmp_path), tmp_path / "node.toml")
    known = msgspec.to_builtins(identity)
    del known["earlier"]
    assert msgspec.convert(known, NodeIdentity, strict=False) == identity
