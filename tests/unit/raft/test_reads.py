"""Read indexes and leases: what proves that a leader is one, and for how long."""

import msgspec
import pytest
from raft_replicas import (
    ME,
    THREE,
    TIMING,
    TWO,
    append,
    follower,
    leader,
    receive,
    take,
    take_whole,
    timeout,
)

from quorate.base.ids import ReplicaId
from quorate.raft.core.events import Effects, PeerLost, Persisted, Read, ReadReady, Receive, Tick
from quorate.raft.core.messages import (
    AppendReply,
    AppendRequest,
    Message,
    ReadReply,
    ReadRequest,
    VoteReply,
    VoteRequest,
)
from quorate.raft.core.replica import Replica, Role
from quorate.raft.core.settings import Limits

LEASE = msgspec.structs.replace(TIMING, lease=True)


def ready_leader(*, lease: bool = False, voters: int = 3) -> Replica:
    """Its own entry is committed, and no round is under way."""
    replica = leader([1], term=2, voters=voters)
    if lease:
        replica.timing = LEASE
    take(replica, Persisted(replica.writes))
    for peer in replica.peers:
        answer(replica, peer)
    assert replica.commit_index == replica.log.last_index
    assert not replica.rounds_sent
    return replica


def answer(
    replica: Replica, peer: ReplicaId, *, round_: int | None = None, now_ms: float = 0.0
) -> Effects:
    """``peer`` has everything, and has heard ``round_`` (default: the latest)."""
    heard = replica.round if round_ is None else round_
    match_index = replica.log.last_index
    reply = AppendReply(replica.term, True, match_index=match_index, round=heard)
    return take_whole(replica, Receive(peer, reply), now_ms)


def rounds(effects: Effects) -> list[int]:
    """Of the heartbeats in it, one for each follower."""
    return [m.round for _, m in effects.messages if isinstance(m, AppendRequest)]


def test_a_read_is_answered_when_a_majority_has_answered_a_round_that_left_after_it() -> None:
    replica = ready_leader()
    effects = take_whole(replica, Read(7))
    assert rounds(effects) == [replica.round] * 2
    assert effects.reads == []
    assert answer(replica, TWO, round_=replica.round - 1).reads == []
    assert answer(replica, TWO).reads == [ReadReady(7, replica.commit_index)]


def test_a_majority_of_five_is_two_followers() -> None:
    replica = ready_leader(voters=5)
    take(replica, Read(7))
    assert answer(replica, TWO).reads == []
    assert answer(replica, THREE).reads == [ReadReady(7, replica.commit_index)]


def test_reads_that_come_while_a_round_is_under_way_share_the_next() -> None:
    replica = ready_leader()
    take(replica, Read(1))
    first = replica.round
    for number in (2, 3, 4):
        assert take(replica, Read(number)).messages == []
    effects = answer(replica, TWO)
    assert [ready.read for ready in effects.reads] == [1]
    assert rounds(effects) == [first + 1] * 2
    effects = answer(replica, TWO)
    assert [ready.read for ready in effects.reads] == [2, 3, 4]
    assert rounds(effects) == []


def test_a_lost_round_is_made_up_for_by_the_next_heartbeat() -> None:
    replica = ready_leader()
    take(replica, Read(1))
    take(replica, Read(2))
    timeout(replica)
    assert [ready.read for ready in answer(replica, THREE).reads] == [1, 2]


def test_a_read_before_an_entry_of_the_term_is_committed_waits_for_it() -> None:
    """Thesis §6.4, step 1: until then a leader does not know what is committed."""
    replica = leader([1], term=2)
    assert take(replica, Read(1)) == Effects()
    effects = answer(replica, TWO)  # commits it, and proves nothing of a time after the read
    assert replica.commit_index == 2
    assert effects.reads == []
    assert rounds(effects) == [replica.round] * 2
    assert answer(replica, TWO).reads == [ReadReady(1, 2)]


def test_one_voter_alone_is_its_own_majority() -> None:
    replica = follower(voters=1)
    timeout(replica)
    for _ in range(2):
        take(replica, Persisted(replica.writes))
    assert replica.role is Role.LEADER
    assert take(replica, Read(1)).reads == [ReadReady(1, replica.commit_index)]


def test_a_follower_asks_its_leader_and_is_told_the_index() -> None:
    asker = follower([1, 1])
    receive(asker, TWO, append(1, (2, 1)))
    assert take(asker, Read(9)).messages == [(TWO, ReadRequest(9))]
    replica = ready_leader()
    take(replica, Receive(THREE, ReadRequest(9)))
    effects = answer(replica, TWO)
    assert effects.messages == [(THREE, ReadReply(9, replica.commit_index))]
    assert receive(asker, TWO, ReadReply(9, 2)).reads == [ReadReady(9, 2)]


def test_who_knows_no_leader_asks_nobody_and_who_does_not_lead_answers_nobody() -> None:
    assert take(follower([1]), Read(9)) == Effects()
    assert receive(follower([1]), TWO, ReadRequest(9)) == Effects()


