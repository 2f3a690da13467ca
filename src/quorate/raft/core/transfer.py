"""Leadership transfer: thesis §3.10.

The leader takes no more proposals, brings its successor up to date and asks it to start an election
at once.  From that moment on it may not trust a lease in this term any more: the voters that owe it
one vote for its successor, and the request may arrive late.
"""

from quorate.base.ids import ReplicaId
from quorate.base.sometimes import sometimes
from quorate.raft.core.election import campaign
from quorate.raft.core.entries import NOBODY
from quorate.raft.core.events import Effects
from quorate.raft.core.messages import TimeoutNow
from quorate.raft.core.replica import Replica, Role


def transfer(replica: Replica, target: ReplicaId, now_ms: float, out: Effects) -> None:
    voters = replica.configuration.voters
    if target not in voters or target not in replica.progress or replica.transfer_to != NOBODY:
        return
    replica.transfer_to = target
    replica.transfer_deadline_ms = now_ms + replica.timing.election_timeout_ms
    hand_over(replica, out)


def hand_over(replica: Replica, out: Effects) -> None:
    """Ask the successor, once it has everything."""
    target = replica.transfer_to
    if replica.progress[target].match_index == replica.log.last_index:
        sometimes("leadership transferred")
        replica.lease_revoked = True
        replica.send(target, TimeoutNow(replica.term), out)


def timeout_now(
    replica: Replica, sender: ReplicaId, message: TimeoutNow, now_ms: float, out: Effects
) -> None:
    """The leader wants this follower to take over; no pre-vote, for it lives and knows."""
    current = message.term == replica.term and replica.leader in (sender, NOBODY)
    if current and replica.is_elector and replica.role in (Role.FOLLOWER, Role.PRE_CANDIDATE):
        replica.by_transfer = True
        campaign(replica, now_ms, out)
