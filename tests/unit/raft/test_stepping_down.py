"""A leader whom no majority answers for an election timeout steps down in its own term (§6.2)."""

from random import Random

import pytest
from raft_replicas import (
    FOUR,
    ME,
    THREE,
    TIMING,
    TWO,
    accept,
    append,
    group_of,
    leader,
    receive,
    take,
    terms_of,
    to_all,
)

from quorate.base.ids import ReplicaId
from quorate.raft.core.entries import NOBODY, HardState
from quorate.raft.core.events import Effects, Persisted, Propose, Receive, Tick
from quorate.raft.core.messages import AppendReply, VoteReply, VoteRequest
from quorate.raft.core.replica import Replica, Role
from quorate.simulator.scenarios.hosts import Host, Letter

TIMEOUT_MS = TIMING.election_timeout_ms
ELECTED_MS = 900.0
"""When ``leader`` makes its candidate stand, and so the first moment that counts as an answer."""


def answer(replica: Replica, sender: ReplicaId, now_ms: float) -> None:
    receive(replica, sender, AppendReply(replica.term, True, match_index=1), now_ms)


def elected(voters: int = 3) -> Replica:
    """A leader of term 2 that everybody answered at ``ELECTED_MS``."""
    replica = leader([1], term=2, voters=voters)
    for peer in replica.peers:
        answer(replica, peer, ELECTED_MS)
    return replica


def leads_at(replica: Replica, now_ms: float) -> bool:
    assert now_ms >= replica.next_deadline_ms
    take(replica, Tick(), now_ms)
    return replica.role is Role.LEADER


@pytest.mark.parametrize(("later_ms", "leads"), [(TIMEOUT_MS, True), (TIMEOUT_MS + 1, False)])
def test_it_steps_down_at_the_first_heartbeat_beyond_an_election_timeout(
    later_ms: float, leads: bool
) -> None:
    assert leads_at(elected(), ELECTED_MS + later_ms) is leads


@pytest.mark.parametrize(("later_ms", "leads"), [(TIMEOUT_MS, True), (TIMEOUT_MS + 1, False)])
def test_its_election_counts_as_an_answer_of_all(later_ms: float, leads: bool) -> None:
    """Nobody can have answered a request that has just left."""
    replica = leader([1], term=2)
    elected_ms = replica.progress[TWO].answered_ms
    assert leads_at(replica, elected_ms + later_ms) is leads


def test_it_keeps_its_term_and_vote_and_log_and_writes_nothing() -> None:
    replica = elected()
    effects = take(replica, Tick(), ELECTED_MS + TIMEOUT_MS + 1)
    assert effects == Effects()
    assert (replica.role, replica.leader) == (Role.FOLLOWER, NOBODY)
    assert (replica.hard_state, terms_of(replica)) == (HardState(2, ME), [1, 2])


def test_it_leads_as_long_as_a_majority_answers() -> None:
    replica = elected(voters=5)
    now_ms = ELECTED_MS
    for _ in range(50):
        now_ms += TIMING.heartbeat_interval_ms
        answer(replica, TWO, now_ms)
        answer(replica, THREE, now_ms)  # with itself three of five; two are silent
        assert leads_at(replica, now_ms)


def test_less_than_a_majority_is_not_enough() -> None:
    replica = elected(voters=5)
    answer(replica, TWO, ELECTED_MS + TIMEOUT_MS)
    assert not leads_at(replica, ELECTED_MS + TIMEOUT_MS + 1)


def test_the_answers_need_not_come_at_one_time() -> None:
    replica = elected(voters=5)
    answer(replica, TWO, ELECTED_MS + 100)
    answer(replica, FOUR, ELECTED_MS + 550)
    assert leads_at(replica, ELECTED_MS + 100 + TIMEOUT_MS)
    assert not leads_at(replica, ELECTED_MS + 201 + TIMEOUT_MS)


def test_a_lone_voter_never_steps_down() -> None:
    replica = leader([1], term=2, voters=1)
    for now_ms in (1e4, 1e6, 1e9):
        assert leads_at(replica, now_ms)


@pytest.mark.parametrize(
    ("reply", "counts"),
    [
        (AppendReply(2, True, match_index=1), True),
        (AppendReply(2, False, 0, 1, 0, 1), True),  # behind, but there
        (AppendReply(1, True, match_index=1), False),  # to a leader of an earlier term
        (VoteReply(2, True), False),
        (VoteReply(2, True, pre_vote=True), False),
        (VoteRequest(3, 9, 2, pre_vote=True), False),  # it does not follow
    ],
)
def test_what_counts_as_an_answer(
    reply: AppendReply | VoteReply | VoteRequest, counts: bool
) -> None:
    replica = elected()
    receive(replica, TWO, reply, ELECTED_MS + TIMEOUT_MS)
    assert leads_at(replica, ELECTED_MS + TIMEOUT_MS + 1) is counts


