"""What a running cluster shows to those who watch it: figures, health, readiness, memory."""

import json
import os
import signal
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from local_nodes import Up, quorate, up
from prometheus_client.parser import text_string_to_metric_families

from quorate.base.ids import GROUP_NAMES
from quorate.library.local import free_port

PATIENCE_SECONDS = 20.0

Samples = dict[tuple[str, ...], float]
"""By name and the values of the labels."""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    directory = tmp_path_factory.mktemp("metrics") / "cluster"
    with up(directory, "--port", str(free_port())) as running:
        assert running.ready, running.ended()
        yield running
        assert running.stop()[0] == 0


def door(cluster: Up, node: int) -> str:
    return str(cluster.ready["nodes"][node]["addresses"]["metrics"])


def pid_of(cluster: Up, node: int, role: str) -> int:
    processes = cluster.ready["nodes"][node]["processes"]
    return int(next(process["pid"] for process in processes if process["role"] == role))


def page(address: str, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://{address}{path}", timeout=PATIENCE_SECONDS) as reply:
            return reply.status, reply.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def scrape(address: str) -> Samples:
    status, text = page(address, "/metrics")
    assert status == 200
    return {
        (sample.name, *sample.labels.values()): sample.value
        for metric in text_string_to_metric_families(text)
        for sample in metric.samples
    }


def until(what: Callable[[], Any], good: Callable[[Any], bool]) -> Any:
    """What ``what`` gives once it is ``good``."""
    end = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < end:
        found = what()
        if good(found):
            return found
    raise AssertionError(f"it stayed {found}")


def test_three_nodes_show_one_term_and_what_writes_took(cluster: Up) -> None:
    port = int(cluster.ready["nodes"][0]["addresses"]["rpc"].rpartition(":")[2])
    done = quorate("fs", "mkdir", *(f"/{number}" for number in range(10)), port=port)
    assert done.returncode == 0, done.stderr
    nodes = [scrape(door(cluster, node)) for node in range(3)]
    for group in GROUP_NAMES.values():
        assert len({node["quorate_raft_term", group] for node in nodes}) == 1
        assert sorted(node["quorate_raft_is_leader", group] for node in nodes) == [0, 0, 1]
    for node in nodes:
        assert node["quorate_wal_sync_seconds_count",] > 0
        assert 0 < node["quorate_wal_sync_seconds_sum",] < 60
        assert node["quorate_wal_bytes_total",] > 0
        assert node["quorate_disk_free_bytes",] > 0
        for role in ("raft", "chunkserver", "worker"):
            assert node["quorate_up", role] == 1
            assert node["quorate_process_resident_memory_bytes", role] > 5e6
            assert node["quorate_process_cpu_seconds_total", role] > 0
            assert node["quorate_process_loop_lag_seconds_count", role] >= 0
    latency = "quorate_raft_commit_latency_seconds"
    leader = next(node for node in nodes if node["quorate_raft_is_leader", "namespace"])
    assert leader[f"{latency}_count", "namespace"] >= 10
    assert 0 < leader[f"{latency}_sum", "namespace"] < 60
    lags = [key for key in leader if key[0] == "quorate_raft_follower_lag_entries"]
    assert len({key[2] for key in lags if key[1] == "namespace"}) == 2


def test_a_worker_that_is_killed_is_down_and_then_started_again(cluster: Up) -> None:
    address = door(cluster, 1)
    os.kill(pid_of(cluster, 1, "worker"), signal.SIGKILL)
    down = until(lambda: scrape(address), lambda seen: seen["quorate_up", "worker"] == 0)
    assert down["quorate_up", "raft"] == 1
    back = until(lambda: scrape(address), lambda seen: seen["quorate_up", "worker"] == 1)
    assert back["quorate_process_starts_again_total", "worker"] == 1


def test_a_process_that_is_stuck_is_down_and_its_memory_is_still_seen(cluster: Up) -> None:
    stuck = pid_of(cluster, 2, "chunkserver")
    os.kill(stuck, signal.SIGSTOP)
    try:
        seen = scrape(door(cluster, 2))
        assert seen["quorate_up", "chunkserver"] == 0
        assert seen["quorate_process_resident_memory_bytes", "chunkserver"] > 5e6
    finally:
        os.kill(stuck, signal.SIGCONT)


def test_a_node_is_ready_while_it_can_read_and_says_why_when_it_cannot(cluster: Up) -> None:
    address = door(cluster, 0)
    assert until(lambda: page(address, "/ready"), lambda seen: seen[0] == 200)[1] == "ready\n"
    others = [pid_of(cluster, node, "raft") for node in (1, 2)]
    for pid in others:
        os.kill(pid, signal.SIGSTOP)
    try:
        status, text = page(address, "/ready")
        assert status == 503 and "group namespace: the replica here" in text
        assert page(address, "/health") == (200, "ok\n")
        status, text = page(door(cluster, 1), "/ready")  # its own raft process is stuck
        assert status == 503 and text.count("\n") == 1
    finally:
        for pid in others:
            os.kill(pid, signal.SIGCONT)
    until(lambda: page(address, "/ready"), lambda seen: seen[0] == 200)


def test_who_only_holds_connections_open_keeps_no_figures_from_others(cluster: Up) -> None:
    host, _, port = door(cluster, 0).rpartition(":")
    held = [socket.create_connection((host, int(port))) for _ in range(200)]
    try:
        seen = scrape(door(cluster, 0))
        assert seen["quorate_up", "raft"] == 1
        assert seen["quorate_process_open_files", "supervisor"] < 100
    finally:
        for one in held:
            one.close()


def test_status_names_the_memory_of_each_process(cluster: Up) -> None:
    port = int(cluster.ready["nodes"][0]["addresses"]["rpc"].rpartition(":")[2])
    nodes = json.loads(quorate("status", "--json", port=port).stdout)["nodes"]
    for node in nodes:
        roles = [process["role"] for process in node["processes"]]
        assert roles == ["supervisor", "raft", "chunkserver", "worker"]
        assert all(process["resident_bytes"] > 5e6 for process in node["processes"])
    lines = quorate("status", port=port).stdout.splitlines()
    first = next(number for number, line in enumerate(lines) if line.startswith("MEMORY"))
    assert lines[first].split() == ["MEMORY", "SUPERVISOR", "RAFT", "CHUNKSERVER", "WORKER"]
    assert lines[first + 1].split()[2] == "MB"
