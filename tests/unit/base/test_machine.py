"""What all state machines share: typed commands in, replies out, refusals that change nothing."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quorate.base.check import Bug, check
from quorate.base.codec import Command, Query, encode, result_of
from quorate.base.errors import AlreadyExists, BadInput, NotFound
from quorate.base.machine import Meta, TypedMachine


class Set(Command[int], tag="test.set.1"):
    key: str
    value: int


class Drop(Command[None], tag="test.drop.1"):
    key: str


class Get(Query[int], tag="test.get.1"):
    key: str


class Register(TypedMachine):
    """Keys are set once; the keys with a value below the log time are dropped at a deadline."""

    commands = (Set, Drop)
    queries = (Get,)

    def __init__(self) -> None:
        super().__init__()
        self.values: dict[str, int] = {}

    def expire(self, meta: Meta) -> None:
        self.values = {key: v for key, v in self.values.items() if v > meta.time_ms}

    def execute(self, meta: Meta, command: Any) -> object:
        match command:
            case Set(key, value):
                if key in self.values:
                    raise AlreadyExists(f"{key} is there")
                self.values[key] = value
                return meta.index
            case Drop(key):
                if key not in self.values:
                    raise NotFound(f"{key} is not there")
                del self.values[key]
        return None

    def answer(self, query: Any) -> object:
        if query.key not in self.values:
            raise NotFound(f"{query.key} is not there")
        return self.values[query.key]


META = Meta(7, 2, 100)


def test_each_command_gets_its_own_reply_in_order() -> None:
    machine = Register()
    replies = machine.apply_batch(
        META, [encode(Set("a", 200)), encode(Set("a", 300)), encode(Drop("a")), encode(Drop("a"))]
    )
    assert result_of(replies[0], int) == 7
    with pytest.raises(AlreadyExists, match="a is there"):
        result_of(replies[1], int)
    assert result_of(replies[2], type(None)) is None
    with pytest.raises(NotFound, match="a is not there"):
        result_of(replies[3], type(None))


@given(st.binary(max_size=30))
def test_what_is_no_command_is_refused_and_changes_nothing(garbage: bytes) -> None:
    machine = Register()
    machine.apply_batch(META, [encode(Set("a", 200))])
    [reply] = machine.apply_batch(META, [garbage])
    with pytest.raises(BadInput, match="not a command of this state machine"):
        result_of(reply, int)
    assert machine.values == {"a": 200}


def test_all_garbage_is_refused_in_the_same_words() -> None:
    """A refusal is part of the replicated state, so it must not depend on a library's wording."""
    garbage = [b"", b"\x00", b"hello", encode(["test.set.1", 1, 2]), encode(Get("a"))]
    assert len(set(Register().apply_batch(META, garbage))) == 1


def test_garbage_does_not_stop_the_commands_beside_it() -> None:
    machine = Register()
    replies = machine.apply_batch(META, [b"?", encode(Set("a", 200)), b"?"])
    assert (len(replies), result_of(replies[1], int)) == (3, 7)


def test_time_passes_before_the_commands_of_a_batch_and_without_any() -> None:
    machine = Register()
    machine.apply_batch(META, [encode(Set("a", 150)), encode(Set("b", 250))])
    machine.apply_batch(Meta(8, 2, 200), [])
    assert machine.values == {"b": 250}
    [reply] = machine.apply_batch(Meta(9, 2, 250), [encode(Set("b", 300))])
    assert result_of(reply, int) == 9


def test_queries_are_answered_or_refused() -> None:
    machine = Register()
    machine.apply_batch(META, [encode(Set("a", 200))])
    assert result_of(machine.query(encode(Get("a"))), int) == 200
    with pytest.raises(NotFound):
        result_of(machine.query(encode(Get("b"))), int)
    for garbage in (b"", encode(Set("c", 1))):
        with pytest.raises(BadInput, match="not a query of this state machine"):
            result_of(machine.query(garbage), int)
    assert machine.values == {"a": 200}


def test_a_check_that_fails_cannot_be_swallowed_by_handlers_of_errors() -> None:
    check(True, "fine")
    with pytest.raises(Bug, match="one is not two"):
        try:
            check(1 == 2, "one is not two")
        except Exception:
            pytest.fail("a bug is no ordinary exception")
