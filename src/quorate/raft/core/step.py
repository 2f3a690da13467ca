"""The one door: ``step(replica, event, now_ms)`` gives the ``Effects`` of an event."""

from quorate.raft.core.election import (
    ask_for_votes,
    election_timeout,
    vote_persisted,
    vote_reply,
    vote_request,
)
from quorate.raft.core.events import Effects, Event, Persisted, Propose, Receive, Tick
from quorate.raft.core.messages import AppendReply, AppendRequest, VoteReply, VoteRequest
from quorate.raft.core.replica import Replica, Role
from quorate.raft.core.replication import (
    advance_commit,
    append_reply,
    append_request,
    heartbeat,
    propose,
)


def step(replica: Replica, event: Event, now_ms: float) -> Effects:
    """Change ``replica`` by one event and say what is to be done about it."""
    out = Effects()
    match event:
        case Receive():
            _receive(replica, event, now_ms, out)
        case Tick():
            _tick(replica, now_ms, out)
        case Propose(commands):
            propose(replica, commands, out)
        case Persisted(write):
            replica.persisted(write)
            vote_persisted(replica, write, now_ms, out)
            advance_commit(replica)
    return out


def _tick(replica: Replica, now_ms: float, out: Effects) -> None:
    if now_ms < replica.next_deadline_ms:
        return
    if replica.role is Role.LEADER:
        heartbeat(replica, now_ms, out)
    elif now_ms >= replica.election_deadline_ms:
        election_timeout(replica, now_ms, out)
    else:
        ask_for_votes(replica, now_ms, out)


def _receive(replica: Replica, event: Receive, now_ms: float, out: Effects) -> None:
    sender, message = event
    if sender not in replica.voters or sender == replica.replica:
        return  # not of this group (any more)
    match message:
        case AppendRequest():
            append_request(replica, sender, message, now_ms, out)
        case AppendReply():
            append_reply(replica, sender, message, now_ms, out)
        case VoteRequest():
            vote_request(replica, sender, message, now_ms, out)
        case VoteReply():
            vote_reply(replica, sender, message, now_ms, out)
