"""The session wrapper around a machine that counts: exactly once, and nothing else."""

import gc
import tracemalloc
from itertools import count
from typing import Any

import pytest
from session_bench import Bench, Counter, Read, add

from quorate.base.check import Bug
from quorate.base.codec import encode, result_of
from quorate.base.errors import BadInput, CorruptData, Maybe, Overloaded, SessionExpired
from quorate.base.machine import Meta, restore_all
from quorate.raft import sessions
from quorate.raft.sessions import (
    MAX_COMMAND_BYTES,
    MAX_OUTSTANDING,
    SESSION_IDLE_MS,
    OpenSession,
    SessionMachine,
    SetFeatureLevel,
    admit,
    wrap,
)


def test_a_command_that_comes_again_is_answered_and_not_applied() -> None:
    bench = Bench()
    session = bench.open()
    assert bench.add(session, 1, 5) == 5
    assert bench.add(session, 2, 10) == 15
    assert bench.add(session, 1, 5) == 5
    assert bench.add(session, 2, 10) == 15
    assert bench.counter.sum == 15


def test_commands_may_come_in_any_order() -> None:
    bench = Bench()
    session = bench.open()
    assert bench.add(session, 3, 1) == 1
    assert bench.add(session, 1, 10) == 11
    assert bench.add(session, 3, 1) == 1


def test_a_command_that_is_twice_in_one_entry_is_applied_once() -> None:
    bench = Bench()
    session = bench.open()
    replies = bench.batch(add(session, 1, 5), add(session, 2, 1), add(session, 1, 5))
    assert [result_of(reply, int) for reply in replies] == [5, 6, 5]
    assert bench.add(session, 1, 5) == 5


def test_a_refusal_is_an_answer_too() -> None:
    """Also when the same command would be possible by now."""
    bench = Bench()
    session = bench.open()
    for _ in range(2):
        with pytest.raises(BadInput, match="the sum would be -1"):
            bench.add(session, 1, -1)
        bench.add(session, 2, 10)
    assert bench.counter.sum == 10


def test_sessions_do_not_share_numbers() -> None:
    bench = Bench()
    one, two = bench.open(), bench.open()
    assert bench.add(one, 1) == 1
    assert bench.add(two, 1) == 2


def test_session_ids_are_never_given_twice() -> None:
    bench = Bench()
    opened = [result_of(reply, int) for reply in bench.batch(*[encode(OpenSession())] * 3)]
    opened.append(bench.open())
    bench.time_ms += SESSION_IDLE_MS
    opened.append(bench.open())
    assert len(set(opened)) == 5 and 0 not in opened


def test_commands_without_a_session_are_applied_each_time() -> None:
    bench = Bench()
    assert [bench.add(0, 0), bench.add(0, 0)] == [1, 2]


def test_a_session_that_was_idle_is_gone_and_says_so() -> None:
    bench = Bench()
    session = bench.open()
    bench.add(session, 1)
    bench.time_ms += SESSION_IDLE_MS
    for sequence in (1, 2):
        with pytest.raises(SessionExpired):
            bench.add(session, sequence)
    assert bench.counter.sum == 1


def test_a_session_in_use_stays() -> None:
    bench = Bench()
    session = bench.open()
    for sequence in range(1, 4):
        bench.time_ms += SESSION_IDLE_MS - 1
        assert bench.add(session, sequence) == sequence


def test_asking_again_keeps_a_session_in_use() -> None:
    bench = Bench()
    session = bench.open()
    for _ in range(3):
        assert bench.add(session, 1) == 1
        bench.time_ms += SESSION_IDLE_MS - 1
    assert bench.add(session, 1) == 1


def test_a_tick_is_due_when_the_oldest_session_or_the_machine_has_a_deadline() -> None:
    bench = Bench()
    assert bench.machine.next_deadline_ms() is None
    bench.counter.deadline_ms = 5_000_000
    assert bench.machine.next_deadline_ms() == 5_000_000
    one = bench.open()
    bench.time_ms += 10
    bench.open()
    assert bench.machine.next_deadline_ms() == 1_000_000 + SESSION_IDLE_MS
    bench.add(one, 1)  # now the other is the oldest, which is found out when a tick is due
    bench.time_ms = 1_000_000 + SESSION_IDLE_MS
    bench.batch()
    assert bench.machine.next_deadline_ms() == 1_000_010 + SESSION_IDLE_MS
    bench.time_ms += 10
    bench.batch()
    assert bench.machine.next_deadline_ms() == 5_000_000


def test_the_oldest_session_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "MAX_SESSIONS", 2)
    bench = Bench()
    one, two = bench.open(), bench.open()
    bench.add(one, 1)
    three = bench.open()
    with pytest.raises(SessionExpired):
        bench.add(two, 1)
    assert [bench.add(one, 2), bench.add(three, 1)] == [2, 3]