def test_followers_reads_are_bounded() -> None:
    replica = ready_leader()
    replica.limits = Limits(inflight_reads=3)
    for number in range(5):
        receive(replica, TWO, ReadRequest(number))
    assert len(replica.reads) == 3


def test_reads_of_a_leader_that_steps_down_are_forgotten() -> None:
    replica = ready_leader()
    take(replica, Read(1))
    receive(replica, TWO, append(3, (2, 2)))
    assert receive(replica, TWO, AppendReply(2, True, match_index=2)).reads == []


# Leases.


def test_a_lease_answers_at_once_until_it_ends_and_then_asks() -> None:
    replica = ready_leader(lease=True)
    sent_ms = replica.heartbeat_deadline_ms
    take(replica, Tick(), sent_ms)
    answer(replica, TWO, now_ms=sent_ms + 50)
    end_ms = sent_ms + LEASE.lease_ms  # from the moment the round left, not from its answer
    assert take(replica, Read(1), end_ms - 1).reads == [ReadReady(1, replica.commit_index)]
    effects = take_whole(replica, Read(2), end_ms)
    assert effects.reads == []
    assert rounds(effects) == [replica.round] * 2


def test_a_lease_is_shorter_than_a_vote_is_withheld_by_twice_the_drift() -> None:
    drift = LEASE.max_clock_drift
    slowest_leader_ms = LEASE.lease_ms / (1 - drift)
    fastest_voter_ms = LEASE.election_timeout_ms / (1 + drift)
    assert slowest_leader_ms == pytest.approx(fastest_voter_ms)


def test_while_leases_are_on_who_hears_a_leader_votes_for_nobody_else() -> None:
    replica = follower([1], term=1)
    replica.timing = LEASE
    receive(replica, TWO, append(1, (1, 1)), now_ms=1_000.0)
    ask = VoteRequest(9, 5, 5)
    before_ms, after_ms = 1_000.0 + 599, 1_000.0 + 600
    assert receive(replica, THREE, ask, before_ms).messages == [(THREE, VoteReply(1, False))]
    assert receive(replica, THREE, ask, after_ms).messages == [(THREE, VoteReply(9, True))]


def test_a_leader_with_a_lease_votes_for_nobody_else() -> None:
    replica = ready_leader(lease=True)
    refused: list[tuple[ReplicaId, Message]] = [(THREE, VoteReply(2, False))]
    assert receive(replica, THREE, VoteRequest(9, 5, 5), 1_000.0).messages == refused
    assert replica.role is Role.LEADER


def test_a_vote_for_whom_the_leader_has_asked_to_take_over_is_not_withheld() -> None:
    replica = follower([1], term=1)
    replica.timing = LEASE
    receive(replica, TWO, append(1, (1, 1)), now_ms=1_000.0)
    ask = VoteRequest(2, 1, 1, transfer=True)
    assert receive(replica, THREE, ask, 1_001.0).messages == [(THREE, VoteReply(2, True))]


def test_a_voter_that_starts_again_waits_out_a_lease_it_may_have_granted() -> None:
    fresh = follower([1], term=1)
    replica = Replica(
        ME,
        fresh.configuration,
        fresh.log,
        fresh.hard_state,
        now_ms=5_000.0,
        draw=lambda: 0.0,
        timing=LEASE,
        limits=Limits(),
    )
    ask = VoteRequest(2, 1, 1)
    assert receive(replica, THREE, ask, 5_599.0).messages == [(THREE, VoteReply(1, False))]
    assert receive(replica, THREE, ask, 5_600.0).messages == [(THREE, VoteReply(2, True))]


# A reset connection.


def test_who_loses_the_connection_with_its_leader_asks_for_pre_votes_soon() -> None:
    replica = follower([1], term=1)
    receive(replica, TWO, append(1, (1, 1)), now_ms=1_000.0)
    take(replica, PeerLost(THREE), 1_010.0)  # not the leader's
    assert replica.election_deadline_ms > 1_600
    take(replica, PeerLost(TWO), 1_010.0)
    assert replica.election_deadline_ms <= 1_010 + TIMING.heartbeat_interval_ms
    take(replica, Tick(), replica.election_deadline_ms)
    assert (replica.role, replica.term) == (Role.PRE_CANDIDATE, 1)


def test_others_that_still_hear_the_leader_say_no() -> None:
    replica = follower([1], term=1)
    receive(replica, TWO, append(1, (1, 1)), now_ms=1_000.0)
    ask = VoteRequest(2, 1, 1, pre_vote=True)
    refused = VoteReply(1, False, pre_vote=True)
    assert receive(replica, THREE, ask, 1_010.0).messages == [(THREE, refused)]
    take(replica, PeerLost(TWO), 1_020.0)
    granted = VoteReply(2, True, pre_vote=True)
    assert receive(replica, THREE, ask, 1_021.0).messages == [(THREE, granted)]


def test_with_leases_on_a_reset_connection_changes_nothing() -> None:
    replica = follower([1], term=1)
    replica.timing = LEASE
    receive(replica, TWO, append(1, (1, 1)), now_ms=1_000.0)
    deadline_ms = replica.election_deadline_ms
    take(replica, PeerLost(TWO), 1_010.0)
    assert replica.election_deadline_ms == deadline_ms
