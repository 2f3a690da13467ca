"""Random commands against a plain dict, on replicas that restart from snapshots and one that does
not."""

from collections.abc import Callable
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from kv_stores import START_MS, Driven

from quorate.base.codec import result_of
from quorate.kv.core.commands import (
    Add,
    AnyOperation,
    Append,
    Apply,
    Clear,
    Copy,
    Delete,
    DeleteEqual,
    Exists,
    Expire,
    ExpiresAt,
    Get,
    GetExpire,
    HasValue,
    Limit,
    Persist,
    Put,
    PutMany,
    Rename,
    Scan,
    Set,
    Size,
    Skip,
    Stage,
    Take,
    Transact,
    Value,
    When,
)

Model = dict[bytes, tuple[bytes, int]]
"""Key → value and end."""
REFUSED = "refused"


def inline(value: Value) -> bytes:
    assert isinstance(value, bytes)
    return value


def set_(model: Model, now: int, it: Set) -> Any:
    before = model.get(it.key)
    given_value = before[0] if before and it.give else None
    if (it.when is When.ABSENT and before) or (it.when is When.PRESENT and not before):
        return [0, given_value]
    end = now + it.ttl_ms if it.ttl_ms else 0
    model[it.key] = (inline(it.value), before[1] if it.keep_ttl and before else end)
    return [1, given_value]


def put_many(model: Model, now: int, it: PutMany) -> Any:
    if it.when is When.ABSENT and any(key in model for key, _ in it.pairs):
        return 0
    for key, value in it.pairs:
        model[key] = (inline(value), 0)
    return 1


def put(model: Model, now: int, it: Put) -> Any:
    model[it.key] = (inline(it.value), 0)
    return 1


def delete(model: Model, now: int, it: Delete) -> Any:
    return sum(model.pop(key, None) is not None for key in it.keys)


def append(model: Model, now: int, it: Append) -> Any:
    value, end = model.get(it.key, (b"", 0))
    model[it.key] = (value + inline(it.value), end)
    return len(model[it.key][0])


def add(model: Model, now: int, it: Add) -> Any:
    value, end = model.get(it.key, (b"0", 0))
    if not value.isdigit() or (value[:1] == b"0" and len(value) > 1):
        return REFUSED
    model[it.key] = (b"%d" % (int(value) + it.by), end)
    return int(value) + it.by


def expire(model: Model, now: int, it: Expire) -> Any:
    if it.key not in model:
        return 0
    assert it.ttl_ms is not None
    model[it.key] = (model[it.key][0], now + it.ttl_ms)
    if it.ttl_ms <= 0:
        del model[it.key]
    return 1


def persist(model: Model, now: int, it: Persist) -> Any:
    value, end = model.get(it.key, (b"", 0))
    if end:
        model[it.key] = (value, 0)
    return int(bool(end))


def take(model: Model, now: int, it: Take) -> Any:
    return model.pop(it.key, (None, 0))[0]


def get_expire(model: Model, now: int, it: GetExpire) -> Any:
    if it.key not in model:
        return None
    value, _ = model[it.key]
    model[it.key] = (value, 0 if it.persist else now + (it.ttl_ms or 0))
    return value


def rename(model: Model, now: int, it: Rename) -> Any:
    if it.key not in model:
        return REFUSED
    if it.when is When.ABSENT and it.target in model:
        return 0
    model[it.target] = model.pop(it.key)
    return 1


def copy(model: Model, now: int, it: Copy) -> Any:
    if it.key not in model or (it.target in model and not it.replace):
        return 0
    model[it.target] = model[it.key]
    return 1


def clear(model: Model, now: int, it: Clear) -> Any:
    count = len(model)
    model.clear()
    return count


def delete_equal(model: Model, now: int, it: DeleteEqual) -> Any:
    if it.key not in model or model[it.key][0] != it.value:
        return 0
    del model[it.key]
    return 1


PERFORM: dict[type[Any], Callable[[Model, int, Any], Any]] = {
    Put: put,
    Set: set_,
    PutMany: put_many,
    Delete: delete,
    Append: append,
    Add: add,
    Expire: expire,
    Persist: persist,
    Take: take,
    GetExpire: get_expire,
    Rename: rename,
    Copy: copy,
    Clear: clear,
    DeleteEqual: delete_equal,
    Get: lambda model, now, it: model.get(it.key, (None, 0))[0],
    Exists: lambda model, now, it: sum(key in model for key in it.keys),
    ExpiresAt: lambda model, now, it: model[it.key][1] or -1 if it.key in model else -2,
    Size: lambda model, now, it: len(model),
}
GIVES_REVISION = (Put, PutMany)

