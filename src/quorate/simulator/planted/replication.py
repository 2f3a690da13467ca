"""Planted bugs of log replication: Raft §5.3 and §5.4.2."""

from typing import Any

import msgspec

from quorate.base.ids import ReplicaId
from quorate.raft.core import election, replication
from quorate.raft.core.entries import Entry
from quorate.raft.core.events import Effects
from quorate.raft.core.messages import AppendRequest
from quorate.raft.core.progress import Progress
from quorate.raft.core.replica import Replica, Role
from quorate.simulator.planted.patching import PlantedBug

_accepted = Progress.accepted
_append_request = replication.append_request


def _commit_any_term(replica: Replica) -> None:
    if replica.role is not Role.LEADER:
        return
    matches = [replica.durable_index, *(p.match_index for p in replica.progress.values())]
    majority_index = sorted(matches)[(len(matches) - 1) // 2]
    replica.commit_index = max(replica.commit_index, majority_index)


def _all_that_came(replica: Replica, entries: list[Entry]) -> list[Entry]:
    return [entry for entry in entries if entry.index > replica.commit_index]


def _append_as_it_comes(
    replica: Replica, sender: ReplicaId, request: AppendRequest, now_ms: float, out: Effects
) -> None:
    log = replica.log
    known = sender == replica.leader and request.term == replica.term
    if known and request.entries and request.prev_log_index > log.last_index:
        moved = [
            msgspec.structs.replace(entry, index=index)
            for index, entry in enumerate(request.entries, log.last_index + 1)
        ]
        request = msgspec.structs.replace(
            request,
            prev_log_index=log.last_index,
            prev_log_term=log.last_term,
            entries=moved,
        )
    _append_request(replica, sender, request, now_ms, out)


def _accepted_all(self: Progress, match_index: int) -> bool:
    return _accepted(self, max([match_index, *(last for last, _ in self.inflight)]))


def _commit_first(
    replica: Replica, sender: ReplicaId, request: AppendRequest, now_ms: float, out: Effects
) -> None:
    if request.term >= replica.term:
        known = min(request.commit_index, replica.log.last_index)
        replica.commit_index = max(replica.commit_index, known)
    _append_request(replica, sender, request, now_ms, out)


def _everywhere(name: str, replacement: Any) -> tuple[tuple[Any, str, Any], ...]:
    """Patch what the core's modules import from each other."""
    return tuple((module, name, replacement) for module in (election, replication))


BUGS = (
    PlantedBug(
        "commit of an old term's entry by counting",
        "an entry of an earlier term is committed because a majority has it (figure 8)",
        _everywhere("advance_commit", _commit_any_term),
    ),
    PlantedBug(
        "truncation without conflict",
        "a request that comes late removes what follows it in the log, though it fits",
        ((replication, "_unknown", _all_that_came),),
    ),
    PlantedBug(
        "inflight reordered on reconnect",
        "a follower trusts that what its leader sends comes in order and without a gap, also over"
        " another connection: it appends each request where its log ends",
        ((replication, "append_request", _append_as_it_comes),),
    ),
    PlantedBug(
        "one acknowledgement for all that is in flight",
        "what a follower acknowledges is taken for all that was sent to it",
        ((Progress, "accepted", _accepted_all),),
    ),
    PlantedBug(
        "commit index before the logs match",
        "a follower takes its leader's commit index for its own log, also where that is another",
        ((replication, "append_request", _commit_first),),
    ),
)
