"""How records fold to the state of a group."""

from quorate.base.codec import encode
from quorate.base.ids import GroupId, ReplicaId
from quorate.raft.core.entries import Entry, HardState
from quorate.raft.wal.format import Batch
from quorate.raft.wal.records import Append, Cut, Folded, Record, Relocate, State, fold

GROUP = GroupId(1)


def entries(first: int, last: int, term: int = 1) -> list[Entry]:
    return [Entry(index, term, 1, b"%d" % index) for index in range(first, last + 1)]


def folded(*batches: list[Record]) -> Folded:
    """The group after these batches, which have the sequence numbers 1, 2, …"""
    encoded = [Batch(at, 1, encode(records), 0) for at, records in enumerate(batches, 1)]
    return fold(encoded)[GROUP]


def current(group: Folded) -> list[Entry]:
    assert group.missing() is None
    return [entry for entry, _ in group.current()]


def test_an_append_replaces_everything_from_its_first_entry_on() -> None:
    group = folded([Append(GROUP, 1, entries(1, 5))], [Append(GROUP, 3, entries(3, 3, term=2))])
    assert current(group) == entries(1, 2) + entries(3, 3, term=2)
    assert [batch for _, batch in group.current()] == [1, 1, 2]


def test_an_empty_append_truncates() -> None:
    assert current(folded([Append(GROUP, 1, entries(1, 5)), Append(GROUP, 3, [])])) == entries(1, 2)


def test_the_newest_state_and_cut_count() -> None:
    group = folded(
        [State(GROUP, HardState(1, ReplicaId(7))), Append(GROUP, 1, entries(1, 9))],
        [State(GROUP, HardState(2)), Cut(GROUP, 4, 1)],
        [Cut(GROUP, 6, 1)],
    )
    assert (group.state, group.state_batch) == (HardState(2), 2)
    assert (group.cut_index, group.cut_term, group.cut_batch) == (6, 1, 3)
    assert current(group) == entries(7, 9)


def test_relocated_entries_fill_gaps_and_truncate_nothing() -> None:
    group = folded(
        [Append(GROUP, 5, entries(5, 9))],  # 1 to 4 were in a segment that is gone
        [Relocate(GROUP, entries(1, 2))],
    )
    assert group.missing() == 3
    group.fold(Relocate(GROUP, entries(3, 4)), 3)
    assert current(group) == entries(1, 9)
    assert [batch for _, batch in group.current()] == [2, 2, 3, 3, 1, 1, 1, 1, 1]


def test_relocated_entries_can_be_replaced_later() -> None:
    group = folded(
        [Append(GROUP, 3, entries(3, 4))],
        [Relocate(GROUP, entries(1, 2))],
        [Append(GROUP, 2, entries(2, 2, term=2))],
    )
    assert current(group) == entries(1, 1) + entries(2, 2, term=2)


def test_a_log_whose_beginning_is_gone_misses_its_first_entry() -> None:
    assert folded([Append(GROUP, 5, entries(5, 9))]).missing() == 1
    assert folded([Append(GROUP, 5, entries(5, 9)), Cut(GROUP, 4, 1)]).missing() is None


def test_groups_do_not_mix() -> None:
    other = GroupId(2)
    records = [Append(GROUP, 1, entries(1, 2)), State(other, HardState(3))]
    groups = fold([Batch(1, 1, encode(records), 0)])
    assert current(groups[GROUP]) == entries(1, 2)
    assert (groups[other].state, groups[other].current()) == (HardState(3), [])