K = st.sampled_from([b"a", b"b", b"c", b"dd", b"e" * 40])
V = st.sampled_from([b"", b"7", b"42", b"x", b"y" * 100])
TTL = st.sampled_from([0, 5, 20])
WHEN = st.sampled_from(When)
OPERATIONS: st.SearchStrategy[AnyOperation] = st.one_of(
    st.builds(Put, K, V),
    st.builds(Set, K, V, TTL, st.just(0), st.booleans(), WHEN, st.booleans()),
    st.builds(PutMany, st.lists(st.tuples(K, V), min_size=1, max_size=4), WHEN),
    st.builds(Delete, st.lists(K, max_size=3)),
    st.builds(Append, K, V),
    st.builds(Add, K, st.integers(0, 9)),
    st.builds(Expire, K, st.sampled_from([-1, 0, 5, 20])),
    st.builds(Persist, K),
    st.builds(Take, K),
    st.builds(GetExpire, K, st.sampled_from([5, 20]), st.none(), st.booleans()),
    st.builds(Rename, K, K, WHEN),
    st.builds(Copy, K, K, st.booleans()),
    st.builds(DeleteEqual, K, V),
    st.builds(Get, K),
    st.builds(Exists, st.lists(K, max_size=3)),
    st.builds(ExpiresAt, K),
    st.just(Size()),
)
SKIPS = st.builds(Skip, st.integers(0, 60))
STEPS = st.one_of(
    st.lists(OPERATIONS | st.just(Clear()), max_size=6),
    st.tuples(st.sampled_from(["whole", "each"]), K, V, st.lists(OPERATIONS, max_size=6)),
    st.integers(0, 12),
    st.sampled_from(["snapshot"]),
)


def performed(model: Model, now: int, operation: AnyOperation) -> Any:
    return PERFORM[type(operation)](model, now, operation)


def same(operation: AnyOperation, reply: Any, expected: Any) -> bool:
    if expected == REFUSED:
        return isinstance(reply, dict)
    if isinstance(operation, GIVES_REVISION):
        return bool(reply) is bool(expected)
    if isinstance(operation, Set):
        return bool(reply[0]) is bool(expected[0]) and reply[1] == expected[1]
    return bool(reply == expected)


class Run:
    def __init__(self) -> None:
        self.replicas = [Driven(max_events=20), Driven(max_events=20)]
        self.model: Model = {}

    @property
    def now(self) -> int:
        return self.replicas[0].time_ms

    def both(self, *commands: Any) -> list[bytes]:
        replies = [replica.entry(*commands) for replica in self.replicas]
        assert replies[0] == replies[1]
        assert self.replicas[0].store.digest() == self.replicas[1].store.digest()
        return replies[0]

    def apply(self, operations: list[AnyOperation]) -> None:
        (reply,) = self.both(Apply(operations))
        replies = result_of(reply, list[Any])
        for operation, got in zip(operations, replies, strict=True):
            expected = performed(self.model, self.now, operation)
            assert same(operation, got, expected), (operation, got, expected)

    def transact(self, whole: bool, key: bytes, value: bytes, then: list[AnyOperation]) -> None:
        held = key in self.model and self.model[key][0] == value
        operations = then if held else then[::-1]
        command = Transact([HasValue(key, value)], then, then[::-1], whole)
        before = dict(self.model)
        expected = [performed(self.model, self.now, operation) for operation in operations]
        (reply,) = self.both(command)
        if whole and REFUSED in expected:
            self.model = before
            assert b"bad_input" in reply or b"not_found" in reply
            return
        found = result_of(reply, dict[str, Any] | list[Any])
        assert found[0] is held
        for operation, got, wanted in zip(operations, found[2], expected, strict=True):
            assert same(operation, got, wanted), (operation, got, wanted)

    def step(self, step: Any) -> None:
        match step:
            case list():
                self.apply(step)
            case (how, key, value, then):
                self.transact(how == "whole", key, value, then)
            case int():
                for replica in self.replicas:
                    replica.time_ms += step
                self.model = {
                    key: it for key, it in self.model.items() if not it[1] or it[1] > self.now
                }
                self.both()
            case "snapshot":
                self.replicas[1] = self.replicas[1].copy()
        expected = {key: value for key, (value, _) in self.model.items()}
        assert [replica.content() for replica in self.replicas] == [expected] * 2


@settings(max_examples=120, deadline=None)
@given(st.lists(STEPS, max_size=12))
def test_random_commands_give_what_a_dict_would_on_all_replicas(steps: list[Any]) -> None:
    run = Run()
    for step in steps:
        run.step(step)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.builds(Stage, st.integers(0, 2), st.integers(0, 6), st.binary(max_size=4)),
            st.builds(Limit, st.sampled_from([0, 1500, 10**6]), st.sampled_from(["", "full"])),
            st.builds(lambda key, upload: Apply([Put(key, upload)]), K, st.integers(0, 2)),
            st.builds(lambda at, count: Apply([Scan(at, count)]), st.integers(0, 3), st.just(2)),
            st.builds(
                Apply, st.lists(OPERATIONS | st.builds(Skip, st.integers(0, 60)), max_size=4)
            ),
            st.sampled_from([1, 30_000, "snapshot"]),
        ),
        max_size=25,
    )
)
def test_replicas_from_snapshots_stay_equal_to_one_that_never_restarted(steps: list[Any]) -> None:
    run = Run()
    for step in steps:
        if step == "snapshot":
            run.replicas[1] = run.replicas[1].copy()
        elif isinstance(step, int):
            for replica in run.replicas:
                replica.time_ms += step
            run.both()
        else:
            run.both(step)
        state = run.replicas[0].store.state
        assert not state.max_bytes or state.history.bytes <= state.max_bytes
    assert run.now >= START_MS
