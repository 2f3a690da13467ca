"""Snapshots in the core: what is cut, what is offered, and what an installed one leaves."""

import pytest
from raft_replicas import (
    ME,
    THREE,
    TIMING,
    TWO,
    accept,
    append,
    entries,
    entry,
    follower,
    leader,
    log_of,
    persist,
    propose,
    receive,
    snapshot_at,
    take,
    terms_of,
    timeout,
)

from quorate.base.check import Bug
from quorate.base.ids import ReplicaId
from quorate.raft.core import compaction
from quorate.raft.core.compaction import PATIENCE
from quorate.raft.core.entries import ENTRY_BYTES, EntryId, Snapshot
from quorate.raft.core.events import (
    Compact,
    Effects,
    Persisted,
    SnapshotInstalled,
    SnapshotTaken,
    Tick,
)
from quorate.raft.core.invariants import check_state
from quorate.raft.core.log import Log
from quorate.raft.core.messages import (
    AppendReply,
    AppendRequest,
    InstallReply,
    InstallSnapshot,
    TimeoutNow,
    VoteReply,
)
from quorate.raft.core.progress import Mode
from quorate.raft.core.replica import Replica, Role
from quorate.raft.core.settings import Limits

KEEP_NOTHING = Limits(snapshot_log_bytes=1_000, retained_log_bytes=0)
ENTRY = ENTRY_BYTES + len(entry(1, 1).data)


def cut_to(replica: Replica, index: int, now_ms: float = 0.0) -> Snapshot:
    """A snapshot at ``index`` is taken and all it stands for is cut; the limits keep nothing."""
    snapshot = snapshot_at(index, replica.log.term(index) or 0, replica.replica)
    take(replica, SnapshotTaken(snapshot), now_ms)
    take(replica, Compact(1_000), now_ms)
    return snapshot


def committed_follower(count: int, limits: Limits = KEEP_NOTHING) -> Replica:
    """``count`` entries of term 1, all committed and on the disk; TWO leads."""
    replica = follower(limits=limits)
    receive(replica, TWO, append(1, new=[1] * count, commit_index=count))
    persist(replica)
    return replica


def cut_leader(limits: Limits = KEEP_NOTHING) -> tuple[Replica, Snapshot]:
    """Of term 2, with nine entries; its log is cut at 8, and THREE has answered nothing yet."""
    replica = leader([1] * 8, term=2, limits=limits)
    persist(replica)
    accept(replica, TWO, 9)
    assert replica.commit_index == 9
    return replica, cut_to(replica, 8)


def behind(replica: Replica, last_index: int, now_ms: float = 0.0) -> Effects:
    """THREE refuses the leader's probe: its log ends at ``last_index``."""
    rejected = replica.progress[THREE].next_index - 1
    refused = AppendReply(replica.term, False, 0, rejected, 0, last_index + 1)
    return receive(replica, THREE, refused, now_ms)


# What is cut.


def test_a_log_is_cut_behind_a_snapshot_in_pieces_of_a_bounded_size() -> None:
    replica = committed_follower(10)
    assert take(replica, Compact(100)) == Effects()  # nothing stands for it yet
    take(replica, SnapshotTaken(snapshot_at(7, 1)))
    cuts = [take(replica, Compact(3)).cut for _ in range(4)]
    assert cuts == [EntryId(3, 1), EntryId(6, 1), EntryId(7, 1), None]
    assert (replica.log.base, terms_of(replica)) == (EntryId(7, 1), [1] * 3)
    assert replica.commit_index == replica.durable_index == 10


def test_what_followers_that_are_a_little_slow_may_need_stays() -> None:
    replica = committed_follower(10, Limits(retained_log_bytes=3 * ENTRY + ENTRY_BYTES))
    cut_to(replica, 8)
    assert replica.log.base == EntryId(5, 1)


def test_it_is_bounded_in_entries_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compaction, "MAX_RETAINED_ENTRIES", 2)
    replica = committed_follower(10, Limits())
    cut_to(replica, 8)
    assert replica.log.base == EntryId(6, 1)


def test_a_snapshot_that_is_older_than_another_moves_nothing() -> None:
    replica = committed_follower(10)
    newer = cut_to(replica, 8)
    take(replica, SnapshotTaken(snapshot_at(5, 1)))
    assert replica.snapshot == newer
    assert take(replica, Compact(100)) == Effects()


