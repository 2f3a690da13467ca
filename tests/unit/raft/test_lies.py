"""Peers that lie, in well-typed messages: what is refused, and that the rest does no harm."""

import msgspec
import pytest
from fuzz.raft_targets import FOUNDING, GROUP, ME, THREE, TWO, Deceived
from hypothesis import given, settings
from hypothesis import strategies as st

from quorate.base.codec import encode
from quorate.base.ids import Address, ReplicaId
from quorate.raft.core.configuration import Configuration
from quorate.raft.core.entries import Entry, Snapshot, SnapshotId
from quorate.raft.core.messages import (
    AppendReply,
    AppendRequest,
    InstallReply,
    InstallSnapshot,
    Message,
    ReadReply,
    ReadRequest,
    TimeoutNow,
    VoteReply,
    VoteRequest,
)

NUMBERS = st.integers(0, 9) | st.sampled_from((100, (1 << 62) - 1))
"""Few and small, so that lies are about what there is."""
TERMS = st.integers(0, 4)
ADDRESSES = st.sampled_from((Address("m1:raft"), Address("elsewhere")))
IDS = st.lists(st.integers(0, 7).map(ReplicaId), max_size=4).map(tuple)
CONFIGURATIONS = st.builds(
    Configuration,
    IDS,
    st.dictionaries(st.integers(0, 7).map(ReplicaId), ADDRESSES, max_size=5),
    IDS,
    IDS,
)
"""Hardly one of them can be."""
POSSIBLE = st.builds(
    lambda voters, others, joint: (
        Configuration(tuple(voters), dict.fromkeys(voters | others, Address("m")), tuple(others))
        if not joint
        else Configuration(
            tuple(voters), dict.fromkeys(voters | others, Address("m")), (), tuple(others)
        )
    ),
    st.sets(st.integers(1, 7).map(ReplicaId), min_size=1, max_size=4),
    st.sets(st.integers(8, 9).map(ReplicaId), max_size=2),
    st.booleans(),
)
ENTRIES = st.lists(st.builds(Entry, NUMBERS, TERMS, st.integers(0, 2), st.binary(max_size=2)))
RUNS = st.builds(
    lambda first, terms, kinds, configurations: [
        Entry(first + at, term, kind, encode(members) if kind == 2 else b"run")
        for at, (term, kind, members) in enumerate(zip(terms, kinds, configurations, strict=False))
    ],
    st.integers(1, 6),
    st.lists(TERMS, max_size=4).map(sorted),
    st.lists(st.sampled_from((1, 1, 2)), min_size=4),
    st.lists(POSSIBLE, min_size=4, max_size=4),
)
"""Entries that at least follow each other."""
SNAPSHOTS = st.builds(
    Snapshot,
    st.builds(SnapshotId, st.just(GROUP), NUMBERS, TERMS, st.sampled_from((ME, TWO, THREE))),
    NUMBERS,
    NUMBERS,
    POSSIBLE | CONFIGURATIONS,
)


@st.composite
def runs(draw: st.DrawFn) -> AppendRequest:
    """An append that is well-formed in itself, whatever it says."""
    entries = draw(RUNS)
    previous = entries[0].index - 1 if entries else draw(st.integers(0, 6))
    previous_term = draw(st.integers(0, entries[0].term if entries else 4))
    term = draw(st.integers(entries[-1].term if entries else previous_term, 5))
    return AppendRequest(term, previous, previous_term, draw(NUMBERS), entries, draw(NUMBERS))


MESSAGES: st.SearchStrategy[Message] = st.one_of(
    st.builds(VoteRequest, TERMS, NUMBERS, TERMS, st.booleans(), st.booleans()),
    st.builds(VoteReply, TERMS, st.booleans(), st.booleans()),
    st.builds(AppendRequest, TERMS, NUMBERS, TERMS, NUMBERS, ENTRIES, NUMBERS),
    runs(),
    runs(),
    st.builds(
        AppendReply, TERMS, st.booleans(), NUMBERS, NUMBERS, TERMS, NUMBERS, st.integers(0, 5)
    ),
    st.builds(InstallSnapshot, TERMS, SNAPSHOTS, NUMBERS),
    st.builds(InstallReply, TERMS, NUMBERS),
    st.builds(ReadRequest, NUMBERS),
    st.builds(ReadReply, NUMBERS, NUMBERS),
    st.builds(TimeoutNow, TERMS),
)
SENDERS = st.sampled_from((TWO, THREE, ME, ReplicaId(7)))
LED = [
    0,
    (TWO, VoteReply(1, True, True)),
    1,
    (TWO, VoteReply(1, True)),
    *(1, 2, 2),
    (TWO, AppendReply(1, True, 1, round=1)),
]
"""It becomes leader of term 1 and proposes; one follower has its first entry."""
FOLLOWED = [
    (TWO, AppendRequest(1, 0, 0, 3, [Entry(index, 1, 1, b"first") for index in range(1, 5)], 1)),
    1,
]
"""It has four entries, three of them committed."""


def replay(script: list[object], lease: bool) -> Deceived:
    deceived = Deceived(lease)
    for step in script:
        if isinstance(step, int):
            deceived.act(step)
        elif isinstance(step, tuple):
            assert deceived.hear(*step)
    return deceived


