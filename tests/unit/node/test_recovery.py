"""Recovery from a lost majority: on real directories, and as a plan."""

import asyncio
import json
from itertools import zip_longest
from pathlib import Path

import msgspec
import pytest
from unit.node.test_identity import NAMES, founded

from quorate.base.codec import encode
from quorate.base.errors import BadInput, CorruptData
from quorate.base.ids import (
    JOBS_GROUP,
    NAMESPACE_GROUP,
    Address,
    ClusterId,
    GroupId,
    NodeId,
    ReplicaId,
)
from quorate.cli.main import run as run_command
from quorate.node.bootstrap import founding_identity, new_cluster_id
from quorate.node.config import NodeConfig
from quorate.node.doctor.local import look_here
from quorate.node.identity import NodeIdentity, founding_replica, require_identity
from quorate.node.lock import FileLock
from quorate.node.recovery import TERMS, Plan, make_plan, report_of, sentences
from quorate.node.survivor import GroupReport, Survivor, read_survivor
from quorate.raft.core.configuration import Configuration, founding
from quorate.raft.core.entries import Entry, EntryKind, HardState, SnapshotId
from quorate.raft.proposals import LogBatch
from quorate.raft.snapshots import SnapshotStore
from quorate.raft.wal import Wal
from quorate.runtime.real.disk import RealDisk
from quorate.runtime.real.world import close_world, real_world, run

CLUSTER = ClusterId("c" * 32)
TIME_MS = 1_790_000_000_000


def with_log(folder: Path, entries: int) -> NodeConfig:
    """The machine n1 with so many entries of term 3 in the log of the files' group."""
    config = founded(folder)
    identity = require_identity(config, folder / "node.toml")

    async def write() -> None:
        disk = RealDisk(config.disk_path("raft"))
        wal, _ = await Wal.open(disk, identity.cluster, identity.node)
        wal.set_state(NAMESPACE_GROUP, HardState(5, identity.replica(NAMESPACE_GROUP)))
        data = encode(LogBatch(TIME_MS, []))
        command = int(EntryKind.COMMAND)
        wal.append(
            NAMESPACE_GROUP, [Entry(index, 3, command, data) for index in range(1, entries + 1)]
        )
        await wal.sync()
        wal.close()
        disk.close()

    asyncio.run(write())
    return config


def bytes_of(folder: Path) -> dict[str, bytes]:
    """All files below ``folder``."""
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def recover(monkeypatch: pytest.MonkeyPatch, folder: Path, *options: str) -> int:
    """``quorate recover`` of the machine in ``folder``; its exit code."""
    words = ["quorate", "recover", "--config", str(folder / "node.toml"), *options]
    monkeypatch.setattr("sys.argv", words)
    return run_command()


