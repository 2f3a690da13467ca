"""What is wrong with machines: silent, mistaken for each other, disks, clocks, releases."""

from collections.abc import Iterator
from statistics import median

from rich.filesize import decimal

from quorate.base.histogram import Histogram
from quorate.base.ids import Address, NodeId
from quorate.node.doctor.facts import Facts, Finding, NodeFacts, Severity, listed
from quorate.raft.wal import SEGMENT_BYTES

CLOCK_MS = 1_000.0
"""Ordinary clocks, kept by NTP, differ by some milliseconds."""
FULL_BYTES = 2 * SEGMENT_BYTES
"""Each start takes one, and so does a log that rolls."""
NEARLY_FULL_BYTES = 1 << 30
STORE_SHARE, STORE_FULL_SHARE = 0.9, 0.995
"""Of its bound: so near to it the store is nearly full, and full."""
SLOW_SHARE = 0.05
"""Of the syncs took longer than a heartbeat: the disk is slow, not a moment unlucky."""
FEW_SYNCS = 20


def of_machines(facts: Facts) -> Iterator[Finding]:
    """Findings about machines and not about one group."""
    answering = [node for node in facts.nodes if node.description is not None]
    if not answering:
        yield _nobody(facts)
        return
    yield from _mistaken(facts, answering)
    yield from _twins(facts, answering)
    for node in answering:
        yield from _disk(node)
    yield from _store(answering)
    yield from _clocks(answering)
    yield from _releases(answering)


def _nobody(facts: Facts) -> Finding:
    whys = [f"{node.name} ({node.rpc}: {node.why_not})" for node in facts.nodes]
    return Finding(
        Severity.STOPPED,
        "nobody-answers",
        f"no node of the cluster answers: {listed(whys)}.",
        "start the nodes ('quorate node --config FILE' on each), or name another with --cluster;"
        " on a machine whose node does not start, ask 'quorate doctor --config FILE'.",
        "bootstrap a node again.",
    )


def _mistaken(facts: Facts, answering: list[NodeFacts]) -> Iterator[Finding]:
    """Another cluster's machine, or another machine of this one, where one was expected."""
    by_node: dict[NodeId, list[Address]] = {}
    for node in answering:
        described = node.description
        if described is None:
            continue
        if described.cluster != facts.cluster:
            yield Finding(
                Severity.RISK,
                "another-cluster",
                f"at {node.rpc}, where {node.name} belongs, answers {described.name} of another"
                f" cluster ({described.cluster}, and this is {facts.cluster}): its disk was"
                " swapped, or its configuration names the wrong machines.",
                f"put the disk of {node.name} back, or mend its configuration.",
                "bootstrap or wipe either disk.",
            )
            continue
        if described.name != node.name:
            yield Finding(
                Severity.RISK,
                "another-node",
                f"at {node.rpc}, where {node.name} belongs, answers {described.name}: the disks of"
                " the two were swapped, or one was cloned.",
                "put each disk into its own machine again.",
                "bootstrap or wipe either disk.",
            )
        by_node.setdefault(described.node, []).append(node.rpc)
    for doors in by_node.values():
        if len(doors) > 1:
            yield _cloned(f"{listed([*doors])} answer as one and the same node")


def _cloned(what: str) -> Finding:
    return Finding(
        Severity.RISK,
        "cloned-disk",
        f"{what}: a disk was cloned, and each of the two copies votes and promises what the other"
        " does not know.",
        "stop both at once, take that node out and a new machine in ('quorate cluster replace').",
        "let either of the two run on, even if all seems well.",
    )


def _twins(facts: Facts, answering: list[NodeFacts]) -> Iterator[Finding]:
    names = {node.node: node.name for node in facts.nodes}
    seen: dict[NodeId, set[str]] = {}
    for node in answering:
        if node.examination is not None:
            for twin, lives in node.examination.twins.items():
                seen.setdefault(twin, set()).update(lives)
    for twin, both in seen.items():
        where = listed([printable(life) for life in sorted(both)])
        yield _cloned(f"two processes speak in the name of {names.get(twin, twin)}: {where}")


