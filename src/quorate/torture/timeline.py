"""A run of real processes as a timeline: the same page as of a simulated one.

Theory of operation.  Lanes are the nodes, and two for what all clients did together: changes and
reads.  The nodes tell of their elections themselves (``watching.py``), in lines that reach this
process when they please, so everything is put in order at the end, and each election message is
paired with its arrival by what it says.  Faults and the lives of processes are told as they happen.
The clients' operations are counted from their histories, interval by interval: each of them would
be hundreds of thousands.  The page says what it leaves out.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Mapping
from pathlib import Path

import msgspec

from quorate.base.ids import GroupId
from quorate.linearizability.models import MODELS
from quorate.simulator.timeline.events import Event, Head, Run
from quorate.simulator.timeline.page import write_page
from quorate.simulator.timeline.recorder import Recorder
from quorate.torture.faults import KINDS, Fault
from quorate.torture.history import Clock
from quorate.torture.node import GROUP
from quorate.torture.report import Report
from quorate.torture.watching import SAMPLE_MS

INTERVALS_S = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
MAX_INTERVALS = 300
LANES = ("changes", "reads")
PAIRED_MS = 30_000.0
"""A message that arrives later than this after it was sent was another that said the same."""


class Gathering:
    """What is heard of the nodes while they run."""

    def __init__(self, clock: Clock, group: GroupId = GROUP) -> None:
        """``group`` is the one that nodes tell of."""
        self._clock = clock
        self._group = group
        self._recorder = Recorder(self._now_ms, str)
        self._faults: dict[int, int] = {}
        self._decoder = msgspec.json.Decoder(Event)

    def _now_ms(self) -> float:
        return self._clock.now_ns() / 1e6

    # What the nemesis does.

    def begun(self, fault: Fault) -> None:
        lanes = tuple(f"n{node}" for node in fault.nodes)
        text = str(fault).partition(" ")[2].replace(" (or the leader)", "")
        source = f"torture {fault.kind}"
        arrow = self._recorder.begin("fault", "", text, source, lanes=lanes)
        self._faults[fault.number] = arrow

    def ended(self, fault: Fault) -> None:
        if (arrow := self._faults.pop(fault.number, None)) is not None:
            self._recorder.tell("healed", arrow=arrow)

    def started(self, node: int) -> None:
        self._recorder.tell("started", f"n{node}", "process begins", "torture started")

    def died(self, node: int, how: str) -> None:
        self._recorder.tell("died", f"n{node}", how, "torture died")

    def heard(self, line: bytes) -> None:
        """What a node said of itself; raises ``msgspec.DecodeError`` for what is no event."""
        event = self._decoder.decode(line)
        time_ms = max(0.0, self._clock.since_ms(event.time_ms))
        self._recorder.add(msgspec.structs.replace(event, time_ms=time_ms, arrow=0))

    # At the end.

    def draw(self, report: Report, files: Mapping[str, Path], output: Path) -> None:
        """One HTML file."""
        write_page(self.run(report, files), output)

    def run(self, report: Report, files: Mapping[str, Path]) -> Run:
        """All of it, with what the clients saw."""
        ends_ms = self._now_ms()
        seconds = interval_s(ends_ms / 1000)
        found = self._recorder.recorded + self._clients(files, seconds)
        found += self._broken(report, ends_ms)
        found.sort(key=lambda event: event.time_ms)
        self._pair(found)
        about = (
            f"{report.verdict.value}: {report.operations} operations, {report.ok} ok, {report.fail}"
            f" failed, {report.info} unknown; {sum(report.faults.values())} faults. Elections are"
            f" drawn whole; replication is not: log and commitment are samples, every"
            f" {SAMPLE_MS:.0f} ms at most, and all that clients did in {seconds:g} s is one box."
        )
        if (until_ms := self._recorder.dropped_until_ms) is not None:
            about += f" The run was long: elections before {until_ms / 1000:.0f} s are left out."
        nodes = tuple(f"n{node}" for node in range(1, report.nodes + 1))
        head = Head(
            title=f"Torture of {report.target}, seed {report.seed}: {report.minutes:g} minutes",
            about=about,
            command=_command(report),
            nodes=nodes,
            clients=LANES,
            groups=(self._group,),
        )
        return Run(head=head, events=found)

    def _pair(self, found: list[Event]) -> None:
        """Each arrival with the latest that was sent and says the same."""
        sent: defaultdict[tuple[object, ...], list[Event]] = defaultdict(list)
        for event in found:
            said = event.message, event.term, event.text
            if event.kind == "sent":
                event.arrow = self._recorder.new_arrow()
                sent[(event.node, event.peer, *said)].append(event)
            elif event.kind == "delivered":
                waiting = sent.get((event.peer, event.node, *said))
                if waiting and event.time_ms - waiting[-1].time_ms <= PAIRED_MS:
                    event.arrow = waiting.pop().arrow

    def _clients(self, files: Mapping[str, Path], seconds: float) -> list[Event]:
        counts: defaultdict[tuple[str, int], Counter[str]] = defaultdict(Counter)
        intervals: set[int] = set()
        for name, path in files.items():
            for line in path.read_bytes().splitlines():
                event = json.loads(line)
                lane = LANES[event["f"] in MODELS[name].reads]
                interval = int(event["time"] / 1e9 / seconds)
                intervals.add(interval)
                counts[lane, interval][event["type"]] += 1
        found = []
        for lane in LANES:
            for interval in range(min(intervals, default=0), max(intervals, default=-1) + 1):
                count, arrow = counts[lane, interval], self._recorder.new_arrow()
                begins_ms = interval * seconds * 1000
                found += [
                    Event(
                        time_ms=begins_ms,
                        kind="invoked",
                        node=lane,
                        text=f"{count['invoke']} begun",
                        arrow=arrow,
                        source="torture clients",
                    ),
                    Event(
                        time_ms=begins_ms + seconds * 1000,
                        kind="returned",
                        node=lane,
                        text=_told(count),
                        arrow=arrow,
                    ),
                ]
        return found

    @staticmethod
    def _broken(report: Report, ends_ms: float) -> list[Event]:
        """Where the first violation was seen; what no moment is known of stands at the end."""
        found = [
            Event(time_ms=at_s * 1000, kind="broken", text=f"{name}: {report.verdicts[name]}")
            for name, at_s in report.illegal_at_s.items()
        ]
        return found + [
            Event(time_ms=ends_ms, kind="broken", text=text) for text in report.findings[:1]
        ]


def _command(report: Report) -> str:
    kinds = [kind for kind in KINDS if kind not in report.left_out]
    faults = f" --faults {','.join(kinds)}" if report.left_out else ""
    return (
        f"quorate torture --target {report.target} --minutes {report.minutes:g} --nodes"
        f" {report.nodes} --clients {report.clients} --seed {report.seed}{faults}"
        " --timeline FILE.html"
    )


def interval_s(length_s: float) -> float:
    """So that there are not too many of them."""
    fits = (seconds for seconds in INTERVALS_S if length_s / seconds <= MAX_INTERVALS)
    return next(fits, INTERVALS_S[-1])


def _told(count: Counter[str]) -> str:
    others = [f"{count[kind]} {word}" for kind, word in WORDS.items() if count[kind]]
    if count["ok"]:
        return ", ".join([f"{count['ok']} ok", *others])
    return f"Unavailable: {', '.join(['none done', *others])}"


WORDS = {"fail": "failed", "info": "unknown"}
