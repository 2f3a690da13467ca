"""What can be drawn by name."""

from collections.abc import Callable
from functools import partial

from quorate.simulator.plan import Plan
from quorate.simulator.run import Report, run_plan
from quorate.simulator.timeline.events import Run
from quorate.simulator.timeline.split_brains import record_gfs_split_brain, record_vmft_split_brain
from quorate.simulator.timeline.stories import record_story, stories
from quorate.simulator.timeline.watching import Recording


def drawable() -> dict[str, Callable[[], Run]]:
    """By name, what records it: the stories, and runs of the whole system."""
    return {
        **{name: partial(record_story, name) for name in stories()},
        "gfs-split-brain": record_gfs_split_brain,
        "vmft-split-brain": record_vmft_split_brain,
    }


def record(name: str) -> Run:
    return drawable()[name]()


def record_plan(plan: Plan, command: str) -> tuple[Report, Run]:
    """Run a seed and keep what happens; ``command`` is what made it."""
    recording = Recording()
    report = run_plan(plan, recording.watch)
    title = f"Seed {plan.seed}, {plan.workload}"
    run = recording.run(title, command, about=report.line(), broken=report.broken)
    return report, run
