"""Replicas amid changes of their members, reached by the core's own steps.

The founders are 1, 2 and 3; 4 and 5 learn, and then vote in place of 2 and 3.
"""

from raft_replicas import (
    FIVE,
    FOUR,
    ME,
    THREE,
    TIMING,
    TWO,
    accept,
    configured,
    follower,
    group_of,
    leader,
    log_of,
    noop,
    persist,
    receive,
    snapshot_at,
    take,
    timeout,
)

from quorate.base.ids import Address, ReplicaId
from quorate.raft.core.configuration import Configuration
from quorate.raft.core.events import Change, Effects, SnapshotInstalled
from quorate.raft.core.log import Log
from quorate.raft.core.messages import AppendRequest, VoteReply
from quorate.raft.core.replica import Replica, Role
from quorate.raft.core.settings import Limits

THREE_VOTERS = group_of(3)


def of(voters: tuple[ReplicaId, ...], learners: tuple[ReplicaId, ...] = ()) -> Configuration:
    addresses = {member: Address(f"m{member}:raft") for member in (*voters, *learners)}
    return Configuration(voters, addresses, learners)


LEARNING = of((ME, TWO, THREE), (FOUR, FIVE))
OTHERS = of((ME, FOUR, FIVE))
WITHOUT_ME = of((TWO, THREE))


def change(replica: Replica, target: Configuration, now_ms: float = 0.0) -> Effects:
    return take(replica, Change(target), now_ms)


def agree(replica: Replica, *members: ReplicaId) -> None:
    """Its own disk, and ``members`` (or all others), have everything that it has now."""
    last_index = replica.log.last_index
    persist(replica)
    for member in members or tuple(replica.progress):
        accept(replica, member, last_index)


def ready(voters: int = 3) -> Replica:
    """It leads term 1, and its first entry is committed and on all disks."""
    replica = leader(term=1, voters=voters)
    agree(replica)
    assert replica.commit_index == 1
    return replica


def with_learners() -> Replica:
    """The same, with learners 4 and 5 who have everything: entry 2 said so."""
    replica = ready()
    change(replica, LEARNING)
    agree(replica)
    assert (replica.configuration, replica.commit_index) == (LEARNING, 2)
    return replica


def joint() -> Replica:
    """It has begun to exchange 2 and 3 for 4 and 5, by entry 3."""
    replica = with_learners()
    change(replica, OTHERS)
    persist(replica)
    assert (replica.configuration, replica.commit_index) == (LEARNING.towards(OTHERS), 2)
    return replica


def told(*configurations: Configuration, me: ReplicaId = ME, committed: int = 1) -> Replica:
    """A follower in term 1, of 2 if it is not that itself: with an entry for each of these, behind
    one of another kind."""
    replica = follower(me=me, term=1)
    news = [configured(index, 1, some) for index, some in enumerate(configurations, 2)]
    sender = THREE if me == TWO else TWO
    receive(replica, sender, AppendRequest(1, 0, 0, committed, [noop(1, 1), *news]))
    persist(replica)
    assert replica.configuration == configurations[-1]
    return replica


def sent_to(effects: Effects, receiver: ReplicaId) -> list[object]:
    return [message for to, message in effects.messages if to == receiver]


def elected(replica: Replica, *voters: ReplicaId) -> Effects:
    """It wins an election; ``voters`` are for it.  What its last step says."""
    timeout(replica)
    for voter in voters:
        receive(replica, voter, VoteReply(replica.term + 1, True, pre_vote=True))
    persist(replica)
    for voter in voters:
        effects = receive(replica, voter, VoteReply(replica.term, True))
    assert replica.role is Role.LEADER
    return effects


def started(replica: Replica, configuration: Configuration) -> Replica:
    """It goes down with all that it has on its disk, and starts again."""
    persist(replica)
    log = Log(replica.log.base, log_of(replica))
    return Replica(
        replica.replica,
        configuration,
        log,
        replica.hard_state,
        now_ms=0.0,
        draw=lambda: 0.5,
        timing=TIMING,
        limits=Limits(),
        snapshot=replica.snapshot,
    )


def installed(replica: Replica, index: int, term: int, configuration: Configuration) -> Effects:
    snapshot = snapshot_at(index, term, TWO, configuration)
    effects = take(replica, SnapshotInstalled(snapshot))
    assert replica.snapshot == snapshot
    return effects
