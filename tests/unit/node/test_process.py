"""What a process is made of, by its configuration."""

import sys
from pathlib import Path

import pytest

from quorate.base.errors import BadConfiguration
from quorate.node.config import Addresses, KvSettings, NodeConfig
from quorate.node.process import tables_of


def config(folder: Path, store: str) -> NodeConfig:
    addresses = Addresses("127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3")
    return NodeConfig("n1", str(folder), addresses, (), kv=KvSettings(store=store))


def test_a_store_on_the_disk_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "rocksdict", None)
    monkeypatch.delitem(sys.modules, "quorate.kv.disk_table", raising=False)
    assert tables_of(config(tmp_path, "memory")) is None
    with pytest.raises(BadConfiguration, match=r"pip install 'quorate\[disk\]'"):
        tables_of(config(tmp_path, "disk"))
