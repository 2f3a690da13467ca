"""Log replication: Raft §5.3, and the commit rule of §5.4.2."""

from quorate.base.check import Bug
from quorate.base.ids import ReplicaId
from quorate.base.sometimes import sometimes
from quorate.raft.core.entries import NOBODY, Entry, EntryKind
from quorate.raft.core.events import Effects
from quorate.raft.core.messages import (
    AppendReply,
    AppendRequest,
    InstallReply,
    InstallSnapshot,
    TimeoutNow,
)
from quorate.raft.core.progress import Mode, Progress
from quorate.raft.core.replica import Replica, Role

# The leader's half.


def propose(replica: Replica, commands: list[bytes], now_ms: float, out: Effects) -> None:
    if replica.role is not Role.LEADER or replica.transfer_to != NOBODY or not commands:
        return
    first = replica.log.last_index + 1
    entries = [replica.new_entry(EntryKind.COMMAND, c, first + i) for i, c in enumerate(commands)]
    replica.append(entries, now_ms, out)
    out.accepted = True
    for peer, progress in replica.progress.items():
        send_entries(replica, peer, progress, out)


def heartbeat(replica: Replica, now_ms: float, out: Effects) -> None:
    """The leader's timer: keep the followers, or give up if it can do nothing for its clients.

    Thesis §6.2: a leader that nobody answers would hold up its clients, and, where only the way to
    it is broken, keep its followers from electing another.  So would one whose own disk stalls; it
    asks the follower that has most to take over.
    """
    if not replica.configuration.is_quorum(lambda voter: replica.answers(voter, now_ms)):
        sometimes("leader without a majority steps down")
        replica.become_follower(replica.term, NOBODY, now_ms, out)
    elif not replica.is_alone and replica.disk_stalls(now_ms):
        sometimes("leader with a stalled disk steps down")
        replica.send(replica.successor, TimeoutNow(replica.term), out)
        replica.become_follower(replica.term, NOBODY, now_ms, out)
    else:
        if now_ms >= replica.transfer_deadline_ms:
            sometimes("transfer given up")
            replica.transfer_to, replica.transfer_deadline_ms = NOBODY, float("inf")
        broadcast(replica, now_ms, out)


def broadcast(replica: Replica, now_ms: float, out: Effects) -> None:
    """To every follower what it lacks, or a heartbeat; at once after an election (§5.2).

    The next is due at a multiple of the interval, so that all leaders of one node beat together and
    what they say to another node is one notice.
    """
    interval_ms = replica.timing.heartbeat_interval_ms
    replica.heartbeat_deadline_ms = now_ms - now_ms % interval_ms + interval_ms
    number_round(replica, now_ms)
    for peer, progress in replica.progress.items():
        progress.paused = False  # whatever was under way may be lost
        if not send_entries(replica, peer, progress, out):
            replica.send(peer, heartbeat_for(replica, progress), out)


def number_round(replica: Replica, now_ms: float) -> None:
    """What is sent from now on proves more than what was sent before (``reads.py``)."""
    replica.round += 1
    if not replica.is_alone:
        replica.rounds_sent.append((replica.round, now_ms))


def heartbeat_for(replica: Replica, progress: Progress) -> AppendRequest | InstallSnapshot:
    """What tells a follower that its leader lives, and shows whether their logs match."""
    if progress.mode is Mode.SNAPSHOT or progress.next_index <= replica.log.base.index:
        return _offer(replica, progress)
    return _request(replica, progress.next_index - 1, 0)


def _offer(replica: Replica, progress: Progress) -> InstallSnapshot:
    snapshot = replica.snapshot
    if snapshot is None:
        raise Bug(f"entry {progress.next_index} is needed and neither in the log nor in a snapshot")
    progress.offered(snapshot.id.index)
    return InstallSnapshot(replica.term, snapshot, replica.round)


def send_entries(replica: Replica, peer: ReplicaId, progress: Progress, out: Effects) -> bool:
    """Send what the follower lacks, as far as its bounds allow; whether anything was sent."""
    sent = False
    while progress.next_index <= replica.log.last_index and progress.may_send(replica.limits):
        if progress.next_index <= replica.log.base.index:
            replica.send(peer, _offer(replica, progress), out)
            return True
        request = _request(replica, progress.next_index - 1, replica.limits.message_bytes)
        size = sum([len(entry.data) for entry in request.entries])
        progress.sent(request.prev_log_index + len(request.entries), size)
        replica.send(peer, request, out)
        sent = True
    return sent


def _request(replica: Replica, prev_index: int, max_bytes: int) -> AppendRequest:
    log = replica.log
    prev_term = log.term(prev_index)
    if prev_term is None:
        raise Bug(f"entry {prev_index} is needed and no longer in the log")
    entries = log.batch(prev_index + 1, max_bytes) if max_bytes else []
    return AppendRequest(
        replica.term, prev_index, prev_term, replica.commit_index, entries, replica.round
    )


