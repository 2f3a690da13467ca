"""``quorate join`` finds what is wrong before it writes anything."""

import asyncio
import time
from pathlib import Path

import msgspec
import pytest

from quorate.base.errors import AlreadyExists, BadConfiguration, BadInput, QuorateError, Unavailable
from quorate.base.ids import Address, NodeId
from quorate.node.bootstrap import new_cluster_id
from quorate.node.config import configuration_of
from quorate.node.identity import FIRST_JOINED_NODE, identity_in
from quorate.node.join_token import VERSION, JoinToken
from quorate.node.joining import Join, addresses_of
from quorate.node.members import refuse_taken
from quorate.node.messages import NodeEntry
from quorate.runtime.real.trace import QuietTrace

FOUNDERS = {"n1": Address("127.0.0.1:7400"), "n2": Address("127.0.0.1:7410")}
MACHINES = [NodeEntry(NodeId(k), name, door) for k, (name, door) in enumerate(FOUNDERS.items(), 1)]
CLUSTER = new_cluster_id(list(FOUNDERS), "0123456789abcdef01234567")
NOW_MS = int(time.time() * 1000)
TOKEN = JoinToken(VERSION, CLUSTER, "n4", tuple(FOUNDERS.values()), FOUNDERS, NOW_MS + 60_000)


def join(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    token: JoinToken = TOKEN,
    rpc: str = "127.0.0.1:7430",
    machines: list[NodeEntry] | None = None,
) -> list[str]:
    """Prepare ``folder``/n4 for a cluster of ``machines``; what was said."""
    said: list[str] = []
    addresses = addresses_of(rpc, None, None, None, None)
    joining = Join(token, folder / "n4", addresses, QuietTrace(), said.append)

    async def look() -> list[NodeEntry]:
        if machines is None:
            raise Unavailable("nobody answers")
        return machines

    monkeypatch.setattr(joining, "_look", look)
    asyncio.run(joining.prepare(NOW_MS))
    return said


def test_a_joined_directory_is_whole_and_is_resumed_by_the_same_token(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    join(tmp_path, monkeypatch, machines=MACHINES)
    identity = identity_in(tmp_path / "n4" / "data")
    assert identity is not None and not identity.is_founder
    assert identity.names == ("n1", "n2") and identity.node >= FIRST_JOINED_NODE
    assert set(identity.members.values()) == set(FOUNDERS.values())
    late = msgspec.structs.replace(TOKEN, expires_ms=0)
    with pytest.raises(BadConfiguration, match="of another join token"):
        join(tmp_path, monkeypatch, late)
    assert "going on" in join(tmp_path, monkeypatch)[0]  # the cluster is not needed for that
    with pytest.raises(BadConfiguration, match=r"repeat the command with --rpc 127\.0\.0\.1:7430"):
        join(tmp_path, monkeypatch, rpc="127.0.0.1:7999")


def test_a_half_made_directory_is_made_anew_with_the_same_id(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    join(tmp_path, monkeypatch, machines=MACHINES)
    before = identity_in(tmp_path / "n4" / "data")
    (tmp_path / "n4" / "data" / "identity.json").unlink()
    (tmp_path / "n4" / "node.toml").write_text("half")
    join(tmp_path, monkeypatch, machines=MACHINES)
    assert identity_in(tmp_path / "n4" / "data") == before


@pytest.mark.parametrize(
    ("token", "rpc", "machines", "kind", "sentence"),
    [
        (msgspec.structs.replace(TOKEN, expires_ms=NOW_MS - 5000), "127.0.0.1:7430", MACHINES,
         BadInput, "expired 5 s ago"),
        (TOKEN, "10.0.0.4:7430", MACHINES, BadConfiguration, "needs mutual TLS"),
        (TOKEN, "127.0.0.1:7410", MACHINES, AlreadyExists, "is the address of n2"),
        (msgspec.structs.replace(TOKEN, name="n2"), "127.0.0.1:7430", MACHINES, AlreadyExists,
         "a machine called n2 belongs to the cluster already"),
        (msgspec.structs.replace(TOKEN, name="../n4"), "127.0.0.1:7430", MACHINES,
         BadConfiguration, "is not a name"),
        (msgspec.structs.replace(TOKEN, founders={"x": FOUNDERS["n1"]}), "127.0.0.1:7430", MACHINES,
         BadConfiguration, "was founded by other machines"),
        (TOKEN, "127.0.0.1:7430", None, Unavailable, "nobody answers"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_one_sentence_and_nothing_is_written(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    token: JoinToken,
    rpc: str,
    machines: list[NodeEntry] | None,
    kind: type[QuorateError],
    sentence: str,
) -> None:
    with pytest.raises(kind, match=sentence):
        join(tmp_path, monkeypatch, token, rpc, machines)
    assert list(tmp_path.iterdir()) == []


def test_a_directory_with_anything_else_in_it_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "n4").mkdir()
    (tmp_path / "n4" / "letters").write_text("dear")
    with pytest.raises(BadConfiguration, match="is not empty"):
        join(tmp_path, monkeypatch, machines=MACHINES)
    assert [path.name for path in (tmp_path / "n4").iterdir()] == ["letters"]


def test_the_written_configuration_names_all_machines_and_its_own_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = msgspec.structs.replace(TOKEN, ca="A", cert="C", key="K")
    join(tmp_path, monkeypatch, token, "10.0.0.4:7400", MACHINES)
    path = tmp_path / "n4" / "node.toml"
    config = configuration_of(path.read_text(), path)
    assert [node.name for node in config.nodes] == ["n1", "n2", "n4"]
    assert config.tls_paths is not None and config.tls_paths.key.read_text() == "K"
    assert config.tls_paths.key.stat().st_mode & 0o077 == 0
    secret = b"K"
    others = [file for file in path.parent.iterdir() if file.is_file() and file.suffix != ".key"]
    assert not any(file.read_bytes() == secret for file in others)


def test_a_machine_may_ask_again_for_its_own_name_and_address() -> None:
    refuse_taken(MACHINES, MACHINES[0])
