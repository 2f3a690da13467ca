"""Each parser takes a few hundred inputs, always the same; ``make fuzz`` takes a million."""

import random

import msgspec
import pytest
from fuzz.engine import random_run
from fuzz.mutator import mutated
from fuzz.target import Target, framed, parts
from fuzz.targets import TARGETS

from quorate.base.codec import Command

INPUTS = 300


@pytest.mark.parametrize("name", TARGETS)
def test_nothing_but_documented_errors_comes_out_of(name: str) -> None:
    result = random_run(TARGETS[name], INPUTS, seed=1)
    for crash in result.crashes:
        raise AssertionError(f"after the input {crash.data.hex()}") from crash.error
    assert result.inputs == INPUTS


@pytest.mark.parametrize("name", TARGETS)
def test_every_target_begins_with_several_valid_inputs_that_it_takes(name: str) -> None:
    seeds = TARGETS[name].seeds()
    assert seeds
    for seed in seeds:
        TARGETS[name].run(seed)


def test_the_fuzzer_finds_what_is_wrong() -> None:
    """A parser that trusts a length is caught, by its first lie."""

    def trusting(data: bytes) -> None:
        for part in parts(data):
            fields = msgspec.msgpack.decode(part, type=tuple[int, bytes])
            fields[1][fields[0]]

    def seeds() -> list[bytes]:
        return [framed([msgspec.msgpack.encode((2, b"abc"))])]

    result = random_run(Target("trusting", trusting, seeds, framed=True), 500, 1, crashes=50)
    found = {type(crash.error) for crash in result.crashes}
    assert {IndexError, msgspec.ValidationError, UnicodeDecodeError} & found >= {IndexError}


def test_the_same_seed_gives_the_same_inputs() -> None:
    taken: list[list[bytes]] = [[], []]
    for run in taken:
        target = Target("kept", run.append, lambda: [framed([b"one", b"two"])], framed=True)
        random_run(target, 200, seed=7)
    assert taken[0] == taken[1]
    assert len(set(taken[0])) > 100


def test_structs_within_commands_forbid_unknown_fields() -> None:
    """Or a replica would pass over what it does not know, as deep as its stack allows, and part
    from the others."""
    checked = 0
    waiting: list[type[Command[object]]] = list(Command.__subclasses__())
    while waiting:
        kind = waiting.pop()
        waiting += kind.__subclasses__()
        if kind.__module__.startswith("quorate.") and kind.__struct_config__.tag is not None:
            for struct in _structs(msgspec.inspect.type_info(kind)):
                assert struct.forbid_unknown_fields, f"{struct.cls.__name__} in {kind.__name__}"
                checked += 1
    assert checked > 25


def _structs(info: msgspec.inspect.Type) -> list[msgspec.inspect.StructType]:
    match info:
        case msgspec.inspect.StructType(fields=fields):
            return [info, *(found for field in fields for found in _structs(field.type))]
        case msgspec.inspect.ListType(item_type=item):
            return _structs(item)
        case msgspec.inspect.UnionType(types=types):
            return [found for one in types for found in _structs(one)]
    return []


def test_inputs_nested_deeper_than_the_stack_are_changed_too() -> None:
    deep = b"\x91" * 900 + b"\xc0"  # the decoder follows them; a walk in Python may not
    random_ = random.Random(1)
    changed = {mutated(deep, [b""], random_, False) for _ in range(200)}
    assert len(changed) > 100
