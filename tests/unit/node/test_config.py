"""A configuration is checked whole, and each mistake is one sentence that names file and key."""

from pathlib import Path

import pytest

from quorate.base.errors import BadConfiguration
from quorate.node.config import NodeConfig, load
from quorate.node.sizes import memory_bytes

GOOD = """
name = "n1"
data_dir = "data"

[addresses]
rpc = "127.0.0.1:7400"
chunkserver = "127.0.0.1:7401"
worker = "127.0.0.1:7402"

[[nodes]]
name = "n2"
rpc = "127.0.0.1:7410"

[[nodes]]
name = "n1"
rpc = "127.0.0.1:7400"
"""


def loaded(folder: Path, text: str) -> NodeConfig:
    """``text`` as a configuration file in ``folder``, loaded."""
    path = folder / "node.toml"
    path.write_text(text)
    return load(path)


def test_paths_are_relative_to_the_file_and_the_doors_in_order_of_names(tmp_path: Path) -> None:
    config = loaded(tmp_path, GOOD)
    assert config.data_path == tmp_path / "data"
    by_name = sorted(config.nodes, key=lambda node: node.name)
    assert [node.rpc for node in by_name] == ["127.0.0.1:7400", "127.0.0.1:7410"]
    assert config.role_addresses() == {
        "raft": "127.0.0.1:7400",
        "chunkserver": "127.0.0.1:7401",
        "worker": "127.0.0.1:7402",
    }
    assert config.worker.tasks >= 1
    assert config.raft.heartbeat_interval_ms == 100


def test_figures_are_on_loopback_behind_the_other_doors_unless_an_address_is_named(
    tmp_path: Path,
) -> None:
    assert loaded(tmp_path, GOOD).addresses.metrics == "127.0.0.1:7403"
    text = GOOD.replace("7402", "7499")
    assert loaded(tmp_path, text).addresses.metrics == "127.0.0.1:7500"
    text = GOOD.replace("[addresses]", '[addresses]\nmetrics = "[::1]:9100"')
    assert loaded(tmp_path, text).addresses.metrics == "[::1]:9100"


def test_tls_allows_addresses_off_loopback(tmp_path: Path) -> None:
    text = GOOD.replace("127.0.0.1", "10.0.0.1")
    config = loaded(tmp_path, text + '[tls]\nca = "ca.pem"\ncert = "c.pem"\nkey = "k.pem"\n')
    assert config.tls is not None
    assert config.tls.ca == str(tmp_path / "ca.pem")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('name = "n1"\ndata_dir', "data_dir", "the key name is missing"),
        ("data_dir =", "datadir =", "the key datadir is not known"),
        ("worker =", "wroker =", "the key addresses.wroker is not known"),
        ('"data"', "7", "the key data_dir does not fit"),
        ('name = "n2"', 'name = "n1"', "'n1' is given to two nodes"),
        ('name = "n1"\ndata', 'name = "n3"\ndata', "'n3' is not among the [[nodes]] (n2, n1)"),
        ('name = "n2"', 'name = "../n2"', "'../n2' is not a name"),
        ("127.0.0.1:7401", "127.0.0.1", "addresses.chunkserver: '127.0.0.1' is not an address"),
        ("127.0.0.1:7401", "127.0.0.1:99999", "is not an address: write HOST:PORT"),
        ("127.0.0.1:7401", "10.0.0.1:7401", "is off loopback, which needs mutual TLS"),
        ("127.0.0.1:7410", "10.0.0.2:7410", "nodes.rpc of n2 '10.0.0.2:7410' is off loopback"),
        (
            "[addresses]",
            '[addresses]\nmetrics = "0.0.0.0:7403"',
            "addresses.metrics '0.0.0.0:7403' is off loopback, which needs mutual TLS",
        ),
        ("[addresses]", '[addresses]\nmetrics = "127.0.0.1:7402"', "to both worker and metrics"),
        ("127.0.0.1:7402", "127.0.0.1:65535", "addresses.metrics has no default"),
        ("127.0.0.1:7402", "127.0.0.1:7401", "to both chunkserver and worker"),
        ("127.0.0.1:7410", "127.0.0.1:7400", "to both n2 and n1"),
        ('rpc = "127.0.0.1:7400"\nc', 'rpc = "127.0.0.1:7409"\nc', "has another port than 'n1'"),
        ("[addresses]", "[worker]\ntasks = 0\n[addresses]", "worker.tasks must be 1 to 1024"),
        (
            "[addresses]",
            "[raft]\nelection_timeout_ms = 200\n[addresses]",
            "raft.election_timeout_ms must be at least three heartbeat intervals",
        ),
        (
            "[addresses]",
            "[raft]\nheartbeat_interval_ms = 0\n[addresses]",
            "raft.heartbeat_interval_ms must be at least 1",
        ),
        ("[addresses]", '[kv]\nstore = "tape"\n[addresses]', "kv.store 'tape' is not one of"),
        (
            "[addresses]",
            '[kv]\nmax_bytes = "2 boxes"\n[addresses]',
            "kv.max_bytes does not fit: '2 boxes' is no size",
        ),
        ("[addresses]", "[kv]\nmax_bytes = -1\n[addresses]", "-1 is no size"),
        ("[addresses]", '[tls]\nca = "x"\n[addresses]', "the key tls.cert is missing"),
        ("[addresses]", "[addresses", "is not TOML"),
    ],
)
def test_a_mistake_is_one_sentence_with_file_and_key(
    tmp_path: Path, old: str, new: str, words: str
) -> None:
    assert old in GOOD
    with pytest.raises(BadConfiguration) as caught:
        loaded(tmp_path, GOOD.replace(old, new, 1))
    assert words in caught.value.message
    assert str(tmp_path / "node.toml") in caught.value.message


def test_a_missing_file_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(BadConfiguration, match="cannot be read: No such file"):
        load(tmp_path / "none.toml")


@pytest.mark.parametrize(
    ("text", "expected"),
    [("0", 0), ("5", 5), ('"2GB"', 2 * 10**9), ('"1.5 MiB"', 3 << 19), ('"7kb"', 7000)],
)
def test_the_bound_of_the_store_is_a_number_or_has_a_unit(
    tmp_path: Path, text: str, expected: int
) -> None:
    config = loaded(tmp_path, f"{GOOD}[kv]\nmax_bytes = {text}\n")
    assert config.kv.bound_bytes == expected


def test_a_store_has_a_share_of_the_memory_unless_it_is_on_the_disk(tmp_path: Path) -> None:
    assert 0.29 < loaded(tmp_path, GOOD).kv.bound_bytes / memory_bytes() < 0.31
    assert loaded(tmp_path, GOOD + '[kv]\nstore = "disk"\n').kv.bound_bytes == 0
