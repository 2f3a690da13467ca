"""The one place that knows Prometheus: what a node counts, under names, with units and help.

Rules:
* Base units, seconds and bytes, are named at the end (``_seconds``, ``_bytes``); what only grows
  ends in ``_total``.  Inside, quorate counts milliseconds.
* What each process of a node has, carries ``role``; what a Raft group has, ``group``.
* A process that does not answer has only ``quorate_up 0`` and what the system says of it.  Nothing
  is remembered for it: a gap in a curve is the truth.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate
from typing import Generic, NamedTuple, TypeVar

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
)
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.registry import Collector

from quorate.base.histogram import Histogram
from quorate.base.ids import GROUP_NAMES, Address, ReplicaId
from quorate.gfs.messages import ChunkserverFigures
from quorate.kv.figures import DoorFigures, KvFigures
from quorate.mapreduce.messages import WorkerFigures
from quorate.node.messages import ProcessFigures
from quorate.node.operating_system import ProcessUse
from quorate.raft.figures import GroupFigures, RaftFigures

T = TypeVar("T")

UNITS = ("seconds", "bytes", "entries")


class SeenProcess(NamedTuple):
    """One process of the node, as its supervisor sees it now."""

    role: str
    use: ProcessUse | None
    """``None``: there is no such process now."""
    starts_again: int
    """How often it was started again."""
    figures: ProcessFigures | None
    """``None``: it did not answer."""


class SeenNode(NamedTuple):
    """One machine."""

    name: str
    version: str
    disk_free_bytes: int
    is_damaged: bool
    """Its replicas are damaged, or not rebuilt yet."""
    supervisor: ProcessUse | None
    supervisor_lag_ms: Histogram
    processes: list[SeenProcess]


class _Row(NamedTuple, Generic[T]):
    """One metric: its name, its help, and where it is read from."""

    name: str
    help: str
    read: Callable[[T], float | Histogram]


_GROUP: tuple[_Row[GroupFigures], ...] = (
    _Row("quorate_raft_term", "Current term of the replica.", lambda g: g.status.term),
    _Row(
        "quorate_raft_is_leader",
        "1 if the replica leads and has applied its own first entry.",
        lambda g: g.leads,
    ),
    _Row(
        "quorate_raft_knows_leader",
        "1 if the replica knows who leads.",
        lambda g: g.status.leader is not None,
    ),
    _Row(
        "quorate_raft_commit_index", "Last entry known committed.", lambda g: g.status.commit_index
    ),
    _Row("quorate_raft_last_applied", "Last entry applied.", lambda g: g.status.last_applied),
    _Row("quorate_raft_last_index", "Last entry of the log.", lambda g: g.status.last_index),
    _Row("quorate_raft_first_index", "First entry in the log.", lambda g: g.status.first_index),
    _Row(
        "quorate_raft_apply_lag_entries",
        "Entries that are committed and not yet applied.",
        lambda g: g.status.commit_index - g.status.last_applied,
    ),
    _Row(
        "quorate_raft_commit_latency_seconds",
        "From the proposal of an entry to its being applied and answered, on the leader.",
        lambda g: g.commit_latency_ms,
    ),
    _Row(
        "quorate_raft_elections_total", "Elections that the replica began.", lambda g: g.elections
    ),
    _Row("quorate_raft_commands_applied_total", "Commands applied.", lambda g: g.commands_applied),
    _Row(
        "quorate_raft_proposals_waiting",
        "Commands that wait for their answer.",
        lambda g: g.proposals_waiting,
    ),
    _Row(
        "quorate_raft_proposals_waiting_bytes",
        "Bytes of the commands that wait for their answer.",
        lambda g: g.proposal_bytes_waiting,
    ),
    _Row(
        "quorate_raft_reads_waiting",
        "Queries that wait for their answer.",
        lambda g: g.reads_waiting,
    ),
    _Row(
        "quorate_raft_snapshot_index",
        "Entry up to which the newest snapshot on this disk stands; 0 if there is none.",
        lambda g: g.status.snapshot_index,
    ),
    _Row(
        "quorate_raft_snapshots_written_total",
        "Snapshots that the replica took of its own state.",
        lambda g: g.snapshots.written,
    ),
    _Row(
        "quorate_raft_snapshots_written_bytes_total",
        "Bytes of the snapshots taken.",
        lambda g: g.snapshots.written_bytes,
    ),
    _Row(
        "quorate_raft_snapshots_writing_seconds_total",
        "Time from the beginning to the end of the snapshots taken.",
        lambda g: g.snapshots.writing_ms / 1000,
    ),
    _Row(
        "quorate_raft_snapshots_installed_total",
        "Snapshots fetched from a leader and installed.",
        lambda g: g.snapshots.installed,
    ),
    _Row(
        "quorate_raft_snapshots_installed_bytes_total",
        "Bytes of the snapshots installed.",
        lambda g: g.snapshots.installed_bytes,
    ),
    _Row(
        "quorate_raft_snapshots_installing_seconds_total",
        "Time from the offer to the end of the snapshots installed.",
        lambda g: g.snapshots.installing_ms / 1000,
    ),
    _Row(
        "quorate_raft_diverged_replicas",
        "Members whose state differed from a majority's, as this replica saw when it led.",
        lambda g: len(g.status.diverged.keys() & _addresses(g).keys()),
    ),
)

_FOLLOWER: tuple[_Row[int], ...] = (
    _Row(
        "quorate_raft_follower_lag_entries",
        "Entries of the leader's log that the follower is not known to have on its disk.",
        float,
    ),
)

_LOG: tuple[_Row[RaftFigures], ...] = (
    _Row(
        "quorate_wal_sync_seconds",
        "From giving a batch to the disk until it is known to be synced.",
        lambda r: r.sync_ms,
    ),
    _Row("quorate_wal_bytes_total", "Bytes written to the log.", lambda r: r.log_bytes),
    _Row(
        "quorate_wal_relocated_bytes_total",
        "Bytes of the log written again, to make room.",
        lambda r: r.log_relocated_bytes,
    ),
    _Row("quorate_wal_segments", "Segment files of the log.", lambda r: r.log_segments),
    _Row(
        "quorate_raft_twin_messages_total",
        "Messages dropped since two processes spoke in the name of one node: a cloned disk.",
        lambda r: r.twin_messages,
    ),
)

_CHUNKSERVER: tuple[_Row[ChunkserverFigures], ...] = (
    _Row("quorate_chunkserver_chunks", "Chunks on the disk.", lambda c: c.chunks),
    _Row(
        "quorate_chunkserver_writes_under_way",
        "Pieces of chunks that are being stored.",
        lambda c: c.writes_under_way,
    ),
)

_WORKER: tuple[_Row[WorkerFigures], ...] = (
    _Row("quorate_worker_slots", "Tasks that may run at once.", lambda w: w.slots),
    _Row("quorate_worker_tasks_running", "Tasks that run.", lambda w: w.running),
    _Row(
        "quorate_worker_tasks_reporting",
        "Ended tasks of which no coordinator has heard yet.",
        lambda w: w.reporting,
    ),
)

_KV: tuple[_Row[KvFigures], ...] = (
    _Row("quorate_kv_keys", "Keys of the store, as the replica has it.", lambda k: k.store.keys),
    _Row(
        "quorate_kv_bytes",
        "What keys, values and their index, uploads and history take, about.",
        lambda k: k.store.bytes,
    ),
    _Row("quorate_kv_max_bytes", "What they may take; 0: no bound.", lambda k: k.store.max_bytes),
    _Row(
        "quorate_kv_restricted",
        "1 if nothing may grow because a disk is full.",
        lambda k: bool(k.store.restricted),
    ),
    _Row("quorate_kv_watches", "Watches that wait.", lambda k: k.watches),
)

_RESP: tuple[_Row[DoorFigures], ...] = (
    _Row("quorate_resp_connections", "Connections of Redis clients.", lambda d: d.connections),
    _Row(
        "quorate_resp_connections_refused_total",
        "Connections refused because there were too many.",
        lambda d: d.refused,
    ),
    _Row("quorate_resp_commands_total", "Commands of Redis clients.", lambda d: d.commands),
    _Row(
        "quorate_resp_maybe_answers_total",
        "Answers of MAYBE: the outcome could not be known.",
        lambda d: d.maybe_answers,
    ),
)

_ANSWERING: tuple[_Row[ProcessFigures], ...] = (
    _Row("quorate_rpc_calls_total", "Calls that came, refused ones too.", lambda p: p.rpc.calls),
    _Row(
        "quorate_rpc_calls_refused_total",
        "Calls refused because too many were under way on a connection.",
        lambda p: p.rpc.calls_refused,
    ),
    _Row(
        "quorate_rpc_calls_under_way",
        "Calls that wait for their answer.",
        lambda p: p.rpc.calls_under_way,
    ),
    _Row("quorate_rpc_connections", "Connections accepted and open.", lambda p: p.rpc.connections),
    _Row(
        "quorate_rpc_notices_dropped_total",
        "Notices to other processes that could not be sent at once.",
        lambda p: p.notices_dropped,
    ),
)

_LAG: tuple[_Row[Histogram], ...] = (
    _Row(
        "quorate_process_loop_lag_seconds",
        "How late the event loop was, looked at once a second.",
        lambda lag: lag,
    ),
)

_USE: tuple[_Row[ProcessUse], ...] = (
    _Row(
        "quorate_process_resident_memory_bytes", "Memory that it holds.", lambda u: u.resident_bytes
    ),
    _Row(
        "quorate_process_cpu_seconds_total",
        "Processor time of all its threads, user and system.",
        lambda u: u.cpu_s,
    ),
    _Row("quorate_process_open_files", "Open files and connections.", lambda u: u.open_files),
    _Row("quorate_process_threads", "Threads.", lambda u: u.threads),
)

_PROCESS: tuple[_Row[SeenProcess], ...] = (
    _Row("quorate_up", "1 if the process answers.", lambda p: p.figures is not None),
    _Row(
        "quorate_process_starts_again_total",
        "How often the supervisor has started it again.",
        lambda p: p.starts_again,
    ),
)

_NODE: tuple[_Row[SeenNode], ...] = (
    _Row(
        "quorate_disk_free_bytes",
        "Free space of the file system that holds the data.",
        lambda n: n.disk_free_bytes,
    ),
    _Row(
        "quorate_replicas_damaged",
        "1 while the replicas here are damaged and not rebuilt from the others yet.",
        lambda n: n.is_damaged,
    ),
)

_Labelled = Sequence[tuple[dict[str, str], T]]


def families(node: SeenNode) -> Iterator[Metric]:
    """All metrics of a machine."""
    yield InfoMetricFamily(
        "quorate_node", "The machine and its release.", {"node": node.name, "version": node.version}
    )
    yield from _metrics(_NODE, [({}, node)])
    yield from _metrics(_PROCESS, [({"role": seen.role}, seen) for seen in node.processes])
    uses = [("supervisor", node.supervisor), *((seen.role, seen.use) for seen in node.processes)]
    yield from _metrics(_USE, [({"role": role}, use) for role, use in uses if use is not None])
    answers = [({"role": seen.role}, seen.figures) for seen in node.processes if seen.figures]
    yield from _metrics(_ANSWERING, answers)
    lags = [(labels, figures.loop_lag_ms) for labels, figures in answers]
    yield from _metrics(_LAG, [({"role": "supervisor"}, node.supervisor_lag_ms), *lags])
    for _, figures in answers:
        if figures.kv is not None:
            yield from _metrics(_KV, [({}, figures.kv)])
            doors = [figures.kv.door] if figures.kv.door is not None else []
            yield from _metrics(_RESP, [({}, door) for door in doors])
        match figures.system:
            case RaftFigures():
                yield from _of_raft(figures.system)
            case ChunkserverFigures():
                yield from _metrics(_CHUNKSERVER, [({}, figures.system)])
            case WorkerFigures():
                yield from _metrics(_WORKER, [({}, figures.system)])


def _of_raft(raft: RaftFigures) -> Iterator[Metric]:
    groups = [(_group_label(group), group) for group in raft.groups]
    yield from _metrics(_GROUP, groups)
    yield from _metrics(_LOG, [({}, raft)])
    followers = [
        (labels | {"peer": _addresses(group).get(replica, ""), "replica": str(replica)}, lag)
        for labels, group in groups
        for replica, lag in group.follower_lags.items()
    ]
    yield from _metrics(_FOLLOWER, followers)


def _group_label(group: GroupFigures) -> dict[str, str]:
    number = group.status.group
    return {"group": GROUP_NAMES.get(number, str(number))}


def _addresses(group: GroupFigures) -> dict[ReplicaId, Address]:
    """Of its members."""
    members = group.status.configuration
    return members.addresses if members is not None else {}


def _metrics(rows: Iterable[_Row[T]], things: _Labelled[T]) -> Iterator[Metric]:
    """Each of ``rows`` of all ``things``; nothing if there are none."""
    if not things:
        return
    names = list(things[0][0])
    for row in rows:
        values = [(list(labels.values()), row.read(thing)) for labels, thing in things]
        yield _metric(row.name, row.help, names, values)


def _metric(
    name: str, help: str, labels: list[str], values: list[tuple[list[str], float | Histogram]]
) -> Metric:
    word = name.removesuffix("_total").rpartition("_")[2]
    unit = word if word in UNITS else ""
    histogram = HistogramMetricFamily(name, help, labels=labels, unit=unit)
    plain = (CounterMetricFamily if name.endswith("_total") else GaugeMetricFamily)(
        name, help, labels=labels, unit=unit
    )
    for own, value in values:
        if isinstance(value, Histogram):
            histogram.add_metric(own, _buckets(value), value.total / 1000)
        else:
            plain.add_metric(own, float(value))
    return histogram if histogram.samples else plain


def _buckets(histogram: Histogram) -> list[tuple[str, float]]:
    """Cumulative, by upper bound in seconds."""
    bounds = [*(str(bound / 1000) for bound in histogram.bounds), "+Inf"]
    return list(zip(bounds, accumulate(histogram.counts), strict=True))


class _Once(Collector):
    """What the library's encoders want to be given."""

    def __init__(self, node: SeenNode) -> None:
        self._node = node

    def collect(self) -> Iterable[Metric]:
        return families(self._node)


def exposition(node: SeenNode, accept: str) -> tuple[bytes, str]:
    """The page and its content type: OpenMetrics, which names the units too, for whoever says that
    they take it in their ``Accept`` header.  Nothing of the header comes back."""
    if "application/openmetrics-text" in accept:
        encode: Callable[[Collector], bytes] = openmetrics.generate_latest
        return encode(_Once(node)), openmetrics.CONTENT_TYPE_LATEST
    return generate_latest(_Once(node)), CONTENT_TYPE_PLAIN_0_0_4