def test_a_session_may_have_to_make_room_in_the_entry_that_used_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sessions, "MAX_SESSIONS", 1)
    bench = Bench()
    one = bench.open()
    replies = bench.batch(add(one, 1), encode(OpenSession()))
    assert result_of(replies[0], int) == 1
    with pytest.raises(SessionExpired):
        bench.add(one, 1)
    assert bench.copy().machine.digest() == bench.machine.digest()


def test_answers_that_the_client_has_are_forgotten() -> None:
    bench = Bench()
    session = bench.open()
    for sequence in range(1, 6):
        bench.add(session, sequence)
    long = len(b"".join(bench.machine.snapshot()))
    bench.add(session, 6, acknowledged=5)
    assert len(b"".join(bench.machine.snapshot())) < long
    with pytest.raises(Maybe):
        bench.add(session, 5)
    assert bench.add(session, 6) == 6
    assert bench.counter.sum == 6


def test_a_command_that_its_client_gave_up_is_never_applied_later() -> None:
    bench = Bench()
    session = bench.open()
    bench.add(session, 2, acknowledged=1)  # number 1 has not come yet
    with pytest.raises(Maybe, match="given up"):
        bench.add(session, 1)
    assert bench.counter.sum == 1


def test_an_answer_that_was_given_up_in_its_own_entry_is_not_kept() -> None:
    bench, other = Bench(), Bench()
    session = bench.open()
    bench.batch(add(session, 1), add(session, 2, acknowledged=1))
    other.open()
    other.batch(add(session, 1))
    other.batch(add(session, 2, acknowledged=1))
    assert list(bench.machine.snapshot()) == list(other.machine.snapshot())
    assert bench.machine.digest() == other.machine.digest()


@pytest.mark.parametrize("at_once", [1, 100, 2 * MAX_OUTSTANDING])
def test_unconfirmed_answers_are_bounded(at_once: int) -> None:
    """However many come in one entry; at the bound a command is refused, not applied."""
    bench = Bench()
    session = bench.open()
    commands = [add(session, sequence) for sequence in range(1, MAX_OUTSTANDING + 2)]
    replies: list[bytes] = []
    for start in range(0, len(commands), at_once):
        replies += bench.batch(*commands[start : start + at_once])
    assert result_of(replies[-2], int) == MAX_OUTSTANDING
    with pytest.raises(Overloaded):
        result_of(replies[-1], int)
    assert bench.counter.sum == MAX_OUTSTANDING
    assert bench.add(session, 1) == 1  # what is known is still answered
    assert bench.add(session, MAX_OUTSTANDING + 1, acknowledged=1) == MAX_OUTSTANDING + 1


NESTED = 5000
GARBAGE = {
    "nothing": b"",
    "text": b"hello",
    "an unknown tag": encode([9, 1, 2]),
    "a field of another type": encode([2, "1", 1, 0, b""]),
    "too few fields": encode([2, 1, 1]),
    "a field of a later version": encode([2, 1, 1, 0, b"", 1]),
    "bytes after the end": encode(OpenSession()) + b"\x00",
    "too deep a field": b"\x96\x02\x01\x01\x00\xc4\x00" + b"\x91" * NESTED + b"\xc0",
    "too deep": b"\x91" * NESTED + b"\xc0",
}


@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE.keys())
def test_what_is_no_command_is_refused_by_all_alike_and_changes_nothing(garbage: bytes) -> None:
    bench = Bench()
    session = bench.open()
    before = bench.machine.digest()
    [refused, applied] = bench.batch(garbage, add(0, 0))
    with pytest.raises(BadInput):
        result_of(refused, int)
    assert refused == Bench().batch(b"anything else")[0]  # the same words, whatever it was
    assert result_of(applied, int) == 1
    bench.batch(add(0, 0, -1))
    assert bench.machine.digest() == before
    assert bench.add(session, 1) == 1


@pytest.mark.parametrize(
    "refused",
    [b"", b"hello", encode(SetFeatureLevel(1)), b"\x92\xcc\x03\x01", b"\xdc\x00\x02\x03\x01"],
    ids=["nothing", "text", "a feature level", "its tag in two bytes", "its array in three"],
)
def test_clients_cannot_raise_the_feature_level(refused: bytes) -> None:
    with pytest.raises(BadInput, match="may propose"):
        admit(refused)


def test_clients_can_append_what_they_need() -> None:
    admit(encode(OpenSession()))
    admit(add(1, 1))


@pytest.mark.parametrize("sequence", [0, -1])
def test_a_number_below_one_is_not_applied(sequence: int) -> None:
    bench = Bench()
    session = bench.open()
    with pytest.raises(Maybe):
        bench.add(session, sequence)
    assert bench.counter.sum == 0


def test_garbage_inside_a_session_is_refused_by_the_machine_once() -> None:
    bench = Bench()
    session = bench.open()
    for _ in range(2):
        with pytest.raises(BadInput):
            result_of(bench.batch(wrap(session, 1, 0, b"garbage"))[0], int)


def test_a_command_too_large_for_an_entry_is_refused_where_it_is_made() -> None:
    wrap(1, 1, 0, b"x" * MAX_COMMAND_BYTES)
    with pytest.raises(BadInput, match=f"{MAX_COMMAND_BYTES} at most"):
        wrap(1, 1, 0, b"x" * (MAX_COMMAND_BYTES + 1))


