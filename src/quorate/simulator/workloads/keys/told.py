"""Were watchers told the truth, and all of it, in order, once?

By what clients saw: a change whose revision its client knows was told to whoever watched that key
then; no two watchers were told different things of a revision; and what the last of them says of a
key is what is there in the end.  ``Revisions``, who sees everything, judges the same more strictly.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence

from quorate.base.check import check
from quorate.kv.core.commands import Kind
from quorate.simulator.checkers.revisions import Revisions
from quorate.simulator.workloads.keys.record import Change, Look, Seen, Told

LATE_MS = 5_500
"""Within this time of calm a watcher is told of what was acknowledged, whichever nodes are lost."""


def judge_watches(seen: Seen, calm_ms: float, end_ms: float) -> None:
    """Raise ``Bug`` unless they were; the faults were over at ``calm_ms``, the watchers were
    stopped at ``end_ms``."""
    by_revision: dict[tuple[int, bytes], tuple[list[tuple[Kind, bytes]], str]] = {}
    known: defaultdict[bytes, list[Change]] = defaultdict(list)
    for change in seen.changes:
        known[change.key].append(change)
    for told in seen.told:
        _judge_order(told)
        mine: defaultdict[tuple[int, bytes], list[tuple[Kind, bytes]]] = defaultdict(list)
        for event in told.events:
            mine[event.revision, event.key].append((event.kind, event.value))
        for place, events in mine.items():
            first, other = by_revision.setdefault(place, (events, told.client))
            check(
                first == events,
                f"Watch: of {place[1]!r} at revision {place[0]} {other} was told {first}, and"
                f" {told.client} {events}",
            )
        _judge_changes(told, known)
        if seen.final is not None and told.revision >= seen.final.revision:
            _judge_final(told, seen.final)
    _judge_overlaps(seen.told)
    _judge_late(seen, calm_ms, end_ms)


def judge_by(revisions: Revisions, seen: Seen) -> None:
    """By what really happened."""
    for told in seen.told:
        revisions.judge_watch(
            told.client, told.since, told.revision, told.start, told.end, told.events
        )


def _judge_order(told: Told) -> None:
    last = told.since
    for event in told.events:
        check(
            last <= event.revision <= told.revision and event.revision > told.since,
            f"Watch: {told.client} was told of revision {event.revision} after {last}, and of all"
            f" from {told.since} to {told.revision}",
        )
        check(
            told.covers(event.key) or event.kind is Kind.CLEAR,
            f"Watch: {told.client} was told of {event.key!r}, which it does not watch",
        )
        last = event.revision


def _judge_changes(told: Told, known: Mapping[bytes, list[Change]]) -> None:
    """What clients know to have changed, a watcher was told."""
    last = {(event.revision, event.key): event for event in told.events}
    for key, changes in known.items():
        if not told.covers(key):
            continue
        for change in changes:
            if told.since < change.revision <= told.revision:
                event = last.get((change.revision, key))
                shown = event.value if event is not None and event.kind is Kind.PUT else None
                check(
                    event is not None and shown == change.value,
                    f"Watch: {told.client} was told of all from {told.since} to {told.revision},"
                    f" and of {key!r} at {change.revision} {event}, not {change.value!r}",
                )


def _judge_overlaps(told: Sequence[Told]) -> None:
    """Whoever watches the same key at the same time is told the same."""
    for number, one in enumerate(told):
        for other in told[number + 1 :]:
            since, until = max(one.since, other.since), min(one.revision, other.revision)
            if since >= until:
                continue
            seen = [
                [
                    (event.revision, event.key)
                    for event in it.events
                    if since < event.revision <= until
                    and one.covers(event.key)
                    and other.covers(event.key)
                ]
                for it in (one, other)
            ]
            check(
                seen[0] == seen[1],
                f"Watch: {one.client} and {other.client} were not told the same from revision"
                f" {since} to {until}: {sorted(set(seen[0]) ^ set(seen[1]))[:3]}",
            )


def _judge_final(told: Told, final: Look) -> None:
    """The last event of a key is what is there in the end."""
    last = {event.key: event for event in told.events if event.revision <= final.revision}
    for key, event in last.items():
        entry = final.versions.get(key)
        if event.kind is Kind.PUT:
            ended = entry is None  # an end that has come, and of which nobody was told yet
            check(
                ended or (entry is not None and entry.revision == event.revision),
                f"Watch: {told.client} was last told of {key!r} at {event.revision}, and {entry} is"
                " there in the end",
            )
        else:
            check(entry is None, f"Watch: {told.client} was told that {key!r} is gone: {entry}")
    for key, entry in final.versions.items():
        if entry is not None and told.covers(key) and entry.revision > told.since:
            check(
                key in last,
                f"Watch: {told.client} was never told of {key!r}, which was changed at"
                f" {entry.revision}",
            )


def _judge_late(seen: Seen, calm_ms: float, end_ms: float) -> None:
    clients = dict.fromkeys(told.client for told in seen.told)
    due_ms = end_ms - LATE_MS
    if due_ms <= calm_ms:
        return
    due = max((c.revision for c in seen.changes if c.returned <= due_ms), default=0)
    for client in clients:
        mine = [told for told in seen.told if told.client == client]
        if mine[-1].refused_ms >= calm_ms:
            continue  # it reads the keys instead
        told_by = [reached for told in mine for when, reached in told.reached if when <= end_ms]
        reached = max([told.since for told in mine] + told_by)
        check(
            reached >= due,
            f"Watch: {client} was told of all up to {reached} only at {end_ms:.0f} ms, and revision"
            f" {due} was acknowledged before {due_ms:.0f} ms",
        )
