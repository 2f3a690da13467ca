"""Leadership transfer: to whom, when, and what the old leader gives up."""

import msgspec
from raft_replicas import (
    ME,
    THREE,
    TIMING,
    TWO,
    accept,
    append,
    follower,
    leader,
    persist,
    propose,
    receive,
    take,
    timeout,
)

from quorate.base.ids import ReplicaId
from quorate.raft.core.entries import NOBODY
from quorate.raft.core.events import Persisted, Read, Tick, Transfer
from quorate.raft.core.messages import TimeoutNow, VoteRequest
from quorate.raft.core.replica import Replica, Role


def settled_leader() -> Replica:
    """TWO has everything, THREE nothing."""
    replica = leader([1], term=2)
    persist(replica)
    accept(replica, TWO, 2)
    return replica


def test_who_has_everything_is_asked_at_once() -> None:
    replica = settled_leader()
    assert take(replica, Transfer(TWO)).messages == [(TWO, TimeoutNow(2))]
    assert replica.role is Role.LEADER  # until the other has won


def test_who_lacks_something_is_brought_up_to_date_first() -> None:
    replica = settled_leader()
    asked = [m for _, m in take(replica, Transfer(THREE)).messages]
    assert TimeoutNow(2) not in asked
    assert (THREE, TimeoutNow(2)) in accept(replica, THREE, 2).messages


def test_a_leader_that_hands_over_takes_no_proposals_but_goes_on_leading() -> None:
    replica = settled_leader()
    take(replica, Transfer(THREE))
    assert not propose(replica, b"x").accepted
    assert timeout(replica).messages


def test_a_transfer_that_takes_too_long_is_given_up() -> None:
    replica = settled_leader()
    take(replica, Transfer(THREE))
    take(replica, Tick(), replica.transfer_deadline_ms - 1)
    assert replica.transfer_to == THREE
    for peer in replica.peers:  # or it would step down for want of answers
        replica.progress[peer].answered_ms = replica.transfer_deadline_ms
    take(replica, Tick(), replica.transfer_deadline_ms + TIMING.heartbeat_interval_ms)
    assert replica.transfer_to == NOBODY
    assert propose(replica, b"x").accepted


def test_nobody_but_a_follower_can_be_asked_and_one_at_a_time() -> None:
    replica = settled_leader()
    for target in (ME, ReplicaId(9)):
        take(replica, Transfer(target))
        assert replica.transfer_to == NOBODY
    take(replica, Transfer(THREE))
    take(replica, Transfer(TWO))
    assert replica.transfer_to == THREE


def test_who_is_asked_campaigns_without_a_pre_vote_and_says_why() -> None:
    replica = follower([1, 1], term=1)
    receive(replica, TWO, append(1, (2, 1)))
    effects = receive(replica, TWO, TimeoutNow(1))
    assert (replica.role, replica.term) == (Role.CANDIDATE, 2)
    request = VoteRequest(2, 2, 1, pre_vote=False, transfer=True)
    assert effects.messages == [(TWO, request), (THREE, request)]


def test_only_the_leader_of_this_term_is_obeyed() -> None:
    replica = follower([1, 1], term=3)
    receive(replica, TWO, append(3, (2, 1)))
    for sender, term in ((THREE, 3), (TWO, 2), (TWO, 4)):
        receive(replica, sender, TimeoutNow(term))
        assert replica.role is Role.FOLLOWER


def test_the_next_election_by_timeout_does_not_claim_the_leaders_word() -> None:
    replica = follower([1, 1], term=1)
    receive(replica, TWO, append(1, (2, 1)))
    receive(replica, TWO, TimeoutNow(1))
    persist(replica)
    requests = [m for _, m in timeout(replica).messages if isinstance(m, VoteRequest)]
    assert requests
    assert not any(request.transfer for request in requests)


def test_a_lease_is_revoked_for_the_rest_of_the_term() -> None:
    """The request may arrive long after the transfer was given up."""
    replica = settled_leader()
    replica.timing = msgspec.structs.replace(TIMING, lease=True)
    replica.lease_until_ms = 10_000.0
    take(replica, Persisted(replica.writes))
    assert take(replica, Read(1), 1.0).reads
    take(replica, Transfer(TWO), 1.0)
    assert not take(replica, Read(2), 2.0).reads
    take(replica, Tick(), replica.transfer_deadline_ms)
    assert not take(replica, Read(3), 3.0).reads


def test_a_leader_whose_disk_stalls_asks_the_one_that_has_most_and_steps_down() -> None:
    replica = settled_leader()
    propose(replica, b"never synced")
    for now_ms in (200.0, 400.0, 600.0):
        for progress in replica.progress.values():
            progress.answered_ms = now_ms
        effects = take(replica, Tick(), now_ms)
    assert replica.role is Role.FOLLOWER
    assert effects.messages == [(TWO, TimeoutNow(2))]
    take(replica, Tick(), replica.election_deadline_ms)  # and it does not campaign
    assert replica.role is Role.FOLLOWER
    persist(replica)
    take(replica, Tick(), replica.election_deadline_ms)
    assert replica.role is Role.PRE_CANDIDATE
