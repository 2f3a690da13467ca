"""What clients did is recorded as ``quorate check`` reads it, and lies in it are found."""

import asyncio
import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from quorate.base.errors import Maybe, Unavailable
from quorate.linearizability.history import Operation, Outcome, Verdict
from quorate.linearizability.jepsen import read_history
from quorate.linearizability.models import MODELS
from quorate.torture.clients import OPERATIONS_A_KEY, SHARES, SLOTS, Keys, Player, look
from quorate.torture.history import Clock, Recorder
from quorate.torture.report import Report, lost
from quorate.torture.target import Call, Value


class Store:
    """One correct copy in memory; ``fate`` may raise instead of an answer, or before."""

    def __init__(self, fate: Callable[[Call], None] = lambda call: None) -> None:
        self.values: dict[str, Value] = {}
        self._fate = fate

    async def call(self, call: Call, timeout_ms: float) -> tuple[bool, Value]:
        await asyncio.sleep(0)
        done, found = self._apply(call)
        self._fate(call)
        return done, found

    def _apply(self, call: Call) -> tuple[bool, Value]:
        held = self.values.get(call.key)
        match call:
            case Call(f="read" | "get"):
                return True, held
            case Call(f="write", argument=int(new)):
                self.values[call.key] = new
            case Call(f="append", argument=str(text)):
                self.values[call.key] = f"{held or ''}{text}"
            case Call(f="cas", argument=(old, new)):
                if held != old:
                    return False, None
                self.values[call.key] = new
            case Call(f="acquire"):
                if held is not None:
                    return False, None
                self.values[call.key] = call.process
            case Call(f="release"):
                if held != call.process:
                    return False, None
                self.values[call.key] = None
        return True, None

    async def close(self) -> None:
        """Nothing is open."""


def played(folder: Path, store: Store, operations: int = 300) -> tuple[Recorder, Report]:
    """Three clients on ``store``, judged."""
    recorder, keys = Recorder(folder, Clock()), Keys()

    async def client(name: str) -> None:
        rng = random.Random(name)
        player = Player(store, name, keys, recorder, rng)
        for _ in range(operations):
            await player.operation(rng.choice(list(SHARES)))

    async def main() -> None:
        await asyncio.gather(*map(client, ("c1", "c2", "c3")))
        await look(store, keys, recorder, 1_000)

    asyncio.run(main())
    recorder.close()
    report = Report(1, 1.0, 3, 3, "", "", [], folder=str(folder))
    report.judge(recorder.files)
    return recorder, report


def test_a_correct_copy_is_ok(tmp_path: Path) -> None:
    recorder, report = played(tmp_path, Store())
    assert report.verdict is Verdict.OK and report.exit_code == 0 and report.findings == []
    assert recorder.operations == sum(recorder.outcomes.values()) > 900


def test_unknown_outcomes_stay_open_and_refused_operations_have_no_effect(tmp_path: Path) -> None:
    rng = random.Random(1)

    def fate(call: Call) -> None:
        if call.process != "reader" and rng.random() < 0.05:
            raise Maybe("done, and nobody heard of it")

    recorder, report = played(tmp_path, Store(fate))
    assert recorder.outcomes[Outcome.INFO] > 10
    assert report.verdict is Verdict.OK


def test_the_last_change_is_tried_until_it_is_done_and_each_attempt_is_an_operation(
    tmp_path: Path,
) -> None:
    left = [1, 2]

    def fate(call: Call) -> None:
        if call.process == "reader" and call.f == "append" and left:
            raise Maybe(f"attempt {left.pop(0)} is done, and nobody heard of it")

    recorder, report = played(tmp_path, Store(fate), 30)
    assert report.verdict is Verdict.OK and recorder.outcomes[Outcome.INFO] == 2
    assert "reader.3," in (tmp_path / "kv.jsonl").read_text().splitlines()[-1]


def test_what_was_refused_and_done_all_the_same_is_found(tmp_path: Path) -> None:
    def fate(call: Call) -> None:
        if call.argument == "c1.5,":
            raise Unavailable("refused, which is a lie")

    _, report = played(tmp_path, Store(fate))
    assert report.verdict is Verdict.ILLEGAL and report.exit_code == 1
    assert [finding.partition(":")[0] for finding in report.findings] == ["done"]