@settings(max_examples=60)
@given(
    st.booleans(),
    st.sampled_from(([], LED, FOLLOWED)),
    st.lists(st.integers(0, 12) | st.tuples(SENDERS, MESSAGES), max_size=25),
)
def test_no_lie_breaks_a_replica_or_changes_what_is_committed(
    lease: bool, script: list[object], said: list[int | tuple[ReplicaId, Message]]
) -> None:
    deceived = replay(script, lease)
    for step in said:
        if isinstance(step, int):
            deceived.act(step)
        else:
            deceived.hear(*step)


def an_append(**changes: object) -> AppendRequest:
    honest = AppendRequest(1, 4, 1, 4, [Entry(5, 1, 1, b"x"), Entry(6, 1, 1, b"y")], 2)
    return msgspec.structs.replace(honest, **changes)


def a_snapshot(**changes: object) -> InstallSnapshot:
    honest = SnapshotId(GROUP, 9, 1, TWO)
    return offer(msgspec.structs.replace(honest, **changes))


def offer(
    id: SnapshotId, term: int = 1, configuration: Configuration = FOUNDING
) -> InstallSnapshot:
    return InstallSnapshot(term, Snapshot(id, 5, 100, configuration), 2)


def a_configuration(data: bytes) -> AppendRequest:
    return an_append(entries=[Entry(5, 1, 2, data)])


TO_A_FOLLOWER: dict[str, tuple[ReplicaId, Message]] = {
    "from itself": (ME, an_append()),
    "a second leader of one term": (THREE, an_append()),
    "a gap between entries": (TWO, an_append(entries=[Entry(6, 1, 1, b"x")])),
    "the same index twice": (TWO, an_append(entries=[Entry(5, 1, 1, b"x")] * 2)),
    "terms that fall": (
        TWO,
        an_append(term=3, entries=[Entry(5, 2, 1, b"x"), Entry(6, 1, 1, b"y")]),
    ),
    "an entry of a later term": (TWO, an_append(entries=[Entry(5, 2, 1, b"x")])),
    "an entry against a committed one": (
        TWO,
        AppendRequest(2, 1, 1, 3, [Entry(2, 2, 1, b"other")], 1),
    ),
    "another past than the committed": (TWO, AppendRequest(2, 3, 2, 3, [], 1)),
    "a log that ends in a later term": (THREE, VoteRequest(2, 9, 3)),
    "a snapshot of a later term": (TWO, a_snapshot(term=2)),
    "a snapshot against a committed entry": (
        TWO,
        offer(SnapshotId(GROUP, 2, 2, TWO), 3),
    ),
    "a snapshot that goes back in terms": (
        TWO,
        offer(SnapshotId(GROUP, 9, 0, TWO), 3),
    ),
    "a configuration that is none": (TWO, a_configuration(b"none")),
    "a configuration of nobody": (TWO, a_configuration(encode(Configuration((), {})))),
    "a configuration without an address": (TWO, a_configuration(encode(Configuration((ME,), {})))),
    "a configuration with more than is known": (
        TWO,
        a_configuration(encode([*msgspec.structs.astuple(FOUNDING), 5])),
    ),
    "a snapshot of nobody": (
        TWO,
        offer(SnapshotId(GROUP, 9, 1, TWO), 1, Configuration((), {})),
    ),
    "a snapshot of a learner that votes": (
        TWO,
        offer(
            SnapshotId(GROUP, 9, 1, TWO),
            1,
            msgspec.structs.replace(FOUNDING, learners=(TWO,)),
        ),
    ),
}
TO_A_LEADER: dict[str, tuple[ReplicaId, Message]] = {
    "a second leader of one term": (TWO, an_append()),
    "a match beyond the log": (TWO, AppendReply(1, True, 99, round=1)),
    "a refusal of what was never sent": (TWO, AppendReply(1, False, 0, 99, 0, 99, round=1)),
    "an answer to a round that was not": (TWO, AppendReply(1, True, 1, round=9)),
    "an installation of a round that was not": (TWO, InstallReply(1, 9)),
}


@pytest.mark.parametrize("lie", TO_A_FOLLOWER)
def test_a_follower_refuses(lie: str) -> None:
    assert not replay(FOLLOWED, False).hear(*TO_A_FOLLOWER[lie])


@pytest.mark.parametrize("lie", TO_A_LEADER)
def test_a_leader_refuses(lie: str) -> None:
    assert not replay(LED, False).hear(*TO_A_LEADER[lie])


def test_what_is_only_late_or_lost_is_not_called_a_lie() -> None:
    follower = replay(FOLLOWED, False)
    assert follower.hear(TWO, an_append())
    assert follower.hear(TWO, an_append())  # twice
    assert follower.hear(TWO, FOLLOWED[0][1])  # late
    assert follower.hear(THREE, VoteRequest(2, 4, 1))
    assert follower.hear(TWO, an_append())  # of a term that is over
    stranger = ReplicaId(7)  # who may be of a configuration that is not known here
    assert follower.hear(stranger, VoteRequest(3, 4, 1))
    assert follower.hear(stranger, an_append(term=3))
    leader = replay(LED, False)
    assert leader.hear(stranger, AppendReply(1, True, 1, round=1))
    assert leader.hear(THREE, VoteReply(1, False))
    assert leader.hear(TWO, AppendReply(0, False))
    assert leader.hear(TWO, AppendReply(1, False, 0, 1, 0, 1))
