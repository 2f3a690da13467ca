"""Which changes of the members are not begun, and why (thesis §4.2.1)."""

from collections.abc import Callable

import pytest
from raft_members import (
    LEARNING,
    OTHERS,
    THREE_VOTERS,
    agree,
    change,
    joint,
    of,
    ready,
    told,
    with_learners,
)
from raft_replicas import (
    FIVE,
    FOUR,
    ME,
    THREE,
    TIMING,
    TWO,
    accept,
    follower,
    leader,
    propose,
    receive,
    take,
)

from quorate.base.ids import ReplicaId
from quorate.raft.core.configuration import MAX_MEMBERS, Configuration
from quorate.raft.core.events import Transfer
from quorate.raft.core.membership import CAUGHT_UP_ENTRIES
from quorate.raft.core.messages import AppendReply
from quorate.raft.core.progress import Mode
from quorate.raft.core.replica import Replica

TIMEOUT_MS = TIMING.election_timeout_ms


# What is refused.


def learner_that_lacks(lacks: int) -> Replica:
    replica = with_learners()
    propose(replica, *[b"x"] * lacks)
    return replica


def test_a_learner_votes_when_it_has_caught_up() -> None:
    target = of((ME, TWO, THREE, FOUR), (FIVE,))
    assert change(learner_that_lacks(CAUGHT_UP_ENTRIES), target).refused is None
    far_behind = learner_that_lacks(CAUGHT_UP_ENTRIES + 1)
    refused_by(far_behind, target, f"replica 4 lacks {CAUGHT_UP_ENTRIES + 1} entries")
    accept(far_behind, FOUR, 3)
    assert change(far_behind, target).refused is None


@pytest.mark.parametrize("mode", [Mode.PROBE, Mode.SNAPSHOT])
def test_a_learner_does_not_vote_while_it_is_not_known_to_follow(mode: Mode) -> None:
    replica = with_learners()
    replica.progress[FOUR].mode = mode
    refused_by(replica, of((ME, TWO, THREE, FOUR), (FIVE,)), "wait until it has caught up")


def refused_by(replica: Replica, target: Configuration, sentence: str, now_ms: float = 0.0) -> None:
    """Refused, and nothing has happened."""
    last_index, configuration = replica.log.last_index, replica.configuration
    effects = change(replica, target, now_ms)
    assert sentence in str(effects.refused)
    assert not effects.accepted
    assert (effects.entries, effects.messages) == ([], [])
    assert (replica.log.last_index, replica.configuration) == (last_index, configuration)


def in_handover() -> Replica:
    replica = with_learners()
    take(replica, Transfer(TWO))
    return replica


def new_leader() -> Replica:
    """Its first entry is on no other disk."""
    return leader(term=1)


def begun() -> Replica:
    replica = ready()
    change(replica, LEARNING)
    return replica


def half_way() -> Replica:
    """The joint configuration is committed; the new one is not."""
    replica = joint()
    agree(replica, TWO, FOUR)
    assert replica.configuration == OTHERS
    return replica


TOO_MANY = of((ME, TWO, FOUR), tuple(ReplicaId(1000 + n) for n in range(MAX_MEMBERS - 3)))
REFUSED: list[tuple[str, Callable[[], Replica], Configuration]] = [
    ("this replica does not lead", follower, LEARNING),
    ("this replica does not lead", lambda: told(LEARNING), OTHERS),
    ("another change is under way", new_leader, LEARNING),
    ("another change is under way", begun, THREE_VOTERS),
    ("another change is under way", joint, THREE_VOTERS),
    ("another change is under way", half_way, THREE_VOTERS),
    ("leadership is being handed over", in_handover, OTHERS),
    ("it is joint", with_learners, LEARNING.towards(OTHERS)),
    ("a group without voters", with_learners, of(())),
    ("a learner and a voter", with_learners, of((ME, TWO), (TWO,))),
    ("not every member has an address", with_learners, Configuration((ME,), {})),
    (f"{MAX_MEMBERS + 1} members", with_learners, TOO_MANY),
    ("replica 4 is no learner yet", ready, of((ME, TWO, THREE, FOUR))),
]


@pytest.mark.parametrize(("sentence", "make", "target"), REFUSED)
def test_a_change_is_refused_and_why(
    sentence: str, make: Callable[[], Replica], target: Configuration
) -> None:
    refused_by(make(), target, sentence)


def silent_but(*members: ReplicaId) -> Replica:
    """Only these have answered lately, by 5 s."""
    replica = with_learners()
    for member in members:
        receive(replica, member, AppendReply(1, True, 2), 5_000.0)
    return replica


def test_a_group_is_not_given_into_the_hands_of_who_does_not_answer() -> None:
    now_ms = 5_000.0 + TIMEOUT_MS
    sentence = "a majority of the new voters would be lost: [4, 5] do not answer"
    refused_by(silent_but(TWO, THREE), OTHERS, sentence, now_ms)
    refused_by(silent_but(TWO, FOUR), OTHERS, "", now_ms + 1)
    assert change(silent_but(TWO, FOUR), OTHERS, now_ms).refused is None


def test_who_does_not_answer_can_be_removed_and_can_stay_a_minority() -> None:
    now_ms = 5_000.0 + TIMEOUT_MS
    assert change(silent_but(TWO), of((ME, TWO)), now_ms).refused is None
    assert change(silent_but(TWO), of((ME, TWO, FOUR)), now_ms).refused is None
    refused_by(silent_but(TWO), of((TWO, THREE)), "[3] do not answer", now_ms)


def test_learners_need_not_answer() -> None:
    replica = silent_but(TWO)
    assert change(replica, of((ME, TWO, THREE), (FOUR,)), 9_000.0).refused is None