def test_what_is_sent_from_before_the_base_is_known_to_match() -> None:
    replica = committed_follower(10)
    cut_to(replica, 8)
    late = receive(replica, TWO, append(1, (3, 1), [1] * 4))
    assert late.messages == [(TWO, AppendReply(1, True, match_index=7))]
    across = receive(replica, TWO, append(1, (6, 1), [1] * 6))
    assert across.entries == [entry(11, 1), entry(12, 1)]
    assert across.messages == [(TWO, AppendReply(1, True, match_index=12))]


# The leader offers a snapshot.


def test_a_follower_that_needs_what_was_cut_is_offered_the_snapshot() -> None:
    replica, snapshot = cut_leader()
    assert behind(replica, 3).messages == [(THREE, InstallSnapshot(2, snapshot))]
    assert replica.progress[THREE].mode is Mode.SNAPSHOT


def test_one_that_has_the_entry_at_the_base_is_sent_what_follows() -> None:
    replica, _ = cut_leader()
    [(_, message)] = accept(replica, THREE, 8).messages
    assert message == AppendRequest(2, 8, 1, 9, log_of(replica))


def test_until_it_has_it_offers_take_the_place_of_heartbeats_and_nothing_else_is_sent() -> None:
    replica, snapshot = cut_leader()
    behind(replica, 3)
    assert [m for to, m in propose(replica, b"x").messages if to == THREE] == []
    answer = receive(replica, THREE, InstallReply(2), TIMING.heartbeat_interval_ms)
    assert answer == Effects()
    beats = timeout(replica).messages
    assert [m for to, m in beats if to == THREE] == [InstallSnapshot(2, snapshot)]
    assert [type(m) for to, m in beats if to == TWO] == [AppendRequest]
    assert behind(replica, 3) == Effects()  # a refusal that is late


def test_it_goes_on_with_the_log_once_the_follower_has_the_first_snapshot_it_was_offered() -> None:
    replica, _ = cut_leader()
    behind(replica, 3)
    assert accept(replica, THREE, 7).messages == []
    propose(replica, b"x")
    [(_, message)] = accept(replica, THREE, 8).messages
    assert isinstance(message, AppendRequest)
    assert [e.index for e in message.entries] == [9, 10]
    assert replica.progress[THREE].mode is Mode.REPLICATE


def test_if_the_log_was_cut_further_meanwhile_the_next_snapshot_is_offered() -> None:
    replica, _ = cut_leader()
    behind(replica, 3)
    second = cut_to(replica, 9, now_ms=10_000.0)  # THREE is silent: nothing is kept for it
    propose(replica, b"x")
    assert accept(replica, THREE, 8).messages == [(THREE, InstallSnapshot(2, second))]
    assert replica.progress[THREE].snapshot_index == 9


def test_an_answer_of_a_follower_that_fetches_counts_for_the_leaders_majority() -> None:
    replica, _ = cut_leader()
    behind(replica, 3)
    now_ms = 0.0
    for _ in range(20):
        now_ms += TIMING.heartbeat_interval_ms
        receive(replica, THREE, InstallReply(2), now_ms)
        take(replica, Tick(), max(now_ms, replica.next_deadline_ms))
    assert replica.role is Role.LEADER


def test_a_refusal_of_a_later_term_ends_its_leadership() -> None:
    replica, _ = cut_leader()
    receive(replica, THREE, InstallReply(5))
    assert (replica.role, replica.term) == (Role.FOLLOWER, 5)


# What stays for one that fetches.


def grown_leader(answered_ms: float, commands: int = 5) -> Replica:
    """THREE was offered the snapshot at 8, and answered last then; the log has grown since."""
    replica, _ = cut_leader()
    behind(replica, 3)
    receive(replica, THREE, InstallReply(2), answered_ms)
    propose(replica, *[b"x"] * commands)
    persist(replica)
    accept(replica, TWO, replica.log.last_index)
    return replica


def test_the_log_stays_for_a_follower_that_is_fetching() -> None:
    replica = grown_leader(1_000.0)
    cut_to(replica, 12, now_ms=1_000.0 + TIMING.election_timeout_ms)
    assert replica.log.base == EntryId(8, 2 - 1)


