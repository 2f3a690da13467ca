"""A run of a learner's core as a timeline: the same page as of our own."""

from quorate.simulator.lab.learner_lab import Run
from quorate.simulator.lab.loading import Core
from quorate.simulator.lab.servers import GROUP
from quorate.simulator.timeline import events
from quorate.simulator.timeline.events import Head


def timeline_of(run: Run, core: Core, command: str) -> events.Run:
    """``command`` is what makes this run again."""
    about = run.test.promise
    if not run.tells:
        about += (
            " The core does not tell its log (timeline(), docs/LAB.md): shown is what each server"
            " has applied, and who does not lead is drawn as a follower."
        )
    head = Head(
        title=f"{core.name}, {run.test.name}, seed {run.seed}",
        about=about,
        command=command,
        evenly=True,
        nodes=tuple(run.names),
        groups=(GROUP,),
        sources=run.lines.sources(),
    )
    return events.Run(head=head, events=run.events)
