"""What a node counts, as Prometheus reads it: names, units, help, labels and values."""

import re
from dataclasses import dataclass

import pytest
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics
from prometheus_client.parser import text_string_to_metric_families as plain_text

from quorate.base.histogram import Histogram
from quorate.base.ids import JOBS_GROUP, NAMESPACE_GROUP, Address, GroupId, ReplicaId
from quorate.gfs.messages import ChunkserverFigures
from quorate.kv.core.commands import Statistics
from quorate.kv.figures import DoorFigures, KvFigures
from quorate.mapreduce.messages import WorkerFigures
from quorate.node.messages import ProcessFigures
from quorate.node.metrics import SeenNode, SeenProcess, exposition
from quorate.node.operating_system import ProcessUse
from quorate.raft.core.configuration import founding
from quorate.raft.figures import GroupFigures, RaftFigures, SnapshotFigures
from quorate.raft.messages import GroupStatus
from quorate.rpc.figures import RpcFigures

OPEN = "application/openmetrics-text; version=1.0.0"
COUNTED = (
    *(
        "up",
        "term",
        "index",
        "applied",
        "leader",
        "waiting",
        "segments",
        "threads",
        "files",
        "node",
        "damaged",
        "replicas",
        "messages",
    ),
    *("keys", "restricted", "watches"),
    *("chunks", "way", "slots", "running", "reporting", "connections"),
)
"""What a name may end in that has no unit: what is counted, or which number it is."""


REBUILT = ReplicaId(70_000)
"""Another id of the third machine: both are members for a while."""


def durations(*values_ms: float) -> Histogram:
    histogram = Histogram.of_durations()
    for value_ms in values_ms:
        histogram.observe(value_ms)
    return histogram


def group(number: GroupId, lags: dict[ReplicaId, int]) -> GroupFigures:
    leader = Address("127.0.0.1:1")
    status = GroupStatus(number, ReplicaId(1001), "leader", 7, leader, 12, 10, 13, 0)
    status.configuration = founding(
        {
            ReplicaId(1001): leader,
            ReplicaId(1002): Address("127.0.0.1:2"),
            ReplicaId(1003): Address("127.0.0.1:3"),
            REBUILT: Address("127.0.0.1:3"),
        }
    )
    status.diverged = {ReplicaId(1003): 256, ReplicaId(900): 512}  # who is no member any more
    return GroupFigures(
        status, True, 2, 40, 3, 300, 1, lags, durations(0.3, 700), SnapshotFigures(1, 10, 1500)
    )


def process(
    role: str, system: RaftFigures | ChunkserverFigures | WorkerFigures | None
) -> SeenProcess:
    if system is None:
        return SeenProcess(role, None, 4, None)
    kv = None
    if role == "raft":
        store = Statistics(70, 60, 50_000, 0, 1, 90_000, "too little space is left on n2")
        kv = KvFigures(store, 4, DoorFigures(3, 1, 500, 2))
    figures = ProcessFigures(RpcFigures(100, 5, 1, 6), 2, durations(2), system, kv)
    return SeenProcess(role, ProcessUse(50_000_000, 1.5, 20, 5), 0, figures)


@dataclass
class Read:
    """What a parser found: metrics by name, and a value by name and labels."""

    metrics: dict[str, Metric]

    def value(self, sample: str, **labels: str) -> float:
        found = [
            one.value
            for metric in self.metrics.values()
            for one in metric.samples
            if one.name == sample and one.labels == labels
        ]
        assert len(found) == 1, (sample, labels, found)
        return found[0]


def scraped(worker: WorkerFigures | None, accept: str = OPEN) -> Read:
    lags = {ReplicaId(1002): 1, ReplicaId(1003): 9, REBUILT: 40}
    raft = RaftFigures(
        [group(NAMESPACE_GROUP, lags), group(JOBS_GROUP, {})], durations(4), 4096, 512, 2
    )
    processes = [
        process("raft", raft),
        process("chunkserver", ChunkserverFigures(11, 1)),
        process("worker", worker),
    ]
    node = SeenNode(
        "n1", "0.1.0", 10**10, True, ProcessUse(30_000_000, 0.5, 9, 2), durations(), processes
    )
    text, content_type = exposition(node, accept)
    assert ("openmetrics" in content_type) is (accept == OPEN)
    parse = open_metrics if accept == OPEN else plain_text
    return Read({metric.name: metric for metric in parse(text.decode())})