def test_it_may_be_elected_again_and_votes_for_others() -> None:
    down_ms = ELECTED_MS + TIMEOUT_MS + 1
    for candidate in (ME, TWO):
        replica = elected()
        take(replica, Tick(), down_ms)
        if candidate is ME:
            again = take(replica, Tick(), replica.election_deadline_ms)
            assert again.messages == to_all(replica, VoteRequest(3, 2, 2, pre_vote=True))
        else:
            asked = receive(replica, TWO, VoteRequest(3, 2, 2, pre_vote=True), down_ms)
            assert asked.messages == [(TWO, VoteReply(3, True, pre_vote=True))]


def test_it_does_not_campaign_before_a_whole_election_timeout() -> None:
    """It had no election timer while it led."""
    replica = elected()
    take(replica, Tick(), down_ms := ELECTED_MS + 10 * TIMEOUT_MS)
    assert replica.election_deadline_ms == down_ms + 1.5 * TIMEOUT_MS
    assert take(replica, Tick(), down_ms + TIMEOUT_MS) == Effects()


def test_late_answers_to_it_change_nothing_and_it_refuses_commands() -> None:
    replica = elected()
    take(replica, Tick(), ELECTED_MS + TIMEOUT_MS + 1)
    assert accept(replica, TWO, 2) == Effects()
    assert not take(replica, Propose([b"x"])).accepted
    assert replica.role is Role.FOLLOWER


def test_it_follows_the_next_leader() -> None:
    replica = elected()
    take(replica, Tick(), ELECTED_MS + TIMEOUT_MS + 1)
    receive(replica, THREE, append(3, (1, 1), [3]))
    assert (replica.leader, terms_of(replica)) == (THREE, [1, 3])


# A whole group, whose network delivers everything within 10 ms but over cut links.


class Group:
    def __init__(self, seed: int, voters: int) -> None:
        draw = Random(seed).random
        group = group_of(voters)
        self.hosts = {me: Host(me, group, draw, timing=TIMING) for me in group.voters}
        self.cut: list[tuple[ReplicaId, ReplicaId]] = []
        self.now_ms = 0.0
        self._under_way: list[Letter] = []

    def leader(self) -> ReplicaId | None:
        """Of those that lead, the one of the highest term."""
        leading = [h.replica for h in self.hosts.values() if h.replica.role is Role.LEADER]
        return max(leading, key=lambda r: r.term).replica if leading else None

    def run_until_led(self, *, not_by: ReplicaId | None = None, within_ms: float) -> ReplicaId:
        end_ms = self.now_ms + within_ms
        while (found := self.leader()) in (None, not_by):
            assert self.now_ms < end_ms, f"no leader within {within_ms} ms"
            self.run(10)
        assert found is not None
        return found

    def run(self, duration_ms: float) -> None:
        for _ in range(int(duration_ms / 10)):
            self.now_ms += 10
            letters, self._under_way = self._under_way, []
            for letter in letters:
                if (letter.sender, letter.receiver) not in self.cut:
                    self._take(self.hosts[letter.receiver], Receive(letter.sender, letter.message))
            for host in self.hosts.values():
                self._take(host, Tick())

    def _take(self, host: Host, event: Receive | Tick | Persisted) -> None:
        self._under_way += host.take(event, self.now_ms)[1]
        while host.unsynced:
            letters, number = host.sync(len(host.unsynced), self.now_ms)
            self._under_way += letters + host.take(Persisted(number), self.now_ms)[1]


LED_AGAIN_MS = TIMEOUT_MS + TIMING.heartbeat_interval_ms + 2 * 2 * TIMEOUT_MS
"""Until a deaf leader gives up, and for two elections, should the first be split."""


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("voters", [3, 5])
def test_a_leader_that_only_speaks_is_replaced_and_one_that_hears_a_majority_is_not(
    seed: int, voters: int
) -> None:
    group = Group(seed, voters)
    first = group.run_until_led(within_ms=LED_AGAIN_MS)
    group.run(200)
    others = [me for me in group.hosts if me != first]

    group.cut = [(other, first) for other in others[len(others) // 2 :]]  # deaf on one side only
    group.run(3 * TIMEOUT_MS)
    assert group.leader() == first

    group.cut = [(other, first) for other in others]
    second = group.run_until_led(not_by=first, within_ms=LED_AGAIN_MS)
    group.run(3 * TIMEOUT_MS)
    assert group.leader() == second
    assert group.hosts[first].replica.role is not Role.LEADER

    group.cut = []
    group.run(TIMEOUT_MS)
    assert group.leader() == second
    assert all(host.replica.leader == second for host in group.hosts.values())
