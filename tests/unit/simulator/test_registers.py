"""Clients of registers, strings and locks: the machine keeps its word, and lies are found."""

import random
from collections import Counter
from typing import Any

import pytest

from quorate.base.check import Bug
from quorate.base.codec import encode, result_of
from quorate.base.machine import Meta, restore_all
from quorate.linearizability.history import Operation, Outcome
from quorate.runtime.simulated.world import Simulation
from quorate.simulator.cluster import RaftCluster
from quorate.simulator.workloads import register_clients
from quorate.simulator.workloads.register_clients import (
    KEYS,
    OPERATIONS,
    RegistersWorkload,
    judge,
)
from quorate.simulator.workloads.registers import (
    Acquire,
    Append,
    Cas,
    Read,
    Registers,
    Release,
    Value,
    Write,
)

META = Meta(1, 1, 0)


def does(machine: Registers, command: Any) -> bool:
    [reply] = machine.apply_batch(META, [encode(command)])
    done: bool = result_of(reply, bool)
    return done


def held(machine: Registers, key: str) -> Value:
    value: Value = result_of(machine.query(encode(Read(key))), Value)
    return value


def test_a_register_is_written_and_compared() -> None:
    machine = Registers()
    assert held(machine, "r") is None
    assert does(machine, Cas("r", None, 1)) and not does(machine, Cas("r", None, 2))
    assert does(machine, Write("r", 3)) and does(machine, Cas("r", 3, 4))
    assert held(machine, "r") == 4


def test_a_string_grows() -> None:
    machine = Registers()
    assert does(machine, Append("s", "a,")) and does(machine, Append("s", "b,"))
    assert held(machine, "s") == "a,b,"


def test_a_lock_has_one_owner_who_alone_gives_it_back() -> None:
    machine = Registers()
    assert does(machine, Acquire("l", "a"))
    assert not does(machine, Acquire("l", "b")) and not does(machine, Acquire("l", "a"))
    assert not does(machine, Release("l", "b"))
    assert does(machine, Release("l", "a")) and not does(machine, Release("l", "a"))
    assert does(machine, Acquire("l", "b"))


def test_a_snapshot_is_frozen_and_restores_state_and_digest() -> None:
    machine, other = Registers(), Registers()
    empty = machine.digest()
    for command in (Write("r", 1), Append("s", "a"), Acquire("l", "a"), Release("l", "a")):
        does(machine, command)
    then = machine.digest()
    stream = machine.snapshot()
    does(machine, Write("r", 2))
    restore_all(other, stream)
    assert other.digest() == then != machine.digest()
    assert [held(other, key) for key in "rsl"] == [1, "a", None]
    assert empty == 0


def run(machine: type[Registers] = Registers, **options: Any) -> RegistersWorkload:
    """Some seconds of four clients on a cluster that nothing happens to."""
    with Simulation(11) as simulation:
        cluster = RaftCluster(simulation, 3, 2, machine=machine)
        load = RegistersWorkload(cluster, 4, random.Random(1), **options)
        cluster.found()
        load.begin()
        simulation.run_for(2_000)
        load.finish()
    return load


def test_clients_collide_and_what_they_saw_is_linearizable() -> None:
    load = run()
    operations = [o for observed in load.observed for o in observed.operations]
    outcomes = Counter((o.f, o.outcome) for o in operations)
    for f in ("cas", "acquire", "release"):
        assert outcomes[f, Outcome.OK] >= 10 and outcomes[f, Outcome.FAIL] >= 5
    reads = sum(o.f in ("read", "get") for o in operations)
    assert 0.4 <= reads / len(operations) <= 0.6
    assert load.acknowledged >= 300
    assert load.notes == {}


@pytest.mark.parametrize("off", [("write", "cas"), ("read", "read anywhere"), OPERATIONS[1:]])
def test_what_is_off_is_not_done(off: tuple[str, ...]) -> None:
    load = run(off=off, operations=20)
    assert 20 <= load.acknowledged <= 4 * 20 + 2 * 4
    called = {o.f for observed in load.observed for o in observed.operations if _is_client(o)}
    assert not called & set(off)
    assert ("read" in called) == ("read" not in off)


def _is_client(operation: Operation) -> bool:
    return operation.process != "reader"


class _Forgets(Registers):
    """Loses each fifteenth change, and says that it was made."""

    def __init__(self) -> None:
        super().__init__()
        self._changes = 0

    def _set(self, key: str, value: Value) -> None:
        self._changes += 1
        if self._changes % 15:
            super()._set(key, value)


class _AnswersLate(Registers):
    """Shows what was there one change ago, now and then."""

    def __init__(self) -> None:
        super().__init__()
        self._before: dict[str, Value] = {}
        self._answers = 0

    def _set(self, key: str, value: Value) -> None:
        self._before[key] = self._values.get(key)
        super()._set(key, value)

    def answer(self, query: Read) -> Value:
        self._answers += 1
        return super().answer(query) if self._answers % 10 else self._before.get(query.key)


class _TwoOwners(Registers):
    """Gives a lock away that somebody has."""

    def execute(self, meta: Meta, command: Any) -> bool:
        if isinstance(command, Acquire):
            self._set(command.key, command.owner)
            return True
        return super().execute(meta, command)


@pytest.mark.parametrize("machine", [_Forgets, _AnswersLate, _TwoOwners])
def test_a_machine_that_lies_is_found_out(machine: type[Registers]) -> None:
    with pytest.raises(Bug, match=r"Linearizable: group [12]: Key "):
        run(machine)


def test_an_open_operation_may_have_taken_effect_or_not() -> None:
    def write(value: int, at: float, outcome: Outcome) -> Operation:
        ended = at + 1 if outcome is Outcome.OK else None
        return Operation("c1", "write", "r1", value, at, ended, outcome)

    def read(value: int, at: float) -> Operation:
        return Operation("c2", "read", "r1", None, at, at + 1, Outcome.OK, value)

    history = [write(1, 0, Outcome.OK), write(2, 2, Outcome.INFO), read(1, 4), read(2, 6)]
    assert judge(history, "here") == 0
    with pytest.raises(Bug, match="Linearizable: here: "):
        judge([*history, read(1, 8)], "here")


def test_what_is_too_hard_to_judge_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(register_clients, "MAX_STEPS", 0)
    read = Operation("c1", "read", KEYS["register"][0], None, 0, 1, Outcome.OK, 7)
    assert judge([read], "here") == 1
