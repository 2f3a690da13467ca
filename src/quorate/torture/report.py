"""What a run says at its end, and the judgement on its histories.

Two eyes look at what clients saw: the linearizability checker, key by key, and, where that may not
finish, a plain rule on strings: each text whose append was acknowledged stands once in what was
read last, and none whose append failed.
"""

import json
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from quorate.linearizability.history import Operation, Outcome, Verdict
from quorate.linearizability.jepsen import read_history
from quorate.linearizability.judge import check_history
from quorate.linearizability.models import MODELS
from quorate.torture.faults import KINDS

JUDGE_SECONDS = 120.0
"""For the history of one model; then its verdict is Unknown."""
EXIT_CODES = {Verdict.OK: 0, Verdict.ILLEGAL: 1, Verdict.UNKNOWN: 2}


@dataclass
class Report:
    """Everything about one run."""

    seed: int
    minutes: float
    nodes: int
    clients: int
    partitions: str
    disks: str
    left_out: list[str]
    """Kinds of faults that were not asked for."""
    operations: int = 0
    ok: int = 0
    fail: int = 0
    info: int = 0
    faults: dict[str, int] = field(default_factory=dict)
    out_of_space: int = 0
    longest_gap_s: float = 0.0
    """Between two acknowledged changes."""
    longest_gap_with_majority_s: float = 0.0
    """The same, while a majority ran, with space, and all of it reached each other."""
    recovered: str = ""
    """Why the cluster was not whole again in time after the last fault; empty if it was."""
    findings: list[str] = field(default_factory=list)
    """What must not be: a text lost, replicas that differ, a process that ended by itself."""
    verdicts: dict[str, str] = field(default_factory=dict)
    """By model, with the sentence of what does not fit."""
    illegal_at_s: dict[str, float] = field(default_factory=dict)
    """By model, when the operation ended that fits nowhere, in seconds since the run began."""
    verdict: Verdict = Verdict.UNKNOWN
    folder: str = ""
    target: str = "registers"

    def judge(self, files: Mapping[str, Path]) -> None:
        """Judge the histories and all else that is known."""
        verdicts = {Verdict.ILLEGAL} if self.findings else set()
        if self.recovered:
            verdicts.add(Verdict.UNKNOWN)
        for name, path in files.items():
            lines = path.read_bytes().split(b"\n")
            operations = read_history(MODELS[name], lines)
            deadline = time.monotonic() + JUDGE_SECONDS

            def late(steps: int, deadline: float = deadline) -> bool:
                return time.monotonic() > deadline

            judgement = check_history(MODELS[name], operations, late)
            self.verdicts[name] = f"{judgement.verdict.value} {judgement.detail}".strip()
            verdicts.add(judgement.verdict)
            if judgement.verdict is Verdict.ILLEGAL:
                stuck = next(key.stuck for key in judgement.keys if key.key == judgement.key)
                self.illegal_at_s[name] = _ended_s(stuck[0][0], lines)
            if name == "kv" and not self.recovered:
                self.findings += lost(operations)
        if self.findings:
            verdicts.add(Verdict.ILLEGAL)
        by_weight = (Verdict.ILLEGAL, Verdict.UNKNOWN, Verdict.OK)
        self.verdict = next(verdict for verdict in by_weight if verdict in verdicts)

    @property
    def exit_code(self) -> int:
        return EXIT_CODES[self.verdict]

    def checks(self) -> list[str]:
        """The commands that judge the histories again."""
        return [f"quorate check --model {name} {self.folder}/{name}.jsonl" for name in MODELS]

    def as_json(self) -> dict[str, Any]:
        return asdict(self) | {"verdict": self.verdict.value, "checks": self.checks()}

    def lines(self) -> list[str]:
        """For people."""
        faults = ", ".join(f"{kind} {n}" for kind in KINDS if (n := self.faults.get(kind)))
        left_out = f" (left out: {', '.join(self.left_out)})" if self.left_out else ""
        problems = [f"finding     {finding}" for finding in self.findings]
        if self.recovered:
            problems.append(f"recovery    {self.recovered}")
        return [
            f"target      {self.target}",
            f"seed        {self.seed}, {self.minutes:g} minutes, {self.nodes} nodes,"
            f" {self.clients} clients",
            f"partitions  {self.partitions}",
            f"disks       {self.disks}",
            "clocks      shifted inside the nodes: no namespace covers the wall clock",
            "loss, delay in our own transport, frame by frame",
            f"operations  {self.operations}: {self.ok} ok, {self.fail} failed, {self.info} unknown",
            f"faults      {sum(self.faults.values())}: {faults or 'none'}{left_out}",
            f"full disks  ended a node {self.out_of_space} times",
            f"longest gap in acknowledged changes: {self.longest_gap_s:.2f} s; while a majority"
            f" could serve: {self.longest_gap_with_majority_s:.2f} s",
            *(f"{name:11} {verdict}" for name, verdict in self.verdicts.items()),
            *problems,
            f"verdict     {self.verdict.value}",
            *self.checks(),
        ]


def _ended_s(operation: Operation, lines: Sequence[bytes]) -> float:
    """Its moments are places in the order of all lines."""
    times_ns = sorted(json.loads(line)["time"] for line in lines if line.strip())
    moment = operation.invoked if operation.returned is None else operation.returned
    return float(times_ns[int(moment)]) / 1e9


def lost(operations: Iterable[Operation]) -> list[str]:
    """What contradicts the last complete read of each string that is only appended to."""
    last: dict[object, Operation] = {}
    appends: list[Operation] = []
    for operation in operations:
        if operation.f == "append":
            appends.append(operation)
        elif operation.outcome is Outcome.OK:
            best = last.get(operation.key)
            if best is None or operation.invoked > best.invoked:
                last[operation.key] = operation
    texts = {key: Counter(str(read.result or "").split(",")[:-1]) for key, read in last.items()}
    found = []
    for append in appends:
        read = last.get(append.key)
        if read is None:
            continue
        times = texts[append.key][str(append.argument).removesuffix(",")]
        ended = append.returned is not None and append.returned < read.invoked
        if append.outcome is Outcome.OK and ended and times == 0:
            found.append(f"lost: append {append.argument} to {append.key} was acknowledged")
        elif append.outcome is Outcome.FAIL and times:
            found.append(f"done: append {append.argument} to {append.key} was refused")
        if times > 1:
            found.append(f"twice: append {append.argument} to {append.key} stands {times} times")
    return found
