"""Who a machine is: drawn once, at the one explicit bootstrap, and checked at each start."""

import asyncio
from pathlib import Path

import pytest

from quorate.base.errors import BadConfiguration, CorruptData
from quorate.base.ids import GROUP_NAMES, JOBS_GROUP, NAMESPACE_GROUP, ClusterId
from quorate.node.bootstrap import bootstrap, founding_identity, new_cluster_id
from quorate.node.config import NodeConfig, load
from quorate.node.identity import identity_in, require_identity
from quorate.raft.wal import Wal
from quorate.runtime.real.disk import RealDisk

NAMES = ("n1", "n2", "n3")
CLUSTER = new_cluster_id(NAMES, "0123456789abcdef01234567")


def config_of(folder: Path, name: str = "n1", names: tuple[str, ...] = NAMES) -> NodeConfig:
    """The configuration of machine ``name``, whose data lies in ``folder``/data."""
    text = f'name = "{name}"\ndata_dir = "data"\n[addresses]\n'
    for number, role in enumerate(("rpc", "chunkserver", "worker")):
        text += f'{role} = "127.0.0.1:{7400 + 10 * names.index(name) + number}"\n'
    for number, other in enumerate(names):
        text += f'[[nodes]]\nname = "{other}"\nrpc = "127.0.0.1:{7400 + 10 * number}"\n'
    (folder / "node.toml").write_text(text)
    return load(folder / "node.toml")


def founded(folder: Path) -> NodeConfig:
    """A machine after its bootstrap."""
    config = config_of(folder)
    asyncio.run(bootstrap(config, CLUSTER))
    return config


def test_all_machines_derive_the_same_members_from_any_order_of_names() -> None:
    first = founding_identity("n1", NAMES, CLUSTER)
    third = founding_identity("n3", ("n3", "n1", "n2"), CLUSTER)
    assert first.groups == third.groups
    assert (first.node, third.node) == (1, 3)
    assert [group.group for group in first.groups] == sorted(GROUP_NAMES)
    assert third.replica(NAMESPACE_GROUP) == (1 << 32) + 3
    assert third.replica(JOBS_GROUP) == (2 << 32) + 3


def test_replica_ids_are_unique_in_the_cluster() -> None:
    identity = founding_identity("n1", NAMES, CLUSTER)
    replicas = [member.replica for group in identity.groups for member in group.members]
    assert len(set(replicas)) == len(replicas) == 3 * len(GROUP_NAMES)


def test_a_cluster_id_does_not_fit_other_founding_machines() -> None:
    with pytest.raises(BadConfiguration, match="founded by other machines than n1, n2, n4"):
        founding_identity("n1", ("n1", "n2", "n4"), CLUSTER)


def test_what_is_no_cluster_id_is_refused() -> None:
    with pytest.raises(BadConfiguration, match="is not a cluster id"):
        founding_identity("n1", NAMES, ClusterId("../../etc"))


def test_bootstrap_makes_an_identity_and_an_empty_log(tmp_path: Path) -> None:
    config = founded(tmp_path)
    identity = require_identity(config, tmp_path / "node.toml")
    assert (identity.cluster, identity.node, identity.name) == (CLUSTER, 1, "n1")

    async def groups() -> int:
        disk = RealDisk(config.disk_path("raft"))
        wal, recovered = await Wal.open(disk, CLUSTER, identity.node)
        wal.close()
        disk.close()
        return len(recovered)

    assert asyncio.run(groups()) == 0


def test_a_machine_is_bootstrapped_once(tmp_path: Path) -> None:
    config = founded(tmp_path)
    other = new_cluster_id(NAMES, "f" * 24)
    with pytest.raises(BadConfiguration, match="a machine is bootstrapped once"):
        asyncio.run(bootstrap(config, other))
    identity = identity_in(config.data_path)
    assert identity is not None and identity.cluster == CLUSTER


def test_a_directory_that_lost_its_identity_is_not_bootstrapped_again(tmp_path: Path) -> None:
    config = founded(tmp_path)
    (config.data_path / "identity.json").unlink()
    before = sorted(path.name for path in config.data_path.rglob("*"))
    with pytest.raises(BadConfiguration, match="is left alone"):
        asyncio.run(bootstrap(config, CLUSTER))
    assert sorted(path.name for path in config.data_path.rglob("*")) == before


def test_a_node_never_bootstraps_by_itself(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    with pytest.raises(BadConfiguration) as caught:
        require_identity(config, tmp_path / "node.toml")
    assert "never bootstraps by itself" in caught.value.message
    assert f"quorate bootstrap --config {tmp_path / 'node.toml'}" in caught.value.message
    assert not config.data_path.exists()


def test_a_data_directory_of_another_node_is_refused(tmp_path: Path) -> None:
    founded(tmp_path)
    with pytest.raises(BadConfiguration, match="belongs to the node 'n1'"):
        require_identity(config_of(tmp_path, "n2"), tmp_path / "node.toml")


def test_other_machines_than_the_founding_ones_are_refused(tmp_path: Path) -> None:
    founded(tmp_path)
    config = config_of(tmp_path, names=("n1", "n2", "n9"))
    with pytest.raises(BadConfiguration, match="names the nodes n1, n2, n9"):
        require_identity(config, tmp_path / "node.toml")


def test_a_newer_format_is_refused_whatever_it_holds(tmp_path: Path) -> None:
    config = founded(tmp_path)
    (config.data_path / "identity.json").write_text('{"format": 2, "other": []}')
    with pytest.raises(BadConfiguration, match="a newer version wrote it"):
        identity_in(config.data_path)


@pytest.mark.parametrize("damage", ["cut", "flip", "empty"])
def test_damage_is_noticed(tmp_path: Path, damage: str) -> None:
    config = founded(tmp_path)
    path = config.data_path / "identity.json"
    whole = path.read_text()
    text = {"cut": whole[:-10], "flip": whole.replace('"n1"', '"n3"', 1), "empty": ""}[damage]
    assert text != whole
    path.write_text(text)
    with pytest.raises(CorruptData, match=r"identity\.json is damaged"):
        identity_in(config.data_path)