def test_the_dry_run_says_what_may_be_lost_and_changes_no_byte(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with_log(tmp_path, 40)
    before = bytes_of(tmp_path)
    assert recover(monkeypatch, tmp_path) == 0
    said = capsys.readouterr().out
    assert "it ends at entry 40 of term 3 (its last change is of 2026-" in said
    assert "What may be lost: n2, n3 could decide without it" in said
    assert "must never be started again" in said and "--execute " in said
    assert recover(monkeypatch, tmp_path, "--report") == 0
    assert bytes_of(tmp_path) == before


def test_a_wrong_code_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with_log(tmp_path, 40)
    before = bytes_of(tmp_path)
    assert recover(monkeypatch, tmp_path, "--execute", "12345678") == BadInput.exit_code
    assert "is not the code of this recovery" in capsys.readouterr().err
    assert bytes_of(tmp_path) == before


def test_the_code_of_other_facts_is_a_wrong_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    codes = []
    for entries in (40, 41):
        folder = tmp_path / str(entries)
        folder.mkdir()
        with_log(folder, entries)
        assert recover(monkeypatch, folder, "--json") == 0
        codes.append(json.loads(capsys.readouterr().out)["code"])
    assert codes[0] != codes[1]


def test_what_is_executed_is_on_the_disk_once_and_for_all_groups(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = with_log(tmp_path, 40)
    identity = require_identity(config, tmp_path / "node.toml")
    recover(monkeypatch, tmp_path, "--json")
    code = json.loads(capsys.readouterr().out)["code"]
    assert recover(monkeypatch, tmp_path, "--execute", code) == 0
    after = read_survivor(config, identity, print)
    files, jobs = after.group(NAMESPACE_GROUP), after.group(JOBS_GROUP)
    assert (files.last_index, files.last_term, files.term) == (41, TERMS + 5, TERMS + 5)
    assert (jobs.last_index, jobs.last_term) == (1, TERMS)
    mine, *others = (founding_replica(NAMESPACE_GROUP, NodeId(node)) for node in (1, 2, 3))
    assert files.configuration.voters == (mine,)
    assert files.configuration.lost == tuple(others)
    assert files.configuration.names == {mine: "n1"}
    assert "recovered from a lost majority" in (config.data_path / "raft.log").read_text()
    assert recover(monkeypatch, tmp_path) == BadInput.exit_code
    assert "n1 can decide without the others" in capsys.readouterr().err


def test_damage_is_named_with_file_and_byte(tmp_path: Path) -> None:
    config = with_log(tmp_path, 40)
    identity = require_identity(config, tmp_path / "node.toml")
    (segment,) = (config.disk_path("raft") / "log").glob("*.seg")
    data = bytearray(segment.read_bytes())
    data[512 + 600] ^= 1
    segment.write_bytes(data)
    with pytest.raises(CorruptData, match=r"log/[0-9a-f]{16}\.seg, byte \d+"):
        read_survivor(config, identity, print)


def with_snapshots(config: NodeConfig, *indexes: int) -> list[Path]:
    """Whole snapshots of the files' group at these indexes, of term 4; their files."""

    async def write() -> None:
        world = real_world(config.disk_path("raft"))
        store = await SnapshotStore.open(world)
        members = founding({ReplicaId(9): Address("10.0.0.9:7400")})
        for index in indexes:
            id = SnapshotId(NAMESPACE_GROUP, index, 4, ReplicaId(9))
            await store.write(id, TIME_MS + index, members, iter([b"state"]))
        await close_world(world)

    run(write)
    return sorted((config.disk_path("raft") / "snapshots").glob("*.snap"))


def test_damage_that_a_start_survives_does_not_stop_a_recovery(tmp_path: Path) -> None:
    config = with_log(tmp_path, 40)
    identity = require_identity(config, tmp_path / "node.toml")
    older, newer = with_snapshots(config, 50, 60)
    data = bytearray(newer.read_bytes())
    data[9] ^= 1
    newer.write_bytes(data)
    newer.with_suffix(".writing").write_text("of no use")  # a start removes it
    before = bytes_of(tmp_path)
    heard: list[str] = []
    files = read_survivor(config, identity, heard.append).group(NAMESPACE_GROUP)
    assert (files.last_index, files.last_term, files.committed_index) == (50, 4, 50)
    assert files.configuration.voters == (9,) and files.time_ms == TIME_MS + 50
    assert len(heard) == 1 and newer.name in heard[0]
    found = look_here(config, tmp_path / "node.toml")
    assert [one.kind for one in found] == ["damaged-snapshot", "not-running"]
    assert bytes_of(tmp_path) == before
    data = bytearray(older.read_bytes())
    data[-20] ^= 1
    older.write_bytes(data)
    with pytest.raises(CorruptData, match=older.name):
        read_survivor(config, identity, heard.append)


def survivor(node: int, *logs: tuple[int, int], names: tuple[str, ...] = NAMES) -> Survivor:
    """A node with these logs (last term, last index), one of each group; the last one stands for
    the groups that are left."""
    identity = founding_identity_of(names, node)
    groups = []
    for found, (term, index) in zip_longest(identity.groups, logs, fillvalue=logs[-1]):
        members = founding(
            {m.replica: Address(f"10.0.0.{m.node}:7400") for m in found.members},
            {m.replica: names[m.node - 1] for m in found.members},
        )
        replica = identity.replica(found.group)
        groups.append(GroupReport(found.group, replica, term, index, term, 10, TIME_MS, members))
    name, door = names[node - 1], Address(f"10.0.0.{node}:7400")
    return Survivor(CLUSTER, NodeId(node), name, door, tuple(groups))


def founding_identity_of(names: tuple[str, ...], node: int) -> NodeIdentity:
    """The identity of a founder."""
    return founding_identity(names[node - 1], names, new_cluster_id(names, "a" * 24))


FIVE = ("n1", "n2", "n3", "n4", "n5")
FOUR = FIVE[:4]


def group_of(plan: Plan, group: GroupId) -> tuple[int, Configuration]:
    found = next(one for one in plan.groups if one.group == group)
    return found.writer, found.configuration


def test_each_group_goes_on_from_the_survivor_with_its_newest_log() -> None:
    one = survivor(1, (3, 900), (4, 50), names=FIVE)
    two = survivor(2, (4, 800), (4, 49), names=FIVE)
    plan = make_plan([one, two])
    assert group_of(plan, NAMESPACE_GROUP)[0] == 2
    writer, configuration = group_of(plan, JOBS_GROUP)
    assert writer == 1 and len(configuration.voters) == 2 and len(configuration.lost) == 3
    assert plan.code == make_plan([two, one]).code
    assert plan.writes(NodeId(1)) and plan.writes(NodeId(2))


def test_nothing_is_lost_if_every_majority_includes_a_survivor() -> None:
    """Two of four are no majority, but what three had acknowledged, one of them has."""
    plan = make_plan([survivor(n, (3, 900), (3, 50), names=FOUR) for n in (1, 2)])
    assert all(group.complete for group in plan.groups)
    assert all("Nothing that was acknowledged is lost" in said for said in sentences(plan))


def with_members(report: Survivor, *voters: int, old: tuple[int, ...] = ()) -> Survivor:
    """The same logs, with these machines in force in all groups; ``old``: a change is under way."""
    groups = []
    for found in report.groups:
        voting, leaving = (
            tuple(founding_replica(found.group, NodeId(node)) for node in nodes)
            for nodes in (voters, old)
        )
        members = dict.fromkeys((*voting, *leaving), Address("10.0.0.1:7400"))
        configuration = Configuration(voting, members, old_voters=leaving)
        groups.append(msgspec.structs.replace(found, configuration=configuration))
    return msgspec.structs.replace(report, groups=tuple(groups))


@pytest.mark.parametrize(
    ("survivors", "voters"),
    [
        ((1, 3), (1, 2, 4)),  # 2 and 4 may know the change as ended, and decide by themselves
        ((1, 4), (1, 4, 5)),  # 2 and 3 may not know of the change, and decide by the old members
    ],
)
def test_of_a_joint_change_the_lost_need_one_of_the_two_majorities(
    survivors: tuple[int, ...], voters: tuple[int, ...]
) -> None:
    reports = [survivor(node, (3, 900), (3, 50), names=FIVE) for node in survivors]
    plan = make_plan([with_members(report, *voters, old=(1, 2, 3)) for report in reports])
    assert not any(group.complete for group in plan.groups)
    assert all("What may be lost" in said for said in sentences(plan))


def test_of_a_joint_change_nothing_is_lost_if_each_majority_has_a_survivor() -> None:
    """Half of the old and half of the new voters are lost: neither half can decide."""
    reports = [survivor(node, (3, 900), (3, 50), names=FIVE) for node in (1, 2)]
    joint = [with_members(report, 1, 2, 4, 5, old=(1, 2, 3, 4)) for report in reports]
    assert all(group.complete for group in make_plan(joint).groups)


def test_a_majority_of_survivors_needs_no_recovery() -> None:
    with pytest.raises(BadInput, match="n1, n2 can decide without the others"):
        make_plan([survivor(1, (3, 9), (3, 9)), survivor(2, (3, 9), (3, 9))])


def test_reports_that_do_not_belong_together_are_refused() -> None:
    one = survivor(1, (3, 9), (3, 9), names=FIVE)
    with pytest.raises(BadInput, match="Two of the reports"):
        make_plan([one, one])
    other = msgspec.structs.replace(
        survivor(2, (3, 9), (3, 9), names=FIVE), cluster=ClusterId("d" * 32)
    )
    with pytest.raises(BadInput, match="leave one of the reports out"):
        make_plan([one, other])
    removed = survivor(2, (3, 9), (3, 9), names=FIVE)
    strange = [msgspec.structs.replace(g, replica=ReplicaId(77)) for g in removed.groups]
    with pytest.raises(BadInput, match="is not a member"):
        make_plan([one, msgspec.structs.replace(removed, groups=tuple(strange))])


def test_a_report_goes_through_json_and_nothing_else_is_taken_for_one() -> None:
    one = survivor(1, (3, 9), (3, 9))
    assert report_of(msgspec.json.encode(one), "x") == one
    first, other, *rest = one.groups
    stateless = msgspec.structs.replace(other, configuration=Configuration((), {}))
    broken = [
        msgspec.structs.replace(one, groups=groups)
        for groups in (
            (first,),
            (first, first, *rest),
            (first, other, other),
            (first, stateless, *rest),
        )
    ]
    whole = msgspec.json.encode(one)
    for data in (b"", b"{}", b"\xff", whole[:-9], *map(msgspec.json.encode, broken)):
        with pytest.raises(BadInput, match="x is no report"):
            report_of(data, "x")


def test_a_node_that_runs_is_not_recovered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = with_log(tmp_path, 4)
    lock = FileLock(config.data_path / "lock", 0)
    assert recover(monkeypatch, tmp_path) == 3
    assert "n1 runs" in capsys.readouterr().err
    lock.release()
    assert recover(monkeypatch, tmp_path) == 0
