"""Linearizable reads without entries: Raft §8, thesis §6.4.

* A read may be answered from a state that has applied all that was committed when the read came.
  The leader knows that index, if it is still the leader and has committed an entry of its own term.
* That it is still the leader is proved by a round of heartbeats that left after the read came and
  that a majority has answered.  All reads that wait share one round; those that come while one is
  under way share the next.
* With a lease, a round that was answered proves it for ``Timing.lease_ms`` from the moment it left.
  Who has asked a follower to take over has given its lease up, for the rest of its term.
* A follower asks its leader for the index, and answers the read itself.  Nothing of this is ever
  repeated by the core: whoever asked asks again.
"""

from quorate.base.ids import ReplicaId
from quorate.base.sometimes import sometimes
from quorate.raft.core.entries import NOBODY
from quorate.raft.core.events import Effects, ReadReady
from quorate.raft.core.messages import ReadReply, ReadRequest
from quorate.raft.core.replica import PendingRead, Replica, Role
from quorate.raft.core.replication import heartbeat_for, number_round


def read(replica: Replica, number: int, now_ms: float, out: Effects) -> None:
    """A read of this replica's own."""
    if replica.role is Role.LEADER:
        _admit(replica, number, replica.replica, now_ms, out)
    elif replica.leader != NOBODY:
        replica.send(replica.leader, ReadRequest(number), out)


def read_request(
    replica: Replica, sender: ReplicaId, request: ReadRequest, now_ms: float, out: Effects
) -> None:
    if replica.role is not Role.LEADER:
        return  # the follower asks again, whoever leads by then
    if len(replica.reads) + len(replica.early_reads) < replica.limits.inflight_reads:
        _admit(replica, request.read, sender, now_ms, out)


def read_reply(replica: Replica, reply: ReadReply, out: Effects) -> None:
    """True whoever leads by now: the index was proved after the read had come."""
    sometimes("follower read")
    out.reads.append(ReadReady(reply.read, reply.index))


def _admit(replica: Replica, number: int, asker: ReplicaId, now_ms: float, out: Effects) -> None:
    if replica.commit_index < replica.term_start:
        sometimes("read waited for an entry of the term")
        replica.early_reads.append((number, asker))
        return
    if replica.timing.lease:
        if now_ms < replica.lease_until_ms and not replica.lease_revoked:
            _answer(replica, number, asker, replica.commit_index, out)
            return
        sometimes("lease refused")
    under_way = bool(replica.rounds_sent)
    replica.reads.append(PendingRead(number, asker, replica.commit_index, replica.round + 1))
    if not under_way:
        start_round(replica, now_ms, out)


def start_round(replica: Replica, now_ms: float, out: Effects) -> None:
    """Heartbeats now, for the sake of the reads that wait."""
    number_round(replica, now_ms)
    for peer, progress in replica.progress.items():
        replica.send(peer, heartbeat_for(replica, progress), out)
    rounds_answered(replica, now_ms, out)


def rounds_answered(replica: Replica, now_ms: float, out: Effects) -> None:
    """A follower has answered a round: which rounds has a majority answered?"""
    own, round_, progress = replica.replica, replica.round, replica.progress
    answered = replica.configuration.reached(
        lambda voter: round_ if voter == own else progress[voter].round
    )
    sent_ms = None
    while replica.rounds_sent and replica.rounds_sent[0][0] <= answered:
        sent_ms = replica.rounds_sent.popleft()[1]
    if sent_ms is not None:
        replica.lease_until_ms = sent_ms + replica.timing.lease_ms
    while replica.reads and replica.reads[0].round <= answered:
        waited = replica.reads.popleft()
        _answer(replica, waited.read, waited.asker, waited.read_index, out)
    if replica.reads and not replica.rounds_sent:
        start_round(replica, now_ms, out)


def committed(replica: Replica, now_ms: float, out: Effects) -> None:
    """The commit index has moved: reads that came before an entry of this term may go on."""
    if replica.early_reads and replica.commit_index >= replica.term_start:
        waiting, replica.early_reads = replica.early_reads, []
        for number, asker in waiting:
            _admit(replica, number, asker, now_ms, out)


def _answer(replica: Replica, number: int, asker: ReplicaId, index: int, out: Effects) -> None:
    if asker == replica.replica:
        out.reads.append(ReadReady(number, index))
    else:
        replica.send(asker, ReadReply(number, index), out)