def test_not_for_one_that_is_silent() -> None:
    replica = grown_leader(1_000.0)
    cut_to(replica, 12, now_ms=1_001.0 + TIMING.election_timeout_ms)
    assert replica.log.base == EntryId(12, 2)


def test_nor_when_it_has_become_much_too_long() -> None:
    enough = PATIENCE * KEEP_NOTHING.snapshot_log_bytes // (ENTRY_BYTES + 1) - 1
    replica = grown_leader(1_000.0, enough)
    assert replica.log.bytes < PATIENCE * KEEP_NOTHING.snapshot_log_bytes
    last = replica.commit_index
    cut_to(replica, last, now_ms=1_000.0)
    assert replica.log.base.index == 8
    propose(replica, b"x" * KEEP_NOTHING.snapshot_log_bytes)
    persist(replica)
    accept(replica, TWO, replica.log.last_index)
    cut_to(replica, last + 1, now_ms=1_000.0)
    assert replica.log.base.index == last + 1


# The follower.


def test_an_offer_is_answered_and_to_be_fetched() -> None:
    replica = follower([1, 1])
    snapshot = snapshot_at(9, 3, TWO)
    effects = receive(replica, TWO, InstallSnapshot(4, snapshot), 50.0)
    assert effects.install == snapshot
    assert effects.messages == [(TWO, InstallReply(4))]
    assert (replica.term, replica.leader, replica.last_contact_ms) == (4, TWO, 50.0)
    assert terms_of(replica) == [1, 1]  # nothing has changed yet


def test_an_offer_of_what_is_committed_here_is_answered_as_an_append_would_be() -> None:
    replica = committed_follower(10)
    effects = receive(replica, TWO, InstallSnapshot(1, snapshot_at(10, 1, TWO)))
    assert effects.install is None
    assert effects.messages == [(TWO, AppendReply(1, True, match_index=10))]


def test_but_only_for_what_is_on_the_disk() -> None:
    replica = follower()
    receive(replica, TWO, append(1, new=[1] * 4, commit_index=4))
    offer = InstallSnapshot(1, snapshot_at(3, 1, TWO))
    assert receive(replica, TWO, offer).messages == [(TWO, AppendReply(1, True, match_index=0))]
    persist(replica)
    assert receive(replica, TWO, offer).messages == [(TWO, AppendReply(1, True, match_index=4))]


def test_an_offer_of_an_earlier_term_is_refused() -> None:
    replica = follower([1, 1], term=5)
    effects = receive(replica, TWO, InstallSnapshot(4, snapshot_at(9, 3, TWO)))
    assert effects == Effects(messages=effects.messages)
    assert effects.messages == [(TWO, InstallReply(5))]


def offered(replica: Replica, snapshot: Snapshot, term: int = 4) -> Replica:
    receive(replica, TWO, InstallSnapshot(term, snapshot))
    return replica


def test_installed_where_the_log_has_its_entry_what_follows_stays() -> None:
    """Figure 13, step 6."""
    snapshot = snapshot_at(3, 2, TWO)
    replica = offered(follower([1, 1, 2, 3], term=3), snapshot)
    effects = take(replica, SnapshotInstalled(snapshot))
    assert effects.cut == EntryId(3, 2)
    assert effects.messages == [(TWO, AppendReply(4, True, match_index=3))]
    assert log_of(replica) == entries([3], 4)
    assert (replica.commit_index, replica.durable_index, replica.snapshot) == (3, 4, snapshot)


@pytest.mark.parametrize("terms", [[1, 1], [1, 1, 1, 1, 3]])
def test_installed_where_it_has_not_the_log_begins_anew(terms: list[int]) -> None:
    """Figure 13, step 7: the log is too short, or of another history."""
    snapshot = snapshot_at(4, 2, TWO)
    replica = offered(follower(terms, term=3), snapshot)
    effects = take(replica, SnapshotInstalled(snapshot))
    assert effects.cut == replica.log.base == EntryId(4, 2)
    assert log_of(replica) == []
    assert replica.commit_index == replica.durable_index == replica.log.last_index == 4
    receive(replica, TWO, append(4, (4, 2), [4]))
    assert replica.durable_index == 4
    persist(replica)
    assert replica.durable_index == 5