def test_the_lines_are_invocations_and_ends_in_time_order(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, Clock())
    write, read = Call("c1", "write", "r1.0", 3), Call("c2", "read", "r1.0")
    recorder.invoke(write)
    recorder.invoke(read)
    recorder.end(read, Outcome.OK, 3)
    recorder.end(write, Outcome.INFO)
    recorder.close()
    lines = recorder.files["register"].read_bytes().splitlines()
    events = [json.loads(line) for line in lines]
    assert [(e["process"], e["type"], e["value"]) for e in events] == [
        ("c1", "invoke", 3),
        ("c2", "invoke", None),
        ("c2", "ok", 3),
        ("c1", "info", 3),
    ]
    times = [event["time"] for event in events]
    assert times == sorted(times)
    first, second = read_history(MODELS["register"], lines)
    assert (first.outcome, first.argument) == (Outcome.INFO, 3)
    assert (second.outcome, second.result) == (Outcome.OK, 3)


class Hand(Clock):
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.ns = 0

    def now_ns(self) -> int:
        return self.ns


def test_the_longest_gap_is_between_acknowledged_changes_while_it_counts(tmp_path: Path) -> None:
    clock = Hand()
    recorder = Recorder(tmp_path, clock)
    whole, part = recorder.gaps

    def does(call: Call, outcome: Outcome, at_ns: int) -> None:
        recorder.invoke(call)
        clock.ns = at_ns
        recorder.end(call, outcome)

    write, read = Call("c1", "write", "r1.0", 3), Call("c1", "read", "r1.0")
    does(write, Outcome.OK, 90)
    whole.begin()
    part.begin()
    does(write, Outcome.OK, 100)
    does(read, Outcome.OK, 150)
    does(write, Outcome.FAIL, 160)
    part.end()
    clock.ns = 170
    part.begin()
    part.begin()
    does(write, Outcome.OK, 180)
    clock.ns = 200
    whole.end()
    does(write, Outcome.OK, 900)
    recorder.close()
    assert whole.longest_ns == 80 and not whole.counts
    assert part.longest_ns == 720


def test_a_key_is_given_up_after_some_operations() -> None:
    keys, rng = Keys(), random.Random(1)
    drawn = [keys.draw("l", rng) for _ in range(3 * OPERATIONS_A_KEY)]
    assert SLOTS["l"] == 1 and list(keys.used) == ["l1.0", "l1.1", "l1.2"]
    assert all(drawn.count(key) <= OPERATIONS_A_KEY + 1 for key in keys.used)


def operation(f: str, value: str, at: int, outcome: Outcome = Outcome.OK) -> Operation:
    found = Operation("c1", f, "s1", None if f == "get" else value, at)
    if outcome is Outcome.OK:
        found.returned = at + 1
        found.result = value if f == "get" else None
    found.outcome = outcome
    return found


@pytest.mark.parametrize(
    ("appended", "outcome", "read", "word"),
    [
        ("a,", Outcome.OK, "b,", "lost"),
        ("a,", Outcome.FAIL, "a,b,", "done"),
        ("a,", Outcome.INFO, "a,a,", "twice"),
    ],
)
def test_a_text_that_is_lost_done_or_doubled_is_a_finding(
    appended: str, outcome: Outcome, read: str, word: str
) -> None:
    found = lost([operation("append", appended, 0, outcome), operation("get", read, 5)])
    assert len(found) == 1 and found[0].startswith(word)


def test_what_may_be_is_no_finding() -> None:
    late = operation("append", "c,", 7)
    unknown = operation("append", "u,", 1, Outcome.INFO)
    assert lost([operation("append", "a,", 0), unknown, operation("get", "a,", 5), late]) == []


def test_a_finding_outweighs_a_recovery_that_was_not_seen(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, Clock())
    recorder.close()
    report = Report(1, 1.0, 3, 3, "", "", [], recovered="no answer")
    report.judge(recorder.files)
    assert report.exit_code == 2
    report.findings.append("the replicas differ")
    report.judge(recorder.files)
    assert report.exit_code == 1
    assert "finding     the replicas differ" in report.lines()
