"""What no correct peer sends, whatever the network does to its messages.

Delay, loss, repetition and reordering are the network's; what is refused here only a peer that
lies, is broken, or believes itself in another group can have said.  The driver refuses the message
and closes the connection, and nothing of it is applied.
"""

from quorate.base.errors import ProtocolError
from quorate.base.ids import ReplicaId
from quorate.raft.core.configuration import fault_of
from quorate.raft.core.entries import NOBODY, configurations_in
from quorate.raft.core.messages import (
    AppendReply,
    AppendRequest,
    InstallReply,
    InstallSnapshot,
    Message,
    VoteRequest,
)
from quorate.raft.core.replica import Replica, Role


def refusal(replica: Replica, sender: ReplicaId, message: Message) -> str | None:
    """Why ``message`` is none of a correct peer; ``None`` if it may be one."""
    if sender == replica.replica:
        return f"{sender} is the name of this replica itself"
    match message:
        case AppendRequest():
            return (
                _out_of_order(message)
                or _two_leaders(replica, sender, message.term)
                or (_against_commitment(replica, message))
            )
        case AppendReply() | InstallReply():
            return _unfounded(replica, message)
        case InstallSnapshot(term, snapshot):
            if (why := fault_of(snapshot.configuration)) is not None:
                return f"a snapshot with a configuration that cannot be: {why}"
            if snapshot.id.term > term:
                return f"a snapshot of term {snapshot.id.term}, in term {term}"
            return _another_history(replica, message) or _two_leaders(replica, sender, term)
        case VoteRequest(term, _, last_log_term):
            if last_log_term > term:
                return f"a log that ends in term {last_log_term}, in term {term}"
    return None


def _out_of_order(request: AppendRequest) -> str | None:
    index, term = request.prev_log_index, request.prev_log_term
    for entry in request.entries:
        if entry.index != index + 1 or not term <= entry.term <= request.term:
            return (
                f"entries out of order: index {entry.index} of term {entry.term} after index"
                f" {index} of term {term}, in term {request.term}"
            )
        index, term = entry.index, entry.term
    try:
        configurations_in(request.entries)
    except ProtocolError as error:
        return error.message
    return None


def _two_leaders(replica: Replica, sender: ReplicaId, term: int) -> str | None:
    """At most one leader a term (§5.2)."""
    if term == replica.term and replica.leader not in (NOBODY, sender):
        return f"{sender} leads in term {term}, as {replica.leader} does"
    return None


def _against_commitment(replica: Replica, request: AppendRequest) -> str | None:
    """Who leads in our term or a later one has all that is committed here (§5.4)."""
    if request.term < replica.term:
        return None  # an old leader may have believed otherwise; it is not obeyed
    known = replica.log.term(request.prev_log_index)
    if request.prev_log_index <= replica.commit_index and known not in (
        None,
        request.prev_log_term,
    ):
        return (
            f"entry {request.prev_log_index} of term {request.prev_log_term}: the one of term"
            f" {known} is committed"
        )
    for entry in request.entries:
        if entry.index > replica.commit_index:
            break
        known = replica.log.term(entry.index)
        if known not in (None, entry.term):
            return f"entry {entry.index} of term {entry.term}: that of term {known} is committed"
    return None


def _another_history(replica: Replica, message: InstallSnapshot) -> str | None:
    """A snapshot stands for what is committed here, and terms never decrease along a log."""
    snapshot = message.snapshot.id
    index = min(snapshot.index, replica.commit_index)
    known = replica.log.term(index)
    if message.term < replica.term or known is None:
        return None
    if snapshot.term < known or (snapshot.term > known and snapshot.index == index):
        return (
            f"a snapshot that ends with entry {snapshot.index} of term {snapshot.term}: entry"
            f" {index} of term {known} is committed"
        )
    return None


def _unfounded(replica: Replica, reply: AppendReply | InstallReply) -> str | None:
    """An answer to what its leader never said."""
    if replica.role is not Role.LEADER or reply.term != replica.term:
        return None
    if reply.round > replica.round:
        return f"an answer to round {reply.round} of {replica.round}"
    last_index = replica.log.last_index
    if isinstance(reply, AppendReply) and max(reply.match_index, reply.prev_log_index) > last_index:
        return f"an answer about {reply}, and the log ends at {last_index}"
    return None
