"""The one door: ``step(replica, event, now_ms)`` gives the ``Effects`` of an event."""

from quorate.raft.core import compaction, election, membership, reads, replication, transfer
from quorate.raft.core.entries import NOBODY
from quorate.raft.core.events import (
    Change,
    Compact,
    Effects,
    Event,
    PeerLost,
    Persisted,
    Propose,
    Read,
    Receive,
    SnapshotInstalled,
    SnapshotTaken,
    Tick,
    Transfer,
)
from quorate.raft.core.messages import (
    AppendReply,
    AppendRequest,
    InstallReply,
    InstallSnapshot,
    ReadReply,
    ReadRequest,
    TimeoutNow,
    VoteReply,
    VoteRequest,
)
from quorate.raft.core.replica import Replica, Role


def step(replica: Replica, event: Event, now_ms: float) -> Effects:
    """Change ``replica`` by one event and say what is to be done about it."""
    out = Effects()
    match event:
        case Receive():
            _receive(replica, event, now_ms, out)
        case Propose(commands):
            replication.propose(replica, commands, now_ms, out)
        case Persisted(write):
            replica.persisted(write)
            election.vote_persisted(replica, write, now_ms, out)
            replication.advance_commit(replica)
        case Tick():
            _tick(replica, now_ms, out)
        case Read(number):
            reads.read(replica, number, now_ms, out)
        case Change(configuration):
            membership.change(replica, configuration, now_ms, out)
        case Transfer(target):
            transfer.transfer(replica, target, now_ms, out)
        case PeerLost(peer):
            election.peer_lost(replica, peer, now_ms)
        case SnapshotTaken(snapshot):
            compaction.snapshot_taken(replica, snapshot, now_ms)
        case SnapshotInstalled(snapshot):
            compaction.snapshot_installed(replica, snapshot, out)
        case Compact(max_entries):
            compaction.compact(replica, max_entries, out)
    if replica.unsettled and replica.commit_index >= replica.unsettled:
        membership.settle(replica, now_ms, out)
    if replica.early_reads:
        reads.committed(replica, now_ms, out)
    return out


def _tick(replica: Replica, now_ms: float, out: Effects) -> None:
    if now_ms < replica.next_deadline_ms:
        return
    if replica.role is Role.LEADER:
        replication.heartbeat(replica, now_ms, out)
    elif now_ms >= replica.election_deadline_ms:
        election.election_timeout(replica, now_ms, out)
    else:
        election.ask_for_votes(replica, now_ms, out)


def _receive(replica: Replica, event: Receive, now_ms: float, out: Effects) -> None:
    sender, message = event
    # Also from who is not of the configuration that is known here: it may be of a later one, and
    # without its log, or our vote, nobody might ever lead (thesis §4.2.2).
    if sender == replica.replica:
        return
    match message:
        case AppendRequest():
            replication.append_request(replica, sender, message, now_ms, out)
        case AppendReply():
            replication.append_reply(replica, sender, message, now_ms, out)
            _answered(replica, now_ms, out)
        case VoteRequest():
            election.vote_request(replica, sender, message, now_ms, out)
        case VoteReply():
            election.vote_reply(replica, sender, message, now_ms, out)
        case InstallSnapshot():
            compaction.install_snapshot(replica, sender, message, now_ms, out)
        case InstallReply():
            replication.install_reply(replica, sender, message, now_ms, out)
            _answered(replica, now_ms, out)
        case ReadRequest():
            reads.read_request(replica, sender, message, now_ms, out)
        case ReadReply():
            reads.read_reply(replica, message, out)
        case TimeoutNow():
            transfer.timeout_now(replica, sender, message, now_ms, out)


def _answered(replica: Replica, now_ms: float, out: Effects) -> None:
    """A follower has answered its leader."""
    if replica.role is Role.LEADER:
        if replica.rounds_sent:
            reads.rounds_answered(replica, now_ms, out)
        if replica.transfer_to != NOBODY:
            transfer.hand_over(replica, out)
