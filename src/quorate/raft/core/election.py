"""Elections: Raft §5.2 and §5.4.1, with pre-vote (thesis §9.6).

While leases are on, who has heard a leader owes it its vote for an election timeout (thesis
§6.4.1): it refuses a real vote, too, unless the leader itself asked for the election, and so it has
given its lease up.  While they are off, a follower whose connection with the leader's node is reset
need not wait: it asks for pre-votes at once, and those who still hear the leader say no.
"""

from quorate.base.check import check
from quorate.base.ids import ReplicaId
from quorate.base.sometimes import sometimes
from quorate.raft.core.entries import NOBODY, EntryId, EntryKind
from quorate.raft.core.events import Effects
from quorate.raft.core.messages import VoteReply, VoteRequest
from quorate.raft.core.progress import Progress
from quorate.raft.core.replica import Replica, Role
from quorate.raft.core.replication import advance_commit, broadcast


def election_timeout(replica: Replica, now_ms: float, out: Effects) -> None:
    """Nothing was heard from a leader: ask whether an election could be won."""
    replica.become_follower(replica.term, NOBODY, now_ms, out)
    replica.reset_election_timer(now_ms)
    if not replica.may_stand:
        sometimes("no campaign of who does not vote")
        return  # a learner, or removed, or not yet told of its group
    if replica.disk_stalls(now_ms):
        sometimes("no campaign while the disk stalls")
        return
    replica.role = Role.PRE_CANDIDATE
    replica.votes = {replica.replica: True}
    replica.by_transfer = False
    ask_for_votes(replica, now_ms, out)
    _count(replica, now_ms, out)


def campaign(replica: Replica, now_ms: float, out: Effects) -> None:
    """A new term, a vote for itself, and requests to all others (§5.2).

    The vote for itself counts when it is on disk, like anybody's: ``vote_persisted``.
    """
    replica.set_term_and_vote(replica.term + 1, replica.replica, out)
    replica.role = Role.CANDIDATE
    replica.elections += 1
    replica.leader = NOBODY
    replica.vote_write = out.write
    replica.reset_election_timer(now_ms)
    replica.votes = {}
    ask_for_votes(replica, now_ms, out)


def peer_lost(replica: Replica, peer: ReplicaId, now_ms: float) -> None:
    """The leader's process has probably ended: do not wait for its silence to become long."""
    if replica.timing.lease or replica.role is not Role.FOLLOWER or replica.leader != peer:
        return
    sometimes("early campaign")
    replica.leader = NOBODY
    replica.last_contact_ms = float("-inf")
    spread_ms = replica.timing.heartbeat_interval_ms * replica.draw()
    replica.election_deadline_ms = min(replica.election_deadline_ms, now_ms + spread_ms)


def ask_for_votes(replica: Replica, now_ms: float, out: Effects) -> None:
    """Ask those who have not answered; again after a while, for messages are lost (§5.1, §5.5)."""
    pre_vote = replica.role is Role.PRE_CANDIDATE
    last = replica.last_entry
    request = VoteRequest(
        replica.term + pre_vote, last.index, last.term, pre_vote, replica.by_transfer
    )
    for peer in replica.configuration.electors:
        if peer not in replica.votes and peer != replica.replica:
            replica.send(peer, request, out)
    replica.heartbeat_deadline_ms = now_ms + replica.timing.heartbeat_interval_ms


def vote_persisted(replica: Replica, write: int, now_ms: float, out: Effects) -> None:
    if replica.role is Role.CANDIDATE and write >= replica.vote_write:
        replica.votes[replica.replica] = True
        _count(replica, now_ms, out)


def vote_request(
    replica: Replica, sender: ReplicaId, request: VoteRequest, now_ms: float, out: Effects
) -> None:
    """Figure 2, RequestVote RPC, receiver; or the same question before an election."""
    candidate = EntryId(request.last_log_index, request.last_log_term)
    up_to_date = replica.log.is_up_to_date(candidate)
    if request.pre_vote:
        granted = request.term > replica.term and up_to_date and not _hears_leader(replica, now_ms)
        term = request.term if granted else replica.term
        replica.send(sender, VoteReply(term, granted, pre_vote=True), out)
        return
    if replica.timing.lease and not request.transfer and _hears_leader(replica, now_ms):
        sometimes("vote refused for a lease")
        replica.send(sender, VoteReply(replica.term, False), out)
        return
    if request.term > replica.term:
        replica.become_follower(request.term, NOBODY, now_ms, out)
    granted = request.term == replica.term and replica.voted_for in (NOBODY, sender) and up_to_date
    if granted and sender not in replica.configuration.electors:
        sometimes("vote for a candidate of a later configuration")
    if granted:
        replica.become_follower(replica.term, replica.leader, now_ms, out)
        if replica.voted_for == NOBODY:
            replica.set_term_and_vote(replica.term, sender, out)
        # Only a granted vote restarts the timer: figure 2, "rules for servers, followers".
        replica.reset_election_timer(now_ms)
    replica.send(sender, VoteReply(replica.term, granted), out)


def _hears_leader(replica: Replica, now_ms: float) -> bool:
    """A leader lives: it leads here, or was heard within the shortest election timeout."""
    if replica.role is Role.LEADER:
        return True
    return now_ms - replica.last_contact_ms < replica.timing.election_timeout_ms


def vote_reply(
    replica: Replica, sender: ReplicaId, reply: VoteReply, now_ms: float, out: Effects
) -> None:
    if reply.pre_vote and reply.granted:
        if replica.role is Role.PRE_CANDIDATE and reply.term == replica.term + 1:
            replica.votes[sender] = True
            _count(replica, now_ms, out)
        return
    if reply.term > replica.term:
        replica.become_follower(reply.term, NOBODY, now_ms, out)
    elif replica.role is Role.CANDIDATE and reply.term == replica.term and not reply.pre_vote:
        replica.votes[sender] = reply.granted
        _count(replica, now_ms, out)


def _count(replica: Replica, now_ms: float, out: Effects) -> None:
    if not replica.configuration.is_quorum(lambda voter: replica.votes.get(voter, False)):
        return
    if replica.role is Role.PRE_CANDIDATE:
        campaign(replica, now_ms, out)
    else:
        _become_leader(replica, now_ms, out)


def _become_leader(replica: Replica, now_ms: float, out: Effects) -> None:
    check(replica.role is Role.CANDIDATE, "only a candidate becomes leader")
    replica.role = Role.LEADER
    replica.leader = replica.replica
    replica.election_deadline_ms = float("inf")
    replica.votes = {}
    replica.term_start = replica.log.last_index + 1
    replica.progress = {peer: Progress(replica.term_start, now_ms) for peer in replica.peers}
    # A change that an earlier leader began is this one's to end.
    replica.unsettled = replica.configurations[-1][0] if _is_open(replica) else 0
    # §8: an entry of its own term lets it commit, and so learn, what its predecessors committed.
    noop = replica.new_entry(EntryKind.NOOP, b"", replica.term_start)
    replica.append([noop], now_ms, out)
    broadcast(replica, now_ms, out)
    advance_commit(replica)


def _is_open(replica: Replica) -> bool:
    index, configuration = replica.configurations[-1]
    leaves = replica.replica not in configuration.voters
    return configuration.is_joint or leaves or index > replica.commit_index
