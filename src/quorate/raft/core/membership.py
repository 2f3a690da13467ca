"""Changes of the configuration: the leader's half of Raft §6, and what the log says of it.

The rules stand in ``configuration.py``.  A change goes in steps, each an entry:
* learners come and go by one entry, since the voters stay the same;
* new voters, who were learners before and have caught up, by a joint configuration, which its
  leader follows up with the new one as soon as it is committed, and so does any later leader;
* a leader that is not of the new configuration leads until that is committed, does not count
  itself, and then asks the best of the others to take over (§6; thesis §4.2.2).
Who is removed is told so before nobody speaks to it any more; if it did not hear, pre-votes and the
leader's being alive keep it from disturbing anybody (§6, end; thesis §4.2.3).
"""

from quorate.base.check import check
from quorate.base.codec import encode
from quorate.base.sometimes import sometimes
from quorate.raft.core import reads
from quorate.raft.core.configuration import Configuration, fault_of
from quorate.raft.core.entries import NOBODY, EntryKind
from quorate.raft.core.events import Effects
from quorate.raft.core.messages import TimeoutNow
from quorate.raft.core.progress import Mode, Progress
from quorate.raft.core.replica import Replica, Role
from quorate.raft.core.replication import heartbeat_for, send_entries

CAUGHT_UP_ENTRIES = 1_000
"""A learner that lacks no more than this may become a voter (thesis §4.2.1: the last round must be
short)."""


def change(replica: Replica, target: Configuration, now_ms: float, out: Effects) -> None:
    """Begin to change to ``target``, or say in ``Effects.refused`` why not."""
    out.refused = why_not(replica, target, now_ms)
    if out.refused is None:
        _append(replica, replica.configuration.towards(target), now_ms, out)
        out.accepted = True


def why_not(replica: Replica, target: Configuration, now_ms: float) -> str | None:
    """A sentence, if ``target`` must not be begun now."""
    current = replica.configuration
    if replica.role is not Role.LEADER:
        return "this replica does not lead"
    if replica.commit_index < replica.term_start or replica.unsettled:
        return "another change is under way; wait until it is done"
    if replica.transfer_to != NOBODY:
        return "leadership is being handed over; try again"
    if target.is_joint:
        return "this cannot be a configuration: it is joint"
    if (why := fault_of(target) or fault_of(current.towards(target))) is not None:
        return f"this cannot be a configuration: {why}"
    new = [voter for voter in target.voters if voter not in current.voters]
    for voter in new:
        progress = replica.progress.get(voter)
        if progress is None:
            return f"replica {voter} is no learner yet, and would be a voter without a log"
        lacks = replica.log.last_index - progress.match_index
        if lacks > CAUGHT_UP_ENTRIES or progress.mode is not Mode.REPLICATE:
            return f"replica {voter} lacks {lacks} entries; wait until it has caught up"
    if set(target.voters) != set(current.voters) and not target.is_quorum(
        lambda voter: replica.answers(voter, now_ms)
    ):
        silent = [voter for voter in target.voters if not replica.answers(voter, now_ms)]
        return f"a majority of the new voters would be lost: {silent} do not answer"
    return None


def settle(replica: Replica, now_ms: float, out: Effects) -> None:
    """The latest configuration is committed: go on with the change, or end it."""
    configuration = replica.configuration
    if configuration.is_joint:
        if replica.log.term(replica.unsettled) != replica.term:
            sometimes("change ended by a later leader")
        _append(replica, configuration.after(), now_ms, out)
        return
    replica.unsettled = 0
    for peer in [peer for peer in replica.progress if peer not in configuration.members]:
        # Its last word: with this commit index it knows that it is not of the group any more.
        replica.send(peer, heartbeat_for(replica, replica.progress.pop(peer)), out)
    # Fewer may be enough now, and who is left might say nothing any more.
    reads.rounds_answered(replica, now_ms, out)
    if replica.replica not in configuration.voters:
        sometimes("leader that removed itself steps down")
        replica.send(replica.successor, TimeoutNow(replica.term), out)
        replica.become_follower(replica.term, NOBODY, now_ms, out)


def _append(replica: Replica, configuration: Configuration, now_ms: float, out: Effects) -> None:
    check(fault_of(configuration) is None, f"{configuration} cannot be")
    index = replica.log.last_index + 1
    data = encode(configuration)
    replica.append([replica.new_entry(EntryKind.CONFIGURATION, data, index)], now_ms, out)
    replica.unsettled = index
    for member in configuration.members:
        if member != replica.replica and member not in replica.progress:
            replica.progress[member] = Progress(index, now_ms)
    for peer, progress in replica.progress.items():
        send_entries(replica, peer, progress, out)