def append_reply(
    replica: Replica, sender: ReplicaId, reply: AppendReply, now_ms: float, out: Effects
) -> None:
    if reply.term > replica.term:
        replica.become_follower(reply.term, NOBODY, now_ms, out)
        return
    progress = replica.progress.get(sender)
    if progress is None or reply.term < replica.term:
        return  # no longer the leader it answers
    _answered(progress, reply, now_ms)
    if reply.success:
        # What is committed already moves no majority.
        if progress.accepted(reply.match_index) and reply.match_index > replica.commit_index:
            advance_commit(replica)
    elif not _back_up(replica, progress, reply):
        return
    send_entries(replica, sender, progress, out)


def install_reply(
    replica: Replica, sender: ReplicaId, reply: InstallReply, now_ms: float, out: Effects
) -> None:
    if reply.term > replica.term:
        replica.become_follower(reply.term, NOBODY, now_ms, out)
    elif reply.term == replica.term and sender in replica.progress:
        _answered(replica.progress[sender], reply, now_ms)


def _answered(progress: Progress, reply: AppendReply | InstallReply, now_ms: float) -> None:
    progress.answered_ms = now_ms
    progress.round = max(progress.round, reply.round)


def _back_up(replica: Replica, progress: Progress, reply: AppendReply) -> bool:
    """Choose where to probe next, a term at a time (§5.3, end); False if the refusal is old."""
    rejected = reply.prev_log_index
    if rejected <= progress.match_index or progress.mode is Mode.SNAPSHOT:
        return False  # refused before it accepted what we know it has, or will have
    if progress.mode is Mode.PROBE and rejected != progress.next_index - 1:
        return False  # not the answer to the probe under way
    last_of_term = replica.log.last_index_of_term(reply.conflict_term)
    next_index = reply.conflict_index if last_of_term is None else last_of_term + 1
    progress.probe_from(min(next_index, rejected))
    return True


def advance_commit(replica: Replica) -> None:
    """Commit what a majority has on disk.

    §5.4.2: only an entry of the leader's own term is committed by counting replicas; those before
    it are committed with it (figure 8 shows why).
    """
    if replica.role is not Role.LEADER:
        return
    own, durable_index, progress = replica.replica, replica.durable_index, replica.progress
    majority_index = replica.configuration.reached(
        lambda voter: durable_index if voter == own else progress[voter].match_index
    )
    if majority_index > replica.commit_index and replica.log.term(majority_index) == replica.term:
        replica.commit_index = majority_index


# The follower's half.


def append_request(
    replica: Replica, sender: ReplicaId, request: AppendRequest, now_ms: float, out: Effects
) -> None:
    """Figure 2, AppendEntries RPC, receiver."""
    if request.term < replica.term:
        replica.send(sender, AppendReply(replica.term, False), out)  # 1.
        return
    follow(replica, sender, request.term, now_ms, out)
    prev_index, log = request.prev_log_index, replica.log
    if prev_index >= log.base.index and log.term(prev_index) != request.prev_log_term:
        _refuse(replica, sender, request, out)  # 2.
        return
    if request.entries and (fresh := _unknown(replica, request.entries)):
        if fresh[0].index <= log.last_index:
            sometimes("conflict truncated")
        replica.append(fresh, now_ms, out)  # 3. and 4.: only a conflict removes what is there
    last_new = prev_index + len(request.entries)
    # 5.: not beyond what this request has shown to match.
    replica.commit_index = max(replica.commit_index, min(request.commit_index, last_new))
    # A heartbeat is answered at once, for what is on disk by now; entries when they are.
    match_index = last_new if request.entries else min(last_new, replica.durable_index)
    reply = AppendReply(replica.term, True, match_index=match_index, round=request.round)
    replica.send(sender, reply, out)


def follow(replica: Replica, leader: ReplicaId, term: int, now_ms: float, out: Effects) -> None:
    """Somebody leads ``term``, which is not an earlier one, and is alive."""
    if replica.role is Role.LEADER and term == replica.term:
        raise Bug(f"two leaders in term {term}: {replica.replica} and {leader}")
    if term != replica.term or leader != replica.leader or replica.role is not Role.FOLLOWER:
        replica.become_follower(term, leader, now_ms, out)
    replica.last_contact_ms = now_ms
    replica.reset_election_timer(now_ms)


def _unknown(replica: Replica, entries: list[Entry]) -> list[Entry]:
    """The part of ``entries`` from the first that this log does not have."""
    for position, entry in enumerate(entries):
        known = entry.index <= replica.log.base.index or replica.log.term(entry.index) == entry.term
        if not known:
            return entries[position:]
    return []


def _refuse(replica: Replica, sender: ReplicaId, request: AppendRequest, out: Effects) -> None:
    prev_index = request.prev_log_index
    conflict_term = replica.log.term(prev_index)
    if conflict_term is None:
        conflict_term, conflict_index = 0, replica.log.last_index + 1
    else:
        conflict_index = replica.log.first_index_of_term(conflict_term)
    reply = AppendReply(
        replica.term, False, 0, prev_index, conflict_term, conflict_index, request.round
    )
    replica.send(sender, reply, out)
