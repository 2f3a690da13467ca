"""What is refused before it is in the log is what the log would have refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kv_stores import START_MS, Driven

from quorate.base.codec import encode
from quorate.base.machine import Meta
from quorate.kv.core.commands import (
    MAX_KEY_BYTES,
    AnyOperation,
    Append,
    Apply,
    Delete,
    Get,
    HasRevision,
    Limit,
    Put,
    PutMany,
    Set,
    Stage,
    Transact,
    When,
)

K = st.sampled_from([b"a", b"b", b"c", b"k" * (MAX_KEY_BYTES + 1)])
V = st.sampled_from([b"", b"1", b"v" * 300, b"v" * 3_000]) | st.integers(1, 2)
OPERATIONS: st.SearchStrategy[AnyOperation] = st.one_of(
    st.builds(Put, K, V),
    st.builds(Set, K, V, st.sampled_from([0, 5, -1, 1 << 62]), when=st.sampled_from(When)),
    st.builds(PutMany, st.lists(st.tuples(K, V), max_size=3), st.sampled_from(When)),
    st.builds(Append, K, V),
    st.builds(Delete, st.lists(K, max_size=2)),
    st.builds(Get, K),
)
COMMANDS = st.one_of(
    st.builds(Apply, st.lists(OPERATIONS, min_size=1, max_size=3)),
    st.builds(
        Transact,
        st.lists(st.builds(HasRevision, K, st.just(0)), max_size=1),
        st.lists(OPERATIONS, min_size=1, max_size=2),
        whole=st.booleans(),
    ),
    st.builds(Stage, st.integers(1, 3), st.sampled_from([0, 300]), st.just(b"v" * 300)),
)


@given(
    st.lists(OPERATIONS, max_size=5),
    st.sampled_from([Limit(1_000), Limit(3_000), Limit(0, "a disk is nearly full")]),
    st.lists(COMMANDS, min_size=1, max_size=3),
    st.integers(0, 10),
)
def test_what_is_foreseen_is_what_comes(
    before: list[AnyOperation], limit: Limit, commands: list[object], passed_ms: int
) -> None:
    store = Driven()
    store.stage(1, 0, b"v" * 300)
    store.do(*before)
    store.store.execute(Meta(1, 1, START_MS), limit)
    data, time_ms = [encode(command) for command in commands], START_MS + passed_ms
    digest = store.store.digest()
    foreseen = store.store.refused(data, time_ms)
    assert store.store.digest() == digest
    if foreseen is not None:
        assert store.store.apply_batch(Meta(2, 1, time_ms), data) == foreseen
        assert store.store.digest() == digest


@pytest.mark.parametrize("command", [Apply([]), Transact([], [], [])])
def test_what_asks_for_nothing_is_not_refused(command: Apply | Transact) -> None:
    store = Driven()
    store.store.execute(Meta(1, 1, START_MS), Limit(0, "a disk is nearly full"))
    assert store.store.refused([encode(command)], START_MS) is None


def test_a_plain_put_into_a_full_store_is_foreseen_and_one_into_another_is_not() -> None:
    for limit, expected in (Limit(1_000), True), (Limit(9_000), False), (Limit(0), False):
        store = Driven()
        store.store.execute(Meta(1, 1, START_MS), limit)
        command = encode(Apply([Put(b"a", bytes(3_000))]))
        assert (store.store.refused([command], START_MS) is not None) is expected