@pytest.mark.parametrize("accept", [OPEN, "", "text/plain"])
def test_both_formats_are_read_by_their_parsers_and_hold_the_same_values(accept: str) -> None:
    read = scraped(WorkerFigures(2, 1, 0), accept)
    assert read.value("quorate_raft_term", group="namespace") == 7
    assert read.value("quorate_raft_apply_lag_entries", group="jobs") == 2
    assert read.value("quorate_replicas_damaged") == 1
    lag, third = "quorate_raft_follower_lag_entries", "127.0.0.1:3"
    assert read.value(lag, group="namespace", peer=third, replica="1003") == 9
    assert read.value(lag, group="namespace", peer=third, replica=str(REBUILT)) == 40
    assert read.value("quorate_raft_diverged_replicas", group="namespace") == 1
    assert read.value("quorate_process_resident_memory_bytes", role="supervisor") == 30_000_000
    assert read.value("quorate_process_cpu_seconds_total", role="raft") == 1.5
    assert read.value("quorate_rpc_calls_total", role="chunkserver") == 100
    assert read.value("quorate_wal_bytes_total") == 4096
    assert read.value("quorate_worker_tasks_running") == 1
    assert read.value("quorate_chunkserver_chunks") == 11
    assert read.value("quorate_kv_keys") == 60
    assert read.value("quorate_kv_bytes") == 50_000
    assert read.value("quorate_kv_max_bytes") == 90_000
    assert read.value("quorate_kv_restricted") == 1
    assert read.value("quorate_kv_watches") == 4
    assert read.value("quorate_resp_connections") == 3
    assert read.value("quorate_resp_commands_total") == 500
    assert read.value("quorate_resp_maybe_answers_total") == 2
    assert read.value("quorate_node_info", node="n1", version="0.1.0") == 1


def test_milliseconds_become_seconds() -> None:
    read = scraped(None)
    name = "quorate_raft_commit_latency_seconds"
    assert read.value(f"{name}_count", group="jobs") == 2
    assert read.value(f"{name}_sum", group="jobs") == pytest.approx(0.7003)
    assert read.value(f"{name}_bucket", group="jobs", le="0.00025") == 0
    assert read.value(f"{name}_bucket", group="jobs", le="0.0005") == 1
    assert read.value(f"{name}_bucket", group="jobs", le="+Inf") == 2
    assert read.value("quorate_raft_snapshots_writing_seconds_total", group="jobs") == 1.5


def test_every_metric_has_help_a_valid_name_and_its_unit_at_its_end() -> None:
    read = scraped(WorkerFigures(2, 1, 0))
    assert len(read.metrics) > 40
    for name, metric in read.metrics.items():
        assert re.fullmatch(r"quorate(_[a-z]+)+", name)
        assert metric.documentation.endswith(".") and len(metric.documentation) > 5, name
        last = name.rpartition("_")[2]
        if metric.unit:
            assert last == metric.unit and last in ("seconds", "bytes", "entries"), name
        elif metric.type != "counter":
            assert last in COUNTED, name
        if metric.type == "histogram":
            assert metric.unit == "seconds", name


def test_a_process_that_does_not_answer_is_down_and_nothing_is_made_up_for_it() -> None:
    read = scraped(None)
    assert read.value("quorate_up", role="worker") == 0
    assert read.value("quorate_up", role="raft") == 1
    assert read.value("quorate_process_starts_again_total", role="worker") == 4
    own = {
        metric.name
        for metric in read.metrics.values()
        if any(sample.labels.get("role") == "worker" for sample in metric.samples)
    }
    assert own == {"quorate_up", "quorate_process_starts_again"}
    assert not any("quorate_worker" in name for name in read.metrics)


def test_nothing_of_a_header_comes_back() -> None:
    node = SeenNode("n1", "0.1.0", 1, False, None, durations(), [])
    _, content_type = exposition(node, "application/openmetrics-text; version=9\nX: y")
    assert "version=9" not in content_type and "\n" not in content_type
