"""The in-memory log, against a plain list of entries."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from raft_replicas import entries, entry

from quorate.base.check import Bug
from quorate.raft.core.entries import Entry, EntryId
from quorate.raft.core.log import Log

TERMS = st.lists(st.integers(1, 4), max_size=12).map(sorted)
BASES = st.sampled_from([EntryId(0, 0), EntryId(1, 1), EntryId(7, 1)])


class Model:
    """The same log as a dictionary from index to term."""

    def __init__(self, base: EntryId, terms: list[int]) -> None:
        self.base = base
        self.terms = {base.index: base.term, **dict(enumerate(terms, base.index + 1))}

    def indexes_of(self, term: int) -> list[int]:
        return [i for i, known in self.terms.items() if known == term and i > self.base.index]


def both(base: EntryId, terms: list[int]) -> tuple[Log, Model]:
    return Log(base, entries(terms, base.index + 1)), Model(base, terms)


@given(BASES, TERMS, st.integers(0, 25))
def test_ends_and_terms_are_those_of_the_list(base: EntryId, terms: list[int], index: int) -> None:
    log, model = both(base, terms)
    assert log.last_index == max(model.terms)
    assert log.last_term == model.terms[log.last_index]
    assert log.term(index) == model.terms.get(index)


@given(BASES, TERMS, st.integers(1, 5))
def test_where_a_term_begins_and_ends(base: EntryId, terms: list[int], term: int) -> None:
    log, model = both(base, terms)
    there = model.indexes_of(term)
    at_base = base.index if base.index and term == base.term else None
    assert log.last_index_of_term(term) == (max(there) if there else at_base)
    later = [i for i, known in model.terms.items() if known >= term and i > base.index]
    assert log.first_index_of_term(term) == min(later, default=log.last_index + 1)


@given(BASES, TERMS, st.data())
def test_append_replaces_all_from_its_first_index_on(
    base: EntryId, terms: list[int], data: st.DataObject
) -> None:
    log, model = both(base, terms)
    first = data.draw(st.integers(base.index + 1, log.last_index + 1))
    new = data.draw(st.lists(st.integers(5, 6), min_size=1, max_size=4).map(sorted))
    log.append(entries(new, first))
    kept = [entry(i, t) for i, t in model.terms.items() if base.index < i < first]
    assert log.slice(base.index + 1, log.last_index) == kept + entries(new, first)


@given(BASES, TERMS, st.data())
def test_slices_and_entries_are_those_of_the_list(
    base: EntryId, terms: list[int], data: st.DataObject
) -> None:
    log, _ = both(base, terms)
    all_of_it = entries(terms, base.index + 1)
    first = data.draw(st.integers(base.index + 1, log.last_index + 2))
    last = data.draw(st.integers(first - 1, log.last_index + 2))
    assert log.slice(first, last) == [e for e in all_of_it if first <= e.index <= last]
    for expected in all_of_it:
        assert log.entry(expected.index) == expected


@given(st.lists(st.integers(0, 200), max_size=12), st.data())
def test_a_batch_is_bounded_in_bytes_but_never_empty_if_there_is_an_entry(
    sizes: list[int], data: st.DataObject
) -> None:
    log = Log(entries=[Entry(i, 1, 1, b"x" * size) for i, size in enumerate(sizes, 1)])
    first = data.draw(st.integers(1, len(sizes) + 1))
    bound = data.draw(st.integers(1, 500))
    batch = log.batch(first, bound)
    assert batch == log.slice(first, first + len(batch) - 1)
    rest = log.slice(first, log.last_index)
    assert bool(batch) == bool(rest)
    assert len(batch) <= 1 or sum(len(e.data) + 32 for e in batch) <= bound
    if len(batch) < len(rest):
        assert sum(len(e.data) + 32 for e in rest[: len(batch) + 1]) > bound


@given(TERMS, TERMS)
def test_up_to_date_compares_the_last_terms_then_the_lengths(
    mine: list[int], theirs: list[int]
) -> None:
    """Raft §5.4.1, end."""
    log = Log(entries=entries(mine))
    my_term, their_term = (mine or [0])[-1], (theirs or [0])[-1]
    longer = their_term == my_term and len(theirs) >= len(mine)
    expected = their_term > my_term or longer
    assert log.is_up_to_date(EntryId(len(theirs), their_term)) == expected


def test_a_gap_is_a_bug() -> None:
    with pytest.raises(Bug, match="leaves a gap"):
        Log(entries=entries([1, 1])).append([entry(4, 1)])
    with pytest.raises(Bug, match="log entry 3 where 2 belongs"):
        Log(entries=[entry(1, 1), entry(3, 1)])


@pytest.mark.parametrize("index", [4, 5, 9])
def test_an_entry_that_is_not_here_is_a_bug(index: int) -> None:
    log = Log(EntryId(5, 1), entries([1, 1], 6))
    with pytest.raises(Bug, match=f"log entry {index} is not here"):
        log.entry(index)


def test_what_a_snapshot_stands_for_can_be_neither_read_nor_replaced() -> None:
    log = Log(EntryId(5, 1), entries([1, 1], 6))
    with pytest.raises(Bug, match="behind the snapshot"):
        log.slice(5, 6)
    with pytest.raises(Bug, match="behind the snapshot"):
        log.batch(5, 100)
    with pytest.raises(Bug, match="leaves a gap"):
        log.append([entry(5, 2)])
