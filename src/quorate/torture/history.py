"""What clients did and saw, as it happens: JSON lines that ``quorate check`` reads.

A file for each model; each operation is a line when it is invoked and one when it ends, ``ok``,
``fail``, or ``info`` where nobody knows.  Times are nanoseconds of this process's monotonic clock
since the run began, and no fault touches that clock.
"""

import json
import time
from collections import Counter
from pathlib import Path

from quorate.linearizability.history import Outcome
from quorate.linearizability.models import MODELS
from quorate.torture.target import Call, Value


class Clock:
    """Nanoseconds since the run began."""

    def __init__(self) -> None:
        self._began_ns = time.monotonic_ns()

    def now_ns(self) -> int:
        return time.monotonic_ns() - self._began_ns

    def since_ms(self, monotonic_ms: float) -> float:
        """A moment of the machine's monotonic clock, in milliseconds since the run began."""
        return monotonic_ms - self._began_ns / 1e6


class Gaps:
    """The longest time without an acknowledged change, between ``begin`` and ``end``."""

    def __init__(self, clock: Clock) -> None:
        self.longest_ns = 0
        self._clock = clock
        self._since_ns: int | None = None

    @property
    def counts(self) -> bool:
        return self._since_ns is not None

    def begin(self) -> None:
        """The time before does not count."""
        if not self.counts:
            self._since_ns = self._clock.now_ns()

    def acknowledged(self) -> None:
        """A change was, now."""
        if self._since_ns is not None:
            now_ns = self._clock.now_ns()
            self.longest_ns = max(self.longest_ns, now_ns - self._since_ns)
            self._since_ns = now_ns

    def end(self) -> None:
        """The time from here on does not count."""
        self.acknowledged()
        self._since_ns = None


class Recorder:
    """The histories of a run."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        self.files = {name: folder / f"{name}.jsonl" for name in MODELS}
        """By model."""
        self.outcomes: Counter[Outcome] = Counter()
        self.operations = 0
        self.gaps = (Gaps(clock), Gaps(clock))
        """While there were faults; and of that, while a majority could serve."""
        self._clock = clock
        self._open = {name: path.open("w", encoding="utf-8") for name, path in self.files.items()}
        self._models = {f: name for name, model in MODELS.items() for f in model.functions}

    def invoke(self, call: Call) -> None:
        """``call`` sets out now."""
        self.operations += 1
        self._write("invoke", call, call.argument)

    def end(self, call: Call, outcome: Outcome, result: Value = None) -> None:
        """``call`` is over, as far as its client is concerned."""
        self.outcomes[outcome] += 1
        looks = call.f in ("read", "get")
        self._write(outcome.value, call, result if looks else call.argument)
        if outcome is Outcome.OK and not looks:
            for gaps in self.gaps:
                gaps.acknowledged()

    def close(self) -> None:
        for file in self._open.values():
            file.close()

    def _write(self, kind: str, call: Call, value: object) -> None:
        event = {
            "process": call.process,
            "type": kind,
            "f": call.f,
            "key": call.key,
            "value": value,
            "time": self._clock.now_ns(),
        }
        self._open[self._models[call.f]].write(json.dumps(event) + "\n")