def test_one_that_came_too_late_changes_nothing_but_is_acknowledged() -> None:
    snapshot = snapshot_at(3, 1, TWO)
    replica = offered(follower(), snapshot, term=1)
    receive(replica, TWO, append(1, new=[1] * 5, commit_index=5))
    persist(replica)
    effects = take(replica, SnapshotInstalled(snapshot))
    assert effects.cut is None
    assert effects.messages == [(TWO, AppendReply(1, True, match_index=5))]
    assert (replica.snapshot, len(log_of(replica))) == (None, 5)


def test_who_knows_no_leader_acknowledges_to_nobody() -> None:
    snapshot = snapshot_at(4, 2, TWO)
    replica = offered(follower([1, 1]), snapshot)
    timeout(replica)
    assert replica.role is Role.PRE_CANDIDATE
    assert take(replica, SnapshotInstalled(snapshot)).messages == []
    assert replica.commit_index == 4


def unsynced_follower() -> Replica:
    """Two writes are under way: entries 1 to 3, and 4 to 6."""
    replica = follower()
    receive(replica, TWO, append(1, new=[1] * 3))
    receive(replica, TWO, append(1, (3, 1), [1] * 3))
    return replica


@pytest.mark.parametrize(
    ("index", "durable"), [(2, (2, 3, 6)), (3, (3, 3, 6)), (5, (5, 5, 6)), (6, (6, 6, 6))]
)
def test_durable_is_what_the_snapshot_or_a_sync_covers(
    index: int, durable: tuple[int, int, int]
) -> None:
    snapshot = snapshot_at(index, 1, TWO)
    replica = offered(unsynced_follower(), snapshot, term=1)
    first, second = replica.writes - 1, replica.writes
    take(replica, SnapshotInstalled(snapshot))
    seen = [replica.durable_index]
    for write in (first, second):
        take(replica, Persisted(write))
        seen.append(replica.durable_index)
    assert tuple(seen) == durable


def test_a_sync_of_what_another_history_replaced_covers_nothing() -> None:
    snapshot = snapshot_at(5, 2, TWO)
    replica = offered(unsynced_follower(), snapshot, term=2)
    old = replica.writes
    take(replica, SnapshotInstalled(snapshot))
    receive(replica, TWO, append(2, (5, 2), [2]))
    take(replica, Persisted(old))
    assert replica.durable_index == 5
    persist(replica)
    assert replica.durable_index == 6


def test_a_follower_that_was_elected_while_it_fetched_takes_the_snapshot_and_leads_on() -> None:
    """It had the entries all the time; only the answers had been lost."""
    snapshot = snapshot_at(3, 1, TWO)
    replica = offered(follower([1] * 4, term=1, limits=KEEP_NOTHING), snapshot, term=1)
    receive(replica, TWO, TimeoutNow(1))
    persist(replica)
    receive(replica, TWO, VoteReply(2, True))
    assert replica.role is Role.LEADER
    assert take(replica, SnapshotInstalled(snapshot)).cut == EntryId(3, 1)
    assert (replica.role, replica.commit_index, terms_of(replica)) == (Role.LEADER, 3, [1, 2])
    offers = behind(replica, 0).messages
    assert offers == [(THREE, InstallSnapshot(2, snapshot))]


# What must always be true.


def test_a_log_that_is_cut_where_no_snapshot_stands_for_it_is_noticed() -> None:
    replica = follower([1], base=EntryId(4, 1))
    check_state(replica)
    for snapshot in (None, snapshot_at(3, 1)):
        replica.snapshot = snapshot
        with pytest.raises(Bug, match="cut where no snapshot stands for it"):
            check_state(replica)


def test_a_leader_without_a_snapshot_of_what_was_cut_is_a_bug() -> None:
    replica, _ = cut_leader()
    replica.snapshot = None
    with pytest.raises(Bug, match="neither in the log nor in a snapshot"):
        behind(replica, 3)


def test_a_cut_where_no_entry_stands_is_a_bug() -> None:
    log = Log(EntryId(4, 1), entries([1], 5))
    for index in (3, 6):
        with pytest.raises(Bug, match="where it has no entry"):
            log.cut(index)


def test_what_a_restarted_replica_has_committed_is_what_its_snapshot_stands_for() -> None:
    replica = follower([1, 1], base=EntryId(4, 1))
    assert (replica.commit_index, replica.durable_index, replica.log.last_index) == (4, 6, 6)
    assert replica.last_entry == EntryId(6, 1)
    assert ReplicaId(1) == ME
