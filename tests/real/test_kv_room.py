"""The bounds of the store on real nodes: of memory, through the door for Redis clients; and a store
on the disk, which is filled again from snapshot and log."""

import json
import shutil
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from local_nodes import Up, quorate, up

from quorate.library.local import free_port

MAX_BYTES = 10_000_000
VALUE = bytes(100_000)


@pytest.fixture
def port() -> int:
    return free_port(1)


def client(cluster: Up) -> redis.Redis:
    address = cluster.ready["nodes"][0]["addresses"]["resp"]
    return redis.Redis(port=int(address.rpartition(":")[2]), socket_timeout=20)


def bounded(found: redis.Redis) -> bool:
    return int(found.info("memory")["maxmemory"]) == MAX_BYTES


def figures(cluster: Up) -> dict[str, float]:
    address = cluster.ready["nodes"][0]["addresses"]["metrics"]
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=10) as answer:
        lines = [line for line in answer.read().decode().splitlines() if not line.startswith("#")]
    found = (line.rpartition(" ") for line in lines)
    return {name: float(value) for name, _, value in found}


def wait_for_bound(r: redis.Redis) -> None:
    """A look of the leader; each question waits for a write's way through the log."""
    for _ in range(10_000):
        if bounded(r):
            return
        r.set("wait", "")
    raise AssertionError("the bound did not come into force")


def test_at_its_bound_the_store_answers_oom_still_deletes_and_opens_again(
    tmp_path: Path, port: int
) -> None:
    options = ("--nodes", "1", "--port", str(port), "--max-bytes", "10MB")
    with up(tmp_path / "cluster", *options) as cluster, client(cluster) as r:
        wait_for_bound(r)
        with pytest.raises(redis.exceptions.OutOfMemoryError, match="command not allowed when"):
            for number in range(1_000):
                r.set(f"k{number}", VALUE)
        assert 80 < number < 100
        with pytest.raises(redis.exceptions.OutOfMemoryError):
            r.append("k1", VALUE)
        assert r.get("k1") == VALUE and r.set("k1", b"small")
        assert 0.9 * MAX_BYTES < int(r.info("memory")["used_memory"]) <= MAX_BYTES
        assert r.config_get("maxmemory") == {"maxmemory": str(MAX_BYTES)}
        seen = figures(cluster)
        assert seen["quorate_kv_max_bytes"] == MAX_BYTES
        assert seen["quorate_kv_keys"] == r.dbsize() and seen["quorate_kv_bytes"] > 0
        assert seen["quorate_resp_commands_total"] > 80 and seen["quorate_resp_connections"] == 1
        assert seen["quorate_resp_maybe_answers_total"] == seen["quorate_kv_restricted"] == 0
        status = json.loads(quorate("status", "--json", port=port).stdout)
        store = status["nodes"][0]["store"]
        assert store["keys"] == r.dbsize() and store["max_bytes"] == MAX_BYTES
        r.delete(*(f"k{number}" for number in range(20)))
        assert r.set("more", VALUE)
        assert cluster.stop() == (0, "")


@pytest.fixture
def on_disk(tmp_path: Path, port: int) -> Iterator[Up]:
    options = ("--nodes", "1", "--port", str(port), "--store", "disk")
    with up(tmp_path / "cluster", *options) as cluster:
        yield cluster


def test_a_store_on_the_disk_has_all_its_keys_after_a_restart_and_without_its_tables(
    tmp_path: Path, on_disk: Up
) -> None:
    pairs = {b"key %d" % number: b"%d" % number * 100 for number in range(5_000)}
    with client(on_disk) as r:
        with r.pipeline(transaction=False) as pipeline:
            for key, value in pairs.items():
                pipeline.set(key, value)
            pipeline.execute()
        r.delete(b"key 7")
        del pairs[b"key 7"]
    assert on_disk.stop() == (0, "")
    tables = tmp_path / "cluster" / "n1" / "data" / "tables"
    assert (tables / "CURRENT").exists()
    shutil.rmtree(tables)
    with up(tmp_path / "cluster") as again, client(again) as r:
        assert (tables / "CURRENT").exists()  # the directory knows that it is on the disk
        assert r.dbsize() == len(pairs)
        assert r.mget(list(pairs)) == list(pairs.values())
        assert r.get(b"key 7") is None