def _disk(node: NodeFacts) -> Iterator[Finding]:
    examined = node.examination
    if examined is None:
        return
    yield from space(node.name, examined.disk_free_bytes)
    interval_ms = examined.timing.heartbeat_interval_ms
    slow, count = _above(examined.sync_ms, interval_ms), examined.sync_ms.count
    if count >= FEW_SYNCS and slow > SLOW_SHARE * count:
        mean_ms = examined.sync_ms.total / count
        yield Finding(
            Severity.RISK,
            "slow-disk",
            f"the disk of {node.name} is slow: {slow:,} of {count:,} syncs of the log took longer"
            f" than a heartbeat's {interval_ms} ms ({mean_ms:.0f} ms on average); writes wait for"
            " it while it is needed for a majority, and it cannot lead well.",
            "look at what else uses that disk; if it cannot be helped, move the leaders away"
            " ('quorate cluster transfer') or replace the machine.",
        )


def _above(durations: Histogram, bound_ms: float) -> int:
    bounds = [*durations.bounds, float("inf")]
    lows = [0.0, *bounds[:-1]]
    return sum(n for low, n in zip(lows, durations.counts, strict=True) if low >= bound_ms)


def space(name: str, free_bytes: int) -> Iterator[Finding]:
    """Findings about the free space of a machine's disk."""
    if free_bytes < NEARLY_FULL_BYTES:
        full = free_bytes < FULL_BYTES
        yield Finding(
            Severity.RISK,
            "disk-full" if full else "disk-nearly-full",
            f"the disk of {name} {'is full' if full else 'is nearly full'}: {decimal(free_bytes)}"
            " are free.  A node without space for its log stops, loses nothing, and does not start"
            " again before there is some.",
            "make room (delete or move what is not quorate's), or give it a larger disk.",
            f"delete anything in the data directory of {name}.",
        )


def _store(answering: list[NodeFacts]) -> Iterator[Finding]:
    stores = [n.description.store for n in answering if n.description and n.description.store]
    if not stores:
        return
    newest = max(stores, key=lambda store: store.revision)
    size, bound = newest.bytes, newest.max_bytes
    if newest.restricted:
        what = f"takes no writes that grow: {printable(newest.restricted)}"
        do = "make room on that disk, or give it a larger one"
    elif bound and size > STORE_SHARE * bound:
        full = size > STORE_FULL_SHARE * bound
        what = f"is {'full' if full else 'nearly full'}: {decimal(size)} of {decimal(bound)}"
        do = "raise kv.max_bytes on all machines, keep the store on the disk (kv.store)"
    else:
        return
    yield Finding(
        Severity.RISK,
        "store-full",
        f"the key/value store {what}.  Reads and deletes go on; when there is room again, so do"
        " writes, by themselves.",
        f"{do}, or delete keys.",
    )


def _clocks(answering: list[NodeFacts]) -> Iterator[Finding]:
    clocks = [node for node in answering if node.examination is not None]
    if len(clocks) < 2:
        right_ms = 0.0  # the doctor's own
    elif len(clocks) == 2:
        right_ms = min((node.clock_ms for node in clocks), key=abs)  # whom the doctor believes
    else:
        right_ms = median(node.clock_ms for node in clocks)
    for node in clocks:
        wrong_ms = node.clock_ms - right_ms
        if abs(wrong_ms) > CLOCK_MS + node.clock_error_ms:
            ahead = "ahead of" if wrong_ms > 0 else "behind"
            harm = (
                "while it leads, log time runs ahead with it: client sessions and what else has a"
                " deadline expire too early"
                if wrong_ms > 0
                else "while it leads, log time goes on at half pace: what has a deadline expires"
                " late"
            )
            yield Finding(
                Severity.RISK,
                "wrong-clock",
                f"the wall clock of {node.name} is {abs(wrong_ms) / 1000:,.1f} s {ahead} the"
                f" others' (±{node.clock_error_ms:.0f} ms); {harm}.  No vote, no acknowledged write"
                " and no lease rests on a wall clock.",
                f"let NTP set the clock of {node.name} (chronyc tracking, timedatectl); no restart"
                " is needed.",
            )


def _releases(answering: list[NodeFacts]) -> Iterator[Finding]:
    releases: dict[str, list[str]] = {}
    for node in answering:
        if node.description is not None:
            releases.setdefault(printable(node.description.version), []).append(node.name)
    if len(releases) > 1:
        runs = [f"{listed(names)} {release}" for release, names in sorted(releases.items())]
        yield Finding(
            Severity.RISK,
            "releases-differ",
            f"the machines run different releases: {listed(runs)}.",
            "bring all to the newest of them, one machine after the other.",
        )


def printable(text: str) -> str:
    """What another process says of itself, fit for a terminal."""
    return "".join(c if c.isprintable() else "?" for c in text)
