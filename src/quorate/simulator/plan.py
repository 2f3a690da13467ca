"""What a seed will do, as data: options and schedule, and what a shrunk run leaves out of them.

Everything is drawn first and reduced afterwards, each part from a random source of its own.  So the
third fault of a seed is the same fault however little of the rest is left.
"""

import random
import shlex

import msgspec

from quorate.simulator.nemeses.drawing import draw_schedule
from quorate.simulator.nemeses.faults import Schedule
from quorate.simulator.nemeses.options import Options
from quorate.simulator.workloads.table import WORKLOADS


class Reduction(msgspec.Struct, frozen=True):
    """What is left of a seed; ``None``: all that was drawn."""

    only: tuple[int, ...] | None = None
    """The numbers of the faults that happen."""
    nodes: int | None = None
    groups: int | None = None
    clients: int | None = None
    operations: int | None = None
    """Of each client."""
    faults_ms: int | None = None
    dice: int | None = None
    """Another throw: the same faults and clients, other chances on the wire and the disks."""

    def flags(self) -> list[str]:
        """The options of the command line that ask for it."""
        found = []
        for name, value in msgspec.structs.asdict(self).items():
            if value is not None:
                shown = ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
                found += [f"--{name.replace('_', '-')}", shlex.quote(shown)]
        return found


class Plan(msgspec.Struct, frozen=True):
    """All that a run needs to know."""

    seed: int
    workload: str
    options: Options
    schedule: Schedule
    reduction: Reduction
    histories_only: bool = False
    """Judge by what clients saw alone, not by what only an omniscient observer sees."""

    @property
    def command(self) -> str:
        """What runs it again."""
        words = [f"python -m quorate.simulator {self.seed} --workload {self.workload}"]
        words += self.reduction.flags()
        if self.histories_only:
            words.append("--histories-only")
        return " ".join(words)

    def lines(self) -> list[str]:
        """For people: options, then one line for each fault."""
        values = msgspec.structs.asdict(self.options).items()
        options = ", ".join(f"{name}={_plain(value)}" for name, value in values)
        return [f"seed {self.seed}, {self.workload}: {options}", *map(str, self.schedule)]

    def reduced(self, **changes: object) -> "Plan":
        """This seed again, with other limits in its reduction."""
        reduction = msgspec.structs.replace(self.reduction, **changes)
        return draw_plan(self.seed, self.workload, reduction, self.histories_only)


def _plain(value: object) -> str:
    if isinstance(value, tuple):
        return "(" + " ".join(map(_plain, value)) + ")"
    if isinstance(value, msgspec.Struct):
        fields = msgspec.structs.asdict(value).items()
        return "(" + " ".join(f"{name}={_plain(field)}" for name, field in fields) + ")"
    return f"{value:g}" if isinstance(value, float) else str(value).replace(" ", "_")


def draw_plan(
    seed: int,
    workload: str,
    reduction: Reduction | None = None,
    histories_only: bool = False,
) -> Plan:
    """What ``seed`` does to ``workload``."""
    entry, left = WORKLOADS[workload], reduction or Reduction()
    options = entry.draw(
        random.Random(f"{seed}/{workload}/options"), entry.operations, entry.needed
    )
    schedule = draw_schedule(random.Random(f"{seed}/{workload}/schedule"), options)
    limits = msgspec.structs.asdict(left)
    only, _ = limits.pop("only"), limits.pop("dice")
    options = msgspec.structs.replace(
        options, **{name: limit for name, limit in limits.items() if limit is not None}
    )
    kept = tuple(
        fault
        for fault in schedule
        if (only is None or fault.number in only) and fault.at_ms < options.faults_ms
    )
    return Plan(seed, workload, options, kept, left, histories_only)
