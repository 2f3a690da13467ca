"""``quorate up``: what it prints, that it stops and starts again, and what it refuses."""

import asyncio
import json
import os
import select
import shutil
import signal
import socket
from pathlib import Path

import pytest
from local_nodes import is_running, quorate, up

from quorate.base.checksum import crc32c
from quorate.library.local import free_port
from quorate.node.bootstrap import bootstrap, new_cluster_id
from quorate.node.config import load

TEXT = b"to be or not to be\n" * 10_000


def refused(directory: Path, *options: str) -> tuple[int, str]:
    """Exit code and sentence of a ``quorate up`` that does not get ready."""
    with up(directory, *options) as cluster:
        assert cluster.ready == {}
        return cluster.ended()


def test_up_prints_one_line_and_keeps_its_files_over_a_stop(tmp_path: Path) -> None:
    port = free_port()
    (tmp_path / "text").write_bytes(TEXT)
    with up(tmp_path / "cluster", "--port", str(port)) as cluster:
        nodes = cluster.ready["nodes"]
        assert [node["name"] for node in nodes] == ["n1", "n2", "n3"]
        assert nodes[1]["addresses"] == {
            "rpc": f"127.0.0.1:{port + 10}",
            "chunkserver": f"127.0.0.1:{port + 11}",
            "worker": f"127.0.0.1:{port + 12}",
            "metrics": f"127.0.0.1:{port + 13}",
            "resp": f"127.0.0.1:{port + 14}",
        }
        for node in nodes:
            assert node["roles"] == ["raft", "chunkserver", "worker"]
            assert [process["role"] for process in node["processes"]] == node["roles"]
        pids = cluster.pids
        assert len(set(pids)) == 12 and all(map(is_running, pids))
        assert quorate("fs", "put", str(tmp_path / "text"), "/a/text", port=port).returncode == 0
        assert cluster.stop() == (0, "")
        assert not any(map(is_running, pids))

    with up(tmp_path / "cluster") as cluster:  # the port is the directory's
        listed = quorate("fs", "ls", "/a", "--json", port=port)
        assert json.loads(listed.stdout) == [
            {"name": "text", "path": "/a/text", "type": "file", "size": len(TEXT)}
        ]
        assert quorate("fs", "cat", "/a/text", port=port + 20).stdout.encode() == TEXT
        code, errors = refused(tmp_path / "cluster")
        assert code == 3 and "in use by another process" in errors
        status = json.loads(quorate("status", "--json", port=port).stdout)
        assert [node["answers"] for node in status["nodes"]] == [True, True, True]
        assert [server["live"] for server in status["chunkservers"]] == [True, True, True]

        os.kill(cluster.process.pid, signal.SIGKILL)
        cluster.ended()
        gone = cluster.pids
    wait_until_gone(gone)


def wait_until_gone(pids: list[int]) -> None:
    """Wait for the kernel to have delivered what their parent's death sends them."""
    for pid in pids:
        try:
            descriptor = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        with os.fdopen(descriptor):
            signalled = pid_ends(descriptor)
        assert signalled, f"process {pid} outlived 'quorate up'"


def pid_ends(descriptor: int) -> bool:
    """Whether the process of a pidfd ends within ten seconds."""
    return bool(select.select([descriptor], [], [], 10.0)[0])


def test_a_port_that_is_taken_is_one_sentence(tmp_path: Path) -> None:
    port = free_port()
    with socket.create_server(("127.0.0.1", port + 11)):
        code, errors = refused(tmp_path / "cluster", "--port", str(port))
    assert code == 3
    assert f"127.0.0.1:{port + 11} is taken by another process" in errors
    assert errors.count("\n") == 1


