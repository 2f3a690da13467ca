"""Planted bugs of reads and leases: Raft §8, thesis §3.10 and §6.4."""

from quorate.base.ids import ReplicaId
from quorate.raft.core import reads, replication, transfer
from quorate.raft.core.events import Effects, ReadReady
from quorate.raft.core.replica import Replica
from quorate.raft.reads import Reads
from quorate.simulator.planted.patching import PlantedBug

_admit = reads._admit
_rounds_answered = reads.rounds_answered
_hand_over = transfer.hand_over
_heartbeat = replication.heartbeat
_ready = Reads.ready


def _answer_at_once(
    replica: Replica, number: int, asker: ReplicaId, now_ms: float, out: Effects
) -> None:
    reads._answer(replica, number, asker, replica.commit_index, out)


def _before_the_noop(
    replica: Replica, number: int, asker: ReplicaId, now_ms: float, out: Effects
) -> None:
    term_start, replica.term_start = replica.term_start, 0
    try:
        _admit(replica, number, asker, now_ms, out)
    finally:
        replica.term_start = term_start


def _heard_lately(
    replica: Replica, number: int, asker: ReplicaId, now_ms: float, out: Effects
) -> None:
    since_ms = now_ms - replica.timing.election_timeout_ms
    heard = sum(1 for progress in replica.progress.values() if progress.answered_ms >= since_ms)
    if (
        heard + 1 > len(replica.configuration.voters) // 2
        and replica.commit_index >= replica.term_start
    ):
        reads._answer(replica, number, asker, replica.commit_index, out)
    else:
        _admit(replica, number, asker, now_ms, out)


def _count_heartbeats(replica: Replica, now_ms: float, out: Effects) -> None:
    late_ms = now_ms - replica.heartbeat_deadline_ms
    for progress in replica.progress.values():
        progress.answered_ms += late_ms
    _heartbeat(replica, now_ms, out)


def _from_the_answer(replica: Replica, now_ms: float, out: Effects) -> None:
    before_ms = replica.lease_until_ms
    _rounds_answered(replica, now_ms, out)
    if replica.lease_until_ms != before_ms:
        replica.lease_until_ms = now_ms + replica.timing.lease_ms


def _keep_the_lease(replica: Replica, out: Effects) -> None:
    _hand_over(replica, out)
    replica.lease_revoked = False


def _do_not_wait(self: Reads, ready: list[ReadReady], last_applied: int) -> None:
    _ready(self, ready, 1 << 62)


BUGS = (
    PlantedBug(
        "stale read without ReadIndex",
        "a leader answers from its state and asks nobody whether it leads still",
        ((reads, "_admit", _answer_at_once),),
        "registers",
    ),
    PlantedBug(
        "read served before the no-op",
        "a new leader takes for committed what it knew of as a follower",
        ((reads, "_admit", _before_the_noop),),
        "registers",
    ),
    PlantedBug(
        "a paused leader that answers",
        "a leader asks nobody if a majority has answered lately, and counts heartbeats, not time:"
        " what passed while it was stopped it does not notice",
        ((reads, "_admit", _heard_lately), (replication, "heartbeat", _count_heartbeats)),
        "registers",
    ),
    PlantedBug(
        "lease measured from the answer",
        "a lease lasts from when a round was answered, not from when it left",
        ((reads, "rounds_answered", _from_the_answer),),
        "registers",
    ),
    PlantedBug(
        "lease kept after transfer",
        "a leader that has asked another to take over goes on trusting its lease",
        ((transfer, "hand_over", _keep_the_lease),),
        "registers",
    ),
    PlantedBug(
        "follower read before it is applied",
        "a follower has the read index, and answers before its state has got there",
        ((Reads, "ready", _do_not_wait),),
        "registers",
    ),
)