def test_the_feature_level_goes_up_and_never_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "SUPPORTED_FEATURE_LEVEL", 3)
    bench = Bench()
    replies = bench.batch(*[encode(SetFeatureLevel(level)) for level in (2, 3, 1)])
    assert [result_of(reply, int) for reply in replies] == [2, 3, 3]
    bench.batch(add(0, 0))
    assert bench.counter.metas[-1].feature_level == 3


def test_a_replica_stops_at_a_feature_level_that_it_does_not_know() -> None:
    """It could only guess what the others do from here on."""
    with pytest.raises(Bug, match="feature level 2 is newer than this build"):
        Bench().batch(encode(SetFeatureLevel(2)))


def test_queries_reach_the_machine() -> None:
    bench = Bench()
    bench.add(0, 0, 7)
    assert result_of(bench.machine.query(encode(Read())), int) == 7


def test_a_snapshot_holds_the_sessions() -> None:
    bench = Bench()
    session = bench.open()
    bench.add(session, 1, 5)
    other = bench.copy()
    assert other.add(session, 1, 5) == 5
    assert other.add(session, 2, 1) == 6
    assert other.open() != session


def test_of_many_sessions_that_expire_at_once_a_batch_sees_to_some(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sessions, "MAX_DROPPED", 2)
    bench = Bench()
    opened = [bench.open() for _ in range(5)]
    bench.time_ms += SESSION_IDLE_MS
    batches = 0
    while bench.machine.next_deadline_ms() is not None:
        with pytest.raises(SessionExpired):  # whether its turn has come or not
            bench.add(opened[-1], 1)
        batches += 1
        assert bench.copy().machine.digest() == bench.machine.digest()
    assert (batches, bench.counter.sum) == (3, 0)


def test_a_snapshot_is_frozen_at_its_call() -> None:
    bench = Bench()
    session = bench.open()
    bench.add(session, 1)
    expected = list(bench.machine.snapshot())
    stream = bench.machine.snapshot()
    got = [next(stream)]
    bench.add(session, 2, 10, acknowledged=1)
    bench.open()
    assert got + list(stream) == expected


def test_a_snapshot_of_a_newer_build_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "SUPPORTED_FEATURE_LEVEL", 2)
    bench = Bench()
    bench.batch(encode(SetFeatureLevel(2)))
    stream = list(bench.machine.snapshot())
    monkeypatch.setattr(sessions, "SUPPORTED_FEATURE_LEVEL", 1)
    with pytest.raises(CorruptData, match="newer than this build"):
        restore_all(Bench().machine, stream)


class Giver(Counter):
    """Answers with as many bytes as it is asked for."""

    def execute(self, meta: Meta, command: Any) -> object:
        self.sum += 1
        return "x" * command.amount


def test_large_answers_are_bounded_in_bytes_and_those_of_the_longest_silent_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sessions, "MAX_LARGE_BYTES", 100_000)
    giver = Giver()
    machine, other = SessionMachine(giver), SessionMachine(Giver())

    steps = count(1)

    def entry(command: bytes) -> bytes:
        index = next(steps)
        (reply,) = machine.apply_batch(Meta(index, 1, 1000 + index), [command])
        if index % 3 == 0:  # one that is made anew, again and again, remains equal
            restore_all(other, machine.snapshot())
        else:
            assert other.apply_batch(Meta(index, 1, 1000 + index), [command]) == [reply]
        assert machine.digest() == other.digest()
        return reply

    numbers = [result_of(entry(encode(OpenSession())), int) for _ in range(9)]
    given = dict[int, bytes]()
    for session in numbers:
        given[session] = entry(add(session, 1, 30_000))
        entry(add(session, 2, 10))
    for session in numbers[:6]:  # at the seventh it was too much, and half of it went
        with pytest.raises(Maybe, match="was applied"):
            result_of(entry(add(session, 1, 30_000)), str)
    for session in numbers[6:]:
        assert entry(add(session, 1, 30_000)) == given[session]
    assert giver.sum == 18


def test_a_snapshot_that_is_cut_short_or_damaged_is_refused() -> None:
    bench = Bench()
    bench.open()
    bench.open()
    pieces = list(bench.machine.snapshot())
    stream = b"".join(pieces)
    for end in range(len(stream) - len(pieces[-1])):
        with pytest.raises(CorruptData):
            restore_all(Bench().machine, [stream[:end]])
    with pytest.raises(CorruptData):
        restore_all(Bench().machine, [pieces[1], *pieces])


def test_a_session_takes_at_most_200_bytes_beside_its_unacknowledged_answers() -> None:
    machine, count = SessionMachine(Counter()), 20_000
    opening = [encode(OpenSession())] * 500
    tracemalloc.start()
    try:
        for index in range(1, count // 500 + 1):
            machine.apply_batch(Meta(index, 1, 1000 + index), opening)
        machine.digest()
        gc.collect()
        size, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert size / count <= 200