def found_elsewhere(config_file: Path) -> None:
    """Make a machine's empty data directory one of a cluster of its own."""
    config = load(config_file)
    cluster = new_cluster_id([node.name for node in config.nodes], "e" * 24)
    asyncio.run(bootstrap(config, cluster))


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a cluster that ran once."""
    directory = tmp_path_factory.mktemp("stopped") / "cluster"
    with up(directory, "--port", str(free_port())) as cluster:
        assert cluster.ready, cluster.ended()
        assert cluster.stop()[0] == 0
    return directory


@pytest.fixture
def copied(stopped: Path, tmp_path: Path) -> Path:
    """A copy of such a directory, to be spoilt."""
    return Path(shutil.copytree(stopped, tmp_path / "cluster"))


def test_a_directory_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("precious")
    code, errors = refused(tmp_path)
    assert code == 3 and "is not empty and holds no cluster (thesis.tex" in errors
    assert (tmp_path / "thesis.tex").read_text() == "precious"


def test_another_number_of_nodes_is_refused(stopped: Path) -> None:
    code, errors = refused(stopped, "--nodes", "5")
    assert code == 3 and "holds a cluster of 3 nodes, not of 5" in errors


def test_a_directory_that_a_newer_version_wrote_is_refused(copied: Path) -> None:
    (copied / "cluster.json").write_text('{"format": 2}')
    code, errors = refused(copied)
    assert code == 3 and "a newer version wrote it" in errors


def test_a_node_of_another_cluster_is_refused(copied: Path) -> None:
    shutil.rmtree(copied / "n2/data")
    found_elsewhere(copied / "n2/node.toml")
    code, errors = refused(copied)
    assert code == 3 and "n2/data belongs to the cluster" in errors


def test_a_log_of_another_cluster_is_refused(copied: Path) -> None:
    identity = (copied / "n2/data/identity.json").read_bytes()
    shutil.rmtree(copied / "n2/data")
    found_elsewhere(copied / "n2/node.toml")
    (copied / "n2/data/identity.json").write_bytes(identity)
    code, errors = refused(copied)
    assert code == 3 and errors.count("\n") == 1


def test_a_node_that_lost_its_disk_is_left_out_and_the_others_go_on(copied: Path) -> None:
    shutil.rmtree(copied / "n3")
    with up(copied) as cluster:
        assert [node["name"] for node in cluster.ready["nodes"]] == ["n1", "n2"]
        code, errors = cluster.stop()
    assert code == 0 and "n3 has lost its identity" in errors
    assert not (copied / "n3/data").exists()


def test_a_cluster_that_lost_its_majority_does_not_start(copied: Path) -> None:
    shutil.rmtree(copied / "n2/data")
    shutil.rmtree(copied / "n3/data")
    code, errors = refused(copied)
    assert code == 3 and "the rest is no majority" in errors


def test_an_interrupted_bootstrap_is_made_anew(copied: Path) -> None:
    # As it may be before the second write of cluster.json: one node made, one half, one not.
    (copied / "n2/data/identity.json").unlink()
    shutil.rmtree(copied / "n3")
    unfounded(copied)
    with up(copied) as cluster:
        assert len(cluster.ready["nodes"]) == 3
        assert cluster.stop() == (0, "")


def unfounded(directory: Path) -> None:
    """Write the record as it was before the bootstraps."""
    content = json.loads((directory / "cluster.json").read_text())["content"]
    assert content["bootstrapped"] is True
    raw = json.dumps(content | {"bootstrapped": False}, separators=(",", ":"))
    text = f'{{"format":1,"crc32c":"{crc32c(raw.encode()):08x}","content":{raw}}}'
    (directory / "cluster.json").write_text(text)


def test_a_cluster_whose_nodes_are_all_gone_ends_with_a_sentence(tmp_path: Path) -> None:
    options = ("--nodes", "1", "--port", str(free_port(1)))
    with up(tmp_path / "cluster", *options) as cluster:
        os.kill(cluster.ready["nodes"][0]["pid"], signal.SIGKILL)
        code, errors = cluster.ended()
    assert code == 1
    assert "n1 is gone" in errors and "All nodes of" in errors
    wait_until_gone(cluster.pids)
