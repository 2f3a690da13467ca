"""What happened at each revision of a key/value store, as its replicas applied it.

An omniscient observer: all replicas must tell of the same events, and a watch is judged by them.
"""

from collections.abc import Callable, Sequence

from quorate.base.check import check
from quorate.kv.core.commands import Event, Kind


class Revisions:
    """Told by each replica of the events of each command (``KvCluster``)."""

    def __init__(self, judges: Callable[[], bool]) -> None:
        self.judges = judges
        """Whether it is to say what is broken."""
        self.events: dict[int, list[Event]] = {}

    def happened(self, events: Sequence[Event]) -> None:
        """One command has changed this, on one of the replicas."""
        by_revision: dict[int, list[Event]] = {}
        for event in events:
            by_revision.setdefault(event.revision, []).append(event)
        for revision, found in by_revision.items():
            known = self.events.setdefault(revision, found)
            check(
                known == found or not self.judges(),
                f"State Machine Safety: at revision {revision} one replica has {known}, another"
                f" {found}",
            )

    def between(self, since: int, until: int, start: bytes, end: bytes | None) -> list[Event]:
        """Those of revisions behind ``since``, up to ``until``, of a range of keys."""
        return [
            event
            for revision in range(since + 1, until + 1)
            for event in self.events.get(revision, ())
            if event.kind is Kind.CLEAR or (event.key >= start and (end is None or event.key < end))
        ]

    def judge_watch(
        self, who: str, since: int, until: int, start: bytes, end: bytes | None, told: list[Event]
    ) -> None:
        """What ``who`` was told of a range between two revisions is what happened, in order."""
        if self.judges():
            happened = self.between(since, until, start, end)
            check(
                told == happened,
                f"Watch: {who} was told of {_short(told)} between revisions {since} and {until},"
                f" and {_short(happened)} happened",
            )


def _short(events: list[Event]) -> str:
    return ", ".join(f"{e.revision} {e.kind.name} {e.key.decode()}" for e in events) or "nothing"
